"""Tasks of several numbers of classes: side by side where some row answered both, else a table each."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
from paper_runs import values
from synthetic_runs import manifest_hash, of_omniglot, write_run

from bench.leaderboard.compare import compare
from bench.leaderboard.loading import load
from bench.leaderboard.paper_tables import fill
from bench.leaderboard.statistics import holm, paired_difference
from bench.leaderboard.table import build
from bench.planning import paper_layout as paper_layouts
from bench.planning.paper_layout import paper_layout
from bench.reporting.layout import notes
from bench.reporting.paper_tables import to_csv, to_html, to_latex, to_markdown

WHY = "a classifier that is trained on 5-way tasks cannot answer them"
NOTES = {"unanswered": {"20-way": WHY}}


@pytest.fixture
def board(tmp_path):
    """Three rows of both ways, one that cannot answer 20-way tasks, an older one that was not asked them."""
    for seed in range(2):
        for method, level in (("alpha", 0.5), ("beta", 0.49), ("gamma", 0.4)):
            write_run(tmp_path, method, level, seed, ways=(5, 20))
        write_run(tmp_path, "maml", 0.7, seed, notes=NOTES)
    write_run(tmp_path, "older", 0.3, config=of_omniglot(train={"way": 5}))
    return tmp_path


def test_ways_stand_beside_shots(board):
    (table,) = build(load(board)).tables
    assert list(table.columns.values()) == ["5-way 1-shot", "5-way 5-shot", "20-way 1-shot", "20-way 5-shot"]
    assert table.title == "omniglot: 5- and 20-way, 15 queries per class, meta-test"
    assert table.slug == "omniglot-5way-20way-15query-test"
    rows = {row.method: row for row in table.rows}
    assert {name: len(row.scores) for name, row in rows.items()} == {
        **dict.fromkeys(("alpha", "beta", "gamma"), 4),
        **dict.fromkeys(("maml", "older"), 2),
    }
    said = notes(table)
    assert f"No 20-way tasks for MAML: {WHY}." in said
    assert "No 20-way tasks for OLDER: trained on 5-way tasks, and not asked these." in said


def test_the_leader_and_the_tied_are_those_of_a_way_and_shot(board):
    (table,) = build(load(board)).tables
    (tier,) = [tier for tier in table.board.tiers if tier.iterations == 1000]
    lines = {line.row.method: line for line in tier.ranked}
    frames = load(board)
    scores = frames.task_scores()
    runs = frames.runs.sort_values("seed").groupby("method")["run"].agg(list)
    for shot in (1, 5):
        manifest = manifest_hash("omniglot", 20, shot, 200)
        answers = {name: np.stack([scores[run, manifest] for run in runs[name]]) for name in ("alpha", "beta", "gamma")}
        best = max(answers, key=lambda name: answers[name].mean())
        assert lines[best].verdicts[20, shot].standing == "leader"
        pairs = list(itertools.combinations(answers, 2))
        for pair, p in zip(pairs, holm([paired_difference(*(answers[name] for name in pair)).p for pair in pairs])):
            if best in pair:
                other = pair[pair[0] == best]
                assert lines[other].verdicts[20, shot].gap_p == pytest.approx(p)


def test_two_methods_are_compared_at_every_way_and_shot(board):
    found = compare("alpha", "beta", load(board))
    assert [(one.evaluation.way, one.evaluation.shot) for one in found] == [(5, 1), (5, 5), (20, 1), (20, 5)]


def test_ways_that_no_row_shares_have_a_table_each(tmp_path):
    """As before there were several: one method trained and asked 5 ways, another 20."""
    write_run(tmp_path, "alpha", ways=(5,))
    write_run(tmp_path, "beta", ways=(20,))
    tables = build(load(tmp_path)).tables
    assert [table.slug for table in tables] == ["omniglot-5way-15query-test", "omniglot-20way-15query-test"]
    assert [list(table.columns.values()) for table in tables] == [["1-shot", "5-shot"]] * 2
    assert not any(row.gaps for table in tables for row in table.rows)


def test_other_tasks_of_a_way_join_those_that_the_same_rows_answered(tmp_path):
    write_run(tmp_path, "alpha", ways=(5, 20), shots=(1,), tasks=100)
    write_run(tmp_path, "beta", ways=(5, 20), shots=(1,), tasks=50)
    tables = build(load(tmp_path)).tables
    assert [[row.method for row in table.rows] for table in tables] in ([["alpha"], ["beta"]], [["beta"], ["alpha"]])
    assert [table.number for table in tables] == [1, 2]
    for table in tables:
        assert {one.tasks for one in table.manifests.values()} == ({100} if table.rows[0].method == "alpha" else {50})


MINE = {
    "title": "Mine",
    "dataset": "omniglot",
    "budget": "paper",
    "ways": [5, 20],
    "shots": [1, 5],
    "layout": {
        "columns": [{"title": f"{way}-way, {shot}", "way": way, "shot": shot} for way in (5, 20) for shot in (1, 5)],
        "rows": [{"title": "Prototypes", "method": "umtra-protonet"}, {"title": "MAML", "method": "umtra-maml"}],
    },
}


@pytest.fixture
def layout(monkeypatch):
    raw = paper_layouts.catalogue.raw
    monkeypatch.setattr(
        paper_layouts.catalogue,
        "raw",
        lambda kind, name: MINE if (kind, name) == ("experiment", "mine") else raw(kind, name),
    )
    return paper_layout("mine")


def test_a_layout_has_columns_of_several_ways(layout, tmp_path):
    assert [(cell.way, cell.shot) for cell in layout.cells()[0]] == [(5, 1), (5, 5), (20, 1), (20, 5)]
    write_run(tmp_path, "umtra-protonet", ways=(5, 20), config=of_omniglot(**values(epochs=None)), notes={})
    write_run(tmp_path, "umtra-maml", config=of_omniglot(**values(epochs=None)), notes=NOTES)
    filled = fill(layout, load(tmp_path))
    (table,) = filled.tables
    assert [[cell.state for cell in row] for row in table.rows] == [["done"] * 4, ["done"] * 2 + ["not asked"] * 2]
    frames = load(tmp_path)
    means = frames.scores.merge(frames.evaluations, on=["run", "manifest"]).groupby(["run", "way", "shot_x"])[
        "accuracy"
    ]
    for row in table.rows:
        for cell in row[: 4 if row is table.rows[0] else 2]:
            expected = means.mean()[cell.answer.runs[0], cell.cell.way, cell.cell.shot]
            assert cell.answer.estimate.mean == pytest.approx(expected)
    for text in (to_markdown(filled, {}), to_html(filled, {}), to_latex(filled)):
        assert f"not asked: {WHY}" in text
        assert "8 cells: 6 done, 0 not finished, 0 not run, 2 not asked." in text
        for column in ("5-way, 1", "20-way, 5"):
            assert column in text or r"\shortstack[l]{" + column.replace(" ", r" \\ ") + "}" in text
    assert to_csv(filled).splitlines()[0].startswith("table,training,group,row,column,way,shot,state")


def test_an_older_layout_shows_its_own_way_of_runs_that_were_asked_more(layout, tmp_path):
    """One without ways: no second table for the 20-way tasks; runs of 20-way tasks alone have one, as before."""
    plain = replace(
        layout, columns=tuple(replace(one, way=None) for one in layout.columns[:2]), lines=layout.lines[:1], way=5
    )
    assert plain.cells()[0][0].way is None
    config = of_omniglot(**values(epochs=None))
    write_run(tmp_path, "umtra-protonet", ways=(5, 20), config=config)
    (table,) = fill(plain, load(tmp_path)).tables
    assert {cell.answer.tasks.way for cell in table.cells} == {5}
    write_run(tmp_path / "other", "umtra-protonet", ways=(20,), config=config)
    (table,) = fill(plain, load(tmp_path / "other")).tables
    assert {cell.answer.tasks.way for cell in table.cells} == {20}
