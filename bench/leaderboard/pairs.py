"""Every pair of rows on the same tasks, at once: what ranks, ties and the matrix of differences rest on.

Simulated (:mod:`bench.leaderboard.simulation`; 5 to 70 rows): with 2 to 10 seeds intervals cover 93 to 99.8 %, and on
at most 7 % of boards is any of equal rows behind another. Two seeds find nothing, three find a difference of ten times
the spread of seeds. With one seed 31 to 75 % of the intervals hold what separates the methods: they are of these
trained models.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtr, stdtrit

from bench.leaderboard.moderation import moderated
from bench.leaderboard.statistics import LEVEL, Difference, Scores, holm

Matrix = NDArray[np.float64]

_NOTHING = 1e-24  # a variance below it is the rounding of equal values
_SMALLEST_P = 1e-100
_HALVINGS = 50


@dataclass(frozen=True, slots=True, eq=False)
class Pairs:
    """Row i minus row j, [R, R]; accuracies are fractions. As
    :func:`bench.leaderboard.statistics.paired_difference`, but the spread between the seeds of rows with three or more
    is steadied by that of the others (:mod:`bench.leaderboard.moderation`).
    """

    mean: Matrix
    half: Matrix
    """Half of the 95 % interval; NaN for a single task."""
    p: Matrix
    """Two-sided, uncorrected; NaN for a single task. 1 on the diagonal."""
    p_holm: Matrix
    """Corrected for all pairs of these rows (Holm 1979)."""
    seeds: tuple[int, ...]
    """How many training seeds each row has."""
    tasks: int

    def covers_seeds(self, i: int, j: int) -> bool:
        """Whether the interval includes the spread between training seeds: both rows have at least two."""
        return self.seeds[i] > 1 and self.seeds[j] > 1

    def difference(self, i: int, j: int) -> Difference:
        """Row ``i`` minus row ``j``."""
        tested = self.tasks > 1
        mean, half = float(self.mean[i, j]), float(self.half[i, j])
        return Difference(
            mean=mean,
            low=mean - half if tested else None,
            high=mean + half if tested else None,
            p=float(self.p[i, j]) if tested else None,
            tasks=self.tasks,
            seeds=(self.seeds[i], self.seeds[j]),
            covers_seeds=self.covers_seeds(i, j),
        )

    def corrected(self, i: int, j: int) -> float | None:
        """The corrected p-value of a pair; None for a single task."""
        return float(self.p_holm[i, j]) if self.tasks > 1 else None

    def among(self, rows: Sequence[int]) -> Pairs:
        """Only these rows, corrected for the pairs among them alone."""
        some = np.ix_(rows, rows)
        return Pairs(
            mean=self.mean[some],
            half=self.half[some],
            p=self.p[some],
            p_holm=_holm(self.p[some]),
            seeds=tuple(self.seeds[i] for i in rows),
            tasks=self.tasks,
        )


def all_pairs(scores: Sequence[Scores]) -> Pairs:
    """All pairs of rows with scores [S, T] each: one T for all, S of each its own. ValueError for other tasks."""
    rows = [np.atleast_2d(np.asarray(one, dtype=np.float64)) for one in scores]
    if len({row.shape[1] for row in rows}) > 1:
        raise ValueError(f"paired scores need the same tasks, not {sorted({row.shape[1] for row in rows})}")
    count, tasks = len(rows), rows[0].shape[1] if rows else 0
    seeds = tuple(len(row) for row in rows)
    mean, variance = np.zeros((count, count)), np.zeros((count, count))
    per_task = np.stack([row.mean(axis=0) for row in rows]) if rows else np.zeros((0, 0))
    for first in range(count):
        apart = per_task[first] - per_task[first + 1 :]
        mean[first, first + 1 :] = apart.mean(axis=1)
        if tasks > 1:
            variance[first, first + 1 :] = apart.var(axis=1, ddof=1) / tasks
    mean -= mean.T
    unknown = np.full((count, count), np.nan)
    if tasks < 2:
        return Pairs(mean, unknown, unknown, unknown, seeds, tasks)
    counts = np.array(seeds)
    spread = np.array([row.mean(axis=1).var(ddof=1) if len(row) > 1 else 0.0 for row in rows])
    spread, freedom = moderated(np.where(spread < _NOTHING, 0.0, spread), counts - 1)
    of_seeds, freedom = spread / counts, np.maximum(freedom, 1)
    i, j = np.triu_indices(count, 1)
    both = (counts[i] > 1) & (counts[j] > 1)
    sources = _Sources(
        variance=np.stack([variance[i, j], both * of_seeds[i], both * of_seeds[j]]),
        freedom=np.stack([np.full(len(i), tasks - 1), freedom[i], freedom[j]]),
    )
    half, p = np.zeros((count, count)), np.ones((count, count))
    half[i, j] = sources.half_width(np.full(len(i), 1 - LEVEL))
    p[i, j] = sources.p(np.abs(mean[i, j]), both)
    half, p = np.maximum(half, half.T), np.minimum(p, p.T)
    return Pairs(mean, half, p, _holm(p), seeds, tasks)


@dataclass(frozen=True, slots=True, eq=False)
class _Sources:
    """Of every pair: three sources of variance, tasks and the seeds of either side, [3, pairs] each."""

    variance: Matrix
    freedom: Matrix

    def half_width(self, alpha: Matrix) -> Matrix:
        quantile = stdtrit(self.freedom, alpha / 2)
        found: Matrix = np.sqrt((self.variance * quantile**2).sum(axis=0))
        return found

    def p(self, mean: Matrix, several: NDArray[np.bool_]) -> Matrix:
        """The largest alpha whose interval leaves out 0; of tasks alone that is the p-value of Student's t."""
        total = self.variance.sum(axis=0)
        nothing = total < _NOTHING
        found: Matrix = 2 * stdtr(self.freedom[0], -mean / np.sqrt(np.where(nothing, 1.0, total)))
        found[nothing] = np.where(mean[nothing] < 1e-12, 1.0, 0.0)
        some = np.flatnonzero(several & ~nothing)
        part = _Sources(self.variance[:, some], self.freedom[:, some])
        # The half width falls as alpha grows, so bisect the logarithm of alpha.
        low, high = np.full(len(some), np.log(_SMALLEST_P)), np.zeros(len(some))
        for _ in range(_HALVINGS):
            middle = (low + high) / 2
            wide = part.half_width(np.exp(middle)) > mean[some]
            low, high = np.where(wide, middle, low), np.where(wide, high, middle)
        found[some] = np.exp(high)
        return found


def _holm(p: Matrix) -> Matrix:
    """Of every pair once; NaN where nothing was tested."""
    i, j = np.triu_indices(len(p), 1)
    corrected = np.where(np.isnan(p), np.nan, 1.0)
    if not np.isnan(p).any():
        corrected[i, j] = corrected[j, i] = holm(p[i, j].tolist())
    return corrected
