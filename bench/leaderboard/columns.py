"""The columns of a printed table. A column is a title and a function to plain text; each format escapes the
text.

To add a column, add one line to ROW_COLUMNS or SCORE_COLUMNS.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from bench.leaderboard.published import Published
from bench.leaderboard.statistics import Difference
from bench.leaderboard.table import Row, Score

T = TypeVar("T")
DASH = "–"
NOT_RUN = "·"


@dataclass(frozen=True, slots=True)
class Column(Generic[T]):
    """One column of a table of rows, or of the scores of one shot."""

    title: str
    text: Callable[[T], str]
    compact: bool = True
    """Whether narrow formats (terminal, LaTeX) show it."""
    strong: Callable[[T], bool] = lambda _: False
    in_headings: bool = False
    """Whether the headings say it where the rows of a table differ in it."""


def percent(fraction: float) -> str:
    """0.8326 -> ``83.26``."""
    return f"{100 * fraction:.2f}"


def points(fraction: float) -> str:
    """0.0123 -> ``+1.23``."""
    return f"{100 * fraction:+.2f}".replace("-", "−")


def interval(half: float | None) -> str:
    """0.0123 -> ``± 1.23``; a dash after the sign where there is none."""
    return f"± {DASH if half is None else percent(half)}"


def between(found: Difference) -> str:
    """``−0.50 to +1.23``, or a dash."""
    return DASH if found.low is None or found.high is None else f"{points(found.low)} to {points(found.high)}"


def p_value(p: float | None) -> str:
    """Three decimals, never ``0.000``; or a dash."""
    return DASH if p is None else "< 0.001" if p < 0.001 else f"{p:.3f}"


def duration(seconds: float) -> str:
    """In the unit that leaves a readable number."""
    if math.isnan(seconds):
        return DASH
    if seconds < 90:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.1f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def memory(mib: float) -> str:
    """MiB or GiB."""
    if math.isnan(mib):
        return DASH
    return f"{mib:.0f} MiB" if mib < 1024 else f"{mib / 1024:.1f} GiB"


def accuracy(score: Score) -> str:
    """As papers print it."""
    return f"{percent(score.estimate.mean)} {interval(score.estimate.task_ci95)}"


def accuracy_and_standing(score: Score) -> str:
    """With ``=`` for tied with the best."""
    return accuracy(score) + (" =" if score.standing == "tied" else "")


def seed_spread(score: Score) -> str:
    """Standard deviation over training seeds and their number."""
    found = score.estimate
    return f"{DASH} (1)" if found.seed_sd is None else f"{percent(found.seed_sd)} ({found.seeds})"


def total_interval(score: Score) -> str:
    """The interval over tasks and seeds."""
    half = score.estimate.total_ci95
    return DASH if half is None else interval(half)


def standing(score: Score) -> str:
    """Best, tied, or how far behind."""
    if score.behind is None:
        return "best" if score.standing == "best" else DASH
    told = f"{points(-score.behind.mean)} (p {p_value(score.p_holm)})"
    return f"tied, {told}" if score.standing == "tied" else told


def published_numbers(score: Score) -> str:
    """Every printed number and how far ours is from it."""
    return "; ".join(_published(one, score) for one in score.published) or DASH


def _published(one: Published, score: Score) -> str:
    printed = "" if one.ci95 is None else f" {interval(one.ci95)}"
    return f"{one.label}: {percent(one.accuracy)}{printed} (ours {points(score.estimate.mean - one.accuracy)})"


def labels_seen(row: Row) -> str:
    """Of which images it was trained with labels."""
    return "meta-train" if row.supervised else "other images" if row.group == "transfer" else "none"


ROW_COLUMNS: tuple[Column[Row], ...] = (
    Column("method", lambda row: row.label),
    Column("budget", lambda row: row.budget, in_headings=True),
    Column("labels", labels_seen),
    Column("side information", lambda row: ", ".join(row.side) or "none"),
    Column("training", lambda row: duration(row.train_seconds), compact=False),
    Column("peak memory", lambda row: memory(row.peak_memory_mib), compact=False),
)

SCORE_COLUMNS: tuple[Column[Score], ...] = (
    Column("accuracy %", accuracy_and_standing, strong=lambda score: score.standing == "best"),
    Column("seeds: sd (n)", seed_spread),
    Column("tasks and seeds", total_interval, compact=False),
    Column("against the best", standing, compact=False),
    Column("published", published_numbers, compact=False),
)
