"""Experiments of a paper as LaTeX tables: parts of a cell side by side where there is room, else below each other."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bench.reporting.latex_tables import BETWEEN, LEAST_NAME, MOST_LINES, WIDTH, slug
from bench.reporting.latex_text import breakable

DIGIT = 0.52
"""Em of a letter in a cell of numbers, about."""


@dataclass(frozen=True, slots=True)
class PaperPart:
    """What one page has room for. All of it is LaTeX but ``label`` and headings."""

    label: str
    part: str
    """``part 2 of 3``; empty where there is one."""
    long: bool
    columns: str
    """The argument of ``tabular``; ``WIDTH`` in it stands for the width that it may have."""
    width: int
    head: tuple[str, ...]
    sections: tuple[tuple[str, tuple[str, ...]], ...]


_Lines = list[tuple[str, int]]
"""LaTeX, and on how many lines of a page."""


def paper_parts(table: Mapping[str, Any], label: str) -> list[PaperPart]:
    """Of a table as the templates of paper tables see it."""
    width = _width(table, range(len(table["parts"])))
    stacked = len(table["parts"]) > 1 and WIDTH - width < LEAST_NAME
    width = max(_width(table, [i]) for i in range(len(table["parts"]))) if stacked else width
    cells = len(table["columns"]) * (1 if stacked else len(table["parts"]))
    wraps = WIDTH - width < LEAST_NAME
    each = (WIDTH - LEAST_NAME - BETWEEN) / cells - BETWEEN
    width = WIDTH - LEAST_NAME if wraps else width
    spec = rf">{{\raggedright\arraybackslash}}p{{{each:.2f}em}}" if wraps else "l"
    sections = [
        (heading, list(_lines(table, rows, stacked, WIDTH - width, each if wraps else WIDTH)))
        for heading, rows in table["sections"]
    ]
    pages = list(_pages(sections))
    return [
        PaperPart(
            label=f"{label}{'' if not number else f'-{number + 1}'}",
            part=f"part {number + 1} of {len(pages)}" if len(pages) > 1 else "",
            long=_height(page) > MOST_LINES + 2,
            columns=rf">{{\raggedright\arraybackslash}}p{{\dimexpr WIDTH-{width:.2f}em\relax}}" + spec * cells,
            width=1 + cells,
            head=tuple(_head(table, stacked)),
            sections=tuple((heading, tuple(line for line, _ in lines)) for heading, lines in page),
        )
        for number, page in enumerate(pages)
    ]


def _width(table: Mapping[str, Any], parts: Sequence[int]) -> float:
    """Em of the columns of numbers, with these parts of every cell."""
    total = 0.0
    for i, title in enumerate(table["columns"]):
        each = []
        for part in parts:
            texts = [cells[i][part].text for _, rows in table["sections"] for _, cells in rows]
            heading = title if len(parts) == 1 else table["parts"][part].title
            each.append(max(map(len, [*texts, *heading.split()]), default=0) * DIGIT + BETWEEN)
        total += sum(each)
    return total + BETWEEN


def _head(table: Mapping[str, Any], stacked: bool) -> Iterator[str]:
    several = 1 if stacked else len(table["parts"])
    if len(table["columns"]) > 1 and several > 1:
        yield "".join(rf" & \multicolumn{{{several}}}{{c}}{{{breakable(title)}}}" for title in table["columns"])
        titles = [part.title for _ in table["columns"] for part in table["parts"]]
    elif several > 1:
        titles = [part.title for part in table["parts"]]
    else:
        titles = list(table["columns"])
    yield " & ".join([breakable(table["corner"]), *map(_below, titles)])


def _below(title: str) -> str:
    """Words of a title below each other."""
    words = r" \\ ".join(map(breakable, title.split()))
    return rf"\shortstack[l]{{{words}}}" if " " in title.strip() else words


def _lines(
    table: Mapping[str, Any], rows: Sequence[tuple[str, Sequence[Any]]], stacked: bool, name: float, cell: float
) -> Iterator[tuple[str, int]]:
    """``name``, ``cell``: em of their columns."""

    def line(label: str, texts: Sequence[str], shown: str) -> tuple[str, int]:
        needs = [len(label) * 0.42 / name, *(len(text) * DIGIT / cell for text in texts)]
        return " & ".join([shown, *map(breakable, texts)]), 1 + max(map(int, needs))

    for label, cells in rows:
        if not stacked:
            yield line(label, [said.text for cell in cells for said in cell], breakable(label))
            continue
        for number, part in enumerate(table["parts"]):
            texts = [cell[number].text for cell in cells]
            if any(texts) or not number:
                shown = breakable(label) if not number else rf"\quad {breakable(part.title)}"
                yield line(label if not number else part.title, texts, shown)


def _pages(sections: Sequence[tuple[str, _Lines]]) -> Iterator[list[tuple[str, _Lines]]]:
    """Sections that fit on one page together."""
    page: list[tuple[str, _Lines]] = []
    for section in sections:
        if page and _height([*page, section]) > MOST_LINES:
            yield page
            page = []
        page.append(section)
    if page:
        yield page


def _height(page: Sequence[tuple[str, _Lines]]) -> int:
    return sum(sum(lines for _, lines in found) + 1 for _, found in page)


def label(experiment: str, number: int) -> str:
    """``tab:table7``, ``tab:table7-training-2``."""
    return f"tab:{slug(experiment)}" + (f"-training-{number}" if number > 1 else "")
