"""Experiments whose rows have lengths of their own: one table, the longest of each cell, cost, whose numbers."""

import csv
import itertools
from types import SimpleNamespace

import pytest
from paper_runs import write_cell
from synthetic_runs import of_omniglot

from bench.leaderboard.loading import load
from bench.leaderboard.paper_tables import fill
from bench.leaderboard.published import printed, published
from bench.leaderboard.trainings import _own
from bench.planning import catalogue
from bench.planning.paper_layout import paper_layout
from bench.planning.plan import Request, run_configs
from bench.reporting.report import write_report

MODERN = ("omniglot-modern", "ladder")


@pytest.mark.parametrize("name", MODERN)
def test_every_row_is_planned_at_both_ways_and_shots(name):
    layout = paper_layout(name)
    assert [(column.way, column.shot) for column in layout.columns] == [(5, 1), (5, 5), (20, 1), (20, 5)]
    configs = run_configs(Request(experiment=name, references=False))
    planned = [one.variant.name for one in configs]
    rows = {row[0].row.title: [one.name for one in row[0].variants()] for row in layout.cells()}
    assert [title for title, names in rows.items() if not names] == (["LF2CS"] if name == "omniglot-modern" else [])
    assert [name for names in rows.values() for name in names] == planned
    for one in configs:
        assert (one.values["ways"], one.values["shots"]) == ([5, 20], [1, 5])


def test_a_row_and_the_list_of_matches_name_the_same_number():
    """What stands in the experiment's table stands beside the run in any other report, and nothing else does."""
    seen = 0
    for cell in (cell for row in paper_layout("omniglot-modern").cells() for cell in row):
        number, _ = printed(cell.published, cell.shot, cell.way)
        for one in cell.variants():
            shape = {"way": cell.way, "shot": cell.shot, "query": 15}
            beside = published("omniglot", one.name, of_omniglot(), **shape)
            of_same = [other.accuracy for other in beside if number is not None and other.label == number.label]
            assert of_same == ([] if number is None else [number.accuracy]), (one.name, shape)
            assert number is not None or not beside
            seen += number is not None
    assert seen > 40


def test_the_ladder_changes_one_thing_a_rung():
    names = [row[0].methods[0] for row in paper_layout("ladder").cells()]
    rungs = [dict(text.split("=") for text in catalogue.variants()[name].overrides) for name in names[1:]]
    for before, after in itertools.pairwise(rungs):
        changed = {key for key in {*before, *after} if before.get(key) != after.get(key)}
        # Many small tasks are drawn from views alike, so that none of them is the image itself.
        assert len(changed - {"method.untouched"}) == 1, changed


@pytest.fixture
def runs(tmp_path):
    write_cell(tmp_path / "runs", "umtra-maml", 0.80, iterations=1000, epochs=None)
    write_cell(tmp_path / "runs", "umtra-maml", 0.84, iterations=5000, epochs=None, shots=(1, 5))
    write_cell(tmp_path / "runs", "umtra-maml", seed=1, iterations=9000, epochs=None, status="failed", reason="why")
    write_cell(tmp_path / "runs", "lasium-ro-gan-maml", 0.76, iterations=1000, epochs=30)
    write_cell(tmp_path / "runs", "lasium-ro-gan-maml", 0.72, iterations=1000, epochs=3)
    write_cell(tmp_path / "runs", "uflst-triplet", 0.92, iterations=16000, epochs=None)
    return tmp_path / "runs"


def test_lengths_share_a_table_with_the_longest_of_each_cell(runs):
    layout, frames = paper_layout("omniglot-modern"), load(runs)
    assert fill(layout, frames) is None, "unasked it is not made of runs that answered no 20-way task"
    filled = fill(layout, frames, everywhere=True)
    (table,) = filled.tables
    cells = {row[0].cell.row.title: row for row in table.rows}
    shown = {title: row[0].answer.estimate.mean for title, row in cells.items() if row[0].state == "done"}
    assert shown == {
        "UMTRA-MAML": pytest.approx(0.84),
        "LASIUM-RO-GAN-MAML": pytest.approx(0.76),
        "UFLST, hard triplets": pytest.approx(0.92),
    }
    assert cells["UMTRA-MAML"][0].reasons == ("training seed 1 failed: why",)
    assert [cell.state for cell in cells["UMTRA-MAML"]] == ["done", "done", "failed", "failed"]
    others = {cell.cell.row.title: (cell.answer.estimate.mean, told[0]) for cell, told in filled.singles}
    assert others == {
        "UMTRA-MAML": (pytest.approx(0.80), "recorded as paper,1000,None"),
        "LASIUM-RO-GAN-MAML": (pytest.approx(0.72), "recorded as paper,1000,3"),
    }


