"""Values as they are typed: null, several at once, numbers that no computation could take."""

import pytest

from bench.basics.errors import BenchError
from bench.planning import catalogue, components
from bench.planning.composing import compose, dataset_values
from bench.planning.overrides import check_type, parse_overrides, setting_text, sweep, values_of
from bench.planning.plan import Request, run_configs

NODES = [
    (group, option) for group in ("backbone", "classifier", "dataset", "encoder", "generator", "learner", "method")
    for option in catalogue.options(group)
]  # fmt: skip


def swept(text):
    return [one.value for (one,) in sweep(parse_overrides([text]))]


@pytest.mark.parametrize(("group", "option"), NODES)
def test_null_is_a_value_only_where_the_default_or_the_class_says_so(group, option):
    node = catalogue.raw(group, option)
    cls = components.resolve(node["_target_"])
    for key, default in node.items():
        if key in catalogue.RESERVED or isinstance(default, dict):
            continue
        (override,) = parse_overrides([f"{group}.{key}=null"])
        hint = str(components.annotation(cls, key))
        if default is None or "None" in hint:
            check_type(override, {group: node})
        else:
            with pytest.raises(BenchError, match=rf"{group}\.{key} takes .*, not null"):
                check_type(override, {group: node})


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        ("way=null", "way takes an integer (default 5), not null"),
        ("train.shot=null", "train.shot takes an integer"),
        ("budget.evaluation_tasks=null", "budget.evaluation_tasks takes an integer"),
        ("learner.inner_lr=null", "learner.inner_lr takes a number (default 0.4), not null"),
        ("dataset.size=null", "dataset.size takes an integer"),
        ("generator.kl_weight=heavy", "generator.kl_weight must be a finite number, not 'heavy'"),
        ("generator.latent_dim=2.5", "generator.latent_dim must be a whole number, not 2.5"),
        ("method.alpha=" + "9" * 400, "method.alpha takes a number"),
        ("method.query_shift=" + "9" * 40, "method.query_shift takes an integer (default 5), not 999"),
        ("method.alpha=" + "9" * 5000, "cannot be read"),
        ("budget.generator_snapshots=[a]", "the configuration is wrong"),
        ("method.alpha=range(0.1,0.5,0)", "names no values"),
        ("method.alpha=range(0,1e12,0.1)", "makes more than 10000 combinations"),
        ("method.alpha=my enc,v=2.pt2", "as in 'method.alpha='\"'\"'my enc,v=2.pt2'"),
        ("method.alpha=\udcff", "is not in UTF-8"),
    ],
)
def test_a_value_that_is_none_is_one_sentence(overrides, expected):
    with pytest.raises(BenchError) as error:
        run_configs(Request(methods="lasium-ro-vae-maml", references=False, overrides=(overrides,)))
    assert expected in str(error.value)
    assert len(str(error.value)) < 700
    str(error.value).encode()


def test_every_element_of_a_list_has_the_type_of_those_before(tmp_path):
    node = catalogue.raw("generator", "file")
    for value in ("[null,1]", "[a,b]", "[true,1]"):
        with pytest.raises(BenchError, match="takes a list, each of a number"):
            check_type(*parse_overrides([f"generator.output_range={value}"]), {"generator": node})
    check_type(*parse_overrides(["generator.output_range=[-1,1]"]), {"generator": node})


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("range(0.1,0.5,0.1)", ["0.1", "0.2", "0.3", "0.4"]),
        ("range(0,1,0.1)", ["0.0", "0.1", "0.2", "0.3", "0.4", "0.5", "0.6", "0.7", "0.8", "0.9"]),
        ("range(0.3,0.0,-0.1)", ["0.3", "0.2", "0.1"]),
        ("range(1,4)", ["1", "2", "3"]),
        ("0.2,0.4", ["0.2", "0.4"]),
    ],
)
def test_a_range_has_the_numbers_that_are_written(text, values):
    assert swept(f"method.alpha={text}") == values
    assert values_of(*parse_overrides([f"method.alpha={text}"])) == values


def test_a_setting_with_a_row_for_each_value_takes_a_range():
    overrides = ("budget.generator_epochs=range(0,30,10)",)
    found = {one.values["budget"]["generator_epochs"] for one in run_configs(
        Request(experiment="figure5", methods="lasium-n-gan-maml", references=False, overrides=overrides)
    )}  # fmt: skip
    assert found == {0, 10, 20}


@pytest.mark.parametrize("text", ["plain", "a b", "it's", "C:\\x\\", "a,b=c", "[1]", "${x}", "é", "a'b\\'c\\"])
def test_any_text_can_be_written_so_that_it_is_read_again(text):
    (override,) = parse_overrides([setting_text("encoder.path", text)])
    check_type(override, {"encoder": {"path": "x"}})
    from bench.planning.overrides import value_of

    assert value_of(override) == text


@pytest.mark.parametrize(
    ("dataset", "name", "expected"),
    [
        ("folder", "omniglot", "dataset.name=omniglot is the name of another dataset"),
        ("folder", "glyphs", "for example dataset.name=my-glyphs"),
        ("torchmeta", "mini-imagenet", "is the name of another dataset"),
        ("folder", "x" * 250, "dataset.name has 250 letters; give one of at most 100"),
        ("folder", "2024", "dataset.name takes a word (default 'folder'), not 2024"),
        ("folder", "null", "dataset.name takes a word (default 'folder'), not null"),
    ],
)
def test_a_users_images_have_a_name_of_their_own(dataset, name, expected):
    overrides = parse_overrides([f"dataset.name={name}"])
    chance = catalogue.variants()["chance"]
    for made in (lambda: compose(chance, dataset, "smoke", overrides), lambda: dataset_values(dataset, overrides)):
        with pytest.raises(BenchError) as error:
            made()
        assert expected in str(error.value)
    assert compose(chance, "folder", "smoke", parse_overrides(["dataset.name=mine"])).dataset_name == "mine"
    assert compose(chance, "fungi", "smoke").dataset_name == "fungi"
