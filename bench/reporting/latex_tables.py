"""The boards as LaTeX tables: which columns a page of ten points has room for; decimals stand in line."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from bench.basics.side import marks
from bench.leaderboard.board import Line
from bench.leaderboard.columns import DASH, NOT_RUN, ONE_SEED, percent, reach
from bench.leaderboard.table import Table
from bench.reporting import layout
from bench.reporting.grid import Column, Grid, GridRow, Section, grid, signs
from bench.reporting.latex_text import breakable

WIDTH = 38.0
"""Of a line of footnotesize in a class of ten points with one column, in em."""
LEAST_NAME = 12.0
"""So many em a method has at least before a column is left out for it."""
MOST_LINES = 40
"""More do not fit on a page."""
BETWEEN = 0.8
"""Em between two columns."""


@dataclass(frozen=True, slots=True)
class LatexTable:
    """Everything but ``label`` and the columns is plain text or, where it says so, LaTeX."""

    label: str
    part: str
    """``part 2 of 3``; empty where there is one."""
    long: bool
    """Too long for a page."""
    columns: str
    """LaTeX: the argument of ``tabular``; ``WIDTH`` in it stands for the width that it may have."""
    width: int
    """Number of columns."""
    head: tuple[str, ...]
    """LaTeX: lines."""
    sections: tuple[tuple[str, tuple[str, ...]], ...]
    """(heading, plain; lines, LaTeX)."""
    intervals: bool
    """Whether accuracies have one."""
    key: str


def latex_tables(table: Table) -> list[LatexTable]:
    """As many as its sections need pages."""
    whole = _fitting(table)
    parts = list(_parts(whole, _name_em(whole)))
    return [
        LatexTable(
            label=f"tab:{slug(table.slug)}{'' if not number else f'-{number + 1}'}",
            part=f"part {number + 1} of {len(parts)}" if len(parts) > 1 else "",
            long=sum(_lines(section.rows, whole.name_at, _name_em(whole)) + 1 for section in sections) > MOST_LINES + 2,
            columns="".join(_spec(whole, column) for column in whole.columns),
            width=sum(_cells_of(whole, column) for column in whole.columns),
            head=tuple(_head(table, whole)),
            sections=tuple((section.heading, tuple(_line(whole, row) for row in section.rows)) for section in sections),
            intervals=any(_has_spread(whole, column) for column in whole.columns if column.key == "accuracy"),
            key="; ".join(layout.key(table, [*whole.hidden(), "cost"])),
        )
        for number, sections in enumerate(parts)
    ]


def slug(text: str) -> str:
    """What a label may be made of."""
    return "".join(c if c.isascii() and (c.isalnum() or c == "-") else "-" for c in text)


def _fitting(table: Table) -> Grid:
    """The columns that there is room for; what a row took and its side information stand elsewhere."""
    for intervals in (True, False):
        found = grid(table, intervals)
        found = found.without([i for i, one in enumerate(found.columns) if one.key in ("side", "cost")])
        while _name_em(found) < LEAST_NAME and (leaving := found.leaving()):
            found = found.without(leaving[:1])
        if _name_em(found) >= LEAST_NAME:
            break
    return found


def _name_em(found: Grid) -> float:
    """What is left for the methods' names."""
    return WIDTH - sum(_em(found, column) + BETWEEN for column in found.columns if column.key != "method")


def _em(found: Grid, column: Column) -> float:
    """How wide a column is, in em of the fonts that LaTeX comes with: a digit is half of one."""
    texts = found.cells(found.columns.index(column))
    if column.key == "rank":
        return 2.1
    if column.key == "seeds":
        return 2.5
    if column.key == "epochs":
        return max((len(text) for text in texts), default=0) * 0.5
    before, after = _digits(found, column)
    number = (before + after) * 0.5 + 0.3
    if column.key == "accuracy":
        spreads = [one[1] for text in texts if (one := re.search(r"± (\d+)", text))]
        spread = 2.6 + 0.5 * max(map(len, spreads)) if spreads else 0.0
        return number + spread + 0.3 + 0.9 * max((text.count("=") + text.count("↓") for text in texts), default=0)
    return number + 0.9 + (0.6 if any(ONE_SEED in text for text in texts) else 0.0)


def _digits(found: Grid, column: Column) -> tuple[int, int]:
    """Before and behind the point, at most."""
    numbers = [re.match(r"[+−]?(\d+)\.(\d+)", text) for text in found.cells(found.columns.index(column))]
    known = [(len(one[1]), len(one[2])) for one in numbers if one]
    return max((a for a, _ in known), default=2), max((b for _, b in known), default=2)


def _parts(whole: Grid, name: float) -> Iterator[list[Section]]:
    """Sections that fit on one page together, in their order."""
    page: list[Section] = []
    lines = 0
    for section in whole.sections:
        more = _lines(section.rows, whole.name_at, name) + 1
        if page and lines + more > MOST_LINES:
            yield page
            page, lines = [], 0
        page.append(section)
        lines += more
    if page:
        yield page