def test_precisions_share_a_table_with_the_most_seeds_of_each_cell_and_are_told(runs):
    for seed in range(3):
        more = {"budget": "paper,5000", "precision": "tf32", "shots": (1, 5)}
        write_cell(runs, "umtra-maml,precision=tf32", 0.88, seed=seed, iterations=5000, epochs=None, **more)
    filled = fill(paper_layout("omniglot-modern"), load(runs), everywhere=True)
    (table,) = filled.tables
    (found,) = (row[0] for row in table.rows if row[0].cell.row.title == "UMTRA-MAML")
    assert (found.answer.estimate.mean, found.answer.seeds) == (pytest.approx(0.88), (0, 1, 2))
    assert found.answer.budget == "paper,5000, precision=tf32"
    others = [told[0] for cell, told in filled.singles if cell.cell.row.title == "UMTRA-MAML"]
    assert others.count("recorded as paper,5000,None") == 2, "at 1 and 5 shots"
    # Other experiments keep precisions apart.
    assert len(fill(paper_layout("table1-omniglot"), load(runs)).tables) > 1


def test_what_the_table_asks_for_stands_in_it_however_long_something_else_was_trained(runs):
    write_cell(runs, "protoclr-strokes", 0.60, iterations=1000, epochs=None)
    write_cell(runs, "protoclr-strokes,alpha=0.4", 0.96, iterations=9000, epochs=None, alpha=0.4)
    filled = fill(paper_layout("ladder"), load(runs), everywhere=True)
    found = [cell for table in filled.tables for cell in table.cells if cell.state == "done"]
    assert [cell.answer.estimate.mean for cell in found] == [pytest.approx(0.60)]
    assert [told[0] for _, told in filled.singles] == ["recorded as protoclr-strokes,alpha=0.4, paper,9000,None"]


def test_other_experiments_keep_lengths_apart(runs):
    filled = fill(paper_layout("table1-omniglot"), load(runs))
    assert len(filled.tables) + len(filled.singles) > 1


def test_the_report_says_length_cost_and_whose_numbers(runs):
    out = runs.parent / "reports"
    write_report(runs, out, ["md", "html", "tex", "csv"], experiment="omniglot-modern")
    text = (out / "omniglot-modern.md").read_text()
    lines = {line.split(" | ")[0].strip("| "): line for line in text.splitlines() if line.startswith("| ")}
    assert "published 97.03<br>−5.03<br>trained in 150.0" not in lines["UFLST, hard triplets"]
    assert "published 97.03<br>−5.03<br>trained in 2.5 min" in lines["UFLST, hard triplets"]
    assert "published 74.25 (quoted)" in lines["UMTRA-MAML"]
    assert "published 97.65 ± 0.09" in lines["LF2CS"]
    assert "- Budget paper,16000,None: UFLST, hard triplets." in text
    assert "Published, LF2CS: Li et al. 2022, read at the source, readme/result\\_omniglot.png" in text
    assert "checkpoint chosen by labelled validation accuracy" in (out / "omniglot-modern.html").read_text()
    frame = {
        (line["row"], line["column"], line["table"]): line
        for line in csv.DictReader((out / "omniglot-modern.csv").read_text().splitlines())
    }
    line = frame["UFLST, hard triplets", "5-way 1-shot", "1"]
    assert float(line["train_seconds"]) == pytest.approx(150)
    assert line["published_source"].startswith("Ji et al. 2019, read at the source")
    assert frame["UMTRA-MAML", "20-way 5-shot", "1"]["published_source"].startswith(
        "Khodadadeh et al. 2019, quoted by Li et al. 2022"
    )


def test_a_row_that_sets_a_component_accounts_for_the_choice_of_it():
    """A run with backbone=conv4 stands where a row asks for pooling, and is no training of another kind."""
    row = SimpleNamespace(settings={"backbone.pool": True, "method.batch": 128})
    assert _own(row) == {"backbone.pool", "backbone", "batch"}
    assert _own(SimpleNamespace(settings={})) == set()
