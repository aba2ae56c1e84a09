"""Intervals, paired differences and corrections: closed forms, scipy, and simulation."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from bench.leaderboard.statistics import estimate, holm, paired_difference

RNG = np.random.default_rng(7)


def crossed(rng, seeds, tasks, sd_seed, sd_task, sd_noise, mean=0.7, task_effect=None):
    """Scores of the model in the module's docstring."""
    task_effect = rng.normal(0, sd_task, tasks) if task_effect is None else task_effect
    return mean + rng.normal(0, sd_seed, (seeds, 1)) + task_effect + rng.normal(0, sd_noise, (seeds, tasks))


def test_the_interval_papers_print():
    scores = RNG.random((1, 1000))
    found = estimate(scores)
    assert found.mean == pytest.approx(scores.mean())
    assert found.task_ci95 == pytest.approx(1.96 * scores.std(ddof=0) / math.sqrt(1000))
    assert (found.seed_sd, found.total_ci95, found.seeds, found.tasks) == (None, None, 1, 1000)


def test_several_seeds_by_a_second_computation():
    scores = crossed(RNG, 4, 50, 0.02, 0.1, 0.05)
    seeds, tasks = scores.shape
    seed_means = [sum(scores[s]) / tasks for s in range(seeds)]
    task_means = [sum(scores[:, t]) / seeds for t in range(tasks)]
    half_seeds = stats.sem(seed_means) * stats.t.ppf(0.975, seeds - 1)
    half_tasks = stats.sem(task_means) * stats.t.ppf(0.975, tasks - 1)
    found = estimate(scores)
    assert found.total_ci95 == pytest.approx(math.hypot(half_seeds, half_tasks))
    assert found.seed_sd == pytest.approx(np.std(seed_means, ddof=1))
    assert found.task_ci95 == pytest.approx(1.96 * np.std(task_means) / math.sqrt(tasks))


@pytest.mark.parametrize(
    ("seeds", "sd_seed", "sd_task", "sd_noise"),
    [
        (2, 0.02, 0.1, 0.05),
        (3, 0.02, 0.1, 0.05),
        (5, 0.01, 0.1, 0.05),
        (3, 0.05, 0.05, 0.05),
        (5, 0.0, 0.1, 0.05),
        (4, 0.01, 0.02, 0.1),
    ],
)
def test_the_total_interval_covers(seeds, sd_seed, sd_task, sd_noise):
    rng = np.random.default_rng(1)
    hits = task_only = 0
    for _ in range(1500):
        found = estimate(crossed(rng, seeds, 200, sd_seed, sd_task, sd_noise))
        hits += abs(found.mean - 0.7) <= found.total_ci95
        task_only += abs(found.mean - 0.7) <= found.task_ci95
    assert 0.935 <= hits / 1500 <= 0.995
    if sd_seed >= 0.02:
        assert task_only / 1500 < 0.9  # what the paper's interval misses


@given(st.integers(0, 2**32 - 1), st.integers(2, 60))
def test_one_seed_is_the_paired_t_test(seed, tasks):
    rng = np.random.default_rng(seed)
    a, b = rng.random(tasks), rng.random(tasks)
    found, scipy = paired_difference(a, b), stats.ttest_rel(a, b)
    assert found.p == pytest.approx(scipy.pvalue, rel=1e-6, abs=1e-12)
    assert (found.low, found.high) == pytest.approx(tuple(scipy.confidence_interval(0.95)), rel=1e-6)
    assert not found.covers_seeds


def test_one_seed_on_one_side_is_the_t_test_on_seed_means():
    a, b = RNG.random((3, 100)), RNG.random((1, 100))
    found = paired_difference(a, b)
    assert found.p == pytest.approx(stats.ttest_rel(a.mean(axis=0), b[0]).pvalue)
    assert not found.covers_seeds


