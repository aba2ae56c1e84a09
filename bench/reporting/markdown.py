"""The report as Markdown (GitHub's tables)."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from bench.leaderboard.table import Leaderboard
from bench.reporting.inspections import Section
from bench.reporting.rendering import environment, view


def markdown(leaderboard: Leaderboard, figures: Mapping[str, str], invented: Sequence[Section] = ()) -> str:
    """``figures``: file name -> address to link to; may be empty. ``invented``: what the methods invent, likewise."""
    jinja = environment(autoescape=False)
    jinja.filters["md"] = escape
    return jinja.get_template("report.md.j2").render(**view(leaderboard), figures=figures, invented=invented)


def escape(text: str) -> str:
    """Text that Markdown shows as it is, also inside a table cell."""
    text = " ".join(text.split()).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return re.sub(r"([\\`*_\[\]|~])", r"\\\1", text)
