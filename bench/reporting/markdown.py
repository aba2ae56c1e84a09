"""The report as Markdown (GitHub's tables)."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from bench.leaderboard.table import Leaderboard
from bench.reporting.foreign import one_line
from bench.reporting.inspections import Section
from bench.reporting.rendering import environment, view


def markdown(
    leaderboard: Leaderboard,
    figures: Mapping[str, str],
    synthetic: Sequence[Section] = (),
    commands: Sequence[Sequence[str]] = (),
) -> str:
    """``figures``: file name -> address to link to; may be empty. ``synthetic``: measurements of
    synthetic tasks, likewise.

    ``commands``: for each table, the lines that make its runs again.
    """
    jinja = environment(autoescape=False)
    jinja.filters["md"] = escape
    jinja.filters["fence"] = fence
    template = jinja.get_template("report.md.j2")
    return template.render(**view(leaderboard, commands=commands), figures=figures, synthetic=synthetic)


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
