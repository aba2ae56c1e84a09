"""All pairs at once are what the test of two rows gives for each, and are corrected as Holm does."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from bench.leaderboard.pairs import all_pairs
from bench.leaderboard.statistics import holm, paired_difference


def rows(seed, seeds, tasks):
    rng = np.random.default_rng(seed)
    difficulty = rng.normal(0.7, 0.1, tasks)
    return [
        difficulty + rng.normal(0, 0.01) + rng.normal(0, 0.005, (s, 1)) + rng.normal(0, 0.05, (s, tasks)) for s in seeds
    ]


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32 - 1), st.lists(st.integers(1, 2), min_size=2, max_size=6), st.integers(2, 60))
def test_each_pair_is_the_paired_difference(seed, seeds, tasks):
    """Of few seeds, whose spread is not steadied by that of other rows."""
    scores = rows(seed, seeds, tasks)
    pairs = all_pairs(scores)
    for i, j in itertools.permutations(range(len(scores)), 2):
        ours, known = pairs.difference(i, j), paired_difference(scores[i], scores[j])
        assert (ours.mean, ours.low, ours.high) == pytest.approx(
            (known.mean, known.low, known.high), rel=1e-9, abs=1e-15
        )
        assert ours.p == pytest.approx(known.p, rel=1e-6)
        assert (ours.covers_seeds, ours.seeds, ours.tasks) == (known.covers_seeds, known.seeds, known.tasks)
    upper = list(itertools.combinations(range(len(scores)), 2))
    assert [pairs.corrected(i, j) for i, j in upper] == pytest.approx(holm([pairs.p[i, j] for i, j in upper]))


def test_of_one_seed_each_it_is_the_t_test_of_scipy():
    a, b = rows(0, [1, 1], 200)
    assert all_pairs([a, b]).p[0, 1] == pytest.approx(stats.ttest_rel(a[0], b[0]).pvalue)


def test_some_rows_are_corrected_for_their_own_pairs_alone():
    scores = rows(3, [1, 2, 2, 2], 100)
    whole, some = all_pairs(scores), all_pairs([scores[3], scores[1]])
    part = whole.among([3, 1])
    for name in ("mean", "half", "p", "p_holm"):
        assert np.allclose(getattr(part, name), getattr(some, name)), name
    assert part.seeds == (2, 2)
    assert part.p_holm[0, 1] == pytest.approx(whole.p[3, 1])


def test_equal_rows_and_single_tasks():
    a = rows(1, [1], 50)[0]
    twice = all_pairs([a, a.copy(), a - 0.1])
    assert twice.p[0, 1] == 1
    assert twice.p[0, 2] == 0, "a constant difference has no spread at all"
    one = all_pairs([a[:, :1], a[:, 1:2]])
    assert one.corrected(0, 1) is None
    assert one.difference(0, 1).low is None
    with pytest.raises(ValueError, match="same tasks"):
        all_pairs([a, a[:, :10]])