@given(st.integers(0, 2**32 - 1), st.integers(1, 4), st.integers(1, 4))
def test_a_difference_is_antisymmetric_and_order_does_not_matter(seed, first, second):
    rng = np.random.default_rng(seed)
    a, b = rng.random((first, 30)), rng.random((second, 30))
    found, back = paired_difference(a, b), paired_difference(b, a)
    assert (found.mean, found.low, found.high) == pytest.approx((-back.mean, -back.high, -back.low))
    assert found.p == pytest.approx(back.p)
    order = rng.permutation(30)
    shuffled = paired_difference(a[rng.permutation(first)][:, order], b[rng.permutation(second)][:, order])
    assert (shuffled.mean, shuffled.low, shuffled.p) == pytest.approx((found.mean, found.low, found.p))


def test_equal_scores():
    scores = np.full((2, 10), 0.6)
    same = paired_difference(scores, scores)
    assert (same.mean, same.low, same.high, same.p) == (0, 0, 0, 1)
    shifted = paired_difference(np.full(10, 0.75), np.full(10, 0.5))
    assert (shifted.low, shifted.high, shifted.p) == (0.25, 0.25, 0)


def test_one_task_has_no_interval():
    found = paired_difference(np.array([0.5]), np.array([0.7]))
    assert (found.low, found.high, found.p) == (None, None, None)
    for seeds in (1, 3):
        one = estimate(np.full((seeds, 1), 0.24))
        assert (one.mean, one.task_ci95, one.total_ci95) == (pytest.approx(0.24), None, None)


def test_different_numbers_of_tasks_are_refused():
    with pytest.raises(ValueError, match="same tasks"):
        paired_difference(np.zeros(3), np.zeros(4))


@given(st.integers(0, 2**32 - 1), st.floats(0.001, 0.999))
def test_p_is_the_level_at_which_the_interval_touches_zero(seed, shift):
    rng = np.random.default_rng(seed)
    a, b = rng.random((3, 40)) + 0.3 * shift, rng.random((4, 40))
    found = paired_difference(a, b)
    assert (found.p < 0.05) == (found.low > 0 or found.high < 0)
    seeds = [stats.sem(side.mean(axis=1)) ** 2 for side in (a, b)]
    tasks = stats.sem(a.mean(axis=0) - b.mean(axis=0)) ** 2
    sources = [(seeds[0], 2), (seeds[1], 3), (tasks, 39)]
    assert sum(v * stats.t.ppf(found.p / 2, df) ** 2 for v, df in sources) == pytest.approx(found.mean**2)


@pytest.mark.parametrize("seeds", [(1, 1), (2, 2), (3, 3), (2, 5)])
def test_false_alarms_of_the_difference(seeds):
    """Methods that are equal in expectation differ significantly in at most about 5 % of comparisons."""
    rng = np.random.default_rng(2)
    alarms = 0
    sd_seed = 0.0 if 1 in seeds else 0.02
    for _ in range(1000):
        difficulty = rng.normal(0, 0.1, 200)
        a, b = (crossed(rng, n, 200, sd_seed, 0, 0.05, task_effect=difficulty) for n in seeds)
        alarms += paired_difference(a, b).p < 0.05
    assert alarms / 1000 < 0.067  # 5 % and 2.5 standard errors


def test_pairing_by_task_finds_what_unpaired_intervals_hide():
    rng = np.random.default_rng(3)
    difficulty = rng.normal(0, 0.15, 300)
    a, b = (crossed(rng, 1, 300, 0, 0, 0.03, mean, difficulty) for mean in (0.71, 0.70))
    assert estimate(a).task_ci95 > 0.01
    assert paired_difference(a, b).p < 0.01


def test_holm_by_hand():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([]) == []


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12), st.randoms())
def test_holm_properties(p, random):
    corrected = holm(p)
    assert all(c >= q or c == pytest.approx(q) for c, q in zip(corrected, p))
    assert all(c <= 1 for c in corrected)
    assert all(c <= min(1, len(p) * q) + 1e-12 for c, q in zip(corrected, p))  # never stricter than Bonferroni
    order = sorted(range(len(p)), key=lambda i: p[i])
    assert all(corrected[i] <= corrected[j] for i, j in itertools.pairwise(order))
    shuffled = list(range(len(p)))
    random.shuffle(shuffled)
    assert holm([p[i] for i in shuffled]) == pytest.approx([corrected[i] for i in shuffled])
