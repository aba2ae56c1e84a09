"""Names, overrides and types: what a user can mistype, and what the answer is."""

import copy
import hashlib
import importlib
import itertools
import sys
import zipfile

import pytest
from checkpoints import small
from own_generators import COVERED, own_settings

from bench.basics.errors import BenchError
from bench.leaderboard.trained import trained
from bench.planning import catalogue, components, merging
from bench.planning.components import build
from bench.planning.composing import check_overrides, compose
from bench.planning.overrides import parse_overrides
from bench.planning.plan import Request, planned_runs, run_configs, run_key


def variant(name):
    return catalogue.variants()[name]


def names(text, dataset="glyphs"):
    return [one.name for one in catalogue.expand(text, dataset)]


def test_families_exact_names_and_globs_expand_in_order_and_once():
    assert names("lasium,umtra") == ["lasium-ro-vae-maml", "lasium-oc-vae-protonet", "umtra-maml"]
    assert names("umtra-maml,umtra") == ["umtra-maml"]
    both = [f"lasium-{s}-{g}-protonet" for s in ("n", "ro", "oc") for g in ("vae", "gan")]
    assert names("lasium-*-protonet") == both
    assert names("supervised") == ["supervised-maml", "supervised-protonet"]


def test_globs_take_what_needs_a_file_of_the_users_own_only_when_they_say_so():
    assert not [name for name in names("lasium-*") + names("*") if "file" in name or "object" in name]
    assert names("lasium-*-file-protonet") == [f"lasium-{s}-file-protonet" for s in ("n", "ro", "oc")]
    assert names("lasium-ro-*object*")[0] == "lasium-ro-object-maml"
    assert names("lasium-ro-file-maml") == ["lasium-ro-file-maml"]
    with pytest.raises(BenchError, match=r"need generator\.path of your own; say so with 'file' in the pattern"):
        names("lasium-*-f[i]le-*")
    variants = catalogue.variants()
    assert variants["lasium-ro-file-maml"].own == ("generator.path",)
    assert variants["lasium-ro-object-maml"].own == ("generator.callable",)
    assert variants["lasium-ro-vae-maml"].own == ()


@pytest.fixture
def own_file(tmp_path):
    """What looks like a generator's file from outside; it is not opened before a run."""

    def make(name="g.pt2", content="{}"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        with zipfile.ZipFile(tmp_path / name, "w") as archive:
            archive.writestr(zipfile.ZipInfo("g/models/model.json"), content)  # without the time
        return tmp_path / name

    return make


def own_run(path, *more, method="lasium-ro-file-maml"):
    one = compose(variant(method), "glyphs", "quick", parse_overrides([f"generator.path={path}", *more]))
    return one, run_key(one, "content", 0)


def test_a_file_is_known_by_its_content_and_named_without_folders(own_file, tmp_path):
    first, key = own_run(own_file())
    digest = hashlib.sha256((tmp_path / "g.pt2").read_bytes()).hexdigest()
    assert first.method_name == f"lasium-ro-file-maml,generator.path=g.pt2@{digest[:8]}"
    assert first.values["generator"]["sha256"] == digest
    moved, same = own_run((tmp_path / "g.pt2").rename(tmp_path / "moved.pt2"))
    assert same == key
    other, different = own_run(own_file(content='{"x": 1}'))
    assert different != key
    assert len({first.method_name, moved.method_name, other.method_name}) == 3
    again, same_as_other = own_run(own_file("folder/g.pt2", '{"x": 1}'))
    assert (again.method_name, same_as_other) == (other.method_name, different)
    assert own_run(tmp_path / "g.pt2", "generator.output_range=[-1,1]")[1] != different
    assert own_run(tmp_path / "g.pt2", "generator.output_range=[0,1]")[1] == different


def test_a_file_may_be_pinned(own_file, tmp_path):
    digest = hashlib.sha256(own_file().read_bytes()).hexdigest()
    assert own_run(tmp_path / "g.pt2", f"generator.sha256={digest}") == own_run(tmp_path / "g.pt2")
    with pytest.raises(BenchError, match=rf"has SHA-256 {digest}, not generator\.sha256=ab12"):
        own_run(tmp_path / "g.pt2", "generator.sha256=ab12")


def test_an_object_is_known_by_its_name_its_source_and_its_revision(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))

    def key(name, *more):
        importlib.invalidate_caches()
        overrides = parse_overrides([f"generator.callable={name}", *more])
        one = compose(variant("lasium-ro-object-maml"), "glyphs", "quick", overrides)
        return one.method_name, run_key(one, "content", 0)

    source = tmp_path / "my_own_gan.py"
    source.write_text("raise SystemExit('it must not be run to be planned')\n")
    first = key("my_own_gan:a")
    assert first[0].startswith("lasium-ro-object-maml,generator.callable=my_own_gan:a@")
    assert first == key("my_own_gan:a")
    second, third = key("my_own_gan:b"), key("my_own_gan:a", "generator.revision=1")
    source.write_text("# changed\n")
    fourth = key("my_own_gan:a")
    assert len({first, second, third, fourth}) == len({one[1] for one in (first, second, third, fourth)}) == 4


