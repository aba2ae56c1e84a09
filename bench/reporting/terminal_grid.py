"""A table for the terminal in which no word is cut, however narrow the window and however long a name."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderableType
from rich.table import Table as Rich
from rich.text import Text

from bench.reporting.foreign import one_line

AROUND = 3  # columns of the terminal: a cell's padding and its line


def text(content: str, style: str = "") -> Text:
    """What others wrote, as it is: no mark-up of rich, no sequence that a terminal obeys."""
    return Text(one_line(content), style=style)


@dataclass(frozen=True, slots=True)
class Grid:
    """Columns where they fit side by side; with fewer of them, where some may be left out; else every row as a block of
    lines.
    """

    title: str
    headings: Sequence[str]
    sections: Sequence[tuple[str, Sequence[Sequence[Text]]]]
    """Heading, which may be empty, and rows."""
    leaving: Sequence[int] = ()
    """Columns that may be left out, the first to go first."""
    name_at: int = 0
    """The column of the rows' names, which wraps before another is left out, and of the sections' headings."""
    least_name: int = 0
    """So many letters of it there are before a column is left out for them."""
    whole: bool = False
    """Whether no cell of another column wraps."""
    otherwise: Grid | None = None
    """In its place where not even the columns that stay fit."""
    below: Callable[[Sequence[int]], Sequence[Text]] = lambda _: ()
    """What is said below it, of the columns that are shown."""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[RenderableType]:
        """Decides when the width is known."""
        for found in (one for one in (self, self.otherwise) if one is not None):
            for kept, least_name in found._choices():
                widths = found._widths(kept, options.max_width, least_name)
                if widths is not None:
                    yield found._side_by_side(kept, widths)
                    yield from found.below(kept)
                    return
        yield from self._stacked()
        yield from self.below(range(len(self.headings)))

    def _choices(self) -> Iterator[tuple[list[int], int]]:
        """(columns, letters that the name has at least): all of them, then one fewer at a time."""
        for number in range(len(self.leaving) + 1):
            kept = [i for i in range(len(self.headings)) if i not in self.leaving[:number]]
            yield kept, 0 if number == len(self.leaving) else self.least_name

    def _side_by_side(self, kept: Sequence[int], widths: Sequence[int]) -> Rich:
        found = Rich(title=text(self.title, "bold"), title_justify="left")
        for i, width in zip(kept, widths):
            found.add_column(text(self.headings[i]), overflow="fold", width=width)
        for heading, rows in self.sections:
            found.add_section()
            if heading:
                found.add_row(*("" if i != self.name_at else text(heading, "italic") for i in kept))
            for row in rows:
                found.add_row(*(row[i] for i in kept))
        return found

    def _widths(self, kept: Sequence[int], available: int, least_name: int) -> list[int] | None:
        """Of the columns ``kept``; None where not every word fits."""
        columns = {i: [self.headings[i]] for i in kept}
        for heading, rows in self.sections:
            columns[self.name_at].append(heading)
            for row in rows:
                for i in kept:
                    columns[i].append(row[i].plain)
        widths = [max(map(cell_len, columns[i])) for i in kept]
        least = [max((cell_len(word) for cell in columns[i] for word in cell.split()), default=0) for i in kept]
        for x, i in enumerate(kept):
            if i == self.name_at:
                least[x] = max(least[x], min(widths[x], least_name))
            elif self.whole:  # only the heading wraps
                widths[x] = least[x] = max([least[x], *map(cell_len, columns[i][1:])])
        over = sum(widths) + AROUND * len(widths) + 1 - available
        while over > 0:
            x = max(range(len(widths)), key=lambda x: (widths[x] > least[x], widths[x]))
            if widths[x] <= least[x]:
                return None
            widths[x] -= 1
            over -= 1
        return widths

    def _stacked(self) -> Iterator[RenderableType]:
        yield text(self.title, "bold")
        for heading, rows in self.sections:
            if heading:
                yield text(heading, "italic")
            for row in rows:
                yield Text.assemble("• ", row[self.name_at])
                for i, (title, cell) in enumerate(zip(self.headings, row)):
                    if cell.plain and i != self.name_at:
                        yield Text.assemble("    ", text(title, "dim"), "  ", cell)
