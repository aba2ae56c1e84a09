"""Which setting stands for a method: by the usual rule, or by accuracy on meta-validation tasks (``--select val``).

The best of many settings, chosen on the tasks that it is judged by, is flattered; chosen on other tasks it is not.
Scores on the tasks of a table are never looked at.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from bench.basics.errors import BenchError, did_you_mean
from bench.leaderboard.board import Preference
from bench.leaderboard.loading import Frames
from bench.leaderboard.rows import Row
from bench.leaderboard.score_table import Shape
from bench.planning.values import setting
from bench.records.arrays import read_curve

SELECTIONS = ("usual", "val")
SPLIT = "val"


def preference(select: str, frames: Frames) -> Preference | None:
    """Of ``usual`` or ``val``; None is the usual rule. BenchError for other words."""
    if select not in SELECTIONS:
        raise BenchError(f"--select {select!r} is none of {', '.join(SELECTIONS)}.{did_you_mean(select, SELECTIONS)}")
    return on_validation(frames) if select == SPLIT else None


def on_validation(frames: Frames) -> Preference:
    """The row of the highest accuracy on meta-validation tasks: sealed ones that every run of every candidate answered,
    else the end of their validation curves, where all were validated alike; None where there is neither. Of equal
    rows the first.
    """
    sealed, curves = _Sealed(frames), _Curves(frames)

    def choose(rows: Sequence[Row]) -> Row | None:
        scores = sealed.means(rows) or curves.means(rows)
        return None if scores is None else rows[int(np.argmax(scores))]

    return Preference(choose, _sentence(sealed, curves))


def _sentence(sealed: _Sealed, curves: _Curves) -> str:
    ways = []
    if sealed.told:
        ways.append(f"on sealed ones, where all its settings answered the same ({'; '.join(sealed.told)})")
    if curves.told:
        ways.append(f"at the end of their validation curves ({'; '.join(curves.told)})")
    by = ", else ".join(ways) or "of which these runs have none"
    flattered = " A table of meta-validation tasks themselves flatters what was chosen on them." if sealed.told else ""
    return (
        "One row stands for each method and length: that of the highest accuracy on meta-validation tasks, "
        f"{by}. Where that cannot be told, as usual: the fewest changed settings (precision is none), the longest "
        "trained generator or encoder, the most seeds. The tasks of this table have no say, labels of meta-validation "
        f"classes have. The other rows are folded below it and have no rank.{flattered}"
    )


class _Sealed:
    """Accuracies on sealed tasks of the meta-validation split."""

    def __init__(self, frames: Frames) -> None:
        asked = frames.evaluations[frames.evaluations["split"] == SPLIT]
        shapes = asked.drop_duplicates("manifest").sort_values(["way", "shot", "tasks"])
        self.told = list(
            dict.fromkeys(
                f"{tasks:,} tasks of {Shape(way, shot)}"
                for way, shot, tasks in zip(*(shapes[name] for name in ("way", "shot", "tasks")))
            )
        )
        wanted = frames.scores[frames.scores["manifest"].isin(set(asked["manifest"]))]
        self.accuracy: dict[int, dict[str, float]] = {}
        for (run, manifest), mean in wanted.groupby(["run", "manifest"], observed=True)["accuracy"].mean().items():
            self.accuracy.setdefault(int(run), {})[str(manifest)] = float(mean)

    def means(self, rows: Sequence[Row]) -> list[float] | None:
        """Of each row, over its runs and over the lists of tasks that all answered; None where there is none."""
        answered = [set(self.accuracy.get(run, ())) for row in rows for run in row.runs]
        common = sorted(set.intersection(*answered))
        if not common:
            return None
        return [float(np.mean([self.accuracy[run][one] for run in row.runs for one in common])) for row in rows]


class _End(NamedTuple):
    step: int
    tasks: tuple[Any, ...]
    accuracy: float


class _Curves:
    """The last values of validation curves, read when they are asked for."""

    def __init__(self, frames: Frames) -> None:
        runs = frames.finished
        self.paths = dict(zip(runs["run"], runs["path"]))
        self.tasks = {run: _validated(config) for run, config in zip(runs["run"], runs["config"])}
        self.told = [
            f"{tasks:,} tasks of {Shape(way, 1)}"
            for way, tasks in sorted({(one[0], one[1]) for one in self.tasks.values() if one is not None})
        ]
        self.ends: dict[int, _End | None] = {}

    def means(self, rows: Sequence[Row]) -> list[float] | None:
        """Of each row, over its runs; None unless all were validated on the same tasks after the same step."""
        ends = [[self._end(run) for run in row.runs] for row in rows]
        alike = {None if end is None else end[:2] for some in ends for end in some}
        if len(alike) != 1 or None in alike:
            return None
        return [float(np.mean([end.accuracy for end in some if end is not None])) for some in ends]

    def _end(self, run: int) -> _End | None:
        if run not in self.ends:
            self.ends[run] = _read(Path(self.paths[run]) / "train.parquet", self.tasks[run])
        return self.ends[run]


def _validated(config: Any) -> tuple[Any, ...] | None:
    """What makes the tasks of a validation curve: way first, then how many; None without a curve."""
    names = ("way", "budget.validation_tasks", "train.query", "evaluation_seed")
    way, tasks, *rest = (setting(config, name) for name in names)
    told = isinstance(way, int) and isinstance(tasks, int) and setting(config, "budget.validate_every")
    return (way, tasks, *rest) if told else None


def _read(path: Path, tasks: tuple[Any, ...] | None) -> _End | None:
    """None where there is no curve; that a file is damaged is told where curves are drawn."""
    if tasks is None or not path.exists():
        return None
    try:
        curve = read_curve(path).to_pandas()
    except (OSError, ValueError, KeyError, TypeError, MemoryError, pa.ArrowException):
        return None
    values = curve[(curve["name"] == "validation") & np.isfinite(curve["value"])].sort_values("step", kind="stable")
    return None if values.empty else _End(int(values["step"].iloc[-1]), tasks, float(values["value"].iloc[-1]))
