"""What is ours of the bridge to torchmeta, without torchmeta: batches, refusals, and the command that installs it."""

import sys

import numpy as np
import pytest
import torch

from bench.basics.errors import BenchError
from bench.basics.seeds import Seed
from bench.contracts import Tasks, TaskSpec
from bench.datasets.images import LabelledImages
from bench.interop import torchmeta as interop
from bench.running.evaluate import evaluate
from bench.tasks.manifest import draw


def test_a_batch_lists_images_class_by_class():
    support, query = torch.rand(2, 3, 1, 1, 4, 4), torch.rand(2, 3, 2, 1, 4, 4)
    batch = interop.as_torchmeta_batch(Tasks(support, query))
    assert list(batch) == ["train", "test"]
    assert batch["train"][1].tolist() == [[0, 1, 2]] * 2
    assert batch["test"][1].tolist() == [[0, 0, 1, 1, 2, 2]] * 2
    assert torch.equal(batch["test"][0][1, 3], query[1, 1, 1])


class NearestMean:
    """A learner that looks at pixels only."""

    transductive = False

    def predict(self, support, query):
        return -torch.cdist(query.flatten(2), support.mean(2).flatten(2))


def test_sealed_tasks_in_torchmetas_format_are_scored_as_by_the_harness(glyphs):
    tasks, spec = draw(glyphs, "test", TaskSpec(5, 2, 3), 7, seed=0), TaskSpec(5, 2, 3)
    images = glyphs.splits["test"].labelled()
    expected = evaluate(NearestMean(), images, tasks, torch.device("cpu"))[0]
    batches = list(interop.sealed_batches(images, tasks, 3))
    assert [len(batch["train"][0]) for batch in batches] == [3, 3, 1]
    correct, orders = [], set()
    for batch in batches:
        (x, y), (x_query, y_query) = batch["train"], batch["test"]
        assert y.tolist() == [[0, 0, 1, 1, 2, 2, 3, 3, 4, 4]] * len(y)
        scores = NearestMean().predict(x.unflatten(1, (spec.way, spec.shot)), x_query)
        correct += (scores.argmax(2) == y_query).sum(1).tolist()
        orders |= {tuple(row) for row in y_query.tolist()}
    assert correct == expected.tolist()
    assert len(orders) == 7  # the order of the queries says nothing
    one_by_one = [batch["test"][1][0] for batch in interop.sealed_batches(images, tasks, 1)]
    assert torch.equal(torch.stack(one_by_one), torch.cat([batch["test"][1] for batch in batches]))


def test_sealed_tasks_of_other_images_are_refused(glyphs):
    tasks = draw(glyphs, "test", TaskSpec(5, 1, 3), 2, seed=0)
    with pytest.raises(BenchError, match="outside the 4 images"):
        few = LabelledImages(torch.zeros(4, 1, 28, 28, dtype=torch.uint8), torch.arange(4), list("abcd"), "")
        next(interop.sealed_batches(few, tasks, 1))


def test_images_of_any_kind_become_float_in_unit_range():
    grey, colour = np.full((4, 5), 51, dtype=np.uint8), np.zeros((4, 5, 3), dtype=np.uint8)
    classes = [[(image, "target")] * 3 for image in (grey, grey.copy())]
    tasks = interop.TorchmetaSampler(classes).sample(2, TaskSpec(2, 1, 2), Seed(0).generator())
    assert tasks.query.shape == (2, 2, 2, 1, 4, 5)
    assert (tasks.query == 0.2).all()
    mixed = interop.TorchmetaSampler([[(grey, 0)] * 2, [(colour, 0)] * 2])
    with pytest.raises(BenchError, match="differ in size"):
        mixed.sample(1, TaskSpec(2, 1, 1), Seed(0).generator())
    for bad, message in ((torch.full((1, 4, 4), -1.0), r"not in \[0, 1\]"), (torch.zeros(4, 4), r"shape \[4, 4\]")):
        with pytest.raises(BenchError, match=message):
            interop.TorchmetaSampler([[(bad, 0)] * 2] * 2).sample(1, TaskSpec(2, 1, 1), Seed(0).generator())
    with pytest.raises(BenchError, match=r"3-way tasks need 3 classes with at least 2 images each, .* has 2 of them"):
        interop.TorchmetaSampler(classes).sample(1, TaskSpec(3, 1, 1), Seed(0).generator())
    with pytest.raises(BenchError, match="takes a CombinationMetaDataset, not list"):
        interop.from_torchmeta([])


def test_without_torchmeta_the_command_is_told(monkeypatch):
    monkeypatch.setitem(sys.modules, "torchvision", None)
    with pytest.raises(ImportError, match=r"torchvision is not installed: .* pip install --no-deps torchmeta==1\.8\.0"):
        interop.load()
    monkeypatch.setattr(interop.importlib.metadata, "distribution", _nothing)
    with pytest.raises(BenchError, match=r"not installed: .* --no-deps torchmeta==1\.8\.0"):
        interop.published_split("cub", "train")


def _nothing(name):
    raise interop.importlib.metadata.PackageNotFoundError(name)


def test_unknown_published_splits_are_refused():
    with pytest.raises(BenchError, match=r"no split of 'cubs'.* Did you mean 'cub'"):
        interop.published_split("cubs", "train")
    with pytest.raises(BenchError, match="train, val and test, not 'valid'"):
        interop.published_split("cub", "valid")
