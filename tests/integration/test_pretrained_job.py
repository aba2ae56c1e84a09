"""Public weights, from one line on the command line to the leaderboard."""

import json

import pytest
import torch
from checkpoints import filled, progan, small

from bench.basics.errors import BenchError
from bench.planning import catalogue, components, composing
from bench.planning.composing import compose
from bench.planning.overrides import parse_overrides
from bench.planning.plan import _experiment_rows, run_key

RUN = ("run", "--no-references", "--budget", "smoke", "budget.evaluation_tasks=10")


def records(bench):
    found = [json.loads(path.read_text()) for path in sorted(bench.out.glob("*/*/*/run.json"))]
    return {one["method"]["family"]: one for one in found}


def test_lasium_on_public_generators_runs_to_the_leaderboard(bench):
    path = small("progan", bench.folder)
    own = (f"generator.weights={path}", "generator.convert_channels=true")
    result = bench(*RUN, "--methods", "lasium-ro-progan-protonet", *own)
    told = " ".join(result.stdout.split())
    assert "LASIUM-RO-ProGAN-ProtoNets" in told
    assert "Trained in part on images from outside the dataset: LASIUM-RO-ProGAN-ProtoNets" in told
    found = records(bench)["lasium"]
    assert found["status"] == "done"
    assert found["method"]["group"] == "unsupervised"
    notes = found["notes"]["generator"]
    assert notes["sha256"] == found["config"]["generator"]["sha256"]
    assert notes["weights"] == "progan.pth"
    assert notes["outside_data"] is found["method"]["outside_data"] is True
    assert str(bench.folder) not in found["method"]["name"]


def test_what_rests_on_labels_of_other_images_stands_apart(bench):
    path = small("vgg19", bench.folder)
    methods = "transfer-vgg19,transfer-random,embedding-knn-vgg19"
    settings = (f"encoder.weights={path}", "encoder.size=32", "encoder.channels=2")
    result = bench(*RUN, "--methods", methods, *settings)
    told = " ".join(result.stdout.split())
    assert "Transfer learning (VGG-19)" in told
    assert "Transfer learning (VGG-19, random weights)" in told
    assert "Trained in part on images from outside the dataset: " in told
    cards = [json.loads(path.read_text())["method"] for path in bench.out.glob("*/*/*/run.json")]
    groups = {card["title"].partition(",")[0]: (card["group"], card["outside_data"]) for card in cards}
    assert groups["Nearest neighbours"] == ("transfer", True)
    assert sorted(groups.values()) == [("floor", False), ("transfer", True), ("transfer", True)]


def test_missing_and_wrong_weights_are_one_sentence(bench):
    message = bench.error(*RUN, "--methods", "transfer")
    assert message == (
        "transfer-vgg19 needs encoder.weights of your own, for example encoder.weights=vgg19-dcbb9e9d.pth; "
        "'bench weights vgg19' says where to get it"
    )
    with pytest.raises(BenchError, match=r"for example generator\.weights=model_150\.pt$"):
        compose(catalogue.variants()["lasium-n-stylegan2-maml"], "glyphs", "smoke")
    with pytest.raises(BenchError, match=r"there is no file none\.pth in "):
        compose(
            catalogue.variants()["transfer-vgg19"], "glyphs", "smoke", parse_overrides(["encoder.weights=none.pth"])
        )
    path = small("bigbigan", bench.folder)
    result = bench(*RUN, "--methods", "lasium-ro-progan-maml,umtra-protonet", f"generator.weights={path}", code=1)
    assert "1 of 2 runs done" in result.stdout
    assert "is no ProGAN of pytorch_GAN_zoo: formatLayer.module.weight is missing" in " ".join(result.stdout.split())


def test_bench_weights_lists_and_refuses(bench):
    told = bench("weights").stdout
    assert "https://download.pytorch.org/models/vgg19-dcbb9e9d.pth" in told
    assert "licence: BSD-3-Clause" in told
    assert "Did you mean 'progan'" in bench.error("weights", "progn", "--download")


@pytest.fixture
def celeba(tmp_path):
    return str(small("progan", tmp_path))


def test_progan_is_marked_on_every_dataset_but_the_one_it_was_trained_on(celeba, monkeypatch):
    raw = catalogue.raw("generator", "progan")
    assert raw["card"]["trained_on"] == ["celeba", "celeba-attributes"]
    node = {"outside_data": None, "card": raw["card"]}
    composing._settle_outside_data(node, "celeba")
    assert node["outside_data"] is False
    variant = catalogue.variants()["lasium-ro-progan-maml"]
    overrides = [f"generator.weights={celeba}"]
    one = compose(variant, "grocery84", "quick", parse_overrides(overrides))
    assert components.outside_data(one.values)
    assert "outside_data" not in one.method_name
    denied = compose(variant, "grocery84", "quick", parse_overrides([*overrides, "generator.outside_data=false"]))
    assert not components.outside_data(denied.values)
    assert "generator.outside_data=False" in denied.method_name


def test_experiments_run_without_the_rows_that_need_weights_and_with_them():
    experiment = catalogue.raw("experiment", "table1-omniglot")

    def methods(*given):
        rows, _, _ = _experiment_rows("table1-omniglot", experiment, parse_overrides(given), "omniglot")
        return [variant.name for variant, _ in rows]

    without, with_weights = methods(), methods("encoder.weights=vgg19.pth")
    assert "lasium-ro-gan-maml" in without
    assert not any("vgg19" in name for name in without)
    assert set(with_weights) - set(without) == {"transfer-vgg19"}


def test_other_weights_are_another_run(tmp_path):
    def key(seed, name):
        torch.save({"avgG": filled(progan(8, [4, 4]), seed)}, tmp_path / name)
        variant = catalogue.variants()["lasium-ro-progan-maml"]
        one = compose(variant, "glyphs", "quick", parse_overrides([f"generator.weights={tmp_path / name}"]))
        return run_key(one, "content", 0)

    assert key(0, "a.pth") == key(0, "a.pth")
    assert key(0, "a.pth") != key(1, "b.pth")
