"""The report as one HTML file that needs nothing else: styles inline, figures embedded."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence

from bench.leaderboard.table import Leaderboard
from bench.reporting.inspections import Section
from bench.reporting.rendering import environment, view


def html(
    leaderboard: Leaderboard,
    figures: Mapping[str, bytes],
    synthetic: Sequence[Section] = (),
    commands: Sequence[Sequence[str]] = (),
) -> str:
    """``figures``: file name -> PNG. ``synthetic``: measurements of the methods' synthetic tasks; may be empty.

    ``commands``: for each table, the lines that make its runs again.
    """
    embedded = {name: f"data:image/png;base64,{base64.b64encode(png).decode()}" for name, png in figures.items()}
    template = environment(autoescape=True).get_template("report.html.j2")
    return template.render(**view(leaderboard, commands=commands), figures=embedded, synthetic=synthetic)
