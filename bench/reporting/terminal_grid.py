"""A table for the terminal in which no word is cut, however narrow the window and however long a name."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
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
    """Columns where their longest words fit side by side, else every row as a block of lines."""

    title: str
    headings: Sequence[str]
    sections: Sequence[tuple[str, Sequence[Sequence[Text]]]]
    """Heading, which may be empty, and rows."""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[RenderableType]:
        """Decides when the width is known."""
        widths = self._widths(options.max_width)
        if widths is None:
            yield from self._stacked()
            return
        found = Rich(title=text(self.title, "bold"), title_justify="left")
        for heading, width in zip(self.headings, widths):
            found.add_column(text(heading), overflow="fold", width=width)
        for heading, rows in self.sections:
            found.add_section()
            if heading:
                found.add_row(text(heading, "italic"))
            for row in rows:
                found.add_row(*row)
        yield found

    def _widths(self, available: int) -> list[int] | None:
        """Of every column; None where not every word fits."""
        columns = [[heading] for heading in self.headings]
        for heading, rows in self.sections:
            columns[0].append(heading)
            for row in rows:
                for column, cell in zip(columns, row):
                    column.append(cell.plain)
        widths = [max(map(cell_len, column)) for column in columns]
        least = [max((cell_len(word) for cell in column for word in cell.split()), default=0) for column in columns]
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
            for first, *rest in rows:
                yield Text.assemble("• ", first)
                for title, cell in zip(self.headings[1:], rest):
                    if cell.plain:
                        yield Text.assemble("    ", text(title, "dim"), "  ", cell)
