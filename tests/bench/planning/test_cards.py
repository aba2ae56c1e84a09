"""YAML files of plugins: whatever they say, they break themselves only, with a reason that names the file."""

import math

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from plugin_packages import METHOD, good, install

from bench.basics.errors import BenchError
from bench.planning import cards, catalogue, merging, places
from bench.planning.components import build
from bench.planning.listing import listing
from bench.planning.plan import Request, planned_runs, run_configs

GROUPS = ("backbone", "budget", "classifier", "dataset", "encoder", "generator", "learner", "method")


def forget():
    for cached in (catalogue.plugins, catalogue.plugin_packages, catalogue.config_folders, catalogue._since):
        cached.cache_clear()
    merging._hydra_texts.cache_clear()


@pytest.fixture
def site(tmp_path, monkeypatch):
    """A folder of installed packages."""
    monkeypatch.syspath_prepend(str(tmp_path))
    forget()
    yield tmp_path
    monkeypatch.undo()
    forget()


@pytest.mark.parametrize("kind", [*GROUPS, "experiment"])
def test_our_own_files_say_only_what_there_is(kind):
    assert catalogue.problems(kind) == []
    assert set(catalogue.options(kind)) == {path.stem for path in (places.ROOT / "configs" / kind).glob("*.yaml")}


@pytest.mark.parametrize(
    ("kind", "text", "expected"),
    [
        ("method", 'card: {supervised: "no"}', "card.supervised must be true or false, not 'no'"),
        ("method", "card: {group: unsupervized}", "Did you mean 'unsupervised'?"),
        ("method", "card: {supervised: true, group: unsupervised}", "write group: ceiling"),
        ("method", "card: {supervised: true, group: floor}", "write group: ceiling"),
        ("method", "card: x", "card must be a mapping, not 'x'"),
        ("method", "card: {titel: x}", "card.titel is unknown. Did you mean 'title'?"),
        ("method", 'card: {title: "{learner}"}', "has a field {learner}, which is no axis"),
        ("method", 'card: {title: "{"}', "card.title '{'"),
        ("method", 'card: {title: "{a:>99}"}\nvariants: {a: {b: []}}', "has a field {a}"),
        ("method", "variants: [a]", "variants must be a mapping"),
        ("method", "variants: {a: {}}", "variants make 0 names"),
        ("method", "variants: {a: {x: [], x-y: []}, b: {y-z: [], z: []}}", "two of them have the same name"),
        ("method", "variants: {a: {b: [nonsense]}}", "'nonsense' is no setting; write key=value"),
        ("method", "variants: {a: {'b@c': []}}", "'b@c' cannot be a word of a name"),
        ("method", "headline: {default: [umtra-maml]}", "'umtra-maml' is no variant of mine"),
        ("method", "uses: [nonsense]", "there is no group 'nonsense'"),
        ("method", "uses: [method]", "there is no group 'method'"),
        ("method", "uses: learner", "uses must be a list"),
        ("method", "added: {lost: 1}", "there is no setting 'lost'"),
        ("method", "alpha: .inf", "alpha is inf, which is no finite number"),
        ("method", "alpha: [1, [.nan]]", "alpha is nan"),
        ("method", "when: 2020-01-01", "quote it"),
        ("method", "1: 2", "1 cannot be the name of a setting"),
        ("method", "_target_: Mine", "_target_ must be package.module.Class"),
        ("method", "prefers: {backbone: conv4}", "prefers: 'backbone' is none of the groups that it uses"),
        ("method", "uses: [backbone]\nprefers: {backbone: 'a b'}", "prefers.backbone: 'a b' cannot be the name"),
        ("encoder", "own: path", "own: path needs settings 'path' and 'sha256'"),
        ("encoder", "card: {published: {url: x}}", "card.published.what is missing"),
        ("dataset", "recommend: {inner_lr: fast}", "recommend: inner_lr: 'fast' is none of"),
        ("dataset", "recommend: {tasks: {wey: 5}}", "recommend.tasks: wey: 5 is no setting of tasks"),
        ("dataset", "recommend: {tasks: {way: '5,train.way=3'}}", "is no setting of tasks"),
    ],
)
def test_a_mistake_is_said_in_words(kind, text, expected):
    values = {"_target_": "my.module.Mine", **yaml.safe_load(text)}
    with pytest.raises(ValueError, match=r"\w") as error:
        cards.check(kind, "mine", values, GROUPS, catalogue.RESERVED)
    assert expected in str(error.value)


@pytest.mark.parametrize("name", ["mine@2", "a,b", "a=b", "..", "a b", "-x", ""])
def test_a_name_can_be_typed_and_is_no_path(name):
    with pytest.raises(ValueError, match="cannot be typed as a name"):
        cards.check("method", name, {"_target_": "a.B"}, GROUPS, catalogue.RESERVED)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a: &a [1]\nb: &b [*a, *a, *a, *a, *a, *a, *a, *a, *a, *a]\n" + "".join(
            f"{new}: &{new} [{', '.join([f'*{old}'] * 10)}]\n" for old, new in zip("bcdef", "cdefg")
        ), "more than 10000 values"),
        ("a: &a [*a]", "nested too deeply"),
        ("[" * 5000, "not valid YAML"),
        ("a: 2001-99-99", "not valid YAML"),
        ("a: \x00", "not valid YAML"),
        ("#" * 2**21, "more than 1048576 bytes"),
        ("- a", "must hold a YAML mapping"),
    ],
)  # fmt: skip
def test_no_file_takes_memory_or_ends_the_program(text, expected, site):
    good(site)
    install(site, "bad_plugin", files={"configs/method/bad.yaml": text})
    assert [one.name for one in catalogue.files("method") if one.reason] == ["bad"]
    assert "mine" in catalogue.variants()
    with pytest.raises(BenchError, match=r"bad\.yaml") as error:
        catalogue.expand("bad", "glyphs")
    assert expected in str(error.value)


