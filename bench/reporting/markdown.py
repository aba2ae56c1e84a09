"""The report as Markdown (GitHub's tables)."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from bench.leaderboard.table import Leaderboard
from bench.reporting.foreign import one_line
from bench.reporting.grid import folded, grid, more
from bench.reporting.inspections import Section
from bench.reporting.layout import key
from bench.reporting.rendering import environment, view

LETTERS = 118
AROUND = 3
"""GitHub's column has room for so many digits; a cell takes the room of so many beside its text."""


def markdown(
    leaderboard: Leaderboard,
    figures: Mapping[str, str],
    synthetic: Sequence[Section] = (),
    commands: Sequence[Sequence[str]] = (),
    captions: Mapping[str, str] | None = None,
) -> str:
    """``figures``: file name -> address to link to; may be empty. ``synthetic``: measurements of
    synthetic tasks, likewise.

    ``commands``: for each table, the lines that make its runs again. ``captions``: file name -> what a figure shows.
    """
    jinja = environment(autoescape=False)
    jinja.filters |= {"md": escape, "fence": fence}
    shown = view(leaderboard, commands)
    for one in shown["tables"]:
        one["grid"] = grid(one["table"]).within(LETTERS, AROUND)
        one["key"] = key(one["table"], one["grid"].hidden())
        one["folded_titles"], one["folded"] = folded(one["table"])
        one["more_titles"], one["more"] = more(one["table"])
    return jinja.get_template("report.md.j2").render(
        **shown, figures=figures, synthetic=synthetic, captions=captions or {}
    )


def escape(text: str) -> str:
    """Text that Markdown shows as it is, also inside a table cell and where it begins a line."""
    text = one_line(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    text = re.sub(r"([\\`*_\[\]|~$])", r"\\\1", text)
    return re.sub(r"^(\d*)(.)", r"\1\\\2", text) if _STARTS.match(text) else text


_STARTS = re.compile(r"#{1,6}( |$)|[+-]( |$)|\d{1,9}[.)]( |$)|[=-]{2,}\s*$")
"""Headings, lists and rules, which Markdown finds at the beginning of a line."""


def fence(lines: Sequence[str]) -> str:
    """The marks round a code block that none of its lines can end."""
    runs = [len(found) for line in lines for found in re.findall(r"`+", line)]
    return "`" * max([3, *(length + 1 for length in runs)])
