"""The columns of the HTML board and their cells."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace

from bench.basics.side import marks
from bench.leaderboard.board import Line, Tier, Verdict, significant
from bench.leaderboard.columns import (
    DASH,
    NOT_RUN,
    ONE_SEED,
    TIED,
    accuracy,
    as_printed,
    epochs,
    gain,
    gap,
    images,
    labels_seen,
    memory,
    over_shorter,
    overall,
    p_value,
    points,
    published_numbers,
    rank,
    seed_spread,
    seeds,
    time,
)
from bench.leaderboard.rows import Row, Score
from bench.leaderboard.score_table import Shape
from bench.leaderboard.table import Table


@dataclass(frozen=True, slots=True)
class Column:
    """A column of the page."""

    key: str
    title: str
    hint: str
    shape: Shape | None = None
    over: str = ""
    """The title of its shape, where it begins the columns of that."""
    text: bool = False
    """Whether it holds words, not numbers."""
    shown: bool = True
    """Unasked."""

    @property
    def id(self) -> str:
        """Of a page's columns no two have the same."""
        return self.key if self.shape is None else f"{self.key}.{self.shape.way}w{self.shape.shot}s"


@dataclass(frozen=True, slots=True)
class Cell:
    """What stands in it: a number or words, what follows the number, and a grey line below."""

    text: str = ""
    rest: str = ""
    below: str = ""
    hint: str = ""
    value: float | None = None
    """What it is sorted by, where that cannot be read off the text."""
    strong: bool = False
    bad: bool = False


@dataclass(frozen=True, slots=True)
class _Of:
    """A column's definition: ``say`` is given the line and, for a column of a shape, the shape."""

    column: Column
    say: Callable[[Line, Shape], Cell]


def _number(said: str) -> Cell:
    text, _, rest = said.partition(" ")
    return Cell(text, rest)


def _row(key: str, title: str, hint: str, say: Callable[[Row], Cell], text: bool = False, shown: bool = True) -> _Of:
    return _Of(Column(key, title, hint, text=text, shown=shown), lambda line, _: say(line.row))


def _of_score(key: str, title: str, hint: str, say: Callable[[Score], str]) -> _Of:
    return _Of(Column(key, title, hint, shown=False), lambda line, shape: _number(say(line.row.scores[shape])))


def _of_verdict(key: str, title: str, hint: str, say: Callable[[Verdict], Cell]) -> _Of:
    return _Of(Column(key, title, hint, shown=False), lambda line, shape: say(line.verdicts[shape]))


def _p(p: float | None) -> Cell:
    return Cell(p_value(p), value=None if p is None else round(p, 6))


def _rank(line: Line, shape: Shape) -> Cell:
    return Cell(rank(line.verdicts[shape])) if shape in line.verdicts else Cell()


def _accuracy(line: Line, shape: Shape) -> Cell:
    leads = line.kind == "ranked" and line.verdicts[shape].standing in ("leader", "alone")
    return replace(_number(accuracy(line.row.scores[shape])), strong=leads)


def _gap(line: Line, shape: Shape) -> Cell:
    return _number(gap(line.verdicts[shape]))


def _gain(line: Line, shape: Shape) -> Cell:
    verdict = line.verdicts[shape]
    return replace(_number(gain(verdict)), bad=verdict.below_floor)


def _over_shorter(line: Line, shape: Shape) -> Cell:
    return _number(over_shorter(line, shape))


OF_SHAPE = (
    _Of(
        Column(
            "accuracy", "accuracy %", "mean over tasks ± 95 %: over tasks, and over seeds where a row has two or more"
        ),
        _accuracy,
    ),
    _Of(Column("gap", "gap", "to the leader of the section, on the same tasks, in points"), _gap),
    _Of(Column("gain", "gain", "over training from scratch, on the same tasks, in points"), _gain),
    _of_score("printed", "as papers print it", "mean ± 1.96 sd / √tasks: over tasks alone", as_printed),
    _of_score("sd", "seed sd (n)", "standard deviation over training seeds, and their number", seed_spread),
    _of_verdict("gap-p", "p of gap", "corrected (Holm) for all pairs of the section", lambda one: _p(one.gap_p)),
    _of_verdict("gain-p", "p of gain", "corrected (Holm) for all pairs of the section", lambda one: _p(one.gain_p)),
    _of_verdict(
        "overall", "to the board's leader", "where that is in another section", lambda one: _number(overall(one))
    ),
    _Of(Column("longer", "over shorter", "what the longer training brought, in points", shown=False), _over_shorter),
    _Of(
        Column("published", "published", "what papers print, on other tasks", text=True, shown=False),
        lambda line, shape: Cell(published_numbers(line.row.scores[shape])),
    ),
)

