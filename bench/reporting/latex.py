"""The tables as LaTeX, to be \\input into a paper that loads booktabs and graphicx."""

from __future__ import annotations

import jinja2

from bench.leaderboard.table import Leaderboard
from bench.reporting.rendering import environment, view

_SPECIAL = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"\textquotedbl{}",
    "±": r"$\pm$",
    "−": r"$-$",
    "–": "--",
    "·": r"$\cdot$",
    "√": r"$\surd$",
    "≥": r"$\geq$",
    "α": r"$\alpha$",
    "ε": r"$\epsilon$",
    "σ": r"$\sigma$",
    "²": r"$^2$",
}


def latex(leaderboard: Leaderboard) -> str:
    """One ``table*`` per table, compact columns."""
    return jinja().get_template("report.tex.j2").render(**view(leaderboard, compact=True))


def jinja() -> jinja2.Environment:
    """Templates with delimiters that LaTeX does not use, and the filter ``tex``."""
    found = environment(
        autoescape=False, block_start_string="((*", block_end_string="*))", variable_start_string="(((",
        variable_end_string=")))", comment_start_string="((#", comment_end_string="#))",
    )  # fmt: skip
    found.filters["tex"] = escape
    return found


def escape(text: str) -> str:
    """Text that LaTeX prints as it is."""
    return "".join(_SPECIAL.get(character, character) for character in " ".join(text.split()))
