"""A baseline says itself whether it was changed, and a method never leaves it without a word."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from synthetic_runs import write_run
from test_gate_synthetic_tasks import inspected

from bench.basics.errors import BenchError
from bench.leaderboard import drift
from bench.leaderboard.baseline import METADATA_KEY, missing, read_baseline, write_baseline
from bench.leaderboard.gate import check
from bench.leaderboard.loading import load

ROOT = Path(__file__).parents[3]


@pytest.fixture
def written(tmp_path):
    write_run(tmp_path / "runs", "alpha", shots=(1,), tasks=40)
    path = tmp_path / "base.parquet"
    write_baseline(load(tmp_path / "runs"), path, synthetic=drift.expected([inspected(0.30)]))
    return path


def rewritten(path, rows=lambda table: table, facts=lambda facts: facts):
    table = pq.read_table(path)
    meta = json.dumps(facts(json.loads(table.schema.metadata[METADATA_KEY])))
    pq.write_table(rows(table).replace_schema_metadata({METADATA_KEY: meta}), path)


def column(name, change):
    def edit(table):
        values = change(table[name].to_numpy().copy())
        return table.set_column(table.column_names.index(name), name, pa.array(values))

    return edit


def first(values, value):
    values[0] = value
    return values


@pytest.mark.parametrize(
    ("rows", "facts"),
    [
        (column("correct", lambda x: first(x, x[0] - 1)), None),
        (column("correct", lambda x: x[::-1].copy()), None),  # permuted among the tasks
        (column("margin", lambda x: np.full_like(x, 50.0)), None),
        (column("seed", lambda x: x + 1), None),
        (None, lambda facts: facts | {"margin": 9.0}),
        (None, lambda facts: facts | {"synthetic_tasks": []}),
        (None, lambda facts: facts | {"synthetic_tasks": [one | {"value": 0.9} for one in facts["synthetic_tasks"]]}),
        (None, lambda facts: facts | {"synthetic_tasks": [one | {"margin": 1e9} for one in facts["synthetic_tasks"]]}),
        (None, lambda facts: {name: value for name, value in facts.items() if name != "digest"}),
    ],
)
def test_an_edited_number_is_refused_and_the_file_named(written, rows, facts):
    rewritten(written, rows or (lambda table: table), facts or (lambda facts: facts))
    with pytest.raises(BenchError, match="it was changed after it was written") as caught:
        read_baseline(written)
    assert str(written) in str(caught.value)


@pytest.mark.parametrize("field", ["value", "margin"])
def test_a_measure_that_is_no_number_is_refused(written, field):
    change = {field: float("nan")}
    rewritten(written, facts=lambda f: f | {"synthetic_tasks": [one | change for one in f["synthetic_tasks"]]})
    with pytest.raises(BenchError, match=r"damaged or not a baseline .*NaN is no number"):
        read_baseline(written)


def test_no_flipped_bit_changes_what_is_read(written):
    whole, expected = written.read_bytes(), read_baseline(written)
    rng = np.random.default_rng(0)
    for place in rng.integers(0, len(whole) * 8, 200):
        data = bytearray(whole)
        data[place // 8] ^= 1 << place % 8
        written.write_bytes(data)
        with contextlib.suppress(BenchError):
            found = read_baseline(written)
            assert found.rows.equals(expected.rows)
            assert found.synthetic == expected.synthetic


def test_a_file_of_version_0_1_is_read_with_a_warning(written, tmp_path):
    expected = read_baseline(written)
    assert expected.problems == ()
    rewritten(written, facts=lambda f: {n: v for n, v in f.items() if n != "digest"} | {"format_version": 1})
    found = read_baseline(written)
    assert found.rows.equals(expected.rows)
    (problem,) = found.problems
    assert str(written) in problem
    assert "version 0.1" in problem
    assert [row.verdict for row in check(load(tmp_path / "runs"), written, inspections=[inspected(0.30)])] == ["OK"] * 3


@pytest.mark.parametrize("status", ["failed", "interrupted", "timeout", "skipped"])
def test_an_unfinished_run_does_not_take_its_method_out_of_the_gate(tmp_path, written, status):
    before = written.read_bytes()
    run = write_run(tmp_path / "runs", "beta", status=status, reason="no")
    with pytest.raises(BenchError, match=rf"beta with seed 0 on omniglot is not finished \({status}: no\)"):
        write_baseline(load(tmp_path / "runs"), written)
    write_run(tmp_path / "runs", "beta", seed=1, shots=(1,), tasks=40)
    with pytest.raises(BenchError, match="beta with seed 0"):
        write_baseline(load(tmp_path / "runs"), written)
    (run / "run.json").write_text("{")
    with pytest.raises(BenchError, match=r"from whole runs only: omniglot/beta/.*run\.json is damaged"):
        write_baseline(load(tmp_path / "runs"), written)
    assert written.read_bytes() == before
    (run / "run.json").unlink()
    run.rmdir()
    write_run(tmp_path / "runs", "beta", seed=0, shots=(1,), tasks=40, key="of a later version")
    write_run(tmp_path / "runs", "beta", seed=0, status=status, reason="no")
    write_baseline(load(tmp_path / "runs"), written)
    assert set(read_baseline(written).rows["method"]) == {"alpha", "beta"}, "the other run stands for it"


def test_what_is_no_longer_judged_can_be_told(tmp_path, written):
    old = read_baseline(written)
    write_run(tmp_path / "other", "beta", shots=(1,), tasks=40)
    write_baseline(load(tmp_path / "other"), tmp_path / "new.parquet")
    assert missing(old, read_baseline(tmp_path / "new.parquet")) == [
        "alpha on omniglot, budget quick",
        "diversity of alpha on omniglot",
        "own class nearest of alpha on omniglot",
    ]
    assert missing(old, old) == []


def test_our_own_baseline_carries_a_digest():
    found = read_baseline(ROOT / "reports/baselines/gate.parquet")
    assert found.problems == ()
    seeds = found.rows.groupby("method")["seed"].agg(lambda one: tuple(sorted(set(one))))
    assert set(seeds) == {tuple(range(6)), tuple(range(2))}
    assert len(found.rows) == 400 * seeds.map(len).sum()
    assert {len(one.seeds) for one in found.reruns.values()} == {30}
    assert len(found.reruns) == len(seeds), "every row is judged by its re-runs"
    for row in found.reruns.values():
        assert not {*row.seeds} & {*range(8)}, "the gate's own trainings have no part in what they are judged by"