OF_ROW = (
    _row("epochs", "epochs", "of its generator or encoder", lambda row: Cell(epochs(row.trained)), text=True),
    _row("seeds", "seeds", "how many times it was trained", lambda row: Cell(seeds(row))),
    _row(
        "images",
        "images",
        "through networks while it was trained",
        lambda row: _cost(images(row.cost), row.cost.images),
    ),
    _row("time", "time", "of the processor or GPU; † by the clock on the wall", lambda row: _time(row)),
    _row(
        "side",
        "side",
        "what it used beside unlabelled images; letters below",
        lambda row: Cell(marks(row.side)),
        text=True,
    ),
    _row("memory", "memory", "peak", lambda row: _cost(memory(row.peak_memory_mib), row.peak_memory_mib), shown=False),
    _row("labels", "labels", "of which images", lambda row: Cell(labels_seen(row)), text=True, shown=False),
    *(
        _row(name, name, "", lambda row, name=name: Cell(row.facets.get(name, DASH)), text=True, shown=False)  # type: ignore[misc]
        for name in ("learner", "generator", "encoder", "classifier", "backbone", "views")
    ),
)


def _cost(said: str, value: float) -> Cell:
    return Cell(said, value=None if math.isnan(value) else round(value, 3))


def _time(row: Row) -> Cell:
    said = time(row.cost)
    number = next(
        (s for s in (row.cost.gpu_seconds, row.cost.cpu_seconds) if not math.isnan(s) and s), row.cost.seconds
    )
    text, mark = (said[:-2], said[-1]) if said.endswith("†") else (said, "")
    return replace(_cost(text, number), rest=mark)


def columns(table: Table) -> tuple[Column, ...]:
    """Rank, the columns of each way and shot, the row's own; without those that say nothing of any row."""
    return tuple(one.column for one in _used(table))


def _used(table: Table) -> Iterator[_Of]:
    lines = list(table.board.lines())
    for number, (shape, title) in enumerate(table.columns.items()):
        hint = f"1 + how many of its section are significantly better, {title}"
        found = [_Of(Column("rank", "#", hint, shape), _rank)]
        found += [replace(one, column=replace(one.column, shape=shape)) for one in OF_SHAPE]
        kept = [one for one in found if any(_says(one, line) for line in lines)]
        # The first rank stands before the name, so the title of its shape is over the accuracy.
        heads = next((i for i, one in enumerate(kept) if one.column.key == "accuracy" or number), 0)
        for i, one in enumerate(kept):
            yield replace(one, column=replace(one.column, over=title)) if i == heads else one
    counted = all(not math.isnan(line.row.cost.images) for line in lines if line.kind == "ranked")
    timed = any(not math.isnan(line.row.cost.cpu_seconds) for line in lines)
    for one in (one for one in OF_ROW if any(_says(one, line) for line in lines)):
        # The clock on the wall of a shared machine compares less than the images that are counted.
        aside = one.column.key == "time" and counted and not timed
        yield replace(one, column=replace(one.column, shown=False)) if aside else one


def _says(one: _Of, line: Line) -> bool:
    shape = one.column.shape
    if shape is not None and shape not in line.row.scores:
        return False
    if shape is not None and one.column.key == "printed":  # else it repeats the accuracy
        return line.row.scores[shape].estimate.total_ci95 is not None
    return one.say(line, shape or Shape(0, 0)).text not in ("", DASH)


def cells(
    line: Line, table: Table, used: tuple[Column, ...], leaders: Mapping[Shape, tuple[Tier, Line]], aside: bool
) -> Iterator[Cell]:
    """One for each of ``used``. ``aside``: with grey lines on other lengths of training."""
    says = {one.column.key: one.say for one in (*OF_SHAPE, *OF_ROW)} | {"rank": _rank}
    for column in used:
        shape = column.shape
        if shape is None:
            yield says[column.key](line, Shape(0, 0))
        elif shape not in line.row.scores:
            yield Cell(NOT_RUN, hint=line.row.gaps.get(shape.way, "")) if column.key == "accuracy" else Cell()
        else:
            found = says[column.key](line, shape)
            found = _with_aside(found, column.key, line, table, shape, leaders) if aside else found
            yield _with_longer(found, line, table, shape) if column.key == "gain" else found


def _with_longer(cell: Cell, line: Line, table: Table, shape: Shape) -> Cell:
    """What the next longer training of the same method brought."""
    lines = (one for tier in table.board.tiers for one in tier.ranked if one.shorter is line.row)
    longer = next((one for one in lines if shape in one.over_shorter), None)
    if line.kind != "ranked" or longer is None:
        return cell
    found, _ = longer.over_shorter[shape]
    mark = "" if found.covers_seeds else f" {ONE_SEED}"
    told = f"{points(found.mean)}{mark} at {longer.row.trained.iterations:,}"
    return replace(cell, below=", ".join(part for part in (cell.below, told) if part))


def _with_aside(
    cell: Cell, key: str, line: Line, table: Table, shape: Shape, leaders: Mapping[Shape, tuple[Tier, Line]]
) -> Cell:
    verdict = line.verdicts[shape]
    if key == "gain" and (brought := over_shorter(line, shape)):
        return replace(cell, below=brought)
    if key == "gap" and verdict.overall is not None and shape in leaders:
        tied = verdict.overall_p is not None and not significant(verdict.overall_p)
        parts = (points(verdict.overall.mean), "" if verdict.overall.covers_seeds else ONE_SEED, TIED if tied else "")
        leader = table.board.name(leaders[shape][1].row)
        hint = f"{overall(verdict)} to the leader of the whole board, {leader} ({leaders[shape][0].title})"
        return replace(cell, below=f"board {' '.join(part for part in parts if part)}", hint=hint)
    return cell
