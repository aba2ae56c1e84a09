"""How often intervals and ranks are right, with few repeats: bounds that real defects break."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from bench.leaderboard.simulation import HEADINGS, TASKS, draw, main, markdown, simulate


@pytest.fixture(scope="module")
def outcomes():
    shapes = itertools.product((5, 12), (1, 2, 5))
    return {(rows, seeds): simulate(rows, seeds, 0.7, repeats=25) for rows, seeds in shapes}


def test_intervals_cover_the_truth_with_two_seeds_and_more(outcomes):
    for (_, seeds), one in outcomes.items():
        if seeds > 1:
            assert one.covered > 0.9
            assert one.pairs_covered > 0.93
            assert one.false_behind <= 0.12
            assert one.reversed <= 0.04


def test_one_seed_ranks_models_and_not_methods(outcomes):
    for rows in (5, 12):
        one = outcomes[rows, 1]
        assert one.pairs_covered < 0.6
        assert one.false_behind > 0.8


def test_two_seeds_find_nothing_and_five_do(outcomes):
    assert outcomes[12, 2].sharing == 12
    assert outcomes[12, 5].found[2] > 0.5


def test_rows_whose_seeds_differ_differently_are_judged_carefully_too():
    one = simulate(12, 3, None, repeats=40)
    assert one.false_behind <= 0.12
    assert one.pairs_covered > 0.9
    assert one.found[2] > 0.1


def test_the_highest_of_more_rows_is_flattered_more(outcomes):
    for seeds in (1, 2, 5):
        assert 0 < outcomes[5, seeds].flattered < outcomes[12, seeds].flattered
    assert outcomes[12, 5].flattered < outcomes[12, 1].flattered


def test_scores_have_the_spreads_that_they_should_have():
    """Of a difference of two rows with one seed: twice the variances of row and task, seed, and noise."""
    rng = np.random.default_rng(0)
    apart = np.stack([100 * (one[0, 0] - one[1, 0]) for one in (draw(rng, 2, 1, 0.7) for _ in range(300))])
    assert apart.shape == (300, TASKS)
    assert (apart - apart.mean(1)[:, None]).std() == pytest.approx(np.sqrt(2 * (3.0**2 + 3.5**2)), rel=0.02)
    assert apart.mean(1).std() == pytest.approx(np.sqrt(2 * 0.7**2 + 2 * (3.0**2 + 3.5**2) / TASKS), rel=0.1)


def test_the_same_seed_gives_the_same_table(monkeypatch, capsys):
    monkeypatch.setattr("bench.leaderboard.simulation.ROWS", (5,))
    monkeypatch.setattr("bench.leaderboard.simulation.SEEDS", (1, 2))
    for _ in range(2):
        main(["--repeats", "2", "--seed", "5"])
    told = capsys.readouterr().out
    assert told[: len(told) // 2] == told[len(told) // 2 :]
    (line,) = list(markdown([simulate(5, 2, 0.7, 2, seed=5)]))[2:]
    assert line in told
    assert line.count("|") == len(HEADINGS) + 1
