"""How often intervals and ranks are right: boards with made-up scores, whose truth is known.

``python -m bench.leaderboard.simulation [--seed 0] [--repeats 100]`` prints tables, whose sum stands in
``reports/README.md``. Model, in accuracy points, as of :mod:`bench.leaderboard.statistics`: training seed s of row r
has on task t ``mu_r + task_t + rowtask_rt + seed_rs + noise_rst``, all normal, with the spreads of the committed
reports. On one half of the boards all rows are equal, on the other each is half a point below the one above it.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.leaderboard.board import SIGNIFICANCE, arrange
from bench.leaderboard.pairs import Pairs
from bench.leaderboard.rows import Cost, Row, Score
from bench.leaderboard.score_table import Shape
from bench.leaderboard.statistics import Scores, estimate
from bench.leaderboard.trained import Trained

ROWS = (5, 20, 70)
SEEDS = (1, 2, 3, 5, 10)
SEED_SDS = (0.2, 0.7, None)
"""Points: between training seeds of one method. None: another for each row, as in the committed reports."""
MIXED_SD, MIXED_FREEDOM, MOST_SD = 0.4, 1.5, 4.0
"""Where rows differ: scaled inverse chi-square, cut off, as :mod:`bench.leaderboard.moderation` finds it there."""

TASKS = 1000
LEVEL = 80.0
TASK_SD = 9.0
"""How much harder a task is for every row."""
ROW_TASK_SD = 3.0
"""How much harder it is for this row, whatever the seed."""
NOISE_SD = 3.5
"""Of one training on one task."""

STEP = 0.5
GAPS = (0.5, 1.0, 2.0)

Array = NDArray[np.float64]
_SHAPE = Shape(5, 1)
_UNKNOWN = Cost(math.nan, math.nan, math.nan, math.nan)


@dataclass(frozen=True, slots=True)
class Outcome:
    """Of boards with so many rows and training seeds a row: fractions of boards, rows or pairs; points where said."""

    rows: int
    seeds: int
    seed_sd: float | None
    covered: float
    """Intervals of a row's accuracy that hold the truth."""
    pairs_covered: float
    """Intervals of a difference that hold the truth."""
    false_behind: float
    """Boards of equal rows on which any row is ranked below another."""
    flattered: float
    """Points by which the highest mean of equal rows is above the truth, on average."""
    best_first: float
    """Spread boards on which the best row has rank 1."""
    sharing: float
    """How many rows have rank 1 on a spread board, on average."""
    found: tuple[float, ...]
    """Of pairs that differ by GAPS: how many are significantly so."""
    reversed: float
    """Spread boards on which any row is significantly better than one that is better in truth."""


def simulate(rows: int, seeds: int, seed_sd: float | None, repeats: int, seed: int = 0) -> Outcome:
    """The same arguments give the same outcome. ``seed_sd`` in points."""
    rng = np.random.default_rng([seed, rows, seeds, round(1000 * (seed_sd or 0))])
    seen = [_look(draw(rng, rows, seeds, seed_sd)) for _ in range(repeats)]
    mean = {name: np.mean([one[name] for one in seen], axis=0) for name in seen[0]}
    found = tuple(float(share) for share in mean.pop("found"))
    return Outcome(rows, seeds, seed_sd, found=found, **{name: float(value) for name, value in mean.items()})


def _look(scores: Array) -> dict[str, Any]:
    """One board of equal rows, and the same answers shifted to a spread one: fields of Outcome."""
    rows, known, ranks = _board(scores)
    upper = np.triu_indices(len(rows), 1)
    means = [one.scores[_SHAPE].estimate for one in rows]
    halves = [one.task_ci95 if one.total_ci95 is None else one.total_ci95 for one in means]
    seen = {
        "covered": np.mean([abs(one.mean - LEVEL / 100) <= (half or 0.0) for one, half in zip(means, halves)]),
        "pairs_covered": np.mean((np.abs(known.mean) <= known.half)[upper]),
        "false_behind": any(rank != 1 for rank in ranks.values()),
        "flattered": 100 * means[0].mean - LEVEL,
    }
    truth = -STEP * np.arange(len(scores))
    rows, known, ranks = _board(scores + truth[:, None, None] / 100)
    order = [int(one.method) for one in rows]
    apart = truth[order][:, None] - truth[order]
    sure = known.p_holm < SIGNIFICANCE
    return seen | {
        "best_first": ranks["0"] == 1,
        "sharing": list(ranks.values()).count(1),
        "found": [np.mean((sure & (known.mean > 0))[np.isclose(apart, gap)]) for gap in GAPS],
        "reversed": bool((sure & (known.mean * apart < 0)).any()),
    }


