"""k-means of the GPU, on a CPU: against scikit-learn, and its corner cases."""

import numpy as np
import pytest
import torch
from sklearn.cluster import KMeans
from sklearn.datasets import make_blobs

from bench.learners.lloyd import kmeans


def rng(seed=0):
    return torch.Generator().manual_seed(seed)


def test_far_clusters_are_found_exactly():
    points, truth = make_blobs(600, 8, centers=20, cluster_std=0.05, random_state=0)
    found = kmeans(torch.tensor(points, dtype=torch.float32), 20, rng(), restarts=5)
    pairs = set(zip(found.labels.tolist(), truth.tolist(), strict=True))
    assert len(pairs) == 20
    expected = KMeans(20, n_init=5, random_state=0).fit(points)
    assert float(found.inertia) == pytest.approx(expected.inertia_, rel=1e-4)


def test_it_is_as_good_as_scikit_learn_where_there_are_no_clusters():
    points = torch.randn(2000, 16, generator=rng())
    ours = [float(kmeans(points, 60, rng(seed)).inertia) for seed in range(5)]
    theirs = [KMeans(60, n_init=1, random_state=seed).fit(points.numpy()).inertia_ for seed in range(5)]
    assert np.mean(ours) == pytest.approx(np.mean(theirs), rel=0.01)


def test_labels_are_of_the_nearest_centroid_and_inertia_is_their_sum():
    points = torch.randn(300, 5, generator=rng()) + 100  # far from zero
    found = kmeans(points, 12, rng())
    distance = torch.cdist(points.double(), found.centroids.double()).square()
    assert torch.equal(distance.argmin(1), found.labels)
    assert float(distance.amin(1).sum()) == pytest.approx(float(found.inertia), rel=1e-3)


def test_equal_seeds_are_equal_and_more_restarts_are_no_worse():
    points = torch.randn(500, 6, generator=rng())
    first, second = kmeans(points, 30, rng(4)), kmeans(points, 30, rng(4))
    assert torch.equal(first.labels, second.labels)
    assert float(kmeans(points, 30, rng(4), restarts=6).inertia) <= float(first.inertia)


@pytest.mark.parametrize("start", ["k-means++", "random"])
def test_fewer_distinct_points_than_clusters(start):
    points = torch.eye(3).repeat(10, 1)
    found = kmeans(points, 8, rng(), start=start)
    assert len(found.labels.unique()) == 3
    assert float(found.inertia) == pytest.approx(0, abs=1e-5)


def test_a_cluster_without_points_takes_the_furthest_one():
    points = torch.cat([torch.zeros(50, 2), torch.full((1, 2), 10.0), torch.full((1, 2), -7.0)])
    for seed in range(5):
        found = kmeans(points, 3, rng(seed), start="random")
        assert float(found.inertia) == pytest.approx(0, abs=1e-4)
