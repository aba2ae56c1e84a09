"""SimCLR, MoCo and PsCo through the command line: as methods, under others, killed, on real images, with bad input."""

import json
import os
import signal
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from commands import Bench, scores

from bench.training.checkpoint import load_tensors

METHODS = "simclr,moco,psco"
BRIEF = ("--budget", "smoke", "--no-references", "budget.evaluation_tasks=10")
SMALL = (*BRIEF, "backbone.filters=8")
NARROW = ("method.hidden=32", "method.batch=64")


def records(out):
    return {path.parent.parent.name.split(",")[0]: json.loads(path.read_text()) for path in out.glob("*/*/*/run.json")}


def test_the_three_are_methods_on_the_published_views_and_answer_twenty_classes(bench):
    bench("run", "--methods", METHODS, *SMALL, *NARROW, "method.momentum=0.9", "way=20")
    found = records(bench.out)
    assert {name: record["status"] for name, record in found.items()} == dict.fromkeys(METHODS.split(","), "done")
    for name, record in found.items():
        assert record["config"]["views"]["identity"] == "bench.views.crops.Crops"
        assert record["config"]["method"]["identity"].split(".")[-1].lower() == name
        assert record["evaluations"][0]["way"] == 20
    assert "queue" not in found["simclr"]["config"]["method"], "what means nothing to it is no setting"


def test_other_views_are_another_row(bench):
    bench("run", "--methods", "simclr", *SMALL, *NARROW, "views=crops,strokes")
    names = {path.parent.parent.name for path in bench.out.glob("*/*/*/run.json")}
    assert len(names) == 2
    assert [("views=strokes" in name) for name in sorted(names, key=len)] == [False, True]


def test_as_an_encoder_each_is_trained_once_for_all_rows_on_it(bench):
    methods = "embedding-prototype-moco,embedding-knn-moco,embedding-linear-simclr,cactus-moco-protonet"
    small = ("encoder.hidden=32", "method.clusters=20", "encoder.batch=1024", "encoder.queue=1024")
    bench("run", "--methods", methods, *SMALL, *small)
    found = records(bench.out)
    assert {record["status"] for record in found.values()} == {"done"}
    assert len(list((bench.out / "artifacts").glob("encoder-moco-*[0-9a-f].safetensors"))) == 1
    for name, record in found.items():
        assert record["config"]["views"]["identity"] == "bench.views.crops.Crops", name
    assert found["embedding-prototype-moco"]["notes"]["classifier"]["metric"] == "cosine"
    assert found["embedding-prototype-moco"]["notes"]["moco"]["epochs"] == 1


def test_a_prototype_may_be_euclidean_or_tuned(bench):
    request = ("run", "--methods", "embedding-prototype-pixels", *BRIEF, "--shots", "5")
    bench(*request, "classifier.metric=cosine,euclidean")
    bench(*request, "classifier.metric=euclidean", "classifier.tuned=true", "classifier.tuning_lr=0.1")
    frames = scores(bench.out)
    assert len(frames) == 3
    assert len({tuple(frame["correct"]) for frame in frames.values()}) == 3
    said = bench.error(*request, "classifier.tuned=true")
    assert said == "prototype: a tuned head begins at Euclidean prototypes; give classifier.metric=euclidean"


def test_a_psco_that_is_killed_goes_on_to_the_weights_of_one_that_is_not(bench, tmp_path):
    request = ("run", "--methods", "psco", *SMALL, *NARROW, "budget.checkpoint_seconds=0.0")
    request += ("budget.meta_iterations=150", "method.queue=500")
    bench(*request)
    other = Bench(bench.cache, tmp_path / "killed")
    other.folder.mkdir()
    process = other.start(*request)
    deadline = time.monotonic() + 120
    while not list(other.out.glob("*/*/*/*.partial.safetensors")) and time.monotonic() < deadline:
        saved = [path for path in other.out.glob("*/*/*/*.safetensors") if path.stat().st_size]
        if saved and process.poll() is None:
            break
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert not list(other.out.glob("*/*/*/tasks.parquet")), "it was killed before its end"
    other(*request)
    (one,), (two,) = (list(each.out.glob("*/*/*/weights.safetensors")) for each in (bench, other))
    ours, theirs = load_tensors(one)[0], load_tensors(two)[0]
    assert ours.keys() == theirs.keys()
    assert all(np.array_equal(ours[name].numpy(), theirs[name].numpy()) for name in ours)
    for first, second in zip(scores(bench.out).values(), scores(other.out).values(), strict=True):
        pd.testing.assert_frame_equal(first, second)


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("method.queue=0", "moco: queue must be an integer of at least 1, not 0"),
        ("method.batch=512 method.queue=300", "moco: a queue of 300 has no room for a batch of 512; lengthen queue"),
        ("method.shots=2", "no setting 'method.shots' in the chosen methods"),
        ("views.area=0.0", "views.area must be above 0"),
    ],
)
def test_what_cannot_be_is_refused_in_one_sentence_before_anything_is_trained(bench, setting, said):
    assert said in bench.error("run", "--methods", "moco", *SMALL, *setting.split())


def test_a_batch_larger_than_the_data_fails_alone_with_its_reason(bench):
    bench("run", "--methods", "simclr,chance", *SMALL, "method.hidden=8", "method.batch=30000", code=1)
    found = records(bench.out)
    assert found["chance"]["status"] == "done"
    assert found["simclr"]["status"] == "failed"
    said = "simclr: a batch of 30000 images is larger than the 20680 images of meta-train; lower it"
    assert said in json.dumps(found["simclr"])


@pytest.mark.parametrize(
    "dataset",
    [
        pytest.param("omniglot", marks=pytest.mark.omniglot),
        pytest.param("grocery84", marks=pytest.mark.grocery),
    ],
)
def test_they_run_on_real_images(bench, dataset):
    folder = Path(os.environ.get("BENCH_DATA", "data"))
    if not (folder / dataset).exists():
        pytest.skip(f"no {dataset} in {folder}")
    data = ("--dataset", dataset, "--data-dir", folder.resolve())
    narrow = (*NARROW, "encoder.hidden=32", "encoder.batch=1000", "budget.meta_iterations=2")
    bench("run", "--methods", "simclr,moco,psco,embedding-prototype-simclr", *data, *SMALL, *narrow)
    assert {record["status"] for record in records(bench.out).values()} == {"done"}