def _lines(rows: Iterable[GridRow], name_at: int, name: float) -> int:
    return sum(1 + int(0.42 * len(_name(row, name_at)) / max(name, 4.0)) for row in rows)


def _name(row: GridRow, name_at: int) -> str:
    side = marks(row.line.row.side)
    return row.cells[name_at].text + (f" [{side}]" if side else "")


def _spec(found: Grid, column: Column) -> str:
    if column.key == "method":
        return rf">{{\raggedright\arraybackslash}}p{{\dimexpr WIDTH-{WIDTH - _name_em(found):.2f}em\relax}}"
    before, after = _digits(found, column)
    if column.key == "accuracy":
        spread = f"@{{${{}}\\pm{{}}$}}S[table-format={_spread(found, column)}]" if _has_spread(found, column) else ""
        return f"S[table-format={before}.{after}]{spread}@{{\\,}}l"
    if column.key in ("gap", "gain"):
        return f"S[table-format=+{before}.{after}]@{{}}l"
    return "l" if column.key == "epochs" else "r"


def _has_spread(found: Grid, column: Column) -> bool:
    return any("±" in text for text in found.cells(found.columns.index(column)))


def _spread(found: Grid, column: Column) -> str:
    halves = [re.search(r"± (\d+)\.(\d+)", text) for text in found.cells(found.columns.index(column))]
    return f"{max((len(one[1]) for one in halves if one), default=1)}.2"


def _cells_of(found: Grid, column: Column) -> int:
    if column.key == "accuracy":
        return 3 if _has_spread(found, column) else 2
    return 2 if column.key in ("gap", "gain") else 1


def _head(table: Table, found: Grid) -> Iterator[str]:
    """Groups of columns where the table has several, then the columns."""
    groups: list[tuple[str, int]] = []
    for column in found.columns:
        title = "" if column.shape is None else table.columns[column.shape]
        if groups and groups[-1][0] == title:
            groups[-1] = (title, groups[-1][1] + _cells_of(found, column))
        else:
            groups.append((title, _cells_of(found, column)))
    rules, start = [], 1
    for title, width in groups:
        if title:
            rules.append(rf"\cmidrule(lr){{{start}-{start + width - 1}}}")
        start += width
    yield " & ".join(
        rf"\multicolumn{{{n}}}{{c}}{{{_group(title, n)}}}" if title else "&" * (n - 1) for title, n in groups
    )
    yield "".join(rules)
    words = {"accuracy": "acc.", "gap": "gap", "gain": "gain"}
    yield " & ".join(
        rf"\multicolumn{{{_cells_of(found, column)}}}{{c}}{{{words[column.key]}}}"
        if column.key in words
        else column.key
        for column in found.columns
    )


def _group(title: str, columns: int) -> str:
    """A word below the other where it is narrow."""
    if columns > 3:
        return breakable(title)
    words = r" \\ ".join(map(breakable, title.split()))
    return rf"\shortstack{{{words}}}"


def _line(found: Grid, row: GridRow) -> str:
    return " & ".join(_cell(found, row, i) for i in range(len(found.columns)))


def _cell(found: Grid, row: GridRow, i: int) -> str:
    column, cell = found.columns[i], row.cells[i]
    if column.key == "accuracy":
        return _accuracy(found, row.line, column, cell.strong)
    if column.key in ("gap", "gain"):
        number = re.match(r"([+−]?)(\d+\.\d+)(.*)", cell.text)
        if not number:
            return f"{{{breakable(cell.text)}}} &"
        sign = "-" if number[1] == "−" else number[1]
        return f"{sign}{number[2]} & {breakable(number[3].strip())}"
    if column.key == "method":
        told = breakable(_name(row, i))
        return rf"\emph{{{told}}}" if row.line.kind == "reference" else told
    return breakable(cell.text)


def _accuracy(found: Grid, line: Line, column: Column, strong: bool) -> str:
    shape, cells = column.shape, _cells_of(found, column)
    assert shape is not None
    if shape not in line.verdicts:
        return rf"\multicolumn{{{cells}}}{{c}}{{{breakable(NOT_RUN)}}}"
    score = line.row.scores[shape]
    mean, half = percent(score.estimate.mean), reach(score.estimate)
    told = [f"{{\\bfseries {mean}}}" if strong else mean]
    if cells == 3:
        told.append(f"{{{breakable(DASH)}}}" if half is None else percent(half))
    return " & ".join([*told, "".join(map(breakable, signs(line.verdicts[shape])))])


def folded_lines(table: Table) -> int:
    """How many rows these tables leave out."""
    return sum(len(line.folded) for line in {id(line.row): line for line in table.board.lines()}.values())
