"""The sealed tasks as tensors are those of the harness, and carry no labels."""

import subprocess
import sys

import numpy as np
import pytest
import torch

import bench
from bench.contracts import TaskSpec
from bench.tasks.manifest import draw


def test_they_are_the_images_of_the_manifest(glyphs, tasks):
    manifest = draw(glyphs, "test", TaskSpec(5, 2, 3), 30, 0)
    assert tasks.manifest == manifest.sha256
    assert len(tasks) == len(list(tasks)) == 30
    pixels = np.asarray(glyphs.splits["test"].pixels)
    for task in (tasks[0], tasks[-1]):
        support = pixels[manifest.support[task.number]].astype(np.float32) / 255
        assert np.array_equal(task.support.numpy(), support)
        query = pixels[manifest.query[task.number].ravel()].astype(np.float32) / 255
        assert task.query.shape == query.shape == (15, 1, 28, 28)
        # The same images in another order.
        order = {image.tobytes() for image in query}
        assert {image.tobytes() for image in task.query.numpy()} == order
        assert not np.array_equal(task.query.numpy(), query)


def test_a_task_says_nothing_of_its_labels_and_is_made_anew(tasks):
    task = tasks[3]
    assert set(task.__slots__) == {"support", "query", "number"}
    before = task.query.clone()
    task.query.zero_()
    assert torch.equal(tasks[3].query, before)
    assert [one.number for one in tasks[27:]] == [27, 28, 29]
    with pytest.raises(IndexError, match="no task 30"):
        tasks[30]


def test_nothing_heavy_is_imported_before_it_is_asked_for():
    """And the room ``bench.tasks`` stays one: its modules are imported as ever, before and after a call."""
    code = """
import sys, bench
assert "torch" not in sys.modules
assert {"tasks", "score", "load_run"} <= set(dir(bench))
from bench.tasks.manifest import Manifest
import bench.tasks.manifest as m
assert callable(bench.tasks) and bench.tasks.manifest.Manifest is Manifest is m.Manifest
try: bench.nothing
except AttributeError as error: assert "nothing" in str(error)
else: raise SystemExit("an attribute out of nothing")
"""
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"dataset": "glyps"}, "unknown dataset 'glyps'. Did you mean 'glyphs'"),
        ({"dataset": 3}, "the name of a dataset"),
        ({"way": 1}, "way must be an integer of at least 2"),
        ({"way": 999}, "999-way tasks need 999 classes"),
        ({"split": "tst"}, "Did you mean 'test'"),
        ({"tasks": 0}, "at least 1 task"),
        ({"evaluation_seed": 0.5}, "evaluation_seed must be a whole number"),
        ({"data_dir": "nowhere"}, "'nowhere' .* is not a folder"),
        ({"device": "gpu"}, "unknown device 'gpu'"),
        ({"overrides": ["dataset.siz=3"]}, "no setting 'dataset.siz'. Did you mean 'dataset.size'"),
    ],
)
def test_misuse_is_one_sentence(arguments, sentence):
    with pytest.raises(bench.BenchError, match=sentence):
        bench.tasks(**arguments)
