"""Training and questions as a run has them: what it refuses, what it notes, and whom it asks."""

import dataclasses

import numpy as np
import pytest
import torch

from bench.basics.errors import BenchError
from bench.basics.seeds import Seed
from bench.contracts import Budget, Context, TaskSpec
from bench.datasets.images import UnlabelledImages
from bench.running.fitting import Fitted, check_answers, fit
from bench.training.artifacts import ArtifactStore
from bench.training.checkpoint import Checkpoint

VALUES = {"train": {"way": 5, "shot": 1, "query": 5}, "precision": "float32", "way": 5}


class Nearest:
    transductive = False

    def __init__(self, asked=None):
        self.asked = asked if asked is not None else []

    def predict(self, support, query):
        self.asked.append(tuple(support.shape[1:3]))
        return -torch.cdist(query.flatten(2), support.mean(2).flatten(2))


class Whitened(Nearest):
    def predict(self, support, query):
        return super().predict(support, query - query.mean(1, keepdim=True))


@dataclasses.dataclass
class Mine:
    do: object

    def fit(self, images, spec, context):
        return self.do(images)


def images():
    pixels = np.random.default_rng(0).integers(0, 256, (300, 1, 8, 8), dtype=np.uint8)
    return UnlabelledImages(torch.from_numpy(pixels), "made up")


@pytest.fixture
def context(tmp_path):
    store, checkpoint = ArtifactStore(tmp_path / "artifacts"), Checkpoint(tmp_path / "weights.safetensors")
    budget = Budget("toy", 1, 0, 0)
    return Context(Seed(0), torch.device("cpu"), budget, store, checkpoint, lambda *_: None, notes={})


@pytest.mark.parametrize(
    ("do", "sentence"),
    [
        (lambda images: images.class_ids, "it asks its training images for class_ids, which an unsupervised method"),
        (lambda images: images.class_names, "do without labels, or say supervised: true in the card of the method"),
        (lambda images: (images.pixels.fill_(7), Nearest())[1], "fit changed the images that it was given"),
        (lambda images: None, "fit returned NoneType, which has no predict"),
    ],
)
def test_a_training_that_does_what_it_must_not_is_refused(do, sentence, context):
    with pytest.raises(BenchError) as refused:
        fit(Mine(do), images(), VALUES, context)
    assert sentence in str(refused.value)


def test_another_missing_attribute_is_the_methods_own_error(context):
    with pytest.raises(AttributeError, match="labelz"):
        fit(Mine(lambda images: images.labelz), images(), VALUES, context)


def test_every_learner_is_asked_tasks_of_the_first_shape_that_it_is_to_answer(context):
    specs = [TaskSpec(way, shot, 2) for way, shot in ((5, 1), (5, 3), (10, 1), (10, 3))]
    five, ten = Nearest(), Nearest()
    fitted = fit(Mine(lambda images: five), images(), VALUES, context)
    check_answers(dataclasses.replace(fitted, others={10: ten}), images(), VALUES, specs, context)
    assert set(five.asked) == {(5, 1)}
    assert set(ten.asked) == {(10, 1)}
    assert {"fit", "learner", "version"} == context.notes["checked"].keys()
    wrong = Fitted(five, {10: Whitened()}, fitted.cost)
    with pytest.raises(BenchError, match=r"Whitened\.predict uses the other queries"):
        check_answers(wrong, images(), VALUES, specs, context)
