"""A console that never cuts a word."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.measure import Measurement
from rich.table import Table

_WIDEST = 10_000


class Paper(Console):
    """Tables are as wide as their longest words need: a terminal folds what is wider, and it can still be copied."""

    def print(self, *objects: Any, **options: Any) -> None:
        """As of :class:`rich.console.Console`."""
        tables, terminal = [one for one in objects if isinstance(one, Table)], self.width
        self.width = max(terminal, *(self._keep_words(one) for one in tables)) if tables else terminal
        try:
            super().print(*objects, **options)
        finally:
            self.width = terminal

    def _keep_words(self, table: Table) -> int:
        """Let no column be narrower than its longest word, and share what is left; the width of the table then.

        The widths are fixed: Rich would take from a column what no fold can give, and cut what does not fit.
        """
        wide = self.options.update(width=_WIDEST)
        least, most = [], []
        for column in table.columns:
            cells = (column.header, *column.cells)
            for inner in (cell for cell in cells if isinstance(cell, Table)):
                self._keep_words(inner)
            sizes = [Measurement.get(self, wide, cell) for cell in cells]
            least.append(max(column.min_width or 0, *(size.minimum for size in sizes)))
            most.append(max(least[-1], *(size.maximum for size in sizes)))
            column.min_width = least[-1]
        frame = Measurement.get(self, wide, table).minimum - sum(least)
        wanted, spare = sum(most) - sum(least), max(0, self.width - frame - sum(least))
        if wanted > spare:
            for column, low, high in zip(table.columns, least, most):
                column.width = low + (high - low) * spare // wanted
        return frame + sum(least) + min(wanted, spare)
