"""Means, intervals, paired differences and ties. Accuracies are fractions in [0, 1] throughout.

Model: the score of training seed s on task t is ``y_st = mu + a_s + b_t + e_st`` with seeds and tasks drawn
independently (crossed random effects; Searle, Casella & McCulloch, Variance Components, 1992, ch. 4).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtr, stdtrit

LEVEL = 0.95
Scores = NDArray[np.float64]
"""[S, T]: one row per training seed, one column per task; the seeds of one method answered the same tasks."""
Source = tuple[float, int]
"""A source of variance: its share of the variance of a mean, and degrees of freedom."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """The accuracy of one method on one manifest."""

    mean: float
    task_ci95: float | None
    """1.96 * population sd of the seed-averaged task scores / sqrt(T), as papers print; covers tasks only. None for one
    task, of which there is no spread."""
    seed_sd: float | None
    """Sample sd of the seeds' means; None for one seed."""
    seed_means: tuple[float, ...]
    tasks: int
    total_ci95: float | None
    """Half of the interval that covers both the draw of tasks and the training seed; None for one seed or one task."""

    @property
    def seeds(self) -> int:
        """How many training seeds."""
        return len(self.seed_means)


@dataclass(frozen=True, slots=True)
class Difference:
    """``a`` minus ``b`` on the same tasks."""

    mean: float
    low: float | None
    """Lower end of the 95 % interval; like ``high`` and ``p`` None for one task, of which nothing can be said."""
    high: float | None
    p: float | None
    """Two-sided, uncorrected."""
    tasks: int
    seeds: tuple[int, int]
    covers_seeds: bool
    """Whether the interval includes the spread between training seeds: both sides have at least two."""


def estimate(scores: Scores) -> Estimate:
    """Summarise ``scores`` [S, T].

    ``total_ci95`` is ``sqrt(t²(S-1)·s_seed²/S + t²(T-1)·s_task²/T)``: s_seed² is the sample variance of the S
    seed means, s_task² that of the T seed-averaged task scores, and each source has the t quantile of its own
    degrees of freedom (variance recovery, Zou & Donner 2008). The interaction of seed and task is counted in
    both, so it errs on the wide side: simulated coverage is 94.8 to 99.3 % for 2 to 10 seeds. One t quantile
    with Satterthwaite's degrees of freedom is narrower but covers down to 87 % for 2 seeds, 92 % for 3.
    """
    scores = np.atleast_2d(np.asarray(scores, dtype=np.float64))
    per_task, per_seed = scores.mean(axis=0), scores.mean(axis=1)
    tasks, seeds = len(per_task), len(per_seed)
    sources = _sources(per_task, [scores])
    return Estimate(
        mean=float(per_task.mean()),
        task_ci95=float(1.96 * per_task.std() / math.sqrt(tasks)) if tasks > 1 else None,
        seed_sd=float(per_seed.std(ddof=1)) if seeds > 1 else None,
        seed_means=tuple(float(mean) for mean in per_seed),
        tasks=tasks,
        total_ci95=_half_width(sources) if sources and seeds > 1 else None,
    )


def paired_difference(a: Scores, b: Scores) -> Difference:
    """``a`` [S_a, T] minus ``b`` [S_b, T], paired task by task, averaged over seeds.

    With one seed on either side this is the paired t-test over tasks (as scipy.stats.ttest_rel). With at
    least two on both, the seeds of ``a`` and those of ``b`` are two more sources of variance, combined as in
    :func:`estimate`, and p is the level at which the interval touches 0. Seeds of ``a`` and ``b`` are taken
    as independent, which is cautious where they share a seed and with it a generator.
    """
    a, b = (np.atleast_2d(np.asarray(side, dtype=np.float64)) for side in (a, b))
    if a.shape[1] != b.shape[1]:
        raise ValueError(f"paired scores need the same tasks, not {a.shape[1]} and {b.shape[1]}")
    per_task = a.mean(axis=0) - b.mean(axis=0)
    mean = float(per_task.mean())
    covers_seeds = len(a) > 1 and len(b) > 1
    sources = _sources(per_task, [a, b] if covers_seeds else [])
    half = _half_width(sources) if sources else None
    return Difference(
        mean=mean,
        low=None if half is None else mean - half,
        high=None if half is None else mean + half,
        p=_p(mean, sources) if sources else None,
        tasks=len(per_task),
        seeds=(len(a), len(b)),
        covers_seeds=covers_seeds,
    )


def holm(p: Sequence[float]) -> list[float]:
    """P-values corrected for several comparisons (Holm 1979), in the order given, at most 1."""
    order = sorted(range(len(p)), key=lambda i: p[i])
    corrected, highest = [0.0] * len(p), 0.0
    for rank, i in enumerate(order):
        highest = max(highest, min(1.0, (len(p) - rank) * p[i]))
        corrected[i] = highest
    return corrected


def _sources(per_task: NDArray[np.float64], sides: Sequence[Scores]) -> list[Source]:
    """The sources of variance of the mean of ``per_task`` [T]: tasks, then the seeds of each side [S, T].

    Empty for fewer than two tasks, of which nothing can be said.
    """
    tasks = len(per_task)
    if tasks < 2:
        return []
    found = [(float(per_task.var(ddof=1)) / tasks, tasks - 1)]
    for scores in sides:
        if len(scores) > 1:
            found.append((float(scores.mean(axis=1).var(ddof=1)) / len(scores), len(scores) - 1))
    return found


def _half_width(sources: Sequence[Source], alpha: float = 1 - LEVEL) -> float:
    return math.sqrt(sum(variance * float(stdtrit(freedom, alpha / 2)) ** 2 for variance, freedom in sources))


def _p(mean: float, sources: Sequence[Source]) -> float:
    """The largest alpha whose interval leaves out 0."""
    total = sum(variance for variance, _ in sources)
    # Equal values differ by rounding only, which is no variance at all.
    if total < 1e-24:
        return 1.0 if abs(mean) < 1e-12 else 0.0
    if len(sources) == 1:
        return float(2 * stdtr(sources[0][1], -abs(mean) / math.sqrt(total)))
    # The half width falls as alpha grows, so bisect the logarithm of alpha.
    low, high = math.log(1e-100), 0.0
    for _ in range(50):
        middle = (low + high) / 2
        if _half_width(sources, math.exp(middle)) > abs(mean):
            low = middle
        else:
            high = middle
    return math.exp(high)
