"""The report as one HTML file that needs nothing else: styles inline, figures embedded."""

from __future__ import annotations

import base64
from collections.abc import Mapping

from bench.leaderboard.table import Leaderboard
from bench.reporting.rendering import environment, view


def html(leaderboard: Leaderboard, figures: Mapping[str, bytes]) -> str:
    """``figures``: file name -> PNG."""
    embedded = {name: f"data:image/png;base64,{base64.b64encode(png).decode()}" for name, png in figures.items()}
    return environment(autoescape=True).get_template("report.html.j2").render(**view(leaderboard), figures=embedded)
