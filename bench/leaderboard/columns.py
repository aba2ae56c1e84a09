"""How numbers of a board are written: plain text, which each format escapes."""

from __future__ import annotations

import math

from bench.leaderboard.board import Line, Verdict
from bench.leaderboard.published import Published
from bench.leaderboard.rows import Cost, Row, Score
from bench.leaderboard.score_table import Shape
from bench.leaderboard.statistics import Difference, Estimate
from bench.leaderboard.trained import Trained

DASH = "–"
NOT_RUN = "·"
ONE_SEED = "°"
"""Behind a difference that covers the draw of tasks only: one of the two rows was trained once."""
TIED = "="
BELOW = "↓"
"""Behind a gain that is a significant loss: worse than training from scratch."""
WALL = "†"
"""Behind a time by the clock on the wall."""


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


def reach(found: Estimate) -> float | None:
    """Half of the 95 % interval: over tasks and seeds where there are two seeds or more, else over tasks alone."""
    return found.task_ci95 if found.total_ci95 is None else found.total_ci95


def accuracy(score: Score) -> str:
    """With the interval over all that is known of its spread."""
    return f"{percent(score.estimate.mean)} {interval(reach(score.estimate))}"


def as_printed(score: Score) -> str:
    """As papers print it: the interval over tasks."""
    return f"{percent(score.estimate.mean)} {interval(score.estimate.task_ci95)}"


def rank(verdict: Verdict) -> str:
    """Empty for what has none."""
    return "" if verdict.rank is None else str(verdict.rank)


def gap(verdict: Verdict) -> str:
    """To the leader of the tier: ``−0.30 ° =``; a dash for the leader."""
    if verdict.gap is None:
        return DASH
    return _marked(verdict.gap, TIED if verdict.standing == "tied" else "")


def gain(verdict: Verdict) -> str:
    """Over training from scratch: ``+33.69``, ``−1.05 ↓``."""
    return DASH if verdict.gain is None else _marked(verdict.gain, BELOW if verdict.below_floor else "")


def overall(verdict: Verdict) -> str:
    """To the leader of the board, where that stands in another tier."""
    if verdict.overall is None:
        return ""
    return f"{_marked(verdict.overall)} (p {p_value(verdict.overall_p)})"


def _marked(found: Difference, mark: str = "") -> str:
    return " ".join(part for part in (points(found.mean), "" if found.covers_seeds else ONE_SEED, mark) if part)


def over_shorter(line: Line, shape: Shape) -> str:
    """What the longer training brought: ``+5.40 ° over 1,000``; empty where there is no shorter one."""
    if line.shorter is None or shape not in line.over_shorter:
        return ""
    return f"{_marked(line.over_shorter[shape][0])} over {line.shorter.trained.iterations:,}"


def epochs(trained: Trained) -> str:
    """Of generator and encoder: ``10 VAE``."""
    return ", ".join(f"{count:,} {title}" for title, count in trained.epochs) or DASH


def seeds(row: Row) -> str:
    """How many trainings."""
    return str(len(row.seeds))


def seed_spread(score: Score) -> str:
    """Standard deviation over training seeds and their number."""
    found = score.estimate
    return f"{DASH} (1)" if found.seed_sd is None else f"{percent(found.seed_sd)} ({found.seeds})"


def images(cost: Cost) -> str:
    """Through networks, in thousands or millions: ``1.25 M``."""
    if math.isnan(cost.images):
        return DASH
    for unit, size in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if cost.images >= size:
            return f"{cost.images / size:.3g} {unit}"
    return f"{cost.images:.0f}"


def time(cost: Cost) -> str:
    """Of the processor or the GPU where that is known, else by the clock on the wall: ``12.5 min †``."""
    if not math.isnan(cost.gpu_seconds) and cost.gpu_seconds:
        return f"{duration(cost.gpu_seconds)} GPU"
    if not math.isnan(cost.cpu_seconds):
        return f"{duration(cost.cpu_seconds)} CPU"
    return DASH if math.isnan(cost.seconds) else f"{duration(cost.seconds)} {WALL}"


def side(row: Row) -> str:
    """Side information, or a dash for none."""
    return ", ".join(row.side) or DASH


def published_numbers(score: Score) -> str:
    """Every printed number and how far ours is from it."""
    return "; ".join(_published(one, score) for one in score.published) or DASH


def _published(one: Published, score: Score) -> str:
    printed = "" if one.ci95 is None else f" {interval(one.ci95)}"
    return f"{one.label}: {percent(one.accuracy)}{printed} (ours {points(score.estimate.mean - one.accuracy)})"


def labels_seen(row: Row) -> str:
    """Of which images it was trained with labels."""
    return "meta-train" if row.supervised else "other images" if row.group == "transfer" else "none"
