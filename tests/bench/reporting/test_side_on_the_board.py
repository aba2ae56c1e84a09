"""Side information on a board: shown in every format, and rows left out by it, by name."""

import csv
import io
import json
import re
import subprocess
import sys

import pandas as pd
import pytest
from rich.console import Console
from synthetic_runs import edit_record, write_run

from bench.basics.errors import BenchError
from bench.basics.side import SIDE
from bench.leaderboard.loading import load
from bench.leaderboard.selection import wanted, without
from bench.leaderboard.table import build
from bench.records.record import read_record
from bench.reporting.report import write_report
from bench.reporting.terminal import to_terminal


@pytest.fixture
def runs(tmp_path):
    """Four methods: none, transduction, two words, and one of which nothing was declared."""
    out = tmp_path / "runs"
    write_run(out, "clean", 0.6)
    write_run(out, "batchy", 0.7, transductive=True, side=("transduction",))
    write_run(out, "sized", 0.8, side=("class-size-prior", "rotations-as-classes"))
    write_run(out, "old", 0.5, side=None)
    write_run(out, "clean", 0.9, 1, status="failed", reason="loss became non-finite")
    return out


def bench(runs, *arguments):
    """The real command line, in the folder above the runs."""
    line = [sys.executable, "-m", "bench", "report", "--runs", str(runs), *arguments]
    return subprocess.run(line, cwd=runs.parent, capture_output=True, text=True, check=False)


def report(runs, side=None, not_with=None):
    write_report(runs, runs.parent / "reports", ["md", "html", "tex", "csv"], side=wanted(side, not_with))
    folder = runs.parent / "reports"
    frame = pd.read_csv(folder / "leaderboard.csv", dtype={"side": str}, keep_default_na=False)
    return folder, set(frame["method"])


def test_every_format_shows_it_with_what_it_means(runs):
    folder, _ = report(runs)
    texts = {kind: (folder / f"leaderboard.{kind}").read_text() for kind in ("md", "html", "tex")}
    for text in texts.values():
        assert text.count(SIDE["class-size-prior"].meaning) >= 1
    assert "rotations-as-classes" in texts["html"]
    assert re.search(r"\| SIZED \|.*\| C R \|", texts["md"])
    assert f"Side information C, class-size-prior: {SIDE['class-size-prior'].meaning}." in texts["md"]
    assert "SIZED {[}C R] &" in texts["tex"]
    assert "[R] rotations-as-classes." in texts["tex"]
    assert "[S]" not in texts["tex"], "no row used it"
    frame = pd.read_csv(folder / "leaderboard.csv", keep_default_na=False).drop_duplicates("method")
    assert dict(zip(frame["method"], frame["side"])) == {
        "clean": "",
        "batchy": "transduction",
        "sized": "class-size-prior rotations-as-classes",
        "old": "undeclared",
    }
    console = Console(file=io.StringIO(), width=250)
    console.print(to_terminal(build(load(runs))))
    assert re.search(r"SIZED .* C R ", console.file.getvalue())


@pytest.mark.parametrize(
    ("side", "not_with", "left"),
    [
        (None, None, {"clean", "batchy", "sized", "old"}),
        ("none", None, {"clean"}),
        ("transduction", None, {"clean", "batchy"}),
        ("class-size-prior", None, {"clean"}),
        ("class-size-prior,rotations-as-classes", None, {"clean", "sized"}),
        (None, "transduction", {"clean", "sized", "old"}),
        (None, "transduction,class-size-prior", {"clean"}),
        (None, "rotations-as-classes", {"clean", "batchy"}),
        (None, "undeclared", {"clean", "batchy", "sized"}),
    ],
)
def test_rows_are_left_out_by_it(side, not_with, left, runs):
    """What an older record leaves open may be any word but those that every record tells."""
    _, found = report(runs, side, not_with)
    assert found == left


