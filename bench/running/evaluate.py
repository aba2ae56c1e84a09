"""Score a learner on the sealed tasks of a manifest. The labels and the order of the queries stay in here."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bench.basics.errors import BenchError, Diverged
from bench.basics.seeds import Seed
from bench.contracts import EmbeddingLearner, Learner, Monitor, ProgressCallback
from bench.datasets.images import LabelledImages, take
from bench.learners.embeddings import Pool
from bench.tasks.manifest import Manifest
from bench.training.memory import in_pieces

DEFAULT_CHUNK = 16
EMBEDDED_CHUNK = {"cpu": 2**23, "cuda": 2**27}
"""Numbers in the embeddings of the tasks that are scored at once."""

Gather = Callable[[Tensor], Tensor]
"""Indices of images, of any shape -> what stands for these images: [*index.shape, …]."""


def evaluate(
    learner: Learner,
    images: LabelledImages,
    manifest: Manifest,
    device: torch.device,
    chunk: int | None = None,
    progress: ProgressCallback | None = None,
    pool: Pool | None = None,
    facts: dict[str, Any] | None = None,
) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Correct answers and number of queries of every task: int32 [T] each.

    images: the manifest's split, in its fixed order; kept as uint8 on ``device``. ``chunk`` tasks are one
    gather, one scale and one call of ``predict``; by default as many as the learner's own ``tasks_at_once``
    says, else 16. The queries of a task come shuffled. The answer to a query is the class with the highest
    score, of equal ones the first.

    A :class:`bench.contracts.EmbeddingLearner` is asked with embeddings: every image that the manifest names is
    embedded once, and the tasks are gathers from these. ``pool`` keeps them for the next manifest.

    On a GPU the chunks are of about equal size, and one that its memory does not suffice for is halved. ``facts`` takes
    what a record should say of that: ``{"program": …, "chunk": [asked, used]}``, where there is something to say.

    Nothing waits for the device between chunks, except for ``progress``, which is called about twice a second
    with the accuracy so far. Raises Diverged when a score is not finite, BenchError when the scores have the
    wrong shape or the manifest is not of these images.
    """
    manifest.check_classes(images.class_ids.numpy(), images.class_names, images.attributes)
    spec = manifest.spec
    embedded = isinstance(learner, EmbeddingLearner)
    if isinstance(learner, EmbeddingLearner):
        pool = pool or Pool(device)
        pool.cover(learner.encoder, images, torch.tensor(manifest.indices), progress)
        gather: Gather = pool.take
        per_image = max(1, learner.encoder.dim)
        default = max(1, EMBEDDED_CHUNK.get(device.type, 2**23) // (spec.way * (spec.shot + spec.query) * per_image))
    else:
        gather, default = pixels_of(images, device), DEFAULT_CHUNK
    if chunk is None:
        chunk = getattr(learner, "tasks_at_once", default)
    if not isinstance(chunk, int) or chunk < 1:
        raise BenchError(f"the number of tasks scored at once must be an integer of at least 1, not {chunk!r}")
    if device.type == "cuda":
        chunk = math.ceil(manifest.tasks / math.ceil(manifest.tasks / chunk))
    per_task = spec.way * spec.query
    correct = torch.zeros(manifest.tasks, dtype=torch.int32, device=device)
    finite = torch.ones(manifest.tasks, dtype=torch.bool, device=device)
    reported = time.monotonic()
    tasks = ShuffledTasks(gather, manifest, device)

    def answer(rows: slice) -> None:
        nonlocal reported
        support, query, labels = tasks.at(rows)
        scores = _scores(learner, support, query, embedded)
        correct[rows] = (scores.argmax(2) == labels).sum(1, dtype=torch.int32)
        finite[rows] = scores.isfinite().flatten(1).all(1)
        done = rows.stop
        if progress is not None and (done == manifest.tasks or time.monotonic() - reported >= 0.5):
            _check_finite(finite)
            accuracy = float(correct[:done].sum()) / (done * per_task)
            progress("evaluate", done, manifest.tasks, {"accuracy": accuracy})
            reported = time.monotonic()

    used = in_pieces(manifest.tasks, chunk, answer)
    if facts is not None:
        facts |= {"program": program} if (program := getattr(learner, "program", "")) else {}
        facts |= {"chunk": [chunk, used]} if used < chunk else {}
    _check_finite(finite)
    return correct.cpu().numpy(), np.full(manifest.tasks, per_task, dtype=np.int32)


def accuracy_and_interval(correct: NDArray[np.int32], total: NDArray[np.int32]) -> tuple[float, float]:
    """Mean accuracy over tasks, in [0, 1], and half of its 95 % interval, 1.96 * sd / sqrt(T).

    sd is the population standard deviation of the tasks' accuracies, as in the code of Khodadadeh et al.
    2020. The interval covers the choice of tasks, not the randomness of training.
    """
    accuracy = correct / total
    return float(accuracy.mean()), float(1.96 * accuracy.std() / math.sqrt(len(accuracy)))


def validation_monitor(images: LabelledImages, manifest: Manifest, device: torch.device) -> Monitor:
    """A :data:`bench.contracts.Monitor`: the accuracy on a manifest of the meta-validation split."""

    pool = Pool(device)

    def monitor(step: int, learner: Learner) -> float:
        accuracy, _ = accuracy_and_interval(*evaluate(learner, images, manifest, device, pool=pool))
        return accuracy

    return monitor


@dataclass(frozen=True, slots=True)
class Behaviour:
    """What else the scores of a query turned out to depend on, besides its support set and itself."""

    unrepeatable: bool
    """Two equal calls gave different scores."""
    query_order: bool
    """The order of the queries."""
    other_queries: bool
    """Which other queries were asked together with it."""
    other_tasks: bool
    """Which other tasks were in the chunk."""

    @property
    def transductive(self) -> bool:
        """Whether the learner uses the queries of a task together."""
        return self.query_order or self.other_queries

    def fault(self, learner: Learner) -> str | None:
        """What is wrong with a learner that behaves so, in one sentence; None when nothing is."""
        name = type(learner).__name__
        if self.unrepeatable:
            return f"{name} gives different scores when asked the same twice"
        if self.other_tasks:
            return f"{name} lets the tasks scored at once influence one another"
        if self.query_order:
            return f"{name} answers by the order of the queries"
        if self.other_queries and not learner.transductive:
            return f"{name} uses the other queries of a task but does not declare transductive: true"
        return None


def check_declaration(
    learner: Learner, images: LabelledImages, manifest: Manifest, device: torch.device, tasks: int = 4
) -> Behaviour:
    """Score the first few tasks again: as before, with shuffled queries, single queries, and single tasks.

    Scores count as changed when they differ by more than a thousandth of the spread of their task's scores,
    so that rounding, which differs with the shape of a batch, does not count.
    """
    support, query, _ = ShuffledTasks(pixels_of(images, device), manifest, device).at(slice(0, tasks))
    scores = _scores(learner, support, query)
    spread = scores.amax((1, 2), keepdim=True) - scores.amin((1, 2), keepdim=True)

    def changed(other: Tensor, rows: slice = slice(None), queries: slice = slice(None)) -> bool:
        same = (other - scores[rows, queries]).abs() <= 1e-3 * spread[rows] + 1e-9
        return not bool(same.all())

    order = torch.randperm(query.shape[1], generator=Seed(0).at("another order").generator()).to(device)
    shuffled = _scores(learner, support, query[:, order])[:, order.argsort()]
    each_query = [slice(m, m + 1) for m in range(min(5, query.shape[1]))]
    each_task = [slice(t, t + 1) for t in range(len(support))]
    return Behaviour(
        unrepeatable=changed(_scores(learner, support, query)),
        query_order=changed(shuffled),
        other_queries=any(changed(_scores(learner, support, query[:, m]), queries=m) for m in each_query),
        other_tasks=any(changed(_scores(learner, support[t], query[t]), rows=t) for t in each_task),
    )


def pixels_of(images: LabelledImages, device: torch.device) -> Gather:
    """Images themselves, float32 in [0, 1]."""
    pixels = images.pixels if images.home is not None else images.pixels.to(device)
    return lambda index: take(pixels, index, device)


class ShuffledTasks:
    """The tasks of a manifest, their queries shuffled. ``labels``: the class of each, int64 [T, M]."""

    def __init__(self, gather: Gather, manifest: Manifest, device: torch.device) -> None:
        per_task = manifest.spec.way * manifest.spec.query
        rng = Seed(manifest.seed).at("query order", manifest.sha256).numpy()
        order = rng.permuted(np.tile(np.arange(per_task), (manifest.tasks, 1)), axis=1)
        shuffled = np.take_along_axis(manifest.query.reshape(manifest.tasks, per_task), order, axis=1)
        self._gather = gather
        self._support = torch.tensor(manifest.support, device=device)
        self._query = torch.tensor(shuffled, device=device)
        self.labels = torch.tensor(order // manifest.spec.query, device=device)

    def at(self, rows: slice) -> tuple[Tensor, Tensor, Tensor]:
        """Support [t, N, K, …], shuffled queries [t, M, …], classes [t, M]; … is one image, or its embedding."""
        support, query = self._support[rows], self._query[rows]
        both = self._gather(torch.cat([support.reshape(-1), query.reshape(-1)]))
        return (
            both[: support.numel()].reshape(*support.shape, *both.shape[1:]),
            both[support.numel() :].reshape(*query.shape, *both.shape[1:]),
            self.labels[rows],
        )


def _scores(learner: Learner, support: Tensor, query: Tensor, embedded: bool = False) -> Tensor:
    method = "predict_embedded" if embedded else "predict"
    scores = getattr(learner, method)(support, query)
    expected = (len(query), query.shape[1], support.shape[1])
    if not isinstance(scores, Tensor) or tuple(scores.shape) != expected:
        got = list(scores.shape) if isinstance(scores, Tensor) else type(scores).__name__
        raise BenchError(f"{type(learner).__name__}.{method} must return scores of shape {list(expected)}, not {got}")
    return scores.detach()


def _check_finite(finite: Tensor) -> None:
    if not bool(finite.all()):
        bad = (~finite).nonzero()[:, 0].tolist()
        raise Diverged(f"evaluation: the scores of {len(bad)} tasks are not finite, task {bad[0]} the first of them")
