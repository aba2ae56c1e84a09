"""The tables as LaTeX, to be \\input into a paper that loads booktabs and graphicx."""

from __future__ import annotations

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
}


def latex(leaderboard: Leaderboard) -> str:
    """One ``table*`` per table, compact columns."""
    jinja = environment(
        autoescape=False, block_start_string="((*", block_end_string="*))", variable_start_string="(((",
        variable_end_string=")))", comment_start_string="((#", comment_end_string="#))",
    )  # fmt: skip
    jinja.filters["tex"] = escape
    return jinja.get_template("report.tex.j2").render(**view(leaderboard, compact=True))


def escape(text: str) -> str:
    """Text that LaTeX prints as it is."""
    return "".join(_SPECIAL.get(character, character) for character in " ".join(text.split()))
