"""Chance, raw pixels, scratch and supervised: the ends of the scale."""

from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import stats
from sklearn.neighbors import KNeighborsClassifier

from baselines.chance import Chance
from baselines.pixels import Pixels
from baselines.scratch import Scratch
from baselines.supervised import Supervised
from bench.basics.errors import BenchError
from bench.basics.seeds import Seed
from bench.contracts import Budget, Context, Encoder, Learner, Method, TaskSampler, TaskSpec
from bench.datasets.source import Dataset, Split
from bench.running.evaluate import accuracy_and_interval, check_declaration, evaluate
from bench.tasks.manifest import draw
from bench.training.artifacts import ArtifactStore
from bench.training.checkpoint import Checkpoint

CPU = torch.device("cpu")
SPEC = TaskSpec(5, 1, 5)


def dataset() -> Dataset:
    rng = np.random.default_rng(0)
    splits = {}
    for name in ("train", "val", "test"):
        ids = np.repeat(np.arange(9), 20)
        centres = rng.integers(60, 196, (9, 3, 6, 6))
        pixels = np.clip(centres[ids] + rng.normal(0, 60, (180, 3, 6, 6)), 0, 255).astype(np.uint8)
        names = tuple(f"{name}{c}" for c in range(9))
        splits[name] = Split("toy", name, pixels, ids, names, tuple(f"{name}/{i}" for i in range(180)))
    return Dataset("toy", "abc", splits, Path("/nowhere"))


DATA = dataset()
TRAIN, TEST = DATA.splits["train"], DATA.splits["test"].labelled()


def context(seed: int = 0, folder: Path = Path("/nowhere")) -> Context:
    return Context(
        seed=Seed(seed),
        device=CPU,
        budget=Budget("test", 3, 0, 0),
        artifacts=ArtifactStore(folder),
        checkpoint=Checkpoint(folder / "weights.safetensors"),
        progress=lambda *_: None,
    )


class Recorder:
    """A meta-learner that keeps what it was given."""

    def __init__(self) -> None:
        self.calls: list[tuple] = []

    def fit(self, sampler, spec, context):
        self.calls.append(("fit", sampler, spec, context))
        return Pixels().fit(TRAIN.unlabelled(), spec, context)

    def untrained(self, image_shape, spec, context):
        self.calls.append(("untrained", image_shape, spec, context))
        return Pixels().fit(TRAIN.unlabelled(), spec, context)


@pytest.mark.parametrize("shot", [1, 5])
def test_chance_is_right_one_time_in_n_and_varies_from_task_to_task(shot):
    learner = Chance().fit(TRAIN.unlabelled(), SPEC, context())
    manifest = draw(DATA, "test", TaskSpec(5, shot, 15), 300, 0)
    correct, total = evaluate(learner, TEST, manifest, CPU)
    # Under independent guesses the number of right answers of a task is binomial.
    assert stats.binomtest(int(correct.sum()), int(total.sum()), 0.2).pvalue > 1e-3
    statistic = ((correct - 15) ** 2).sum() / (75 * 0.2 * 0.8)
    assert 1e-3 < stats.chi2(300).cdf(statistic) < 1 - 1e-3
    assert accuracy_and_interval(correct, total)[1] == pytest.approx(
        1.96 * np.sqrt(0.2 * 0.8 / 75) / np.sqrt(300), rel=0.2
    )


