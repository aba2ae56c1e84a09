"""Spreads between few seeds, steadied by those of other rows (Smyth 2004)."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import optimize, special, stats

from bench.leaderboard.moderation import moderated, prior
from bench.leaderboard.pairs import all_pairs


def drawn(rows, freedom, d0, s0, seed=0):
    rng = np.random.default_rng(seed)
    truth = s0 * d0 / rng.chisquare(d0, rows)
    return truth * rng.chisquare(freedom, rows) / freedom


@pytest.mark.parametrize("d0", [1.5, 4.0, 20.0])
def test_the_prior_of_many_rows_is_found_again(d0):
    freedom = np.full(40_000, 4.0)
    found, s0 = prior(drawn(len(freedom), freedom, d0, 0.3), freedom)
    assert found == pytest.approx(d0, rel=0.1)
    assert s0 == pytest.approx(0.3, rel=0.05)


def test_equal_variances_are_pooled_in_full():
    freedom = np.full(8, 2.0)
    variance = np.full(8, 0.5)
    found, degrees = moderated(variance, freedom)
    assert found == pytest.approx(np.full(8, prior(variance, freedom)[1]) * 8 / 9 + variance / 9)
    assert degrees == pytest.approx(np.full(8, 16.0)), "no more is known than all of them say"


def test_the_moments_by_hand():
    """A second computation: the equations of the paper, solved by a root finder."""
    freedom = np.array([2.0, 2.0, 4.0, 9.0, 2.0])
    variance = np.array([0.1, 2.0, 0.4, 9.0, 0.02])
    logs = [math.log(v) - special.digamma(d / 2) + math.log(d / 2) for v, d in zip(variance, freedom)]
    excess = np.var(logs, ddof=1) - np.mean([special.polygamma(1, d / 2) for d in freedom])
    d0 = 2 * optimize.brentq(lambda x: special.polygamma(1, x) - excess, 1e-3, 1e3)
    s0 = math.exp(np.mean(logs) + special.digamma(d0 / 2) - math.log(d0 / 2))
    assert prior(variance, freedom) == pytest.approx((d0, s0))
    found, degrees = moderated(variance, freedom)
    assert found == pytest.approx((d0 * s0 + freedom * variance) / (d0 + freedom))
    assert degrees == pytest.approx(freedom + d0)


def test_rows_of_few_seeds_or_no_spread_and_few_rows_stay_as_they_are():
    variance, freedom = np.array([0.1, 0.2, 0.0, 0.3, 0.4, 0.5]), np.array([1, 2, 2, 2, 2, 2])
    found, degrees = moderated(variance, freedom)
    kept = [0, 2]
    assert found[kept].tolist() == [0.1, 0.0]
    assert degrees[kept].tolist() == [1, 2]
    assert not np.allclose(found[[1, 3, 4, 5]], variance[[1, 3, 4, 5]])
    few = moderated(variance[:4], freedom[:4])
    assert few[0].tolist() == variance[:4].tolist()


def test_a_difference_of_two_rows_has_their_moderated_variances():
    rng = np.random.default_rng(1)
    spreads = (0.002, 0.01, 0.004, 0.02, 0.006)
    scores = [0.7 + rng.normal(0, sd, (3, 1)) + rng.normal(0, 0.05, (3, 400)) for sd in spreads]
    pairs = all_pairs(scores)
    variance, freedom = moderated(np.array([one.mean(1).var(ddof=1) for one in scores]), np.full(5, 2))
    apart = scores[0].mean(0) - scores[3].mean(0)
    parts = [(apart.var(ddof=1) / 400, 399), (variance[0] / 3, freedom[0]), (variance[3] / 3, freedom[3])]
    half = math.sqrt(sum(v * stats.t.ppf(0.975, d) ** 2 for v, d in parts))
    assert pairs.half[0, 3] == pytest.approx(half)
    p = optimize.brentq(
        lambda p: math.sqrt(sum(v * stats.t.isf(p / 2, d) ** 2 for v, d in parts)) - abs(apart.mean()), 1e-12, 1.0
    )
    assert pairs.p[0, 3] == pytest.approx(p, rel=1e-6)
