"""Results that were damaged, edited, or named to do harm, through the real command line: one sentence, the right exit
code, and nothing outside the folder that was asked for.
"""

from __future__ import annotations

import json
import re
import runpy
from pathlib import Path

import numpy as np
import pytest

from bench.basics.files import read_json
from bench.looking.inspection.records import FILE

_RUNS = runpy.run_path(
    str(Path(__file__).parents[1] / "bench/leaderboard/synthetic_runs.py"), run_name="synthetic_runs"
)
edit_record, write_run = _RUNS["edit_record"], _RUNS["write_run"]


@pytest.fixture
def answered(bench):
    """Two methods on one task, and a baseline of them."""
    for method, correct in (("alpha", 50), ("beta@x", 18)):
        write_run(bench.out, method, shots=(1,), answers={1: np.array([correct])})
    bench("check", "--baseline", "base.parquet", "--update")
    return bench


def test_one_task_is_a_dash_to_every_command(answered):
    bench = answered
    told = bench("compare", "alpha", "beta@x").stdout
    told += bench("check", "--baseline", "base.parquet").stdout
    bench("report", "--format", "md,html,tex,csv")
    told += "".join((bench.folder / "reports" / f"leaderboard.{kind}").read_text() for kind in ("md", "html", "tex"))
    assert "± –" in told
    assert not re.search(r"± 0\.00|\bnan\b", told)


def test_characters_that_a_terminal_does_not_know_change_no_verdict(answered):
    answered.environment = {"PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0", "PYTHONHASHSEED": "0"}
    assert "42.67" in answered("compare", "alpha", "beta@x").stdout
    answered.environment = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "PYTHONHASHSEED": "0"}
    answered("check", "--baseline", "base.parquet")


@pytest.mark.parametrize("backend", ["module://nowhere", "module://matplotlib_inline.backend_inline", "no-backend"])
def test_the_backend_of_a_notebook_is_not_ours(answered, backend):
    answered.environment = {"MPLBACKEND": backend, "PYTHONHASHSEED": "0"}
    answered("report", "--format", "png")
    assert list((answered.folder / "reports/figures").iterdir())


def test_the_gate_refuses_an_edited_baseline_and_keeps_every_method(answered):
    bench, path = answered, answered.folder / "base.parquet"
    whole = path.read_bytes()
    at = whole.rindex(b'"margin": 1.0')
    path.write_bytes(whole[:at] + b'"margin": 9.0' + whole[at + 13 :])
    assert "base.parquet is damaged" in bench.error("check", "--baseline", "base.parquet")
    path.write_bytes(whole)
    write_run(bench.out, "gamma", status="interrupted", reason="Ctrl-C")
    assert "gamma with seed 0" in bench.error("check", "--baseline", "base.parquet", "--update")
    assert path.read_bytes() == whole


def test_a_damaged_inspection_is_one_warning(answered):
    folder = next(answered.out.glob("*/alpha/*"))
    (folder / FILE).write_text('{"schema_version": 1, "pixels": {"nearest": NaN}}')
    for command in (("check", "--baseline", "base.parquet"), ("report", "--format", "md")):
        warnings = [one for one in answered(*command).stderr.splitlines() if one.startswith("warning: ")]
        assert len(warnings) == 1
        assert "inspect.json is damaged" in warnings[0]
    assert "whole inspections only" in answered.error("check", "--baseline", "base.parquet", "--update")


def test_a_record_that_names_folders_and_tags_writes_only_where_it_was_asked_to(bench):
    path = write_run(bench.out, "alpha", shots=(1,), tasks=5)
    record = read_json(path / "run.json")
    evaluations = [one | {"split": "/../../../<img src=x>"} for one in record["evaluations"]]
    card = record["method"] | {"title": "=1+1", "name": ".."}
    edit_record(path, evaluations=evaluations, dataset="../<b>x", method=card)
    write_run(bench.out, "beta", status="failed", reason="\x1b]0;owned\x07<script>")
    before = {file for file in bench.folder.rglob("*") if file.is_file()}
    found = bench("report", "--out", "a/b", "--records")
    written = {file for file in bench.folder.rglob("*") if file.is_file()} - before
    assert written
    assert all((bench.folder / "a/b") in file.parents for file in written)
    text = (bench.folder / "a/b/leaderboard.md").read_text()
    markdown = re.sub(
        r"^(`{3,})sh\n.*?^\1$", "", text, flags=re.S | re.M
    )  # but for commands, which are shown as they are
    assert not re.search(r"<(?!details>|summary>)[a-z]", markdown)
    assert "\x1b" not in markdown + found.stdout + found.stderr
    assert ",'=1+1," in (bench.folder / "a/b/leaderboard.csv").read_text()
    assert json.loads((bench.folder / "a/b/records" / path.relative_to(bench.out) / "run.json").read_text())["seal"]