def test_outside_data_is_assumed_of_what_the_harness_did_not_train(own_file):
    one, key = own_run(own_file())
    assert components.outside_data(one.values)
    denied, another = own_run(own_file(), "generator.outside_data=false")
    assert not components.outside_data(denied.values)
    assert "generator.outside_data=False" in denied.method_name
    assert another != key
    assert not components.outside_data(compose(variant("lasium-ro-vae-maml"), "glyphs", "quick").values)


def test_every_leaderboard_shows_floors_and_ceilings():
    shown = {one.name for one in catalogue.references()}
    assert shown == {"chance", "pixels", "scratch", "supervised-maml", "supervised-protonet"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("lasum", "unknown method 'lasum'. Did you mean 'lasium'?"),
        ("lasium-ro-vae-mamml", "Did you mean 'lasium-ro-vae-maml'?"),
        ("nothing-*", "no method matches 'nothing-*'"),
        ("", "no methods given"),
    ],
)
def test_unknown_methods_get_a_suggestion(text, expected):
    with pytest.raises(BenchError) as error:
        names(text)
    assert expected in str(error.value)


@pytest.mark.parametrize(
    ("request_", "expected"),
    [
        ({"dataset": "omniglott"}, "unknown dataset 'omniglott'. Did you mean 'omniglot'?"),
        ({"budget": "quik"}, "unknown budget 'quik'. Did you mean 'quick'?"),
        (
            {"overrides": ("method.alhpa=0.4",)},
            "no setting 'method.alhpa' in the chosen methods. Did you mean 'method.alpha'?",
        ),
        ({"overrides": ("backbone=conv5",)}, "unknown backbone 'conv5'. Did you mean 'conv4'?"),
        ({"overrides": ("method.alpha=big",)}, "method.alpha takes a number (default 0.2), not 'big'"),
        (
            {"overrides": ("learner.inner_steps=2.5",)},
            "learner.inner_steps takes an integer (default 5), not 2.5",
        ),
        ({"overrides": ("learner.inner_steps=true",)}, "takes an integer"),
        ({"overrides": ("method.noise_is_variance=1",)}, "takes true or false"),
        ({"overrides": ("alpha",)}, "'alpha' is not an override; write key=value"),
        ({"overrides": ("budget=quick",)}, "use the flag --budget quick"),
        ({"overrides": ("method.strategy=n",)}, "the name 'lasium-ro-vae-maml' fixes method.strategy=ro"),
        ({"overrides": ("method.alpha={",)}, "cannot be read"),
        ({"experiment": "table99", "methods": None}, "unknown experiment 'table99'"),
        ({"methods": "lasium-ro-file-maml"}, "needs generator.path of your own, for example generator.path=my.pt2"),
        ({"methods": "lasium-n-object-maml"}, "needs generator.callable of your own"),
        ({"methods": "lasium-n-object-maml", "overrides": ("generator.callable=x",)}, "package.module:attribute"),
        ({"methods": "lasium-ro-file-maml", "overrides": ("generator.path=none.pt2",)}, "none.pt2 does not exist in /"),
        ({"overrides": ("method.alpha=0.2,often",)}, "'method.alpha=often': method.alpha takes a number"),
        ({"overrides": ("query=5,15",)}, "query is one value for all runs of a command"),
        ({"overrides": ("dataset.size=28,32",)}, "dataset.size is one value for all runs of a command"),
        ({"overrides": ("method.alpha=interval(0,1)",)}, "names no values; write them out, as in method.alpha=1,2"),
        ({"shots": (0,)}, "--shots takes numbers of at least 1"),
    ],
)
def test_mistakes_are_one_sentence(request_, expected):
    with pytest.raises(BenchError) as error:
        run_configs(Request(**{"methods": "lasium-ro-vae-maml", "references": False, **request_}))
    assert expected in str(error.value)
    assert "\n" not in str(error.value)


