"""The gate beyond accuracy: synthetic tasks, and runs with other training seeds."""

from __future__ import annotations

import json

import numpy as np
import pyarrow.parquet as pq
import pytest
from synthetic_runs import write_run

from bench.basics.errors import BenchError
from bench.leaderboard import drift
from bench.leaderboard.baseline import read_baseline, write_baseline
from bench.leaderboard.gate import check, failed
from bench.leaderboard.loading import load, with_seeds
from bench.looking.inspection.records import (
    Clusters,
    Frechet,
    Inspection,
    Ruler,
    Space,
    read_inspections,
    write_inspection,
)

RULER = Ruler("key", "ProtoNets", "conv4", 64, 20, 1, 1, 10, 0)


def inspected(nearest=0.30, diversity: float | None = 0.60, seed=0, method="alpha", information: float | None = None):
    clusters = None if information is None else Clusters(2, 50.0, 1.0, 0.5, 0.1, information, 0.1)
    space = Space(nearest, 0.01, 0.4, diversity)
    return Inspection(
        *("key", method, method.title(), "omniglot", "hash", "quick", seed, 300, 5, 1, 5, None, "no origin"),
        *(space, space, Frechet(100, 1.0, None, 0.1), RULER, clusters),
    )


@pytest.fixture
def runs(tmp_path):
    write_run(tmp_path / "runs", "alpha", shots=(1,))
    return tmp_path / "runs"


def judged(runs, path, *now, seeds=None):
    return {row.measure: row for row in check(load(runs), path, inspections=now, seeds=seeds)}


def test_a_measure_may_move_to_neither_side_by_more_than_its_margin(runs, tmp_path):
    path = tmp_path / "base.parquet"
    write_baseline(load(runs), path, synthetic=drift.expected([inspected(0.30)], margin=2.0))
    for nearest, verdict in ((0.30, "OK"), (0.3199, "OK"), (0.2801, "OK"), (0.3201, "CHANGED"), (0.2799, "CHANGED")):
        row = judged(runs, path, inspected(nearest))["own class nearest"]
        assert (row.verdict, row.baseline, row.current, row.margin) == (verdict, 0.30, nearest, 2.0)
        assert failed([row]) == (verdict == "CHANGED")
    rows = judged(runs, path, inspected(diversity=0.7))
    assert [rows[name].verdict for name in ("accuracy", "own class nearest", "diversity")] == ["OK", "OK", "CHANGED"]


def test_what_was_not_inspected_is_missing(runs, tmp_path):
    path = tmp_path / "base.parquet"
    write_baseline(load(runs), path, synthetic=drift.expected([inspected(information=0.5)]))
    rows = judged(runs, path)
    assert {name: row.verdict for name, row in rows.items()} == {
        "accuracy": "OK",
        "own class nearest": "MISSING",
        "diversity": "MISSING",
        "clusters and classes, shared information": "MISSING",
    }
    assert rows["diversity"].reason == "not inspected with seed 0; 'bench inspect' does that"


def test_a_baseline_of_version_0_1_names_its_measures_otherwise(runs, tmp_path):
    path = tmp_path / "base.parquet"
    write_baseline(load(runs), path, synthetic=drift.expected([inspected(0.30)]))
    table = pq.read_table(path)
    facts = json.loads(table.schema.metadata[b"bench.baseline"])
    facts |= {"format_version": 1, "inventions": facts.pop("synthetic_tasks")}
    del facts["digest"]
    pq.write_table(table.replace_schema_metadata({b"bench.baseline": json.dumps(facts)}), path)
    assert judged(runs, path, inspected(0.30))["own class nearest"].verdict == "OK"
    assert judged(runs, path, inspected(0.90))["own class nearest"].verdict == "CHANGED"


def test_a_baseline_without_synthetic_tasks_asks_for_none_and_one_query_has_no_diversity(runs, tmp_path):
    path = tmp_path / "base.parquet"
    write_baseline(load(runs), path)
    assert list(judged(runs, path, inspected())) == ["accuracy"]
    assert {one.measure for one in drift.expected([inspected(diversity=None)])} == {"own class nearest"}


def test_seeds_are_averaged_and_come_back_from_the_file(runs, tmp_path):
    path = tmp_path / "base.parquet"
    write_baseline(load(runs), path, synthetic=drift.expected([inspected(0.2, seed=0), inspected(0.4, seed=3)]))
    _, nearest = read_baseline(path).synthetic
    assert (nearest.measure, nearest.seeds, nearest.margin) == ("own class nearest", (0, 3), drift.DEFAULT_MARGIN)
    assert nearest.value == pytest.approx(0.3)


def test_inspections_are_read_from_beside_the_runs(runs):
    folder = next(runs.glob("*/*/*"))
    write_inspection(folder, inspected(0.25))
    assert read_inspections(runs) == ([inspected(0.25)], [])


def test_other_seeds_may_stand_for_those_of_the_baseline(tmp_path):
    rng = np.random.default_rng(0)
    for seed, level in ((0, 0.8), (1, 0.8), (2, 0.5)):
        write_run(tmp_path / "runs", "alpha", seed=seed, shots=(1,), answers={1: rng.binomial(75, level, 200)})
    frames, path = load(tmp_path / "runs"), tmp_path / "base.parquet"
    write_baseline(with_seeds(frames, [0]), path, synthetic=drift.expected([inspected(seed=0)]))
    now = [inspected(seed=0), inspected(seed=1), inspected(0.9, seed=2)]
    verdicts = {
        seed: [row.verdict for row in check(frames, path, inspections=now, seeds=[seed])] for seed in (0, 1, 2, 7)
    }
    assert verdicts[0] == verdicts[1] == ["OK", "OK", "OK"]
    assert verdicts[2] == ["WORSE", "OK", "CHANGED"], "diversity is the same"
    assert verdicts[7] == ["MISSING"] * 3
    with pytest.raises(BenchError, match="no run with training seed 9 is finished"):
        with_seeds(frames, [9])
