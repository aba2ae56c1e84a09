"""The report as tidy CSV: accuracies and differences are fractions, not percent, with ten digits."""

from __future__ import annotations

from typing import Any

import pandas as pd

from bench.leaderboard.loading import Frames
from bench.leaderboard.score_table import Shape
from bench.leaderboard.table import Leaderboard, Row, Score, Table
from bench.reporting.foreign import visible

SCORE_FIELDS = (
    *("table", "dataset", "dataset_hash", "split", "way", "shot", "query", "manifest", "tasks"),
    *("method", "title", "variant", "group", "budget", "supervised", "transductive", "outside_data", "side", "cite"),
    *(
        "train_seconds",
        "peak_memory_mib",
        "seeds",
        "accuracy",
        "task_ci95",
        "seed_sd",
        "total_ci95",
        "standing",
    ),
    *("behind_best", "behind_low", "behind_high", "p", "p_holm", "covers_seeds"),
    *("published_table", "published_accuracy", "published_ci95", "published_elsewhere"),
)
DIGITS = "%.10g"
"""What further digits say depends on the machine and on the versions of its libraries."""
DECIMALS = 12
_FORMULAS = tuple("=+-@\uff1d\uff0b\uff0d\uff20")
RUN_FIELDS = ("dataset", "method", "budget", "variant", "seed", "status", "reason", "folder")


def scores(leaderboard: Leaderboard) -> str:
    """One line per table, row, way and shot."""
    lines = [
        _line(table, row, shape, score)
        for table in leaderboard.tables
        for row in table.rows
        for shape, score in row.scores.items()
    ]
    return from_frame(pd.DataFrame(lines, columns=list(SCORE_FIELDS)))


def runs(frames: Frames) -> str:
    """One line per run of any status, with its reason."""
    ordered = frames.runs.sort_values(["dataset", "method", "budget", "variant", "seed", "folder"], kind="stable")
    return from_frame(ordered[list(RUN_FIELDS)])


def without_noise(difference: float | None) -> float | None:
    """A difference near 0 has its first digits from the last ones of what it is between."""
    return None if difference is None else round(difference, DECIMALS)


def from_frame(frame: pd.DataFrame, digits: str | None = DIGITS) -> str:
    """A table as CSV. Texts that a spreadsheet would take for formulas begin with an apostrophe."""
    shown = {
        name: pd.Series([_cell(value) for value in column], dtype=column.dtype, index=column.index)
        if pd.api.types.is_object_dtype(column.dtype) or pd.api.types.is_string_dtype(column.dtype)
        else column
        for name, column in frame.items()
    }
    return str(pd.DataFrame(shown).to_csv(index=False, float_format=digits, lineterminator="\n"))


def _cell(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    shown = visible(value)
    return f"'{shown}" if shown.lstrip()[:1] in _FORMULAS or shown.startswith(("\t", "\n")) else shown


def _line(table: Table, row: Row, shape: Shape, score: Score) -> dict[str, Any]:
    one, found, behind = table.manifests[shape], score.estimate, score.behind
    first = score.published[0] if score.published else None  # matches.csv has a paper's main table first
    return {
        "table": table.slug,
        "dataset": table.dataset,
        "dataset_hash": table.dataset_hash,
        "split": table.split,
        "way": shape.way,
        "shot": shape.shot,
        "query": table.query,
        "manifest": one.manifest,
        "tasks": one.tasks,
        "method": row.method,
        "title": row.title,
        "variant": row.variant,
        "group": row.group,
        "budget": row.budget,
        "supervised": row.supervised,
        "transductive": row.transductive,
        "outside_data": row.outside_data,
        "side": " ".join(row.side) or None,
        "cite": row.cite,
        "train_seconds": row.train_seconds,
        "peak_memory_mib": row.peak_memory_mib,
        "seeds": " ".join(map(str, score.seeds)),
        "accuracy": found.mean,
        "task_ci95": found.task_ci95,
        "seed_sd": found.seed_sd,
        "total_ci95": found.total_ci95,
        "standing": score.standing,
        "behind_best": None if behind is None else without_noise(behind.mean),
        "behind_low": None if behind is None else without_noise(behind.low),
        "behind_high": None if behind is None else without_noise(behind.high),
        "p": None if behind is None else behind.p,
        "p_holm": score.p_holm,
        "covers_seeds": None if behind is None else behind.covers_seeds,
        "published_table": None if first is None else first.provenance,
        "published_accuracy": None if first is None else first.accuracy,
        "published_ci95": None if first is None else first.ci95,
        "published_elsewhere": "; ".join(f"{p.label}: {p.accuracy:.4f}" for p in score.published[1:]) or None,
    }
