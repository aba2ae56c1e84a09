"""The checks of a whole method, on a miniature, in a process of its own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from bench.basics.seeds import Seed
from bench.basics.signals import Stopped
from bench.checks import encoders, learners, samplers
from bench.checks.finding import Finding
from bench.checks.probe import Probe, probe
from bench.conform.guard import Guard
from bench.conform.subject import Miniature, built
from bench.conform.trial import CPU, Interrupted, Trial, said, trained, what_it_learned
from bench.contracts import EmbeddingLearner, Learner, SamplingMethod, TaskSpec
from bench.datasets.images import LabelledImages, UnlabelledImages
from bench.datasets.source import Dataset
from bench.planning.composing import RunConfig

TRAINING = "fit(images, spec, context) returns a learner"
AGAIN = "two trainings with one seed give the same learner"
LABELS = "labels dealt out anew give the same learner"


def examine(config: RunConfig, data: Miniature, folder: Path, guard: Guard) -> Iterator[Finding]:
    """Every check, in order. Where the method cannot be trained, nothing else is asked."""
    supervised = config.variant.supervised

    def images(dataset: Dataset) -> UnlabelledImages | LabelledImages:
        split = dataset.splits["train"]
        return split.labelled(CPU) if supervised else split.unlabelled(CPU)

    given = images(data.dataset)
    guard.doing("fit", TRAINING)
    try:
        first = trained(config, given, folder / "first")
    except Stopped:
        raise
    except BaseException as error:  # also sys.exit() in somebody's code
        yield Finding("fit", TRAINING, said(error))
        return
    yield Finding("fit", TRAINING)
    yield from _besides(first, guard)
    spec = TaskSpec(**config.values["train"])
    questions = probe(given, spec)
    ok = True
    for found in guard.around("predict", lambda: learners.examine(first.learner, questions)):
        ok &= found.fault is None
        yield found.of("answers")
    if not ok:
        return
    yield from guard.around("answers: alone", lambda: _alone(first.learner, questions))
    yield from _sampler(config, given, first, guard)
    yield from _again(config, data, first, questions, supervised, folder, guard)
    yield from guard.around("resuming", lambda: _resumed(config, given, first, questions, folder))


def _besides(trial: Trial, guard: Guard) -> Iterator[Finding]:
    """What training did to its process."""
    assert trial.images is not None
    yield trial.images.of("fit")
    fault = None
    if trial.changed:
        fault = f"fit changed {' and '.join(trial.changed)}; put back what it needs otherwise, for others run beside it"
    yield Finding("fit: process", "training leaves the process as it was", fault)
    fault = None
    if trial.drew:
        fault = (
            f"fit draws from, or seeds, the global generator of {' and '.join(trial.drew)}; draw from "
            "context.seed.at('purpose').generator(), and build modules within torch.random.fork_rng() after "
            "torch.manual_seed(context.seed.at('init').value())"
        )
    yield Finding("fit: global generators", "training draws from no global generator", fault)
    fault = None
    if trial.left:
        several = "es" if len(trial.left) > 1 else ""
        fault = f"fit left {len(trial.left)} process{several} behind ({', '.join(trial.left[:3])}); end what it starts"
    yield Finding("fit: children", "training leaves no processes behind", fault)
    told = None
    if guard.printed():
        told = "fit prints on the standard output, between the lines of 'bench run'; use context.progress or a logger"
    yield Finding("fit: quiet", "training prints nothing", told=told)


def _alone(learner: Learner, questions: Probe) -> Iterator[Finding]:
    """Single queries, and single tasks: other shapes than those that a run asks, so with more of a tolerance."""
    support, query = questions.support[:2], questions.query[:2]
    scores = learner.predict(support, query).detach()
    allowed = 1e-2 * (scores.amax((1, 2)) - scores.amin((1, 2))) + 1e-6

    def differ(found: Tensor, expected: Tensor, task: int) -> bool:
        return bool(((found - expected).abs() > allowed[task]).any())

    name, fault = type(learner).__name__, None
    try:
        tasks = [
            differ(learner.predict(support[t : t + 1], query[t : t + 1]).detach()[0], scores[t], t) for t in (0, 1)
        ]
    except (RuntimeError, ValueError, IndexError, TypeError) as error:
        fault = f"{name}.predict cannot be asked one task at a time ({said(error)}); the last tasks of a list come so"
    else:
        if all(tasks):
            fault = f"{name}.predict answers a task otherwise when it is asked alone; keep the axis of tasks apart"
    yield Finding("answers: single tasks", "a task asked alone is answered as among others", fault)
    if isinstance(learner, EmbeddingLearner):
        fault = None
        embedded = questions.through(lambda images: encoders.embedded(learner.encoder, images))
        answers = learner.predict_embedded(embedded.support[:2], embedded.query[:2]).detach()
        if all(differ(answers[t], scores[t], t) for t in (0, 1)):
            fault = f"{name}.predict answers images otherwise than predict_embedded their embeddings; they must agree"
        yield Finding("answers: embedded", "images and their embeddings are answered alike", fault)
    if learner.transductive:
        return
    fault = None
    single = [
        differ(learner.predict(support, query[:, m : m + 1]).detach()[0], scores[0, m : m + 1], 0) for m in (0, 1)
    ]
    if all(single):
        fault = f"{name}.predict answers a query otherwise when it is asked alone; set transductive = True if it must"
    yield Finding("answers: single queries", "a query asked alone is answered as among others", fault)


def _sampler(
    config: RunConfig, images: UnlabelledImages | LabelledImages, first: Trial, guard: Guard
) -> Iterator[Finding]:
    method = built("method", config)
    if not isinstance(method, SamplingMethod):
        return
    spec, root = TaskSpec(**config.values["train"]), Seed(0).at("check sampler")

    def found() -> Iterator[Finding]:
        sampler = method.sampler(images, first.context)
        yield from (one.of("sampler") for one in samplers.examine(sampler, spec, CPU, root))
        one, two = (sampler.sample(2, spec, root.at(k).generator()) for k in (0, 1))
        fault = None
        if torch.equal(one.support, two.support):
            fault = f"{type(sampler).__name__}.sample makes the same tasks from every rng; draw them from rng"
        yield Finding("sampler: draws", "other states of rng give other tasks", fault)
        told = None
        if spec.query >= spec.shot and torch.equal(one.query[:, :, : spec.shot], one.support):
            told = f"{type(sampler).__name__}.sample makes queries that equal the support, so that they teach nothing"
        yield Finding("sampler: other images", "queries do not equal the support", told=told)

    yield from guard.around("sampler", found)


def _again(
    config: RunConfig,
    data: Miniature,
    first: Trial,
    questions: Probe,
    supervised: bool,
    folder: Path,
    guard: Guard,
) -> Iterator[Finding]:
    """Trained again: on the same pixels under other labels, and on other pixels."""

    def images(dataset: Dataset) -> UnlabelledImages | LabelledImages:
        split = dataset.splits["train"]
        return split.labelled(CPU) if supervised else split.unlabelled(CPU)

    def learned(dataset: Dataset, name: str) -> dict[str, bytes]:
        torch.manual_seed(1234)  # what a method takes from the global generators differs from the first time
        np.random.seed(4321)  # noqa: NPY002
        trial = trained(config, images(dataset), folder / name)
        return what_it_learned(trial, _answers(trial.learner, questions))

    def found() -> Iterator[Finding]:
        before = what_it_learned(first, _answers(first.learner, questions))
        second = learned(data.dataset if supervised else data.relabelled, "second")
        apart = _apart(before, second)
        peeks = None
        if apart and not supervised and not _apart(before, learned(data.dataset, "third")):
            peeks, apart = f"fit depends on the labels of its images ({apart}), and its card says supervised: false", ""
        fault = None
        if apart:
            fault = (
                f"two trainings with one seed differ ({apart}); seed every draw from context.seed, and always add up "
                "in the same order"
            )
        yield Finding("reproducible", AGAIN, fault)
        if supervised:
            yield Finding("labels", LABELS, told="its card says supervised: true, so it is given labels")
        else:
            yield Finding("labels", LABELS, peeks)
        answers = _answers(first.learner, questions)
        other = learned(data.other, "other")
        constant = bool((answers == answers[:, :1]).all())
        same = not _apart(before, other)
        fault = told = None
        if same and constant:
            fault = "the learner answers every query alike, whatever it is trained on; it must look at the images"
        elif same:
            told = "other training images give the same learner, as of a method that trains nothing"
        yield Finding("learns", "other images give another learner", fault, told)

    yield from guard.around("reproducible", found)


def _resumed(
    config: RunConfig, images: UnlabelledImages | LabelledImages, first: Trial, questions: Probe, folder: Path
) -> Iterator[Finding]:
    """A training that was stopped half way, as by Ctrl-C or a time limit, and begun again."""
    name, demands = "resuming", "a training that was stopped goes on to the same learner"
    if not first.calls:
        yield Finding(
            name, demands, told="it never calls context.progress, so no time limit can stop it; it starts anew"
        )
        return
    place = folder / "stopped"
    try:
        trained(config, images, place, stop_at=max(1, first.calls // 2))
    except Interrupted:
        pass
    else:
        yield Finding(name, demands, "fit swallows what context.progress raises; let it pass, or no time limit holds")
        return
    kept = [one for one in place.rglob("*.safetensors") if not one.name.startswith(".")]
    trial = trained(config, images, place)
    before, after = (what_it_learned(one, _answers(one.learner, questions)) for one in (first, trial))
    fault = None
    if apart := _apart(before, after):
        fault = (
            f"a training that was stopped and begun again differs ({apart}); keep all that changes in the checkpoint"
        )
    told = None if kept else "it keeps no checkpoint: a training that was stopped starts anew"
    yield Finding(name, demands, fault, told)


def _answers(learner: Learner, questions: Probe) -> Tensor:
    return learner.predict(questions.support, questions.query).detach()


def _apart(one: dict[str, bytes], other: dict[str, bytes]) -> str:
    """The names of what differs, the first two of them; empty where nothing does."""
    names = sorted(name for name in one.keys() | other.keys() if one.get(name) != other.get(name))
    more = f" and {len(names) - 2} more" if len(names) > 2 else ""
    return f"{', '.join(names[:2])}{more}" if names else ""
