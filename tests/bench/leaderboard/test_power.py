"""What the gate finds, beside the closed form for normally distributed trainings."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats
from synthetic_runs import write_run

from bench.basics.errors import BenchError
from bench.leaderboard import margins
from bench.leaderboard.baseline import read_baseline, write_baseline
from bench.leaderboard.loading import load, with_seeds
from bench.leaderboard.power import DROPS, main, power

TASKS = 400


def trainings(out, first, last, method="alpha", sd=1.0):
    """Normal quantiles in the order of the seeds: means of 60 %, their spread ``sd`` points exactly."""
    count = last - first + 1
    levels = stats.norm.ppf((np.arange(count) + 0.5) / count)
    levels *= sd / levels.std(ddof=1)
    for seed, level in zip(range(first, last + 1), levels):
        total = round((0.60 + level / 100) * 75 * TASKS)
        answers = np.full(TASKS, total // TASKS)
        answers[: total % TASKS] += 1
        write_run(out, method, seed=seed, shots=(1,), tasks=TASKS, answers={1: answers})
    return load(out)


def recorded(tmp_path, trained):
    again = trainings(tmp_path / "again", 10, 39)
    path = tmp_path / "base.parquet"
    now = with_seeds(again, range(20, 20 + trained))
    write_baseline(now, path, margin=0.1, reruns=margins.of_accuracy(again, ["alpha"]))
    return path


@pytest.mark.parametrize("trained", [1, 3])
def test_drops_are_found_as_often_as_the_normal_distribution_says(tmp_path, trained):
    base = read_baseline(recorded(tmp_path, trained))
    ((row,), alarms) = power(trainings(tmp_path / "unseen", 100, 249), base, 5000, 0)
    assert (row.trained, row.reruns, row.unseen) == (trained, 30, 150)
    assert row.sd == pytest.approx(1, abs=0.01)
    assert alarms == row.found[0] < 0.02
    expected = stats.norm.sf(row.margin, DROPS, 1 / np.sqrt(trained))
    assert np.abs(np.array(row.found) - expected).max() < 0.03
    assert list(row.found) == sorted(row.found)


def test_known_seeds_are_left_aside_and_too_few_are_refused(tmp_path):
    path = recorded(tmp_path, 3)
    few = trainings(tmp_path / "few", 38, 41)
    with pytest.raises(
        BenchError, match="alpha is judged by 3 trainings, and there are 2 with seeds that the baseline does not know"
    ):
        power(few, read_baseline(path), 10, 0)


def test_from_the_command_line(tmp_path, capsys):
    path = recorded(tmp_path, 1)
    trainings(tmp_path / "unseen", 100, 119)
    main([str(path), "--runs", str(tmp_path / "unseen"), "--draws", "50"])
    told = capsys.readouterr().out
    assert "| alpha | 1 | 1.00 | 2." in told
    assert "any row is WORSE in 0.00 % of draws" in told
    with pytest.raises(SystemExit):
        main([str(path), "--runs", str(tmp_path / "nowhere")])
    assert "no folder" in capsys.readouterr().err