def test_an_override_applies_to_the_methods_that_have_it_and_names_their_rows():
    configs = run_configs(Request(methods="lasium-ro-vae-maml,umtra-maml", overrides=("method.alpha=0.4",)))
    rows = {one.variant.name: one for one in configs}
    assert rows["lasium-ro-vae-maml"].values["method"]["alpha"] == 0.4
    assert rows["lasium-ro-vae-maml"].method_name == "lasium-ro-vae-maml,alpha=0.4"
    assert rows["umtra-maml"].method_name == "umtra-maml"
    assert "alpha" not in rows["umtra-maml"].values["method"]


def test_an_override_that_changes_nothing_makes_no_other_row():
    one = run_configs(Request(methods="lasium-ro-vae-maml", overrides=("method.alpha=0.2",), references=False))[0]
    assert one.method_name == "lasium-ro-vae-maml"


def test_the_dataset_recommends_backbone_and_inner_rate_and_the_user_has_the_last_word():
    small = compose(variant("umtra-maml"), "glyphs", "quick").values
    large = compose(variant("umtra-maml"), "grocery84", "quick").values
    assert (small["backbone"]["stride"], small["learner"]["inner_lr"]) == (2, 0.4)
    assert (large["backbone"]["stride"], large["learner"]["inner_lr"]) == (1, 0.05)
    chosen = compose(variant("umtra-maml"), "glyphs", "quick", parse_overrides(["backbone=conv4"]))
    assert chosen.values["backbone"]["stride"] == 1
    assert chosen.method_name == "umtra-maml,backbone=conv4"


def test_an_override_after_a_group_choice_reaches_the_chosen_option():
    overrides = parse_overrides(["backbone=conv4", "backbone.filters=32"])
    assert compose(variant("umtra-maml"), "glyphs", "quick", overrides).values["backbone"]["filters"] == 32


def test_only_what_can_change_a_result_changes_the_key():
    def key(method="lasium-ro-vae-maml", seed=0, content="c", budget="quick", **more):
        overrides = parse_overrides(f"{name.replace('__', '.')}={value}" for name, value in more.items())
        return run_key(
            compose(variant(method), "glyphs", budget, overrides, shots=more.pop("shots", (1,))),
            content,
            seed,
        )

    assert key() == key(budget__evaluation_tasks=5) == key(budget__checkpoint_seconds=1.0) == key(query=5)
    different = [
        key(),
        key(seed=1),
        key(content="d"),
        key(budget="smoke"),
        key(method="lasium-n-vae-maml"),
        key(method__alpha=0.3),
        key(learner__inner_lr=0.3),
        key(backbone__filters=32),
        key(generator__kl_weight=1.0),
        key(budget__generator_epochs=9),
        key(train__query=4),
    ]
    assert len(set(different)) == len(different)
    # Rows of two budgets stand apart, so a floor is wanted in each, though no budget changes it.
    assert key("pixels") != key("pixels", budget="smoke")
    assert key(method__alpha="0.40") == key(method__alpha="0.4")
    assert key("lasium-n-vae-maml", method__noise_std="1") == key("lasium-n-vae-maml", method__noise_std="1.0")


