"""The Jinja templates of the reports, and what they are given."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jinja2

from bench.leaderboard.headline import headlines
from bench.leaderboard.table import Leaderboard
from bench.reporting import layout
from bench.reporting.foreign import visible


def environment(autoescape: bool, **syntax: str) -> jinja2.Environment:
    """Undefined names are errors."""
    return jinja2.Environment(
        loader=jinja2.PackageLoader("bench.reporting", "templates"),
        autoescape=autoescape,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        finalize=_shown,
        **syntax,  # type: ignore[arg-type]
    )


def _shown(value: Any) -> Any:
    return visible(value) if type(value) is str else value


def view(leaderboard: Leaderboard, commands: Sequence[Sequence[str]] = ()) -> dict[str, Any]:
    """The variables of every template. ``commands``: for each table, the lines that make its runs again."""
    return {
        "datasets": ", ".join(dict.fromkeys(table.dataset for table in leaderboard.tables)),
        "tables": [
            {
                "table": table,
                "title": table.title,
                "slug": table.slug,
                "headlines": headlines(table),
                "key": layout.key(table),
                "evaluated": layout.evaluated(table),
                "provenance": layout.provenance(table),
                "notes": layout.notes(table),
                "side": layout.side_information(table),
                "commands": commands[number] if number < len(commands) else (),
            }
            for number, table in enumerate(leaderboard.tables)
        ],
        "unfinished": leaderboard.unfinished,
        "problems": leaderboard.problems,
        "accounted": layout.accounted(leaderboard),
        "how_to_read": layout.HOW_TO_READ,
    }
