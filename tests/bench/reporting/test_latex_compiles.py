"""The LaTeX of a report, compiled: in one column and in two, without anything that sticks out of the page."""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from synthetic_runs import write_run
from test_reports import NASTY

from bench.leaderboard.loading import load
from bench.leaderboard.paper_tables import fill
from bench.leaderboard.table import build
from bench.planning.paper_layout import paper_layouts
from bench.reporting.latex import latex
from bench.reporting.paper_tables import to_latex

REPORTS = sorted(path.parent for path in (Path(__file__).parents[3] / "reports").glob("*/records"))
POINTS = 3.0
"""So much may stick out: the fonts of a page differ from the widths that are reckoned with."""

pytestmark = pytest.mark.skipif(shutil.which("pdflatex") is None, reason="pdflatex is not installed here")


def compiled(folder, texts, columns):
    """What pdflatex says of a paper with these tables; it must come to its end."""
    for number, text in enumerate(texts):
        (folder / f"table{number}.tex").write_text(text, encoding="ascii")
    inputs = "\n".join(rf"\input{{table{number}}}" for number in range(len(texts)))
    (folder / "paper.tex").write_text(
        rf"\documentclass[10pt,{columns}]{{article}}\usepackage{{booktabs,longtable,siunitx}}"
        rf"\begin{{document}}Text.{inputs}\clearpage Text.\end{{document}}"
    )
    line = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "-draftmode", "paper.tex"]
    for _ in range(2):  # a longtable knows its widths in the second run
        found = subprocess.run(line, cwd=folder, capture_output=True, check=False)
        said = found.stdout.decode("utf-8", "replace")
        assert found.returncode == 0, said[-2000:]
        if "Table widths have changed" not in said:
            break
    assert "Float too large" not in said
    assert "undefined" not in said
    assert [x for x in re.findall(r"Overfull \\hbox \(([\d.]+)pt", said) if float(x) > POINTS] == []
    return said


@pytest.mark.parametrize("columns", ["onecolumn", "twocolumn"])
@pytest.mark.parametrize("report", REPORTS, ids=lambda path: path.name)
def test_every_published_report(report, columns, tmp_path):
    frames = load(report / "records")
    papers = [found for one in paper_layouts() if (found := fill(one, frames)) is not None]
    compiled(tmp_path, [latex(build(frames)), *map(to_latex, papers)], columns)


@pytest.mark.parametrize("columns", ["onecolumn", "twocolumn"])
def test_names_of_any_kind(columns, tmp_path):
    write_run(tmp_path / "runs", "alpha", seed=0, shots=(1,), tasks=10)
    write_run(tmp_path / "runs", "beta", seed=0, shots=(1,), tasks=10)
    frames = load(tmp_path / "runs")
    for text in (
        NASTY,
        "x" * 120,
        "[1pt]",
        "*",
        "--",
        "中文 α ≥ 2 × µ ° † ↓ =",
        "\\input{/etc/passwd}",
        "a_b" * 40,
        "^^M%",
    ):
        runs = frames.runs.assign(title=text, dataset=text, budget=text, reason=text)
        odd = replace(frames, runs=runs.assign(title=[text, f"{text} {text}"]), problems=(text,))
        compiled(tmp_path, [latex(build(odd))], columns)


@pytest.mark.parametrize("columns", ["onecolumn", "twocolumn"])
def test_a_long_section_goes_over_several_pages(columns, tmp_path):
    for number in range(60):
        write_run(tmp_path / "runs", f"method-{number}", 0.3 + number / 200, shots=(1,), tasks=10)
    text = latex(build(load(tmp_path / "runs")))
    assert text.count(r"\begin{longtable}") == text.count(r"\label{") == 1
    assert r"\begin{tabular}" not in text
    compiled(tmp_path, [text], columns)
