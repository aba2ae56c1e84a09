"""The board for narrow formats: one grid of plain text, whose columns go one after the other where there is no room."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from bench.basics.side import marks
from bench.leaderboard import columns as write
from bench.leaderboard.board import Board, Line, Verdict
from bench.leaderboard.columns import BELOW, DASH, NOT_RUN, TIED
from bench.leaderboard.rows import GROUPS, Row, Score
from bench.leaderboard.score_table import Shape
from bench.leaderboard.table import Table
from bench.reporting.layout import Cell, differs

Key = Literal["rank", "method", "accuracy", "gap", "gain", "seeds", "side", "cost", "epochs"]

LEAST_NAME = 28
"""Letters that a method's name has before a column is left out for it; a longer name wraps."""


@dataclass(frozen=True, slots=True)
class Column:
    """``shape``: of which column of the table it tells; None of the row itself."""

    key: Key
    title: str
    shape: Shape | None = None


@dataclass(frozen=True, slots=True)
class GridRow:
    """A line of the board as cells, one a column."""

    line: Line
    cells: tuple[Cell, ...]


@dataclass(frozen=True, slots=True)
class Section:
    """A tier, or a group of references."""

    heading: str
    rows: tuple[GridRow, ...]


@dataclass(frozen=True, slots=True)
class Grid:
    """What a narrow format shows of a board."""

    columns: tuple[Column, ...]
    sections: tuple[Section, ...]

    @property
    def titles(self) -> list[str]:
        """One a column."""
        return [column.title for column in self.columns]

    @property
    def name_at(self) -> int:
        """Which column the methods are in."""
        return next(i for i, column in enumerate(self.columns) if column.key == "method")

    def cells(self, i: int) -> list[str]:
        """The texts of a column below its title, headings of sections left out."""
        return [row.cells[i].text for section in self.sections for row in section.rows]

    def leaving(self) -> list[int]:
        """Columns that may be left out, the least important first; rank, method and accuracies stay."""
        return sorted(
            (i for i, column in enumerate(self.columns) if column.key not in ("rank", "method", "accuracy")),
            key=lambda i: _importance(self.columns[i], self.columns),
        )

    def hidden(self) -> list[str]:
        """Columns that it does not have, of those whose marks need words: see :func:`bench.reporting.layout.key`."""
        shown = {
            "cost" if column.title == "time" else column.key for column in self.columns if column.title != "images"
        }
        return [name for name in ("gap", "gain", "cost") if name not in shown]

    def without(self, left_out: Sequence[int]) -> Grid:
        """The grid with the other columns."""
        kept = [i for i in range(len(self.columns)) if i not in left_out]
        return Grid(
            tuple(self.columns[i] for i in kept),
            tuple(
                Section(one.heading, tuple(GridRow(row.line, tuple(row.cells[i] for i in kept)) for row in one.rows))
                for one in self.sections
            ),
        )

    def within(self, letters: int, around: int) -> Grid:
        """With as many columns as ``letters`` have room for, where each takes ``around`` beside its text."""
        needs = [self._needs(i) + around for i in range(len(self.columns))]
        left_out: list[int] = []
        for i in self.leaving():
            if sum(needs) - sum(needs[j] for j in left_out) <= letters:
                break
            left_out.append(i)
        return self.without(left_out)

    def _needs(self, i: int) -> int:
        longest = max(map(len, [*self.cells(i), *self.columns[i].title.split()]), default=0)
        if self.columns[i].key != "method":
            return longest
        word = max((len(word) for cell in self.cells(i) for word in cell.split()), default=0)
        return max(min(longest, LEAST_NAME), word)


def grid(table: Table, intervals: bool = True) -> Grid:
    """The tiers of a table, then its references. A column that says nothing (a dash in every row) is left out.

    Rows without meta-training stand in every tier of the board; here they are printed in the first alone, and so is the
    floor not printed again among the references. ``intervals``: False for accuracies alone.
    """
    found = Grid(tuple(_columns(table)), tuple(_sections(table, intervals)))
    empty = [
        i
        for i, column in enumerate(found.columns)
        if column.key not in ("rank", "method", "accuracy") and not set(found.cells(i)) - {DASH, NOT_RUN, ""}
    ]
    return found.without(empty)


def printed(board: Board) -> Iterator[tuple[str, list[Line]]]:
    """(heading, lines) of a narrow format: tiers, then groups of references, none twice."""
    shown: set[int] = set()
    for tier in board.tiers:
        lines = [line for line in tier.lines if id(line.row) not in shown]
        shown |= {id(line.row) for line in lines if line.row is not board.floor}
        yield tier.title, lines
    groups: dict[str, list[Line]] = {}
    for line in board.references:
        if line.row is not board.floor or not board.tiers:
            groups.setdefault(line.row.group, []).append(line)
    for group, lines in groups.items():
        yield GROUPS.get(group, group), lines


def repeated(board: Board) -> bool:
    """Whether rows without meta-training stand in more than one tier."""
    return len(board.tiers) > 1 and any(not line.row.trained.iterations for line in board.tiers[0].ranked)


def _columns(table: Table) -> Iterator[Column]:
    yield Column("rank", "rank")
    yield Column("method", "method")
    for shape, title in table.columns.items():
        yield Column("accuracy", f"{title} accuracy %", shape)
        yield Column("gap", f"{title} gap", shape)
        yield Column("gain", f"{title} gain", shape)
    yield Column("seeds", "seeds")
    yield Column("side", "side")
    yield Column("cost", "images" if _counted(table) else "time")
    yield Column("epochs", "epochs")


