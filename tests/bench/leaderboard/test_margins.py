"""Margins of the gate from honest re-runs: how often unchanged code fails, and which drops are found."""

from __future__ import annotations

import json

import numpy as np
import pyarrow.parquet as pq
import pytest
from scipy import stats
from synthetic_runs import QUERIES, write_run
from test_gate_synthetic_tasks import inspected

from bench.basics.errors import BenchError
from bench.cli.entry import app
from bench.leaderboard import margins
from bench.leaderboard.baseline import read_baseline, write_baseline
from bench.leaderboard.gate import check
from bench.leaderboard.loading import load
from bench.looking.inspection.records import write_inspection

CORRECT = [60, 61, 59, 63, 58, 60, 62, 57]


def runs_of(out, correct, first=0, method="alpha"):
    """Every task of a run has the same score, so that the run's mean is known exactly."""
    for seed, one in enumerate(correct, first):
        write_run(out, method, seed=seed, shots=(1,), answers={1: np.full(200, one)})
    return load(out)


def baseline_of(path, frames, reruns, synthetic=(), **more):
    write_baseline(frames, path, synthetic=synthetic, reruns=margins.of_accuracy(reruns, ["alpha"]), **more)
    return read_baseline(path)


def test_what_is_allowed_is_the_prediction_interval_of_a_mean_of_new_trainings():
    values = np.array(CORRECT) / QUERIES
    found = margins.allowed(values.tolist(), 3, 20)
    quantile = stats.t.ppf(1 - 0.02 / 20, len(values) - 1)
    assert found == pytest.approx(quantile * values.std(ddof=1) * np.sqrt(1 / 3 + 1 / len(values)))
    assert margins.allowed([0.5] * 5, 1, 1) == 0


def test_unchanged_code_fails_in_at_most_two_checks_of_a_hundred_and_drops_are_found():
    rng, rows, trained = np.random.default_rng(0), 20, 3
    failed = found = 0
    for _ in range(2000):
        spread = rng.uniform(0.003, 0.02, rows)[:, None]  # each row has its own
        recorded, now = rng.normal(0.5, spread, (rows, 30)), rng.normal(0.5, spread, (rows, trained))
        worst = [
            before.mean() - after.mean() - margins.allowed(before.tolist(), trained, rows)
            for before, after in zip(recorded, now)
        ]
        failed += max(worst) > 0
        found += worst[0] + 4 * spread[0, 0] > 0  # a drop of four standard deviations in one row
    assert failed / 2000 < 0.02 + 3 * np.sqrt(0.02 * 0.98 / 2000)
    assert failed > 10, "nor is it far more cautious than it says"
    assert found / 2000 > 0.99


def test_the_verdict_is_the_drop_below_the_mean_of_the_reruns(tmp_path):
    again = runs_of(tmp_path / "again", CORRECT, first=1)
    allowed = 100 * margins.allowed([one / QUERIES for one in CORRECT], 1, 1)
    lowest = float(np.mean(CORRECT)) - allowed * QUERIES / 100
    assert 50 < lowest < 56
    for correct, verdict in ((80, "OK"), (60, "OK"), (int(lowest) + 1, "OK"), (int(lowest), "WORSE")):
        correct = min(correct, QUERIES)
        folder = tmp_path / str(correct)
        base = baseline_of(tmp_path / "base.parquet", runs_of(folder, [60]), again)
        (row,) = check(runs_of(tmp_path / f"now{correct}", [correct]), base)
        assert (row.verdict, row.margin) == (verdict, pytest.approx(allowed))
        assert row.baseline == pytest.approx(np.mean(CORRECT) / QUERIES)
        assert row.drop is not None
        assert row.drop.mean == pytest.approx((np.mean(CORRECT) - correct) / QUERIES)
        assert row.drop.seeds == (8, 1)


def test_more_seeds_narrow_the_margin_and_never_below_the_least(tmp_path):
    again = runs_of(tmp_path / "again", CORRECT, first=10)
    now = runs_of(tmp_path / "now", [60] * 6)
    base = baseline_of(tmp_path / "base.parquet", now, again)
    (six,), (one,) = check(now, base), check(now, base, seeds=[3])
    values = [one / QUERIES for one in CORRECT]
    assert (six.margin, one.margin) == tuple(
        pytest.approx(100 * margins.allowed(values, trained, 1)) for trained in (6, 1)
    )
    more = runs_of(tmp_path / "more", [60] * 9)
    assert check(more, base)[0].margin == pytest.approx(100 * margins.allowed(values, 9, 1)), "all there are are judged"
    same = runs_of(tmp_path / "same", [60] * 8, first=10)
    (row,) = check(now, baseline_of(tmp_path / "base.parquet", now, same, margin=1.5))
    assert row.margin == 1.5
    (row,) = check(now, base, margin=0.5)
    assert (row.margin, row.baseline) == (0.5, pytest.approx(0.8)), "a margin by hand, beside the recorded runs"