def test_chance_guesses_every_class_alike_and_the_same_whatever_the_chunk():
    manifest = draw(DATA, "test", TaskSpec(5, 1, 15), 100, 0)
    first, other = (Chance().fit(TRAIN.unlabelled(), SPEC, context(seed)) for seed in (0, 1))
    scores = [evaluate(first, TEST, manifest, CPU, chunk)[0] for chunk in (1, 7, 100)]
    np.testing.assert_array_equal(scores[0], scores[1])
    np.testing.assert_array_equal(scores[0], scores[2])
    assert (evaluate(other, TEST, manifest, CPU)[0] != scores[0]).any()
    rng = torch.Generator().manual_seed(0)
    support, query = torch.rand(40, 5, 1, 1, 8, 8, generator=rng), torch.rand(40, 75, 1, 8, 8, generator=rng)
    guesses = first.predict(support, query)
    assert guesses.min() >= 0
    assert guesses.max() < 1
    assert stats.chisquare(np.bincount(guesses.argmax(2).flatten().numpy(), minlength=5)).pvalue > 1e-3
    assert stats.kstest(guesses.flatten().numpy(), "uniform").pvalue > 1e-3
    assert (first.predict(support.flip(0), query).argmax(2) != guesses.argmax(2)).any()


@pytest.mark.parametrize("k", [1, 3])
def test_pixels_is_scikit_learns_nearest_neighbour_on_the_raw_pixels(k):
    learner = Pixels(k).fit(TRAIN.unlabelled(), SPEC, context())
    assert isinstance(learner.encoder, Encoder)
    assert learner.encoder.dim == 3 * 6 * 6
    manifest = draw(DATA, "test", TaskSpec(5, 3, 5), 30, 0)
    correct, _ = evaluate(learner, TEST, manifest, CPU)
    flat = DATA.splits["test"].pixels.reshape(180, -1).astype(np.float64)
    for task in range(30):
        theirs = KNeighborsClassifier(k, algorithm="brute")
        theirs.fit(flat[manifest.support[task].ravel()], np.repeat(np.arange(5), 3))
        answers = theirs.predict(flat[manifest.query[task].ravel()])
        assert correct[task] == (answers == np.repeat(np.arange(5), 5)).sum()
    assert correct.mean() / 25 > 0.3


def test_scratch_is_the_untrained_meta_learner():
    recorder, given = Recorder(), context()
    Scratch(recorder).fit(TRAIN.unlabelled(), SPEC, given)
    assert recorder.calls == [("untrained", (3, 6, 6), SPEC, given)]


def test_supervised_trains_on_real_tasks_of_the_labelled_images():
    recorder, given = Recorder(), context()
    Supervised(recorder).fit(TRAIN.labelled(), SPEC, given)
    [(what, sampler, spec, passed)] = recorder.calls
    assert (what, spec, passed) == ("fit", SPEC, given)
    assert isinstance(sampler, TaskSampler)
    tasks = sampler.sample(6, SPEC, torch.Generator().manual_seed(0))
    pixels = (TRAIN.pixels.reshape(180, -1).astype(np.float32)) / 255
    for task in range(6):
        for n in range(5):
            shown = torch.cat([tasks.support[task, n], tasks.query[task, n]]).flatten(1).numpy()
            found = [int(np.abs(pixels - image).max(1).argmin()) for image in shown]
            assert len({int(TRAIN.class_ids[index]) for index in found}) == 1
            assert len(set(found)) == 6


@pytest.mark.parametrize("method", [Chance(), Pixels(), Scratch(Recorder())])
def test_a_floor_takes_unlabelled_images_only_and_declares_what_it_is(method):
    assert isinstance(method, Method)
    with pytest.raises(BenchError, match="takes unlabelled images, not LabelledImages"):
        method.fit(TRAIN.labelled(), SPEC, context())
    learner = method.fit(TRAIN.unlabelled(), SPEC, context())
    assert isinstance(learner, Learner)
    behaviour = check_declaration(learner, TEST, draw(DATA, "test", SPEC, 4, 0), CPU)
    assert behaviour.fault(learner) is None
    assert not behaviour.transductive


def test_supervised_takes_labelled_images_only_and_pixels_a_sensible_k():
    with pytest.raises(BenchError, match="supervised takes labelled images, not UnlabelledImages"):
        Supervised(Recorder()).fit(TRAIN.unlabelled(), SPEC, context())
    for k in (0, 1.5, "1"):
        with pytest.raises(BenchError, match="pixels: k must be an integer of at least 1"):
            Pixels(k)
