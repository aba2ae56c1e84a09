"""The score itself: against a plain loop, for every chunk size, and with learners that try to cheat."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from bench.basics.errors import BenchError, Diverged
from bench.contracts import TaskSpec
from bench.datasets.source import Dataset, Split
from bench.running.evaluate import accuracy_and_interval, check_declaration, evaluate, validation_monitor
from bench.tasks.manifest import draw

CPU = torch.device("cpu")


def dataset(classes: int = 8, each: int = 20) -> Dataset:
    """Classes that a nearest-mean classifier gets right often, but not always."""
    rng = np.random.default_rng(0)
    splits = {}
    for name in ("train", "val", "test"):
        ids = rng.permutation(np.repeat(np.arange(classes), each))
        centres = rng.integers(60, 196, (classes, 1, 4, 4))
        pixels = np.clip(centres[ids] + rng.normal(0, 60, (len(ids), 1, 4, 4)), 0, 255).astype(np.uint8)
        names = tuple(f"{name}{c}" for c in range(classes))
        splits[name] = Split("toy", name, pixels, ids, names, tuple(f"{name}/{i}" for i in range(len(ids))))
    return Dataset("toy", "abc", splits, Path("/nowhere"))


DATA = dataset()
IMAGES = DATA.splits["test"].labelled()
MANIFEST = draw(DATA, "test", TaskSpec(5, 2, 4), 37, 3)


class NearestMean:
    transductive = False

    def predict(self, support: Tensor, query: Tensor) -> Tensor:
        means = support.double().mean(2).flatten(2)
        return -torch.cdist(query.double().flatten(2), means)


class Changed(NearestMean):
    """A learner whose scores go through a function of (scores, support, query)."""

    def __init__(self, change, transductive: bool = False) -> None:
        self.change, self.transductive = change, transductive

    def predict(self, support: Tensor, query: Tensor) -> Tensor:
        return self.change(super().predict(support, query), support, query)


def plain_loop() -> list[int]:
    """The accuracy of nearest class means by its definition: NumPy, float64, one query at a time."""
    pixels = DATA.splits["test"].pixels.astype(np.float64) / 255
    correct = []
    for task in range(MANIFEST.tasks):
        means = [pixels[MANIFEST.support[task, n]].mean(0) for n in range(5)]
        right = 0
        for n in range(5):
            for index in MANIFEST.query[task, n]:
                distances = [((pixels[index] - mean) ** 2).sum() for mean in means]
                right += int(np.argmin(distances)) == n
        correct.append(right)
    return correct


@pytest.mark.parametrize("chunk", [1, 5, 16, 37, 1000, None])
def test_the_score_is_that_of_a_plain_loop_whatever_the_chunk(chunk):
    correct, total = evaluate(NearestMean(), IMAGES, MANIFEST, CPU, chunk)
    assert correct.tolist() == plain_loop()
    assert (total == 20).all()
    assert correct.dtype == total.dtype == np.int32
    assert 0.3 < correct.sum() / total.sum() < 0.95


def test_mean_and_interval_by_hand():
    accuracy, interval = accuracy_and_interval(np.array([1, 2, 3, 4]), np.array([4, 4, 4, 4]))
    assert accuracy == pytest.approx(0.625)
    assert interval == pytest.approx(1.96 * np.sqrt((0.375**2 + 0.125**2) * 2 / 4) / 2)
    assert accuracy_and_interval(np.array([1, 10]), np.array([1, 20]))[0] == pytest.approx(0.75)


def test_tasks_at_once_is_what_the_learner_says_and_at_most_what_there_is():
    seen = []
    learner = Changed(lambda scores, support, query: (seen.append(len(support)), scores)[1])
    evaluate(learner, IMAGES, MANIFEST, CPU)
    assert seen == [16, 16, 5]
    seen.clear()
    learner.tasks_at_once = 30
    evaluate(learner, IMAGES, MANIFEST, CPU)
    assert seen == [30, 7]
    seen.clear()
    evaluate(learner, IMAGES, MANIFEST, CPU, chunk=500)
    assert seen == [37]
    with pytest.raises(BenchError, match="at least 1, not 0"):
        evaluate(learner, IMAGES, MANIFEST, CPU, chunk=0)


def test_the_learner_sees_the_real_images_scaled_and_contiguous():
    def look(scores, support, query):
        seen.append((support, query))
        return scores

    seen: list[tuple[Tensor, Tensor]] = []
    evaluate(Changed(look), IMAGES, MANIFEST, CPU, chunk=1)
    pixels = torch.tensor(DATA.splits["test"].pixels).float() / 255
    for task, (support, query) in enumerate(seen):
        assert support.is_contiguous()
        assert query.is_contiguous()
        torch.testing.assert_close(support[0], pixels[torch.tensor(MANIFEST.support[task])])
        theirs = sorted(query[0].flatten(1).tolist())
        assert theirs == sorted(pixels[torch.tensor(MANIFEST.query[task]).flatten()].flatten(1).tolist())


def test_the_order_of_the_queries_tells_nothing():
    """Queries that arrived class by class would give this learner 100 %."""
    by_position = torch.arange(20) // 4
    cheat = Changed(lambda scores, *_: torch.nn.functional.one_hot(by_position, 5).expand_as(scores).float())
    accuracy, interval = accuracy_and_interval(*evaluate(cheat, IMAGES, MANIFEST, CPU))
    assert abs(accuracy - 0.2) < 3 * interval
    orders: list[Tensor] = []
    learner = Changed(lambda scores, support, query: (orders.append(query), scores)[1])
    for _ in range(2):
        evaluate(learner, IMAGES, MANIFEST, CPU, chunk=37)
    assert torch.equal(orders[0], orders[1])


def test_wrong_shapes_and_other_images_are_refused():
    cases = {
        r"Changed.predict must return scores of shape \[16, 20, 5\], not \[16, 20, 4\]": lambda s, *_: s[..., :4],
        r"not \[16, 5, 20\]": lambda s, *_: s.mT,
        "not ndarray": lambda s, *_: s.numpy(),
    }
    for message, change in cases.items():
        with pytest.raises(BenchError, match=message):
            evaluate(Changed(change), IMAGES, MANIFEST, CPU)
    with pytest.raises(BenchError, match="is of class 'val"):
        evaluate(NearestMean(), DATA.splits["val"].labelled(), MANIFEST, CPU)
    fewer = dataclasses.replace(IMAGES, pixels=IMAGES.pixels[:9], class_ids=IMAGES.class_ids[:9])
    with pytest.raises(BenchError, match="outside the 9 images"):
        evaluate(NearestMean(), fewer, MANIFEST, CPU)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
def test_a_score_that_is_not_finite_is_a_divergence(bad):
    calls = []

    def once(scores, support, query):
        calls.append(1)
        if len(calls) == 2:
            scores[3, 7, 1] = bad
        return scores

    with pytest.raises(Diverged, match="the scores of 1 tasks are not finite, task 13 the first"):
        evaluate(Changed(once), IMAGES, MANIFEST, CPU, chunk=10)


def test_progress_is_throttled_and_ends_with_the_accuracy():
    calls = []
    correct, total = evaluate(NearestMean(), IMAGES, MANIFEST, CPU, chunk=1, progress=lambda *call: calls.append(call))
    assert len(calls) < 37
    stage, done, of, metrics = calls[-1]
    assert (stage, done, of) == ("evaluate", 37, 37)
    assert metrics["accuracy"] == pytest.approx(correct.sum() / total.sum())


def test_the_validation_monitor_is_the_accuracy_on_its_tasks():
    manifest = draw(DATA, "val", TaskSpec(5, 1, 15), 20, 0)
    images = DATA.splits["val"].labelled()
    monitor = validation_monitor(images, manifest, CPU)
    expected, _ = accuracy_and_interval(*evaluate(NearestMean(), images, manifest, CPU))
    assert monitor(7, NearestMean()) == expected
    assert expected > 0.25


def whitened(scores, support, query):
    """Batch statistics over the query batch, as batch normalisation in MAML takes them."""
    return (scores - scores.mean(1, keepdim=True)) / (scores.std(1, keepdim=True, correction=0) + 0.1)


def whitened_together(scores, support, query):
    """Batch statistics over all tasks of the chunk: an easy mistake with batched tasks."""
    return scores - scores.mean((0, 1), keepdim=True)


def ordered(scores, support, query):
    return scores + torch.arange(scores.shape[1])[None, :, None] * torch.tensor([1.0, 0, 0, 0, 0])


def noisy(scores, support, query):
    return scores + torch.from_numpy(np.random.default_rng().random(scores.shape))


@pytest.mark.parametrize(
    ("change", "declared", "transductive", "fault"),
    [
        (lambda scores, *_: scores, False, False, None),
        (lambda scores, *_: scores, True, False, None),
        (lambda scores, *_: torch.zeros_like(scores), False, False, None),
        (whitened, False, True, "does not declare transductive: true"),
        (whitened, True, True, None),
        (whitened_together, True, True, "lets the tasks scored at once influence one another"),
        (ordered, True, True, "answers by the order of the queries"),
        (noisy, True, True, "gives different scores when asked the same twice"),
    ],
)
def test_a_learner_that_uses_more_than_it_declares_is_found_out(change, declared, transductive, fault):
    learner = Changed(change, declared)
    behaviour = check_declaration(learner, IMAGES, MANIFEST, CPU)
    assert behaviour.transductive == transductive
    found = behaviour.fault(learner)
    assert found is None if fault is None else found is not None and fault in found
