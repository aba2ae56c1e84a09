"""Margins of the gate from honest re-runs: how far apart two trainings come that differ by their seed only."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence

import numpy as np

from bench.basics.errors import BenchError
from bench.leaderboard import drift
from bench.leaderboard.loading import Frames
from bench.leaderboard.score_table import ScoreTable
from bench.looking.inspection.records import Inspection

LEAST_SEEDS = 5
"""Below, the spread of seeds is a guess."""

WIDTH = 3.0
"""Standard deviations of the difference of two runs. The gate adds the interval of the drop over tasks to it. At 2, two
of twenty honest re-runs of our own suite, as it then was, failed in one row or more; see reports/baselines."""

DRIFT_WIDTH = 4.0
"""The same for measures of synthetic tasks, where no interval comes on top."""

STEP = 0.5  # points; margins are rounded up to a multiple


def of_accuracy(frames: Frames, least: float, methods: Collection[str]) -> dict[str, float]:
    """Method of ``methods`` -> margin in points, at least ``least``, from all its finished runs.

    BenchError for a method with fewer than LEAST_SEEDS training seeds, or none.
    """
    book = ScoreTable(frames)
    found: dict[str, float] = {}
    for entry in (one for one in book.entries if one.method in methods):
        for manifest in book.answered(entry):
            scores = book.scores(entry, manifest)
            assert scores is not None
            margin = _margin(entry.method, [float(mean) for mean in scores[1].mean(1)], WIDTH, least)
            found[entry.method] = max(margin, found.get(entry.method, 0.0))
    for method in sorted(set(methods) - set(found)):
        _margin(method, [], WIDTH, least)
    return found


def of_synthetic(inspections: Sequence[Inspection], least: float) -> Mapping[drift.Key, float]:
    """Measure of a method -> margin in points, likewise."""
    return {
        key: _margin(f"{key[1]}, {key[3]}", list(values.values()), DRIFT_WIDTH, least)
        for key, values in drift.measured(inspections).items()
    }


def _margin(name: str, values: Sequence[float], width: float, least: float) -> float:
    if len(values) < LEAST_SEEDS:
        raise BenchError(
            f"the margin of {name} is taken from at least {LEAST_SEEDS} training seeds, not {len(values)}; run more, "
            "for example with --seeds 1-10"
        )
    apart = math.sqrt(2) * float(np.std(values, ddof=1))
    return max(least, math.ceil(100 * width * apart / STEP) * STEP)