def draw(rng: np.random.Generator, rows: int, seeds: int, seed_sd: float | None) -> Array:
    """Accuracies [rows, seeds, TASKS] of equal rows; fractions, which normal noise may carry above 1."""
    task = TASK_SD * rng.standard_normal(TASKS)
    of_row = ROW_TASK_SD * rng.standard_normal((rows, 1, TASKS))
    mixed = np.minimum(MIXED_SD * np.sqrt(MIXED_FREEDOM / rng.chisquare(MIXED_FREEDOM, (rows, 1, 1))), MOST_SD)
    of_seed = (mixed if seed_sd is None else seed_sd) * rng.standard_normal((rows, seeds, 1))
    noise = NOISE_SD * rng.standard_normal((rows, seeds, TASKS))
    found: Array = (LEVEL + task + of_row + of_seed + noise) / 100
    return found


def _board(scores: Array) -> tuple[tuple[Row, ...], Pairs, dict[str, int | None]]:
    """Of an arranged board: its rows, the highest first, each two of them, and their ranks by their number."""
    (tier,) = arrange([row(str(i), one) for i, one in enumerate(scores)], [_SHAPE]).tiers
    return *tier.pairs[_SHAPE], {line.row.method: line.verdicts[_SHAPE].rank for line in tier.ranked}


def row(method: str, scores: Scores) -> Row:
    """A row without labels that answered one kind of task, with ``scores`` [S, T]."""
    seeds = tuple(range(len(scores)))
    return Row(
        method=method,
        title=method,
        group="unsupervised",
        budget="",
        variant="",
        seeds=seeds,
        supervised=False,
        transductive=False,
        outside_data=False,
        side=(),
        cite="",
        cost=_UNKNOWN,
        peak_memory_mib=math.nan,
        runs=(),
        scores={_SHAPE: Score(estimate(scores), seeds, scores)},
        name=method,
        settings={},
        has=frozenset(),
        trained=Trained(1000),
        facets={},
    )


HEADINGS = (
    *("rows", "seeds", "accuracy covered, %", "difference covered, %", "equal rows: any behind, %"),
    *("equal rows: the highest flattered by", "best has rank 1, %", "rows of rank 1"),
    *(f"{gap:g} points found, %" for gap in GAPS),
    "any two reversed, %",
)


def markdown(outcomes: Sequence[Outcome]) -> Iterator[str]:
    """The lines of a table."""
    yield f"| {' | '.join(HEADINGS)} |"
    yield f"|{' ---: |' * len(HEADINGS)}"
    for one in outcomes:
        shares = [one.covered, one.pairs_covered, one.false_behind, one.best_first, *one.found, one.reversed]
        covered, pairs, behind, first, *found = (f"{100 * share:.1f}" for share in shares)
        cells = [str(one.rows), str(one.seeds), covered, pairs, behind, f"{one.flattered:.2f}", first]
        yield f"| {' | '.join([*cells, f'{one.sharing:.1f}', *found])} |"


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.leaderboard.simulation", description="Print how often intervals and ranks are right."
    )
    parser.add_argument("--seed", type=int, default=0, help="of the draws (default 0)")
    parser.add_argument("--repeats", type=int, default=100, help="boards of each kind (default 100: five minutes)")
    asked = parser.parse_args(arguments)
    if asked.seed < 0 or asked.repeats < 1:
        parser.error("--seed is at least 0, --repeats at least 1")
    for seed_sd in SEED_SDS:
        outcomes = [simulate(rows, seeds, seed_sd, asked.repeats, asked.seed) for rows in ROWS for seeds in SEEDS]
        apart = "as differently as in the committed reports" if seed_sd is None else f"by {seed_sd:g} points"
        told = f"Seeds of one method differ {apart} (standard deviation); {asked.repeats} boards a line."
        sys.stdout.write("\n".join([told, "", *markdown(outcomes), "", ""]))
        sys.stdout.flush()


if __name__ == "__main__":
    main()
