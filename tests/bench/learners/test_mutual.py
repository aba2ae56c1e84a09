"""Mutual nearest neighbours beside scikit-learn and plain loops."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.neighbors import NearestNeighbors

from bench.learners import mutual
from bench.learners.mutual import mutual_neighbours, nearest_others


def points(n, d=5, seed=0):
    return torch.nn.functional.normalize(torch.randn(n, d, generator=torch.Generator().manual_seed(seed)), dim=1)


@pytest.mark.parametrize("pairs", [2**26, 100])
def test_the_nearest_others_are_those_of_scikit_learn(pairs, monkeypatch):
    monkeypatch.setattr(mutual, "_PAIRS", pairs)
    x = points(60)
    found = nearest_others(x, 7)
    expected = NearestNeighbors(n_neighbors=7, metric="cosine").fit(x.numpy()).kneighbors(return_distance=False)
    assert torch.equal(found, torch.from_numpy(expected))


@settings(max_examples=30, deadline=None)
@given(n=st.integers(4, 25), k=st.integers(1, 3), seed=st.integers(0, 10**6))
def test_neighbours_are_mutual_and_all_that_are_mutual_are_there(n, k, seed):
    x = points(n, seed=seed)
    near = nearest_others(x, k)
    table = mutual_neighbours(x, k)
    of = [set(row.tolist()) for row in near]
    for i in range(n):
        expected = {j for j in of[i] if i in of[j]}
        assert set(table[i].tolist()) - {i} == expected
        assert all(i in table[j].tolist() for j in expected)


def test_points_on_a_line_have_the_neighbours_one_sees():
    angle = torch.tensor([0.0, 0.1, 0.25, 1.0, 1.05])
    x = torch.stack([angle.cos(), angle.sin()], 1)
    assert mutual_neighbours(x, 1).flatten().tolist() == [1, 0, 2, 4, 3]
