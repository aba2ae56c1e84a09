"""Figures of a leaderboard as PNG and SVG bytes."""

from __future__ import annotations

from collections.abc import Collection

from bench.leaderboard.table import Leaderboard
from bench.reporting import intervals, learning, pareto
from bench.reporting.curves import Curves
from bench.reporting.figures_style import Caption, house_style, png, svg

KINDS = ("png", "svg")


def draw(leaderboard: Leaderboard, curves: Curves, kinds: Collection[str] = KINDS) -> dict[str, bytes]:
    """File name -> PNG or SVG, for every table: intervals, accuracy against cost and learning curves, where there are
    any; ``<slug>.intervals``, ``<slug>.cost``, ``<slug>.curves``, each of ``kinds``.

    The same input gives the same bytes.
    """
    found = {}
    told = captions(leaderboard)
    with house_style():
        for table in leaderboard.tables:
            figures = {
                f"{table.slug}.intervals": intervals.picture(table),
                f"{table.slug}.cost": pareto.picture(table),
                f"{table.slug}.curves": learning.picture(table, curves),
            }
            for stem, figure in figures.items():
                if figure is not None and "png" in kinds:
                    found[f"{stem}.png"] = png(figure)
                if figure is not None and "svg" in kinds:
                    found[f"{stem}.svg"] = svg(figure, stem, told[stem].alt)
    return found


def captions(leaderboard: Leaderboard) -> dict[str, Caption]:
    """File name without its ending -> what to say of that figure, for all that :func:`draw` may make."""
    found = {}
    for table in leaderboard.tables:
        found[f"{table.slug}.intervals"] = intervals.caption(table)
        found[f"{table.slug}.cost"] = pareto.caption(table)
        found[f"{table.slug}.curves"] = learning.caption(table)
    return found