def test_a_setting_added_to_a_method_leaves_the_key_of_its_earlier_runs():
    now = compose(variant("lasium-ro-vae-maml"), "glyphs", "quick", [])
    before = copy.deepcopy(now)
    for key in ("added", "query_fill"):
        del before.values["method"][key]
    assert run_key(now, "c", 0) == run_key(before, "c", 0)
    other = compose(variant("lasium-ro-vae-maml"), "glyphs", "quick", parse_overrides(["method.query_fill=0.5"]))
    assert run_key(other, "c", 0) != run_key(before, "c", 0)
    assert catalogue.of_today(before.values)["method"]["query_fill"] == 0.0
    assert catalogue.of_today(other.values)["method"]["query_fill"] == 0.5


def test_one_setting_written_two_ways_is_one_row():
    def name(text):
        overrides = (f"method.noise_std={text}",)
        return run_configs(Request(methods="lasium-n-vae-maml", overrides=overrides, references=False))[0].method_name

    assert name("2") == name("2.0") == name("2.00") == "lasium-n-vae-maml,noise_std=2.0"


def test_every_combination_of_several_values_is_a_run_of_its_own():
    overrides = ("method.alpha=0.2,0.4", "learner.inner_lr=0.1,0.4", "train.query=5")
    configs = run_configs(Request(methods="lasium-ro-vae-maml,umtra-protonet", overrides=overrides, references=False))
    assert [one.method_name for one in configs] == [
        "lasium-ro-vae-maml,learner.inner_lr=0.1",
        "lasium-ro-vae-maml",
        "lasium-ro-vae-maml,alpha=0.4,learner.inner_lr=0.1",
        "lasium-ro-vae-maml,alpha=0.4",
        "umtra-protonet",  # has none of the two
    ]
    backbones = run_configs(
        Request(methods="umtra-maml", overrides=("backbone=conv4,conv4-valid32",), references=False)
    )
    assert {one.values["backbone"]["padding"] for one in backbones} == {"same", "valid"}
    ranges = run_configs(Request(methods="umtra-maml", overrides=("train.query=range(1,4)",), references=False))
    assert [one.values["train"]["query"] for one in ranges] == [1, 2, 3]
    assert (
        len(run_configs(Request(experiment="table7", methods="lasium-ro-*", overrides=("method.alpha=0.2,0.4",)))) == 12
    )


def test_an_experiments_settings_hold_for_methods_chosen_by_hand():
    (one,) = run_configs(Request(experiment="table7", methods="umtra-maml"))
    assert one.values["budget"]["meta_iterations"] == 1000


def test_runs_of_one_seed_stand_together_so_that_artifacts_are_shared(tmp_path):
    configs = run_configs(Request(methods="lasium", references=False))
    runs = planned_runs(configs, "hash", (0, 1), tmp_path)
    assert [run.seed for run in runs] == [0, 0, 1, 1]
    assert all(run.folder.parent.parent == tmp_path / "glyphs" for run in runs)


def test_only_classes_of_this_project_and_its_plugins_are_built():
    with pytest.raises(BenchError, match="refused"):
        build({"_target_": "subprocess.Popen", "args": "true"}, {})
    with pytest.raises(BenchError, match="cannot be found"):
        build({"_target_": "methods.lasium.Nothing"}, {})
    with pytest.raises(BenchError, match=r"has no setting 'kk'\. Did you mean 'k'"):
        build({"_target_": "baselines.pixels.Pixels", "kk": 1}, {})


# All pairs would say no more: a dataset hands a method nothing but the numbers it recommends.
@pytest.mark.parametrize(
    ("name", "dataset"),
    [
        *zip(COVERED, itertools.cycle(sorted(catalogue.options("dataset")))),
        *itertools.product(("supervised-protonet", "umtra-maml"), sorted(catalogue.options("dataset"))),
    ],
)
def test_every_method_and_every_dataset_builds(name, dataset, own_file):
    own_file("encoder.pt2")
    values = compose(variant(name), dataset, "quick", parse_overrides(own_settings(variant(name), own_file()))).values
    build(values["method"], values)
    build(values["dataset"], values)


