"""Measures against plain loops in float64, and against closed forms."""

import itertools

import numpy as np
import pytest
import scipy.linalg
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import normalized_mutual_info_score

from bench.looking.inspection.measures import agreement, frechet_distance, nearest_own, spread


def vectors(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@given(st.integers(1, 3), st.integers(2, 4), st.integers(1, 3), st.integers(2, 4), st.integers(0, 99))
def test_nearness_and_spread_are_those_of_plain_loops(tasks, way, shot, count, seed):
    support, query = vectors(tasks, way, shot, 3, seed=seed), vectors(tasks, way, count, 3, seed=seed + 100)
    s, q = support.double().numpy(), query.double().numpy()
    for t in range(tasks):
        means = [sum(s[t, c]) / shot for c in range(way)]
        hits = [
            min(range(way), key=lambda other: np.linalg.norm(q[t, c, i] - means[other])) == c
            for c in range(way)
            for i in range(count)
        ]
        assert float(nearest_own(support, query)[t]) == pytest.approx(np.mean(hits), abs=1e-12)
        apart = [np.linalg.norm(a - b) for c in range(way) for a, b in itertools.combinations(q[t, c], 2)]
        assert float(spread(query)[t]) == pytest.approx(np.mean(apart), rel=1e-9)


def test_classes_that_cannot_be_told_apart_give_the_share_of_guessing():
    same = torch.ones(2, 4, 1, 5)
    assert nearest_own(same, torch.ones(2, 4, 3, 5)).tolist() == [0.25, 0.25]
    assert spread(torch.ones(2, 4, 3, 5)).tolist() == [0, 0]


def with_moments(mean, covariance, n=50, seed=0):
    """Vectors whose sample moments are exactly these."""
    raw = np.random.default_rng(seed).standard_normal((n, len(mean)))
    raw -= raw.mean(0)
    white = raw @ np.linalg.inv(np.linalg.cholesky(np.atleast_2d(np.cov(raw.T)))).T
    return white @ np.linalg.cholesky(covariance).T + mean


def test_the_frechet_distance_of_two_gaussians_is_the_closed_form():
    """With covariances that commute it is |μa − μb|² + Σ (σa − σb)²."""
    rotation, _ = np.linalg.qr(np.random.default_rng(3).standard_normal((4, 4)))
    sa, sb = np.array([1.0, 2.0, 0.5, 3.0]), np.array([2.0, 0.1, 0.5, 1.0])
    ma, mb = np.array([1.0, 0, 0, 0]), np.array([0, 2.0, 0, -1.0])
    a = with_moments(ma, rotation @ np.diag(sa**2) @ rotation.T)
    b = with_moments(mb, rotation @ np.diag(sb**2) @ rotation.T, n=80, seed=1)
    expected = np.sum((ma - mb) ** 2) + np.sum((sa - sb) ** 2)
    assert frechet_distance(a, b) == pytest.approx(expected, rel=1e-9)
    assert frechet_distance(b, a) == pytest.approx(expected, rel=1e-9)
    assert frechet_distance(a, a) == pytest.approx(0, abs=1e-9)
    one = with_moments(np.zeros(1), np.array([[4.0]]))
    assert frechet_distance(one, one / 2 + 3) == pytest.approx(9 + 1)


@pytest.mark.parametrize("n", [200, 5])
def test_the_frechet_distance_is_that_by_a_matrix_root(n):
    """Also where there are fewer vectors than dimensions, and covariances are singular."""
    rng = np.random.default_rng(n)
    a = rng.standard_normal((n, 8)) @ rng.standard_normal((8, 8))
    b = rng.standard_normal((n, 8)) + 0.5
    cov_a, cov_b = np.cov(a.T), np.cov(b.T)
    root = scipy.linalg.sqrtm(cov_a @ cov_b + (0 if n > 8 else 1e-12) * np.eye(8)).real
    expected = np.sum((a.mean(0) - b.mean(0)) ** 2) + np.trace(cov_a + cov_b - 2 * root)
    assert frechet_distance(a, b) == pytest.approx(expected, rel=1e-4 if n == 5 else 1e-9)
    assert frechet_distance(a.astype(np.float32), b) == pytest.approx(frechet_distance(a, b), rel=1e-5)


@given(st.integers(1, 60), st.integers(1, 8), st.integers(1, 8), st.integers(0, 999))
def test_agreement_is_a_count_by_hand_and_the_mutual_information_of_scikit_learn(n, clusters, classes, seed):
    rng = np.random.default_rng(seed)
    labels, true = rng.integers(clusters, size=n), rng.integers(classes, size=n)
    purity, information = agreement(labels, true)
    right = sum(max(np.bincount(true[labels == one])) for one in set(labels.tolist()))
    assert purity == pytest.approx(right / n, abs=1e-12)
    assert information == pytest.approx(normalized_mutual_info_score(true, labels), abs=1e-9)
    assert agreement(true, true) == pytest.approx((1, 1))