def _importance(column: Column, columns: Sequence[Column]) -> int:
    """The higher, the longer it stays. Side information takes a letter, and a reader must know of it."""
    first = column.shape == next(one.shape for one in columns if one.shape is not None)
    order = ["gain", "epochs", "cost", "gap", "side", "seeds", "first gain", "first gap"]
    return order.index(f"first {column.key}" if column.key in ("gap", "gain") and first else column.key)


def _counted(table: Table) -> bool:
    """Whether it is known of every row how many images it took."""
    return all(row.cost.images == row.cost.images for row in table.rows)


def _sections(table: Table, intervals: bool) -> Iterator[Section]:
    columns = list(_columns(table))
    first = next(iter(table.manifests))
    for heading, lines in printed(table.board):
        names = _names(table.board, [line.row for line in lines])
        rows = (
            GridRow(line, tuple(_cell(table, line, name, column, first, intervals) for column in columns))
            for line, name in zip(lines, names)
        )
        yield Section(heading, tuple(rows))


def _names(board: Board, rows: Sequence[Row]) -> list[str]:
    """With the length of training where a section has a name twice, as ceilings of several lengths have."""
    names = [board.name(row) for row in rows]
    return [f"{name}, {row.trained.text}" if names.count(name) > 1 else name for name, row in zip(names, rows)]


def _cell(table: Table, line: Line, name: str, column: Column, first: Shape, intervals: bool) -> Cell:
    row = line.row
    if column.key == "method":
        return Cell(name)
    if column.shape is not None:
        score, verdict = row.scores.get(column.shape), line.verdicts.get(column.shape)
        if score is None or verdict is None:
            return Cell(NOT_RUN if column.key == "accuracy" else "")
        return _of_score(column.key, score, verdict, intervals)
    if column.key == "rank":
        return Cell(write.rank(line.verdicts[first]) if first in line.verdicts else "")
    return Cell(_of_row(column, row))


def _of_score(key: Key, score: Score, verdict: Verdict, intervals: bool) -> Cell:
    if key == "accuracy":
        told = write.accuracy(score) if intervals else write.percent(score.estimate.mean)
        return Cell(" ".join([told, *signs(verdict)]), verdict.standing == "leader")
    return Cell(gap(verdict) if key == "gap" else gain(verdict))


def signs(verdict: Verdict) -> list[str]:
    """What stands behind an accuracy, whichever other columns there is room for."""
    return [*([TIED] if verdict.standing == "tied" else []), *([BELOW] if verdict.below_floor else [])]


def gap(verdict: Verdict) -> str:
    """As :func:`bench.leaderboard.columns.gap`, without the sign of a tie, which stands at the accuracy."""
    return write.gap(verdict).removesuffix(f" {TIED}")


def gain(verdict: Verdict) -> str:
    """As :func:`bench.leaderboard.columns.gain`, without the sign of a loss, likewise."""
    return write.gain(verdict).removesuffix(f" {BELOW}")


def _of_row(column: Column, row: Row) -> str:
    if column.key == "seeds":
        return write.seeds(row)
    if column.key == "side":
        return marks(row.side) or DASH
    if column.key == "epochs":
        return write.epochs(row.trained)
    return write.images(row.cost) if column.title == "images" else write.time(row.cost)


@dataclass(frozen=True, slots=True)
class Folded:
    """What is folded below a row."""

    heading: str
    rows: tuple[tuple[str, ...], ...]
    """What differs, then accuracy and difference of every column."""


def folded(table: Table) -> tuple[list[str], list[Folded]]:
    """(titles, one for each row that has any): settings and shorter generators that have no rank."""
    several = len(table.columns) > 2
    told = [
        (shape, key)
        for number, shape in enumerate(table.columns)
        for key in ("accuracy %", "difference")
        if key == "accuracy %" or not several or not number
    ]
    titles = ["what differs", *(f"{table.columns[shape]} {key}" for shape, key in told)]
    blocks, seen = [], set[int]()
    for line in (*(line for tier in table.board.tiers for line in tier.ranked), *table.board.references):
        if not line.folded or id(line.row) in seen:
            continue
        seen.add(id(line.row))
        rows = [
            (differs(line.row, one.row), *(_beside(one, shape, key == "accuracy %") for shape, key in told))
            for one in line.folded
        ]
        length = f" ({line.row.trained.text})" if line.row.trained.text else ""
        blocks.append(Folded(table.board.name(line.row) + length, tuple(rows)))
    return titles, blocks


def _beside(line: Line, shape: Shape, accuracy: bool) -> str:
    if shape not in line.verdicts:
        return NOT_RUN if accuracy else ""
    return write.accuracy(line.row.scores[shape]) if accuracy else gap(line.verdicts[shape])


def more(table: Table) -> tuple[list[str], list[tuple[str, ...]]]:
    """(titles, a line a row, folded ones too): what each took, and the numbers that papers print."""
    rows = list({id(line.row): line.row for line in table.board.lines()}.values())
    printed = {shape: title for shape, title in table.columns.items() if any(_published(row, shape) for row in rows)}
    counted = _counted(table)
    titles = ["method", "trained", *(["images"] if counted else []), "time", "memory"]
    titles += [f"{title} published" for title in printed.values()]
    lines = [
        (
            table.board.name(row),
            row.trained.text,
            *([write.images(row.cost)] if counted else []),
            write.time(row.cost),
            write.memory(row.peak_memory_mib),
            *(write.published_numbers(row.scores[shape]) if shape in row.scores else NOT_RUN for shape in printed),
        )
        for row in rows
    ]
    return titles, lines


def _published(row: Row, shape: Shape) -> bool:
    return shape in row.scores and bool(row.scores[shape].published)