def test_what_is_ours_or_was_there_first_cannot_be_taken(site):
    text = "_target_: bad_plugin.code.Mine\ncard: {reference: true}\n"
    files = {f"configs/method/{name}.yaml": text for name in ("chance", "mine", "umtra-maml", "other")}
    ours = (dict(catalogue.variants()), catalogue.references())
    install(site, "bad_plugin", files={"code.py": METHOD, **files})
    good(site)
    forget()
    assert catalogue.variants().items() >= ours[0].items()
    assert catalogue.references() == ours[1], "no plugin joins a request that names other methods"
    assert catalogue.raw("method", "mine")["_target_"] == "bad_plugin.code.Mine", (
        "packages come in order of their names"
    )
    reasons = dict(catalogue.problems())
    assert [path.rpartition("/")[2] for path in reasons] == ["chance.yaml", "mine.yaml", "umtra-maml.yaml"]
    assert all("is taken by" in reason for reason in reasons.values())


@pytest.mark.parametrize("taken", places.SETTINGS)
def test_a_folder_called_as_a_setting_of_every_run_is_no_group(taken, site):
    install(site, "bad_plugin", files={f"configs/{taken}/x.yaml": "a: 1", "configs/method/chance.yaml": "a: 1"})
    forget()
    assert taken not in catalogue.groups()
    assert catalogue.config_folders() == (places.ROOT / "configs",)
    (only,) = catalogue.problems()
    assert only[1] == f"its folder configs/{taken} is called as a setting of every run; rename it"


def test_a_list_of_entry_points_that_cannot_be_read_is_named(site):
    folder = good(site, "torn").parent / "torn-1.0.dist-info"
    (folder / "entry_points.txt").write_text("[bench.plugins]\nno equals sign\n")
    (found,) = places.plugins()
    assert found.where == folder / "entry_points.txt"
    assert found.problem == "its entry points cannot be read"


@pytest.mark.parametrize("entry", ["p.code:Mine", "p.code", "p:anything", "p.sub.deep:X"])
def test_an_entry_point_leads_to_the_nearest_configs_and_imports_nothing(entry, site):
    good(site, "p", entry)
    (site / "p" / "__init__.py").write_text("raise RuntimeError")
    (found,) = places.plugins()
    assert (found.package, found.configs, found.problem) == ("p", site / "p" / "configs", None)


def test_a_configuration_may_lie_below_any_folder(site, monkeypatch):
    odd = site / "a 'b', c=[d]$ e\\"
    odd.mkdir()
    good(odd)
    monkeypatch.syspath_prepend(str(odd))
    forget()
    (one,) = run_configs(Request(methods="mine", references=False))
    assert one.values["method"]["strength"] == 2.0


SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.dates(),
    st.sampled_from(["", "x", "${a", "${way}", "{", "{learner}", "learner=maml", "learner", "way=3", "=", "5"]),
)  # fmt: skip
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(["learner", "a", "default"]), inner, max_size=2)
    ),
    max_leaves=4,
)
METHOD_KEYS = (*catalogue.RESERVED, "strength", "lost")
CARD_KEYS = tuple(cards.MethodCard.__dataclass_fields__)


def put(site, **said):
    values = {"_target_": "hostile.code.Mine", "strength": 2.0, **said}
    install(site, "hostile", files={"code.py": METHOD, "configs/method/hostile.yaml": yaml.safe_dump(values)})
    forget()


@settings(max_examples=35, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(said=st.dictionaries(st.sampled_from(METHOD_KEYS), VALUES, max_size=3),
       card=st.dictionaries(st.sampled_from(CARD_KEYS), VALUES, max_size=3))  # fmt: skip
def test_random_values_at_known_keys_leave_the_others_as_they_are(said, card, site):
    ours = {family: path for family, path in catalogue.options("method").items() if "hostile" not in family}
    put(site, **{"card": card, **said})
    found = catalogue.variants().values()
    assert {one.family for one in found} - {"hostile"} == set(ours)
    assert not [one for one in found if one.supervised and one.group in ("unsupervised", "floor")]
    assert not [one for one in catalogue.references() if one.family == "hostile"]
    list(listing("methods"))
    if "hostile" not in catalogue.options("method"):
        with pytest.raises(BenchError, match=r"hostile\.yaml: "):
            catalogue.expand("hostile", "glyphs")


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(strength=SCALARS, lost=VALUES, change=st.sampled_from(["strength=x", "strength={", "lost=1", "a=${b}"]),
       uses=st.sampled_from([[], ["learner"], ["encoder", "generator"]]))  # fmt: skip
def test_random_settings_make_a_run_or_one_sentence(strength, lost, change, uses, site):
    put(site, strength=strength, lost=lost, uses=uses, variants={"a": {"b": [f"method.{change}"], "c": []}})
    for name in ("hostile-b", "hostile-c"):
        try:
            for one in run_configs(Request(methods=name, references=False)):
                build(one.values["method"], one.values)
                planned_runs([one], "c", (0,), site)
                assert all(math.isfinite(v) for v in one.values["method"].values() if isinstance(v, float))
        except BenchError as error:
            if "\n" in str(error):
                raise
    assert run_configs(Request(methods="chance", references=False))
