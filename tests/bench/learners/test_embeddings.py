"""Every image of a pool is embedded once, and what an encoder returns is checked."""

from pathlib import Path

import numpy as np
import pytest
import torch

from bench.basics.errors import BenchError, Diverged
from bench.contracts import EmbeddingLearner, TaskSpec
from bench.datasets.source import Dataset, Split
from bench.learners import embeddings
from bench.learners.embedding import EmbeddingClassifier, NearestNeighbours
from bench.learners.embeddings import Pool, embed
from bench.learners.logistic import LogisticRegression
from bench.running.evaluate import check_declaration, evaluate, validation_monitor
from bench.tasks.manifest import draw

CPU = torch.device("cpu")


def dataset() -> Dataset:
    rng = np.random.default_rng(0)
    splits = {}
    for name in ("train", "val", "test"):
        ids = np.repeat(np.arange(9), 30)
        pixels = rng.integers(0, 256, (len(ids), 1, 4, 4)).astype(np.uint8)
        names = tuple(f"{name}{c}" for c in range(9))
        splits[name] = Split("toy", name, pixels, ids, names, tuple(f"{name}/{i}" for i in range(len(ids))))
    return Dataset("toy", "abc", splits, Path("/nowhere"))


DATA = dataset()
TEST = DATA.splits["test"].labelled()


class Counting:
    """Random features; keeps every image it was shown, and in which calls."""

    dim = 6

    def __init__(self) -> None:
        self.calls: list[torch.Tensor] = []
        self.weights = torch.randn(16, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)

    def encode(self, x):
        self.calls.append(x.flatten(1).clone())
        return x.flatten(1).double() @ self.weights

    def shown(self) -> list[bytes]:
        return [row.numpy().tobytes() for call in self.calls for row in call]


class ImagesOnly:
    """The same learner, whom the harness cannot ask with embeddings."""

    def __init__(self, learner) -> None:
        self.predict, self.transductive = learner.predict, learner.transductive


def rows(manifest):
    pixels = torch.tensor(DATA.splits["test"].pixels[np.unique(manifest.indices)]).flatten(1).float() / 255
    return [row.numpy().tobytes() for row in pixels]


@pytest.mark.parametrize("classifier", [NearestNeighbours(), LogisticRegression()])
def test_every_image_of_the_tasks_is_embedded_once_and_the_answers_are_those_to_images(classifier, monkeypatch):
    monkeypatch.setitem(embeddings.IMAGES_AT_ONCE, "cpu", 64)
    manifest = draw(DATA, "test", TaskSpec(5, 1, 4), 25, 0)
    encoder = Counting()
    learner = EmbeddingClassifier(encoder, classifier)
    assert isinstance(learner, EmbeddingLearner)
    assert not isinstance(ImagesOnly(learner), EmbeddingLearner)
    correct, _ = evaluate(learner, TEST, manifest, CPU)
    assert sorted(encoder.shown()) == sorted(rows(manifest))
    assert len(encoder.calls) == -(-len(rows(manifest)) // 64)
    expected, _ = evaluate(ImagesOnly(learner), TEST, manifest, CPU)
    np.testing.assert_array_equal(correct, expected)
    for chunk in (1, 7):
        np.testing.assert_array_equal(evaluate(learner, TEST, manifest, CPU, chunk)[0], expected)
    assert check_declaration(learner, TEST, manifest, CPU).fault(learner) is None


def test_a_pool_is_shared_by_manifests_and_starts_anew_with_another_encoder_or_split():
    one, five = (draw(DATA, "test", TaskSpec(5, shot, 4), 12, 0) for shot in (1, 5))
    encoder, pool = Counting(), Pool(CPU)
    learner = EmbeddingClassifier(encoder, NearestNeighbours())
    first = [evaluate(learner, TEST, manifest, CPU, pool=pool)[0] for manifest in (one, five, one)]
    assert sorted(encoder.shown()) == sorted({*rows(one), *rows(five)})
    np.testing.assert_array_equal(first[0], first[2])
    np.testing.assert_array_equal(first[1], evaluate(learner, TEST, five, CPU)[0])
    other = Counting()
    other.weights = -other.weights.flip(0)
    again = EmbeddingClassifier(other, NearestNeighbours())
    np.testing.assert_array_equal(evaluate(again, TEST, one, CPU, pool=pool)[0], evaluate(again, TEST, one, CPU)[0])
    val = draw(DATA, "val", TaskSpec(5, 1, 4), 12, 0)
    images = DATA.splits["val"].labelled()
    shared = evaluate(again, images, val, CPU, pool=pool)[0]
    np.testing.assert_array_equal(shared, evaluate(again, images, val, CPU)[0])


def test_the_monitor_embeds_meta_validation_once():
    encoder = Counting()
    val = draw(DATA, "val", TaskSpec(5, 1, 4), 12, 0)
    monitor = validation_monitor(DATA.splits["val"].labelled(), val, CPU)
    for step in range(3):
        monitor(step, EmbeddingClassifier(encoder, NearestNeighbours()))
    assert len(encoder.shown()) == len(np.unique(val.indices))


class Returns:
    dim = 6

    def __init__(self, make) -> None:
        self.make = make

    def encode(self, x):
        return self.make(x.flatten(1)[:, :6].clone())


def poisoned(x):
    x[1, 2] = float("nan")
    return x


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda x: x[:, :5], BenchError, r"images \[45, 1, 4, 4\] into embeddings \[45, 6\], not \[45, 5\]"),
        (lambda x: x[:, :, None], BenchError, r"not \[45, 6, 1\]"),
        (lambda x: x.numpy(), BenchError, "not ndarray"),
        (poisoned, Diverged, "encoder Returns: the embeddings of 1 of 45 images are not finite"),
    ],
)
def test_a_wrong_encoder_is_named_in_one_sentence(make, error, message):
    manifest = draw(DATA, "test", TaskSpec(5, 1, 8), 1, 0)
    learner = EmbeddingClassifier(Returns(make), NearestNeighbours())
    with pytest.raises(error, match=message) as caught:
        evaluate(learner, TEST, manifest, CPU)
    assert "\n" not in str(caught.value)
    with pytest.raises(error):
        evaluate(ImagesOnly(learner), TEST, manifest, CPU)


def test_half_precision_becomes_float32():
    assert embed(Returns(lambda x: x.half()), torch.rand(3, 1, 4, 4)).dtype == torch.float32


def test_a_learner_on_embeddings_with_scores_of_the_wrong_shape_is_refused():
    class Short:
        def classify(self, support, query):
            return NearestNeighbours().classify(support, query)[:, :, :4]

    manifest = draw(DATA, "test", TaskSpec(5, 1, 4), 3, 0)
    with pytest.raises(
        BenchError, match=r"predict_embedded must return scores of shape \[3, 20, 5\], not \[3, 20, 4\]"
    ):
        evaluate(EmbeddingClassifier(Counting(), Short()), TEST, manifest, CPU)
