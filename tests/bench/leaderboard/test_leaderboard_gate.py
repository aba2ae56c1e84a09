"""The regression gate: verdicts, margins, false alarms, power, and damaged baselines."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from synthetic_runs import QUERIES, manifest_hash, task_difficulty, write_example, write_run

from bench.basics.errors import BenchError
from bench.leaderboard.baseline import SCHEMA, read_baseline, write_baseline
from bench.leaderboard.gate import check, failed
from bench.leaderboard.loading import load
from bench.leaderboard.statistics import paired_difference

MANIFEST = manifest_hash("omniglot", 1, 200)


def answers(level, rng, tasks=200):
    return rng.binomial(QUERIES, np.clip(level + task_difficulty(MANIFEST, tasks), 0, 1))


def one_run(out, level, seed=0, method="alpha", rng=None, **more):
    rng = rng or np.random.default_rng(seed)
    return write_run(out, method, seed=seed, shots=(1,), answers={1: answers(level, rng)}, **more)


def baseline_of(out, path, **more):
    write_baseline(load(out), path, **more)
    return path


def verdicts(rows):
    return [(row.method, row.verdict) for row in rows]


def test_the_same_runs_pass(tmp_path):
    write_example(tmp_path / "runs", unfinished=False)
    path = baseline_of(tmp_path / "runs", tmp_path / "base.parquet")
    rows = check(load(tmp_path / "runs"), path, margin=0)
    assert {row.verdict for row in rows} == {"OK"}
    assert not failed(rows)
    assert len(rows) == 16  # eight rows of two shots


def test_the_verdict_is_the_lower_end_of_the_paired_drop_against_the_margin(tmp_path):
    one_run(tmp_path / "old", 0.80)
    one_run(tmp_path / "new", 0.75)
    path = baseline_of(tmp_path / "old", tmp_path / "base.parquet")
    a, b = (
        pd.read_parquet(next((tmp_path / name).rglob("tasks.parquet"))).eval("correct / total").to_numpy()
        for name in ("old", "new")
    )
    drop = paired_difference(a, b)
    assert 1 < 100 * drop.low < 100 * drop.mean < 8
    frames = load(tmp_path / "new")
    (row,) = check(frames, path)
    assert (row.verdict, row.margin, row.drop) == ("WORSE", 1.0, drop)
    assert failed([row])
    assert check(frames, path, margin=100 * drop.low - 1e-6)[0].verdict == "WORSE"
    assert check(frames, path, margin=100 * drop.low + 1e-6)[0].verdict == "OK"
    assert check(load(tmp_path / "old"), baseline_of(tmp_path / "new", path))[0].verdict == "OK"  # better is fine


def test_missing_says_why(tmp_path):
    old, new = tmp_path / "old", tmp_path / "new"
    for method in ("absent", "elsewhere", "failed"):
        one_run(old, 0.8, method=method)
    for seed in (0, 1):
        one_run(old, 0.8, seed, method="fewer")
    path = baseline_of(old, tmp_path / "base.parquet")
    one_run(new, 0.8, method="elsewhere", manifests={1: manifest_hash("other")})
    write_run(new, "failed", status="timeout", reason="stopped after 9 s")
    one_run(new, 0.8, 0, method="fewer")
    write_run(new, "fewer", seed=1, status="diverged", reason="loss became non-finite")
    one_run(new, 0.8, method="fresh")
    rows = check(load(new), path)
    assert failed(rows)
    told = {(row.method, row.verdict): row.reason for row in rows}
    assert told[("absent", "MISSING")] == "no run"
    assert told[("elsewhere", "MISSING")] == f"trained, but not evaluated on manifest {MANIFEST[:12]}"
    assert told[("failed", "MISSING")] == "seed 0: timeout, stopped after 9 s"
    assert told[("fewer", "MISSING")] == "seed 1: diverged, loss became non-finite"
    assert ("fresh", "NEW") in told
    assert ("elsewhere", "NEW") in told
    assert len(rows) == 6


def test_new_alone_does_not_fail(tmp_path):
    one_run(tmp_path, 0.8)
    path = baseline_of(tmp_path, tmp_path / "base.parquet")
    one_run(tmp_path, 0.8, method="fresh")
    rows = check(load(tmp_path), path)
    assert verdicts(rows) == [("alpha", "OK"), ("fresh", "NEW")]
    assert not failed(rows)


def test_seeds_are_averaged_and_their_spread_counts(tmp_path):
    rng = np.random.default_rng(0)
    for seed, (before, after) in enumerate([(0.80, 0.70), (0.70, 0.80), (0.75, 0.60)]):
        one_run(tmp_path / "old", before, seed, rng=rng)
        one_run(tmp_path / "new", after, seed, rng=rng)
    path = baseline_of(tmp_path / "old", tmp_path / "base.parquet")
    (row,) = check(load(tmp_path / "new"), path)
    assert row.drop is not None
    assert row.drop.seeds == (3, 3)
    assert row.drop.covers_seeds
    assert 100 * row.drop.mean > 3
    assert row.verdict == "OK"  # five points down, but seeds differ by more than that


def test_false_alarms_and_power(tmp_path):
    """Unchanged accuracy fails about one build in forty at margin 0; a drop of five points is always seen."""
    rng = np.random.default_rng(5)
    one_run(tmp_path / "old", 0.8, rng=rng)
    path = baseline_of(tmp_path / "old", tmp_path / "base.parquet")
    frames = load(tmp_path / "old")

    def verdict(before, after):
        drop = paired_difference(before / QUERIES, after / QUERIES)
        return 100 * drop.low > 0

    alarms = sum(verdict(answers(0.8, rng), answers(0.8, rng)) for _ in range(1000))
    found = sum(verdict(answers(0.8, rng), answers(0.75, rng)) for _ in range(200))
    assert alarms / 1000 < 0.0375  # 2.5 % and 2.5 standard errors
    assert found == 200
    assert [row.verdict for row in check(frames, path, margin=0)] == ["OK"]


def test_the_order_of_rows_changes_nothing(tmp_path):
    write_example(tmp_path / "runs", unfinished=False)
    path = baseline_of(tmp_path / "runs", tmp_path / "base.parquet")
    frames = load(tmp_path / "runs")
    expected = check(frames, path)
    table = pq.read_table(path)
    order = np.random.default_rng(0).permutation(len(table))
    pq.write_table(table.take(pa.array(order)), path)
    assert check(frames, path) == expected


def test_the_file_is_as_documented(tmp_path):
    one_run(tmp_path, 0.8, seed=3)
    path = baseline_of(tmp_path, tmp_path / "base.parquet", margin=2)
    table = pq.read_table(path)
    assert table.column_names == SCHEMA.names
    facts = json.loads(table.schema.metadata[b"bench.baseline"])
    assert len(facts.pop("digest")) == 64
    assert facts == {"format_version": 3, "margin": 2.0, "synthetic_tasks": [], "reruns": []}
    rows = read_baseline(path).rows
    assert len(rows) == 200
    assert set(rows["seed"]) == {3}
    assert set(rows["margin"]) == {2.0}
    again = tmp_path / "again.parquet"
    write_baseline(load(tmp_path), again, margin=2)
    assert again.read_bytes() == path.read_bytes()


def test_what_a_baseline_refuses(tmp_path):
    one_run(tmp_path / "runs", 0.8)
    frames, path = load(tmp_path / "runs"), tmp_path / "base.parquet"
    for bad in (-1.0, float("nan"), float("inf")):
        with pytest.raises(BenchError, match="at least 0 accuracy points"):
            write_baseline(frames, path, margin=bad)
    one_run(tmp_path / "runs", 0.8, seed=1, config={"method": {"alpha": 0.9}})
    with pytest.raises(BenchError, match="different settings or data"):
        write_baseline(load(tmp_path / "runs"), path)
    assert not path.exists()
    shutil.rmtree(tmp_path / "runs")
    write_run(tmp_path / "runs", "alpha", status="failed", reason="no")
    with pytest.raises(BenchError, match="no run is finished"):
        write_baseline(load(tmp_path / "runs"), path)
    with pytest.raises(BenchError, match="at least 0"):
        check(frames, path, margin=-1)


def _changed(change):
    def damage(path):
        table = pq.read_table(path)
        frame = change(table.to_pandas())
        new = pa.Table.from_pandas(frame, preserve_index=False).replace_schema_metadata(table.schema.metadata)
        pq.write_table(new, path)

    return damage


def _with_meta(meta):
    return lambda path: pq.write_table(pq.read_table(path).replace_schema_metadata(meta), path)


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.write_bytes(path.read_bytes()[:-50]),
        lambda path: path.write_text("not parquet"),
        lambda path: path.write_bytes(b""),
        _with_meta({}),
        _with_meta({b"bench.baseline": b"{"}),
        _with_meta({b"bench.baseline": b"[]"}),
        _changed(lambda f: f.drop(columns="margin")),
        _changed(lambda f: f.head(0)),
        _changed(lambda f: f.assign(correct=1000)),
        _changed(lambda f: f.assign(margin=-1.0)),
        _changed(lambda f: f.assign(margin=float("nan"))),
        _changed(lambda f: f.assign(margin=np.where(f.index == 3, 5.0, 1.0))),
        _changed(lambda f: f.iloc[1:]),
        _changed(lambda f: pd.concat([f, f.head(1)])),
        _changed(lambda f: f.assign(task="x")),
        _changed(lambda f: pd.concat([f, f.head(50).assign(seed=9)])),
    ],
)
def test_a_damaged_baseline_is_one_sentence(tmp_path, damage):
    one_run(tmp_path / "runs", 0.8)
    path = baseline_of(tmp_path / "runs", tmp_path / "base.parquet")
    damage(path)
    with pytest.raises(BenchError, match="is damaged") as caught:
        check(load(tmp_path / "runs"), path)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)


def test_another_format_version_and_no_file(tmp_path):
    one_run(tmp_path / "runs", 0.8)
    path = baseline_of(tmp_path / "runs", tmp_path / "base.parquet")
    _with_meta({b"bench.baseline": b'{"format_version": 4}'})(path)
    with pytest.raises(BenchError, match="format version 4, this program reads 1, 2, 3; write it anew"):
        read_baseline(path)
    with pytest.raises(BenchError, match="there is no baseline"):
        read_baseline(tmp_path / "nowhere.parquet")