@pytest.mark.parametrize("name", sorted(catalogue.options("experiment")))
def test_every_experiment_composes(name, tmp_path):
    public = {"table2": "progan", "table3": "progan", "table4": "bigbigan", "table8": "progan", "table10": "stylegan2"}
    needed = [f"generator.weights={small(public[name], tmp_path)}"] if name in public else []
    if name in ("table2", "table3", "table4"):
        needed.append(f"encoder.weights={small('vgg19', tmp_path)}")
    configs = run_configs(Request(experiment=name, overrides=tuple(needed)))
    assert len({(one.method_name, one.budget_name) for one in configs}) == len(configs) > 1
    for one in configs:
        build(one.values["method"], one.values)


def test_an_experiment_whose_every_row_needs_weights_asks_for_them():
    with pytest.raises(
        BenchError, match=r"every row of table8 needs a setting that is yours to give: generator.weights="
    ):
        run_configs(Request(experiment="table8"))


def test_defaults_in_yaml_are_the_defaults_in_code():
    """A component built from its YAML equals one built from its class alone, where every field has a default."""
    import dataclasses

    for group in ("generator", "encoder", "classifier", "backbone"):
        for name in catalogue.options(group):
            node = catalogue.raw(group, name)
            settings = {k for k in node if k not in catalogue.RESERVED} | set(node.get("uses", ()))
            fields = {f.name for f in dataclasses.fields(components.resolve(node["_target_"]))}
            assert settings == fields, f"{group}/{name}.yaml should list every setting of its class"


def test_a_plugin_brings_configs_and_classes(tmp_path, monkeypatch):
    package = tmp_path / "my_plugin"
    (package / "configs" / "method").mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "configs" / "__init__.py").write_text("")
    (package / "mine.py").write_text(
        "from dataclasses import dataclass\n\n@dataclass\nclass Mine:\n    strength: float = 1.0\n    batch: int = 50\n"
        "    def fit(self, images, spec, context): ...\n"
    )
    (package / "configs" / "method" / "mine.yaml").write_text(
        "_target_: my_plugin.mine.Mine\nstrength: 2.0\nbatch: 50\nuses: []\n"
    )
    info = tmp_path / "my_plugin-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: my-plugin\nVersion: 1\n")
    (info / "entry_points.txt").write_text("[bench.plugins]\nmy_plugin = my_plugin\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    for cached in (catalogue.plugin_packages, catalogue.config_folders, merging._hydra_texts):
        cached.cache_clear()
    try:
        one = run_configs(Request(methods="mine", references=False))[0]
        assert build(one.values["method"], one.values).strength == 2.0
        smoke = run_configs(Request(methods="mine,instance", budget="smoke", references=False))
        batches = {one.method_name: one.values["method"]["batch"] for one in smoke}
        assert batches == {"mine": 50, "instance": 64}  # of the project's budget only the project's own method hears
        assert trained(smoke[0].values, "unsupervised", "smoke").iterations == 10  # of its own network, by its own loop
    finally:
        monkeypatch.undo()
        for cached in (catalogue.plugin_packages, catalogue.config_folders, merging._hydra_texts):
            cached.cache_clear()


def test_check_overrides_accepts_what_fits_any_method():
    both = [variant("lasium-ro-vae-maml"), variant("umtra-maml")]
    check_overrides(parse_overrides(["method.alpha=1", "method.mask=0.3"]), both, "glyphs", "quick")


def test_a_budget_recommends_settings_that_the_user_can_override():
    quick = compose(variant("umtra-maml"), "glyphs", "quick")
    assert quick.values["learner"]["eval_steps"] == 20
    assert quick.method_name == "umtra-maml"
    assert "recommend" not in quick.values["budget"]
    assert compose(variant("umtra-maml"), "glyphs", "paper").values["learner"]["eval_steps"] == 50
    assert "eval_steps" not in compose(variant("umtra-protonet"), "glyphs", "quick").values["learner"]
    chosen = compose(variant("umtra-maml"), "glyphs", "quick", parse_overrides(["learner.eval_steps=50"]))
    assert chosen.values["learner"]["eval_steps"] == 50
    assert chosen.method_name == "umtra-maml,learner.eval_steps=50"
