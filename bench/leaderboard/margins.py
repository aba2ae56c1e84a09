"""Margins of the gate from honest re-runs: how far trainings come apart that differ by their seed only.

A training of unchanged code with another seed is a draw from the same distribution as the re-runs. So the mean of
``trained`` new ones lies further below that of the ``n`` recorded ones than ``t · s · sqrt(1/trained + 1/n)`` in a
share ``alpha`` of cases, where s is the re-runs' standard deviation and t the upper ``alpha`` quantile of Student's
distribution with n − 1 degrees of freedom (the prediction interval of a mean of future observations; Hahn & Meeker
1991, Statistical Intervals, ch. 4). The tasks are the same, sealed ones on both sides, and so are no source of spread.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import stdtrit

from bench.basics.errors import BenchError
from bench.leaderboard import drift
from bench.leaderboard.loading import Frames
from bench.leaderboard.score_table import ScoreTable
from bench.leaderboard.statistics import LEVEL, Difference
from bench.looking.inspection.records import Inspection

LEAST_SEEDS = 5
"""Below, the spread of seeds is a guess."""

FALSE_ALARMS = 0.02
"""How often a check of unchanged code, trained with other seeds, fails by chance: all rows and measures together."""

Key = tuple[str, str, str, str]
"""Dataset, method, budget, manifest."""


@dataclass(frozen=True, slots=True)
class Reruns:
    """Accuracies of honest trainings of one method on one manifest's tasks, in [0, 1], one for each training seed."""

    dataset: str
    method: str
    budget: str
    manifest: str
    seeds: tuple[int, ...]
    accuracies: tuple[float, ...]

    @property
    def key(self) -> Key:
        """What they are the accuracies of."""
        return self.dataset, self.method, self.budget, self.manifest


def allowed(values: Sequence[float], trained: int, judged: int) -> float:
    """By how much the mean of ``trained`` new trainings may lie below that of ``values``, in their unit, so that of
    ``judged`` things, each judged like this, any is found worse by chance in at most FALSE_ALARMS of checks.
    """
    return _reach(values, trained, FALSE_ALARMS / judged)


def drop(values: Sequence[float], now: Sequence[float], tasks: int) -> Difference:
    """The mean of ``values`` minus that of ``now``, with the interval that covers the draw of training seeds."""
    mean = float(np.mean(values) - np.mean(now))
    half = _reach(values, len(now), (1 - LEVEL) / 2)
    return Difference(mean, mean - half, mean + half, None, tasks, (len(values), len(now)), covers_seeds=True)


def of_accuracy(frames: Frames, methods: Collection[str]) -> list[Reruns]:
    """All finished trainings of ``methods``. BenchError for a method with fewer than LEAST_SEEDS of them, or none."""
    book = ScoreTable(frames)
    found = []
    for entry in (one for one in book.entries if one.method in methods):
        for manifest in sorted(book.answered(entry)):
            scores = book.scores(entry, manifest)
            assert scores is not None
            _demand(entry.method, len(scores[0]))
            means = tuple(float(mean) for mean in scores[1].mean(1))
            found.append(Reruns(entry.dataset, entry.method, entry.budget, manifest, tuple(scores[0]), means))
    for method in sorted(set(methods) - {one.method for one in found}):
        _demand(method, 0)
    return found


def of_synthetic(
    reruns: Sequence[Inspection], recorded: Sequence[Inspection], judged: int, least: float
) -> list[drift.Expected]:
    """What measures of ``recorded`` may be: as far to either side of the mean of ``reruns`` as chance alone brings
    them in FALSE_ALARMS of checks of ``judged`` things, and ``least`` points.
    """
    again = drift.measured(reruns)
    found = []
    for key, values in drift.measured(recorded).items():
        others = list(again.get(key, {}).values())
        _demand(f"{key[1]}, {key[3]}", len(others))
        margin = max(least, 100 * _reach(others, len(values), FALSE_ALARMS / judged / 2))
        found.append(drift.Expected(*key, float(np.mean(others)), margin, tuple(sorted(values))))
    return found


def _reach(values: Sequence[float], trained: int, alpha: float) -> float:
    quantile = -float(stdtrit(len(values) - 1, alpha))
    return quantile * float(np.std(values, ddof=1)) * math.sqrt(1 / trained + 1 / len(values))


def _demand(name: str, seeds: int) -> None:
    if seeds < LEAST_SEEDS:
        raise BenchError(
            f"the margin of {name} is taken from at least {LEAST_SEEDS} training seeds, not {seeds}; run more, "
            "for example with --seeds 1-30"
        )
