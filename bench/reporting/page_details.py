"""What opens below a line of the HTML board: everything that is known of the row, in words."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from bench.basics.side import SIDE
from bench.leaderboard.board import Line, Tier
from bench.leaderboard.columns import (
    ONE_SEED,
    as_printed,
    between,
    duration,
    images,
    memory,
    p_value,
    percent,
    points,
    published_numbers,
    seed_spread,
)
from bench.leaderboard.rows import Cost, Row
from bench.leaderboard.score_table import Shape
from bench.leaderboard.statistics import Difference
from bench.leaderboard.table import Table


@dataclass(frozen=True, slots=True)
class Fact:
    """What, and what is known of it."""

    what: str
    text: str
    code: bool = False


def details(line: Line, table: Table, leaders: Mapping[Shape, tuple[Tier, Line]]) -> Iterator[Fact]:
    """In the order in which they are shown."""
    row = line.row
    yield Fact("exact name", row.method, code=True)
    if row.variant:
        yield Fact("settings that tell it from a row of that name", row.variant, code=True)
    yield Fact("trained", f"{row.trained.text}; {_seeds(row)}")
    if row.facets:
        yield Fact("made of", ", ".join(f"{name}: {title}" for name, title in row.facets.items()))
    meanings = "; ".join(SIDE[word].meaning for word in row.side if word in SIDE)
    yield Fact("side information", f"{', '.join(row.side)}: {meanings}" if row.side else "none")
    for shape, title in table.columns.items():
        if shape in row.scores:
            yield Fact(title, ". ".join(_scores(line, table, shape, leaders)) + ".")
    for way, why in row.gaps.items():
        yield Fact(f"no {way}-way tasks", why)
    if cost := ", ".join(_cost(row.cost, row.peak_memory_mib)):
        yield Fact("cost", cost)
    if row.cite:
        yield Fact("to cite", row.cite)


def _seeds(row: Row) -> str:
    return f"training seed{'' if len(row.seeds) == 1 else 's'} {', '.join(map(str, row.seeds))}"


def _scores(line: Line, table: Table, shape: Shape, leaders: Mapping[Shape, tuple[Tier, Line]]) -> Iterator[str]:
    score, verdict = line.row.scores[shape], line.verdicts.get(shape)
    found = score.estimate
    yield f"{as_printed(score)} over {found.tasks:,} task{'' if found.tasks == 1 else 's'} alone"
    if found.seed_sd is not None:
        means = ", ".join(percent(mean) for mean in found.seed_means)
        yield f"Seeds: {means}; sd (n) {seed_spread(score)}"
    if verdict is not None and verdict.gap is not None:
        to = "the row above" if line.kind == "variant" else "the leader"
        yield f"To {to}: {_difference(verdict.gap, verdict.gap_p)}"
    if verdict is not None and verdict.gain is not None and table.board.floor is not None:
        yield f"Over {table.board.floor.name.lower()}: {_difference(verdict.gain, verdict.gain_p)}"
    if verdict is not None and verdict.overall is not None and shape in leaders:
        leader = table.board.name(leaders[shape][1].row)
        yield f"To {leader}, the leader of the board: {_difference(verdict.overall, verdict.overall_p)}"
    if line.shorter is not None and shape in line.over_shorter:
        yield f"Over its {line.shorter.trained.text}: {_difference(*line.over_shorter[shape])}"
    if score.published:
        yield f"Published, on other tasks: {published_numbers(score)}"


def _difference(found: Difference, p: float | None) -> str:
    reach = "" if found.covers_seeds else f" {ONE_SEED}"
    return f"{points(found.mean)}{reach} [{between(found)}], p {p_value(p)}"


def _cost(cost: Cost, mib: float) -> Iterator[str]:
    if not math.isnan(cost.images):
        yield f"{images(cost)} images through networks"
    for seconds, what in ((cost.gpu_seconds, "GPU"), (cost.cpu_seconds, "processor")):
        if not math.isnan(seconds) and seconds:
            yield f"{duration(seconds)} of {what} time"
    if not math.isnan(cost.seconds):
        yield f"{duration(cost.seconds)} by the clock on the wall, which other work on the machine makes longer"
    if not math.isnan(mib):
        yield f"{memory(mib)} of memory at most"
