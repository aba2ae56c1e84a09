"""k-reciprocal distances on lists against a loop over all pairs, written after the paper."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.cluster import DBSCAN
from sklearn.neighbors import NearestNeighbors

from bench.basics.errors import BenchError, Diverged
from bench.learners import reciprocal
from bench.learners.reciprocal import NOBODY, cluster, distances


def blobs(classes=14, size=15, dim=5, spread=0.4, seed=0):
    rng = np.random.default_rng(seed)
    points = rng.normal(size=(classes, 1, dim)) + spread * rng.normal(size=(classes, size, dim))
    return torch.from_numpy(points.reshape(-1, dim).astype(np.float32))


def by_the_paper(points, k1, k2):
    """Zhong et al. 2017, §3.2-3.4, sets and matrices of all pairs in float64. Distances are scaled by rows."""
    x = points.double().numpy()
    n = len(x)
    squared = ((x[:, None] - x[None]) ** 2).sum(2)
    scaled = squared / squared.max(1, keepdims=True)
    ranking = squared.argsort(1, kind="stable")

    def near(i, k):
        return set(ranking[i, : k + 1].tolist())  # N(i, k), and i

    def mutual(i, k):
        return {j for j in near(i, k) if i in near(j, k)}  # eq. 3

    weights = np.zeros((n, n))
    for i in range(n):
        members = mutual(i, k1)
        larger = set(members)
        for q in members:
            half = mutual(q, round(k1 / 2))
            if len(members & half) > 2 / 3 * len(half):  # eq. 4
                larger |= half
        for j in larger:
            weights[i, j] = np.exp(-scaled[i, j])  # eq. 7
        weights[i] /= weights[i].sum()
    weights = np.stack([weights[ranking[i, :k2]].mean(0) for i in range(n)])  # eq. 11
    found = np.zeros((n, n))
    for i in range(n):
        lesser = np.minimum(weights[i], weights).sum(1)
        found[i] = 1 - lesser / np.maximum(weights[i], weights).sum(1)  # eq. 10
    return found


def filled(found):
    """Pairs that are not listed are at distance 1."""
    whole = np.ones(found.shape)
    rows = np.repeat(np.arange(found.shape[0]), np.diff(found.indptr))
    whole[rows, found.indices] = found.data
    return whole


@pytest.mark.parametrize(("k1", "k2"), [(20, 6), (7, 1), (10, 10), (1, 1)])
def test_the_distances_are_those_of_a_loop_after_the_paper(k1, k2, monkeypatch):
    points = blobs()
    expected = by_the_paper(points, k1, k2)
    np.testing.assert_allclose(filled(distances(points, k1, k2)), expected, atol=2e-6)
    monkeypatch.setattr(reciprocal, "_PAIRS", {"cpu": 1000})  # in pieces of a few rows
    np.testing.assert_allclose(filled(distances(points, k1, k2)), expected, atol=2e-6)


def test_neighbours_are_those_of_scikit_learn(monkeypatch):
    points = blobs() + 100.0
    monkeypatch.setattr(reciprocal, "_PAIRS", {"cpu": 1000})
    found, furthest = reciprocal.nearest(points, 9)
    exact = points.double().numpy()
    np.testing.assert_array_equal(found, NearestNeighbors(n_neighbors=9).fit(exact).kneighbors(exact)[1])
    np.testing.assert_allclose(furthest, ((exact[:, None] - exact) ** 2).sum(2).max(1), rtol=1e-4)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 1000), st.integers(2, 12), st.integers(1, 6), st.floats(0.05, 3))
def test_distances_are_symmetric_in_range_and_follow_a_permutation(seed, k1, k2, spread):
    points = blobs(6, 8, 3, spread, seed)
    found = distances(points, k1, min(k2, k1))
    whole = filled(found)
    assert (whole == whole.T).all()
    assert (whole.diagonal() == 0).all()
    assert found.data.min() >= 0
    assert found.data.max() <= 1
    order = np.random.default_rng(seed).permutation(len(points))
    moved = filled(distances(points[order], k1, min(k2, k1)))
    np.testing.assert_allclose(moved, whole[np.ix_(order, order)], atol=1e-5)


def test_only_the_smallest_are_kept_where_no_more_are_asked_for(monkeypatch):
    points = blobs(classes=20)
    monkeypatch.setattr(reciprocal, "_PAIRS", {"cpu": 3000})  # so that some are forgotten on the way
    everything = filled(distances(points))
    apart = everything[np.triu_indices(len(points), 1)]
    apart = np.sort(apart[(apart > 0) & (apart < 1)])
    for most in (1, 50, 700, 10**6):
        found = distances(points, most=most)
        cut = apart[min(most, len(apart)) - 1]
        np.testing.assert_array_equal(filled(found), np.where(everything <= cut, everything, 1))


def test_equal_points_are_at_distance_0_and_stay_listed():
    points = blobs(spread=0.2)
    points[1] = points[0]
    found = distances(points, most=30)
    assert filled(found)[0, 1] == 0
    apart = by_the_paper(points, 20, 6)[np.triu_indices(len(points), 1)]
    assert found.nnz == len(points) + 2 * (30 + (apart < 1e-6).sum())
    zeros = torch.zeros(30, 4)
    assert np.isfinite(distances(zeros).data).all(), "nothing to scale distances by"


def test_clusters_are_those_of_scikit_learn_on_the_full_matrix():
    points = torch.cat([blobs(10, spread=0.45), blobs(3, 4, seed=1) + 5])
    n = len(points)
    whole = by_the_paper(points, 20, 6)
    whole[whole < 1e-6] = 0
    apart = whole[np.triu_indices(n, 1)]
    assert (apart == 0).any(), "the example has a distance that is not averaged"
    apart = np.sort(apart[apart > 0])
    eps = apart[: round(8 / n * len(apart))].mean()
    expected = DBSCAN(eps=eps, min_samples=4, metric="precomputed").fit(whole).labels_
    found = cluster(points, 20, 6, neighbours=8, min_samples=4, least=6)
    assert found.eps == pytest.approx(eps, abs=1e-6)
    large = [c for c in range(expected.max() + 1) if (expected == c).sum() >= 6]
    assert 1 < len(large) < expected.max() + 1, "the example has clusters that are dropped"
    assert len(found.sizes) == len(large)
    assert (np.diff(found.sizes) <= 0).all()
    for c in large:
        names = set(found.labels[expected == c].tolist())
        assert len(names) == 1
        assert names != {NOBODY}
    assert (found.labels[~np.isin(expected, large)] == NOBODY).all()


def test_clear_blobs_are_found_whatever_their_order():
    classes = np.random.default_rng(1).permutation(np.repeat(np.arange(10), 21))
    centres = torch.eye(10) * 20
    rng = torch.Generator().manual_seed(0)
    points = centres[classes] + torch.randn(210, 10, generator=rng)
    found = cluster(points, 20, 6, neighbours=12, min_samples=4, least=6)
    of_cluster = {(c, k) for c, k in zip(found.labels.tolist(), classes.tolist(), strict=True) if c >= 0}
    assert len(of_cluster) == len(found.sizes) == 10
    assert (found.labels >= 0).mean() > 0.8


def test_bad_input_is_one_sentence():
    with pytest.raises(BenchError, match="20 points have no 20 nearest others each"):
        distances(blobs(2, 10))
    with pytest.raises(BenchError, match="k2 at most k1"):
        distances(blobs(), 5, 6)
    points = blobs()
    points[3, 1] = float("nan")
    with pytest.raises(Diverged, match="1 of 210 points to be clustered are not finite"):
        distances(points)
