"""``bench compare`` of several methods, ``bench report --since`` and ``--select val``: the real command line."""

from __future__ import annotations

import csv
import json
import runpy
import shutil
from pathlib import Path

import pytest

_RUNS = runpy.run_path(
    str(Path(__file__).parents[1] / "bench/leaderboard/synthetic_runs.py"), run_name="synthetic_runs"
)
write_run = _RUNS["write_run"]
EIGEN = "lasium-ro-file-maml,generator.path=eigen.pt2@5e207c8d"


@pytest.fixture
def three(bench):
    """Three methods, one of them with an ``@`` in its name and two lengths."""
    for method, level in ((EIGEN, 0.7), ("beta", 0.6), ("gamma", 0.65)):
        write_run(bench.out, method, level, shots=(1,), folder=method[:10])
    write_run(bench.out, EIGEN, 0.75, shots=(1,), budget="long", folder="longer")
    return bench


def test_methods_are_compared_in_every_format(three):
    bench = three
    told = bench("compare", EIGEN, "beta", "gamma").stdout
    assert EIGEN in told
    assert ("A − B" in told, "A − C" in told, "B − C" in told) == (True, True, False)
    assert "p, Holm" in told
    assert "B − C" in bench("compare", f"{EIGEN}@quick", "beta", "gamma", "--all-pairs").stdout
    found = json.loads(bench("compare", f"{EIGEN}@long", f"{EIGEN}@quick", "--format", "json").stdout)
    assert [(one["a_budget"], one["b_budget"], one["p_holm"]) for one in found] == [("long", "quick", None)]
    lines = list(csv.DictReader(bench("compare", "beta", "gamma", "--format", "csv").stdout.splitlines()))
    assert [(line["a"], line["b"], line["tasks"]) for line in lines] == [("beta", "gamma", "200")]
    assert "| A − B |" in bench("compare", "beta", "gamma", "--format", "md").stdout


def test_a_narrow_terminal_shows_the_numbers_side_by_side(three):
    told = three("compare", "beta", "gamma", EIGEN, "--all-pairs").stdout
    rows = [line for line in told.splitlines() if line.startswith("│")]
    assert len(rows) == 3
    assert max(map(len, rows)) <= 80


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        (("compare", "beta"), "two methods or more"),
        (("compare", "beta", "gamma", "--format", "cvs"), "Did you mean 'csv'?"),
        (("compare", "beta", f"{EIGEN}@short"), "has finished runs with the budgets long, quick, not 'short'"),
        (("report", "--select", "test"), "--select 'test' is none of usual, val"),
        (("report", "--since", "nowhere"), "there is no folder nowhere"),
        (("report", "--since", "runs", "--experiment", "table7"), "--experiment leaves out"),
    ],
)
def test_bad_requests_get_one_sentence(three, line, sentence):
    assert sentence in three.error(*line)
    assert not (three.folder / "reports").exists()


def test_a_report_says_what_changed_since_the_records_that_it_replaces(three):
    bench, reports = three, three.folder / "reports"
    bench("report", "--format", "md", "--records")
    shutil.rmtree(next(bench.out.glob("*/gamma")))
    write_run(bench.out, "delta", 0.6, shots=(1,))
    told = bench("report", "--format", "md", "--records", "--since", "reports").stdout
    assert "Of 5 rows on either board: 1 new, 1 gone, 3 unchanged" in told
    page = (reports / "changes.md").read_text()
    assert "## New: 1" in page
    assert "- DELTA" in page
    lines = list(csv.DictReader((reports / "changes.csv").read_text().splitlines()))
    assert sorted(line["row"] for line in lines) == ["gone", "new", "unchanged", "unchanged", "unchanged"]
    first = (reports / "changes.csv").read_bytes()
    bench("report", "--format", "md", "--since", "reports")
    assert "5 rows" not in (reports / "changes.md").read_text(), "its records are those of the last report now"
    assert (reports / "changes.csv").read_bytes() != first


def test_sealed_validation_tasks_choose_the_setting_and_cost_no_training(bench):
    request = ("run", "--methods", "umtra-protonet", "--no-references", "--budget", "smoke")
    for more in ((), ("method.mask=0.3",)):
        bench(*request, *more)
    trained = {path: path.stat().st_mtime_ns for path in bench.out.rglob("weights.safetensors")}
    for more in ((), ("method.mask=0.3",)):
        bench(*request, *more, "split=val")
    assert {path: path.stat().st_mtime_ns for path in bench.out.rglob("weights.safetensors")} == trained
    for path in bench.out.rglob("run.json"):
        assert [one["split"] for one in json.loads(path.read_text())["evaluations"]] == ["test", "val"]
    bench("report", "--format", "md", "--select", "val")
    page = (bench.folder / "reports" / "leaderboard.md").read_text()
    assert "on sealed ones, where all its settings answered the same (40 tasks of 5-way 1-shot)" in page
