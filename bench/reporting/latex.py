"""The tables as LaTeX, to be \\input into a paper that loads booktabs, longtable and siunitx."""

from __future__ import annotations

import jinja2

from bench.basics.side import SIDE
from bench.leaderboard.table import Leaderboard
from bench.reporting.latex_tables import folded_lines, latex_tables
from bench.reporting.latex_text import breakable, escape
from bench.reporting.rendering import environment, view


def latex(leaderboard: Leaderboard) -> str:
    """A ``table*`` for each table, several where one page has no room for it; ``longtable`` for a long section."""
    shown = view(leaderboard)
    for one in shown["tables"]:
        one["parts"], one["folded"] = latex_tables(one["table"]), folded_lines(one["table"])
    return jinja().get_template("report.tex.j2").render(**shown, mark={word: one.mark for word, one in SIDE.items()})


def jinja() -> jinja2.Environment:
    """Templates with delimiters that LaTeX does not use, and the filter ``tex``."""
    found = environment(
        autoescape=False, block_start_string="((*", block_end_string="*))", variable_start_string="(((",
        variable_end_string=")))", comment_start_string="((#", comment_end_string="#))",
    )  # fmt: skip
    found.filters |= {"tex": escape, "breakable": breakable}
    return found
