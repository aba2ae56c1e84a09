"""What the gate finds: how often a drop of so many points is called WORSE, and how often no drop is.

``python -m bench.leaderboard.power BASELINE --runs RERUNS``: honest re-runs of the same suite, with training seeds that
neither the baseline nor its re-runs have, stand for what a change trains. As many of them as the baseline has seeds are
drawn at random, a drop is taken off their mean, and the gate's rule judges it; so the shapes of distributions are those
of real trainings, and only that a drop is the same for every seed is assumed.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bench.basics.errors import BenchError
from bench.leaderboard import margins
from bench.leaderboard.baseline import KEY, Baseline, read_baseline
from bench.leaderboard.loading import Frames, load
from bench.leaderboard.score_table import ScoreTable

DROPS = (0.0, 0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 4.0, 6.0)
"""Points of accuracy."""

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Power:
    """One row of a gate."""

    method: str
    trained: int
    """Seeds that are judged together."""
    reruns: int
    unseen: int
    """Trainings that the drops were taken off."""
    sd: float
    """Standard deviation between the re-runs, points."""
    margin: float
    """Points."""
    found: tuple[float, ...]
    """Share of draws that are WORSE, for each of DROPS."""


def power(frames: Frames, baseline: Baseline, draws: int, seed: int) -> tuple[list[Power], float]:
    """Every row of ``baseline`` that has re-runs, and the share of draws without a drop in which any of them is WORSE.

    frames: honest trainings of the same rows. Those with a seed of the baseline's own runs or re-runs are left aside.
    BenchError where fewer are left of a row than are judged together.
    """
    rng = np.random.default_rng(seed)
    rows, alarms = [], np.zeros(draws, dtype=bool)
    groups = baseline.rows.groupby(KEY, sort=True)
    means = _means(frames)
    for values, group in groups:
        key = tuple(map(str, values))
        again = baseline.reruns.get((key[0], key[1], key[2], key[3]))
        if again is None:
            continue
        own = {int(one) for one in group["seed"].unique()}
        accuracies = [value for one, value in means.get(key, {}).items() if one not in own | set(again.seeds)]
        if len(accuracies) < len(own):
            raise BenchError(
                f"{key[1]} is judged by {len(own)} trainings, and there are {len(accuracies)} with seeds that the "
                "baseline does not know"
            )
        unseen = np.array(accuracies)
        drawn = np.stack([rng.permutation(unseen)[: len(own)].mean() for _ in range(draws)])
        least = float(group["margin"].iloc[0])
        margin = max(least, 100 * margins.allowed(again.accuracies, len(own), baseline.judged))
        below: Array = 100 * (float(np.mean(again.accuracies)) - drawn)
        alarms |= below > margin
        found = tuple(float((below + drop > margin).mean()) for drop in DROPS)
        sd = 100 * float(np.std(again.accuracies, ddof=1))
        rows.append(Power(key[1], len(own), len(again.seeds), len(unseen), sd, margin, found))
    return rows, float(alarms.mean())


def markdown(rows: Sequence[Power]) -> Iterator[str]:
    """The lines of a table."""
    headings = ["row", "seeds", "sd between seeds", "margin", *(f"{drop:g}" for drop in DROPS)]
    yield f"| {' | '.join(headings)} |"
    yield f"| --- |{' ---: |' * (len(headings) - 1)}"
    for one in rows:
        shares = (f"{100 * share:.0f}" for share in one.found)
        cells = [one.method.partition(",")[0], str(one.trained), f"{one.sd:.2f}", f"{one.margin:.2f}", *shares]
        yield f"| {' | '.join(cells)} |"


def _means(frames: Frames) -> Mapping[tuple[str, ...], Mapping[int, float]]:
    """Key of a row -> training seed -> mean accuracy."""
    book = ScoreTable(frames)
    found: dict[tuple[str, ...], dict[int, float]] = {}
    for entry in book.entries:
        for manifest in book.answered(entry):
            scores = book.scores(entry, manifest)
            assert scores is not None
            key = entry.dataset, entry.method, entry.budget, manifest
            found[key] = dict(zip(scores[0], scores[1].mean(axis=1).tolist()))
    return found


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.leaderboard.power", description="Print which drops a gate finds, in percent of draws."
    )
    parser.add_argument("baseline", type=Path, help="a baseline with re-runs")
    parser.add_argument("--runs", type=Path, required=True, help="honest re-runs with seeds that it does not know")
    parser.add_argument("--draws", type=int, default=10000, help="of seeds (default 10000)")
    parser.add_argument("--seed", type=int, default=0, help="of the draws (default 0)")
    asked = parser.parse_args(arguments)
    if asked.seed < 0 or asked.draws < 1:
        parser.error("--seed is at least 0, --draws at least 1")
    try:
        rows, alarms = power(load(asked.runs), read_baseline(asked.baseline), asked.draws, asked.seed)
    except BenchError as error:
        parser.error(str(error))
    told = f"Without a drop, any row is WORSE in {100 * alarms:.2f} % of draws."
    sys.stdout.write("\n".join([*markdown(rows), "", told, ""]))


if __name__ == "__main__":
    main()
