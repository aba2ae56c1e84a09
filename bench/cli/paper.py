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
        """Let no column be narrower than its longest word; the least width of the table then."""
        wide = self.options.update(width=_WIDEST)
        for column in table.columns:
            cells = (column.header, *column.cells)
            for inner in (cell for cell in cells if isinstance(cell, Table)):
                self._keep_words(inner)
            words = [Measurement.get(self, wide, cell).minimum for cell in cells]
            column.min_width = max(column.min_width or 0, *words)
        return Measurement.get(self, wide, table).minimum
