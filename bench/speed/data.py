"""Rows: drawing tasks, and classifiers on embeddings beside scikit-learn in a loop."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch

from bench.contracts import Classifier, TaskSpec
from bench.datasets.images import LabelledImages
from bench.learners import reference
from bench.learners.embedding import NearestNeighbours
from bench.learners.logistic import LogisticRegression
from bench.speed.contest import OURS, PLAIN, SKLEARN, Contest, Side
from bench.tasks.labelled import LabelledSampler

SPEC = TaskSpec(way=5, shot=1, query=5)
CLASSES, EACH = 1200, 20
EMBEDDED_TASKS, DIM = 1000, 256


def contests(device: torch.device) -> list[Contest]:
    """A fifth of a millisecond is timed as people time it, in a row: not with cold caches and sleeping threads."""
    draws = [
        Contest(f"sampling {n} tasks, {times} times", lambda n=n, times=times: _sampling(n, times, device), 10)  # type: ignore[misc]
        for n, times in ((4, 50), (64, 5))
    ]
    return [*draws, *_classifiers(device)]


def _sampling(n: int, times: int, device: torch.device) -> Mapping[str, Side]:
    rng = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (CLASSES * EACH, 1, 28, 28), generator=rng, dtype=torch.uint8).to(device)
    ids = torch.arange(CLASSES).repeat_interleave(EACH)
    images = LabelledImages(pixels, ids, [str(i) for i in range(CLASSES)], "random pixels")
    sampler, ours = LabelledSampler(images), torch.Generator(device=device).manual_seed(0)
    plain = reference.PlainSampler(pixels, ids.tolist(), random.Random(0))

    def batched() -> None:
        for _ in range(times):
            sampler.sample(n, SPEC, ours)

    def looped() -> None:
        for _ in range(times * n):
            plain.sample(SPEC.way, SPEC.shot, SPEC.query)

    return {OURS: batched, PLAIN: looped}


def _classifiers(device: torch.device) -> list[Contest]:
    """1000 tasks with 15 queries per class and embeddings of 256 dimensions.

    scikit-learn has its default settings (its logistic regression stops at a gradient of 1e-4, ours at the optimum),
    float32 NumPy arrays, and one thread: problems of this size are slower with more.
    """

    def nearest() -> Any:
        from sklearn.neighbors import KNeighborsClassifier

        return KNeighborsClassifier(1)

    def logistic() -> Any:
        from sklearn.linear_model import LogisticRegression as SklearnLogisticRegression

        return SklearnLogisticRegression()

    def contest(name: str, target: float, shot: int, ours: Classifier, theirs: Callable[[], Any]) -> Contest:
        def sides() -> dict[str, Side]:
            answers = classifications(shot, ours, theirs, device)
            return {side: lambda answer=answer: _no_time(answer) for side, answer in answers.items()}  # type: ignore[misc]

        return Contest(f"{name}, {shot}-shot", sides, target)

    return [
        contest("nearest neighbour", 50, 1, NearestNeighbours(), nearest),
        contest("nearest neighbour", 10, 5, NearestNeighbours(), nearest),
        contest("logistic regression", 30, 1, LogisticRegression(), logistic),
        contest("logistic regression", 5, 5, LogisticRegression(), logistic),
    ]


def classifications(
    shot: int, ours: Classifier, theirs: Callable[[], Any], device: torch.device
) -> dict[str, Callable[[], Any]]:
    """Both sides: ours answers with scores [T, M, N], the other with predictions int64 [T, M]."""
    from threadpoolctl import threadpool_limits

    rng = torch.Generator().manual_seed(3)
    centres = torch.randn(EMBEDDED_TASKS, SPEC.way, 1, DIM, generator=rng) / 32
    support = centres + torch.randn(EMBEDDED_TASKS, SPEC.way, shot, DIM, generator=rng) / 16  # of length about 1
    query = (centres + torch.randn(EMBEDDED_TASKS, SPEC.way, 15, DIM, generator=rng) / 16).flatten(1, 2)
    arrays = support.flatten(1, 2).numpy(), query.numpy()
    labels = np.repeat(np.arange(SPEC.way), shot)
    support, query = support.to(device), query.to(device)

    def looped() -> Any:
        with threadpool_limits(1):
            return np.stack([theirs().fit(s, labels).predict(q) for s, q in zip(*arrays, strict=True)])

    return {OURS: lambda: ours.classify(support, query), SKLEARN: looped}


def _no_time(answer: Callable[[], Any]) -> None:
    answer()
