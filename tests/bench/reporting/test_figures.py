"""Labels of the leaderboard's figures."""

import numpy as np
import pytest
from synthetic_runs import write_run

from bench.leaderboard.loading import load
from bench.leaderboard.table import build
from bench.reporting import figures

USUAL = "paper,generator_epochs=10,meta_iterations=1000"


@pytest.mark.parametrize(
    ("budget", "shown"),
    [
        ("paper,encoder_epochs=14,generator_epochs=10,meta_iterations=1000", "encoder_epochs=14"),
        ("paper,generator_epochs=0,meta_iterations=1000", "generator_epochs=0"),
        ("paper,meta_iterations=5000", "budget paper,meta_iterations=5000"),
        ("paper", "budget paper"),
        ("quick,generator_epochs=10,meta_iterations=1000", "budget quick,generator_epochs=10,meta_iterations=1000"),
    ],
)
def test_a_budget_beside_the_usual_one(budget, shown):
    assert figures._beside(budget, USUAL) == shown


def test_rows_of_the_usual_budget_name_none_and_a_note_says_which_it_is(tmp_path, monkeypatch):
    for method, budget in (("alpha", USUAL), ("beta", USUAL), ("alpha", "paper"), ("gamma", f"{USUAL},x=1")):
        write_run(tmp_path, method, budget=budget, key=budget, curve=20)
    (table,) = build(load(tmp_path)).tables
    labels = figures._labels(table, table.rows)
    assert sorted(labels) == ["ALPHA", "ALPHA (budget paper)", "BETA", "GAMMA (x=1)"]
    drawn = []
    monkeypatch.setattr(figures, "png", drawn.append)
    figures.intervals(table)
    steps = np.arange(1, 30)
    curves = {run: {"loss": np.stack([steps, 0.5**steps])} for row in table.rows for run in row.runs}
    with figures.house_style():
        figures.learning(table, curves)
    for figure in drawn:
        assert [text.get_text() for text in figure.texts] == [f"Budget, where none is named: {USUAL}"]
    drawn[1].draw_without_rendering()
    ticks = [label.get_text() for label in drawn[1].axes[-1].get_yticklabels()]
    assert "0.01" in ticks
    assert not any("$" in text for text in ticks), "formulas are not typeset here"