def test_measures_of_synthetic_tasks_are_judged_beside_those_of_the_reruns(tmp_path):
    shares = [0.30, 0.31, 0.29, 0.30, 0.32]
    again = [inspected(share, seed=seed) for seed, share in enumerate(shares, 1)]
    found = {one.measure: one for one in margins.of_synthetic(again, [inspected(0.30)], 3, 0.5)}
    assert found["diversity"].margin == 0.5, "all have the same; the least"
    nearest = found["own class nearest"]
    assert (nearest.value, nearest.seeds) == (pytest.approx(np.mean(shares)), (0,))
    quantile = stats.t.ppf(1 - 0.02 / 3 / 2, 4)
    assert nearest.margin == pytest.approx(100 * quantile * np.std(shares, ddof=1) * np.sqrt(1 + 1 / 5))


def test_margins_are_not_taken_from_a_handful_of_seeds(tmp_path):
    few = runs_of(tmp_path, CORRECT[:4])
    with pytest.raises(BenchError, match="the margin of alpha is taken from at least 5 training seeds, not 4"):
        margins.of_accuracy(few, ["alpha"])
    with pytest.raises(BenchError, match="the margin of beta is taken from at least 5 training seeds, not 0"):
        margins.of_accuracy(few, ["beta"])
    assert margins.of_accuracy(few, []) == [], "what has no part in the baseline is left aside"
    with pytest.raises(BenchError, match="of alpha, diversity is taken from at least 5 training seeds, not 1"):
        margins.of_synthetic([inspected(seed=1)], [inspected()], 1, 1.0)


@pytest.mark.parametrize(
    "change",
    [
        lambda one: one.update(accuracies=[0.9] * 8),
        lambda one: one.update(accuracies=one["accuracies"][:4], seeds=one["seeds"][:4]),
        lambda one: one.update(accuracies=[*one["accuracies"][:7], 1.5]),
        lambda one: one.update(seeds=[1]),
        lambda one: one.update(method="beta"),
        lambda one: one.pop("seeds"),
    ],
)
def test_reruns_that_were_edited_are_refused(tmp_path, change):
    path = tmp_path / "base.parquet"
    baseline_of(path, runs_of(tmp_path / "now", [60]), runs_of(tmp_path / "again", CORRECT, first=1))
    table = pq.read_table(path)
    facts = json.loads(table.schema.metadata[b"bench.baseline"])
    change(facts["reruns"][0])
    pq.write_table(table.replace_schema_metadata({b"bench.baseline": json.dumps(facts).encode()}), path)
    with pytest.raises(BenchError, match="is damaged"):
        read_baseline(path)


def test_from_the_command_line(tmp_path, monkeypatch, capsys):
    runs_of(tmp_path / "now", [60, 59])
    runs_of(tmp_path / "again", CORRECT, first=2)
    for seed, folder in enumerate(sorted((tmp_path / "again").glob("*/*/*"))):
        write_inspection(folder, inspected(0.30 + seed / 1000, seed=seed + 2))
    write_inspection(next((tmp_path / "now").glob("*/*/0*")), inspected(0.31))
    monkeypatch.chdir(tmp_path)
    arguments = ["check", "--baseline", "base.parquet", "--runs", "now"]
    assert told(capsys, [*arguments, "--update", "--margins-from", "again"]) == (0, "")
    base = read_baseline(tmp_path / "base.parquet")
    assert [one.seeds for one in base.reruns.values()] == [tuple(range(2, 10))]
    assert base.judged == 3
    assert told(capsys, arguments)[0] == 0
    assert told(capsys, [*arguments[:4], "again", "--seeds", "2,3"])[0] == 0
    runs_of(tmp_path / "worse", [50, 49])
    write_inspection(next((tmp_path / "worse").glob("*/*/0*")), inspected(0.31))
    assert told(capsys, [*arguments[:4], "worse"])[0] == 1
    code, said = told(capsys, [*arguments[:4], "worse", "--update", "--margins-from", "again"])
    assert code == 0
    assert "alpha: accuracy of these very runs is WORSE beside the re-runs" in said
    assert told(capsys, [*arguments, "--margins-from", "again"])[0] == 2


def told(capsys, arguments):
    """Exit code, and what is said on standard error."""
    try:
        code = app(arguments, standalone_mode=False) or 0
    except BenchError:
        code = 2
    return code, capsys.readouterr().err
