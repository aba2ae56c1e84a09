"""Leaderboards of odd records: one task, names that look like something else, runs that no table shows."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from synthetic_runs import QUERIES, edit_record, manifest_hash, write_run

from bench.basics.errors import BenchError
from bench.basics.files import read_json
from bench.leaderboard.compare import compare
from bench.leaderboard.loading import load
from bench.leaderboard.table import build
from bench.records.scores import scores_digest


def test_names_may_hold_what_sets_a_budget_apart(tmp_path):
    own, budget = "lasium-ro-file-maml,generator.path=eigen.pt2@abababab", "quick,encoder_epochs=3@x"
    for name in (own, "beta@quick", "beta"):
        write_run(tmp_path, name, shots=(1,), folder=name.replace("/", "-"))
    write_run(tmp_path, own, shots=(1,), budget=budget, folder="own-2")
    frames = load(tmp_path)
    assert {(one.a, one.budget[0]) for one in compare(own, "beta@quick", frames)} == {(own, "quick")}
    (found,) = compare(f"{own}@{budget}", "beta@quick", frames)
    assert (found.a, found.b, found.budget) == (own, "beta@quick", (budget, "quick"))
    with pytest.raises(BenchError, match=f"{own} has finished runs with the budgets .*, not 'long'"):
        compare(f"{own}@long", "beta", frames)
    with pytest.raises(BenchError, match=r"no finished run of method .*pt2@abababac'\. Did you mean .*@abababab'"):
        compare(own[:-1] + "c", "beta", frames)


def test_one_task_is_compared_without_a_test(tmp_path):
    for method, correct in (("alpha", 40), ("beta", 20)):
        for seed in (0, 1):
            write_run(tmp_path, method, seed=seed, shots=(1,), answers={1: np.array([correct])})
    (table,) = build(load(tmp_path)).tables
    (tier,) = table.board.tiers
    assert [line.verdicts[5, 1].standing for line in tier.ranked] == ["leader", "untested"]
    assert [line.verdicts[5, 1].rank for line in tier.ranked] == [None, None]
    (found,) = compare("alpha", "beta", load(tmp_path))
    assert (found.difference.mean, found.difference.p) == (pytest.approx(20 / QUERIES), None)


def test_names_of_files_are_safe_and_no_two_tables_share_one(tmp_path):
    for dataset in ("a/b", "A-B", "a b", "x" * 250, "x" * 249 + "y"):
        path = write_run(tmp_path, dataset="short", folder=manifest_hash(dataset))
        evaluations = [one | {"split": "/../../../x.y"} for one in read_json(path / "run.json")["evaluations"]]
        new = [one | {"manifest": manifest_hash(dataset, one["shot"])} for one in evaluations]
        scores = pd.read_parquet(path / "tasks.parquet")
        scores["manifest"] = scores["shot"].map({one["shot"]: one["manifest"] for one in new})
        scores.to_parquet(path / "tasks.parquet", index=False)
        digest = scores_digest(pa.Table.from_pandas(scores))
        edit_record(path, evaluations=new, dataset=dataset, dataset_hash=manifest_hash(dataset), scores=digest)
    slugs = [table.slug for table in build(load(tmp_path)).tables]
    assert len(slugs) == 5
    assert len({slug.casefold() for slug in slugs}) == 5
    for slug in slugs:
        assert not set(slug) & set(" /.()<>")
        assert len(slug) < 220


def test_a_finished_run_that_no_table_shows_is_told(tmp_path):
    write_run(tmp_path, "alpha", shots=(1,))
    write_run(tmp_path, "beta", shots=(1,))
    frames = load(tmp_path)
    board = build(replace(frames, scores=frames.scores[frames.scores["run"] == 0]))
    (run,) = board.unfinished
    assert (run.method, run.status) == ("beta", "done")
    assert run.reason.startswith("it has no score that a table shows")