def test_who_was_left_out_is_said_and_the_others_are_ranked_anew(runs):
    frames = load(runs)
    _, leader = build(frames).tables[0].board.leader((5, 1))
    assert (leader.row.method, leader.verdicts[5, 1].standing) == ("sized", "leader")
    few, told = without(frames, wanted("none", None))
    _, leader = build(few).tables[0].board.leader((5, 1))
    assert (leader.row.method, leader.verdicts[5, 1].standing) == ("clean", "alone")
    assert told == (
        "Left out of omniglot by --side none, for class-size-prior, rotations-as-classes: SIZED.",
        "Left out of omniglot by --side none, for transduction: BATCHY.",
        "Left out of omniglot by --side none, for undeclared: OLD.",
    )
    folder, _ = report(runs, "none")
    for name in ("leaderboard.md", "leaderboard.html", "leaderboard.tex"):
        assert "for transduction: BATCHY." in (folder / name).read_text()
    assert "In no table for other reasons: 1 other run" in (folder / "leaderboard.md").read_text()


def test_an_experiment_marks_its_cells(runs, tmp_path):
    path = write_run(runs, "scratch", 0.5, group="floor", transductive=True, side=("transduction",))
    edit_record(path, config={**json.loads((path / "run.json").read_text())["config"], "method": {}})
    write_run(runs, "umtra-maml", 0.7, transductive=True, side=("transduction",))
    write_run(runs, "lasium-oc-vae-protonet", 0.7)
    folder, _ = report(runs)
    lines = {line.split(" | ")[0]: line for line in (folder / "table1-omniglot.md").read_text().splitlines()}
    assert r"\[T\]**" in lines["| UMTRA-MAML"]
    assert r"\[T\]" not in lines["| LASIUM-OC-VAE-ProtoNets"]
    text = (folder / "table1-omniglot.md").read_text()
    assert rf"- \[T\] transduction: {SIDE['transduction'].meaning}" in text
    assert f"[T] transduction: {SIDE['transduction'].meaning}" in (folder / "table1-omniglot.tex").read_text()
    lines = list(csv.DictReader((folder / "table1-omniglot.csv").read_text().splitlines()))
    assert {line["row"]: line["side"] for line in lines if line["state"] == "done"} == {
        "Training from scratch": "transduction",
        "UMTRA-MAML": "transduction",
        "LASIUM-OC-VAE-ProtoNets": "",
    }
    folder, _ = report(runs, not_with="transduction")
    text = (folder / "table1-omniglot.md").read_text()
    assert "for transduction: BATCHY; UMTRA-MAML" in text or "UMTRA-MAML" in text.split("Left out")[1]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("--without", "transducton"), "there is no side information 'transducton'. Did you mean 'transduction'?"),
        (("--side", "nonne"), "there is no side information 'nonne'. Did you mean 'none'?"),
        (("--without", ","), "--without takes words such as --without transduction"),
        (("--side", "none", "--without", "transduction"), "give one of them"),
    ],
)
def test_the_command_line_says_what_there_is(arguments, expected, runs):
    found = bench(runs, *arguments)
    assert found.returncode == 2
    assert found.stderr.startswith("error: ")
    assert expected in found.stderr
    assert not (runs.parent / "reports").exists()


def test_the_command_line_writes_what_is_wanted_and_keeps_all_records(runs):
    assert bench(runs, "--format", "csv", "--records", "--side", "none").returncode == 0
    frame = pd.read_csv(runs.parent / "reports" / "leaderboard.csv")
    assert set(frame["method"]) == {"clean"}
    kept = [read_record(path.parent).method for path in (runs.parent / "reports" / "records").rglob("run.json")]
    assert {one.name: one.side for one in kept} == {
        "clean": (),
        "batchy": ("transduction",),
        "sized": ("class-size-prior", "rotations-as-classes"),
        "old": None,
    }


def test_nothing_left_is_one_sentence(runs):
    few, _ = without(load(runs), wanted("transduction", None))
    assert set(few.runs["method"]) == {"clean", "batchy"}
    only = load(runs)
    only.runs["side"] = [("transduction",)] * len(only.runs)
    with pytest.raises(BenchError, match="--side none leaves no finished run; all 5 use what it excludes"):
        without(only, wanted("none", None))
