"""k-reciprocal re-ranking (Zhong et al. 2017) on lists of neighbours, and DBSCAN on what comes out.

Two points are near where they have the same neighbours, and only those count who have each other for neighbours. As
published it takes matrices of all pairs, gigabytes each for 24,000 points. But a point has weights for some tens of
others only, and two points that share none are at distance 1, so here everything but the search for neighbours, which
goes in pieces, is sparse.
"""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import sparse
from torch import Tensor

from bench.basics.errors import BenchError, Diverged

NOBODY = -1  # the label of a point that is in no cluster

_PAIRS = {"cpu": 2**22, "cuda": 2**27}
"""Distances held at once."""
ROUNDING = 1e-6
"""A distance below this is 0: that of points which are equal."""

Sparse: TypeAlias = Any  # scipy.sparse.csr_array, which tells mypy nothing


@dataclass(frozen=True, slots=True)
class Clustering:
    """labels: int64 [n] from 0, larger clusters first, NOBODY for points in none. eps: DBSCAN's radius, in [0, 1]."""

    labels: NDArray[np.int64]
    eps: float

    @property
    def sizes(self) -> NDArray[np.int64]:
        """Points of each cluster, most first."""
        return np.bincount(self.labels[self.labels >= 0])


def cluster(points: Tensor, k1: int, k2: int, neighbours: float, min_samples: int, least: int) -> Clustering:
    """DBSCAN (Ester et al. 1996) of points [n, d] by their re-ranked distances, with a radius taken from these.

    eps is the mean of the smallest of the distances that are not 0: of so many pairs that a point has ``neighbours``
    others on average, the share neighbours / n of all pairs. A point with ``min_samples`` points within eps, itself
    counted, is the core of a cluster. Clusters of fewer than ``least`` points are dropped.

    Raises as :func:`distances`.
    """
    from sklearn.cluster import DBSCAN
    from sklearn.exceptions import EfficiencyWarning

    n = len(points)
    share = min(1.0, neighbours / n)
    found = distances(points, k1, k2, max(1, math.ceil(share * n * (n - 1) / 2)))
    upper = sparse.triu(found, 1).data
    apart = np.sort(upper[upper > 0])
    zeros = len(upper) - len(apart)
    count = max(1, round(share * (n * (n - 1) // 2 - zeros)))
    # Pairs that share nothing are at distance 1 and are not listed; where they are among the smallest they count.
    eps = float((apart[:count].sum() + max(0, count - len(apart))) / count)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", EfficiencyWarning)  # rows that are not sorted by distance
        raw = DBSCAN(eps=max(eps, ROUNDING), min_samples=min_samples, metric="precomputed").fit(found).labels_
    return Clustering(_large(raw.astype(np.int64), least), eps)


def distances(points: Tensor, k1: int = 20, k2: int = 6, most: int | None = None) -> Sparse:
    """Jaccard distances in [0, 1] of points [n, d]: symmetric [n, n], an entry for every pair below 1.

    The neighbours of a point are the k1 nearest, and itself. The set R of a point holds the neighbours that have it as
    a neighbour too; every member of R whose own such set, of k1 / 2 neighbours, lies in R by more than 2/3 adds that
    set. A point's weights on it are exp(-d), d squared Euclidean over the largest of the point, divided by their sum,
    then averaged over the k2 nearest points, itself among them. The distance of two points is 1 - m / (2 - m), m the
    sum of the lesser of their weights (Zhong et al. 2017, §3.2-3.4 with lambda 0).

    most: keep only the entries up to the ``most``-th smallest distance above 0, the pair (i, j) counted once; what is
    0 is always kept. The diagonal and other zeros are entries, too.

    BenchError where there are no more than k1 points; Diverged where one is not finite.
    """
    n = len(points)
    if not k2 <= k1 < n:
        raise BenchError(f"{n} points have no {k1} nearest others each; k1 must be smaller, and k2 at most k1")
    if not bool(points.isfinite().all()):
        raise Diverged(f"{int((~points.isfinite().all(1)).sum())} of {n} points to be clustered are not finite")
    points = points.detach().float()
    ranked, furthest = nearest(points, k1 + 1)
    weights = _weights(points, ranked.cpu().numpy(), furthest.double().cpu().numpy(), k1, k2)
    return _jaccard(weights, most)


def nearest(points: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The point itself and the k - 1 others nearest to it, in order: int64 [n, k]; and the largest squared distance
    of each point to any [n].
    """
    points = points - points.mean(0)  # about zero the products below lose fewer digits
    norms = points.square().sum(1)
    found, furthest = [], []
    for rows in torch.split(torch.arange(len(points), device=points.device), max(1, _pairs(points) // len(points))):
        squared = torch.addmm(norms, points[rows], points.mT, alpha=-2)  # up to the row's own norm
        furthest.append(squared.amax(1) + norms[rows])
        squared[torch.arange(len(rows), device=points.device), rows] = -torch.inf
        found.append(squared.topk(k, dim=1, largest=False).indices)
    return torch.cat(found), torch.cat(furthest)


def _weights(points: Tensor, ranked: NDArray[np.int64], furthest: NDArray[np.float64], k1: int, k2: int) -> Sparse:
    """Rows of weights, each with the sum 1."""
    n = len(ranked)
    half = _reciprocal(ranked[:, : round(k1 / 2) + 1])
    own = _reciprocal(ranked)
    inside = own.multiply(own @ half).tocsr()  # of every member of R: how many of its half-size set are in R
    inside.data = (3 * inside.data > 2 * half.sum(1)[inside.indices]).astype(np.int32)
    expanded = (own + inside @ half).tocsr()
    expanded.sort_indices()
    rows = np.repeat(np.arange(n), np.diff(expanded.indptr))
    scale = np.maximum(furthest, np.finfo(np.float64).tiny)[rows]  # points that are all equal are at distance 0
    weight = np.exp(-_squared(points, rows, expanded.indices) / scale)
    total = np.bincount(rows, weight)
    sharp = sparse.csr_array((weight / total[rows], expanded.indices, expanded.indptr), shape=(n, n))
    mean = sparse.csr_array((np.full(n * k2, 1 / k2), ranked[:, :k2].ravel(), np.arange(n + 1) * k2), shape=(n, n))
    return (mean @ sharp).tocsr()


def _reciprocal(ranked: NDArray[np.int64]) -> Sparse:
    """Symmetric [n, n] with 1 where each of two points is in the list of the other."""
    n, k = ranked.shape
    listed = sparse.csr_array((np.ones(n * k, np.int32), ranked.ravel(), np.arange(n + 1) * k), shape=(n, n))
    return listed.multiply(listed.T).tocsr()


def _squared(points: Tensor, left: NDArray[np.int64], right: NDArray[np.int64]) -> NDArray[np.float64]:
    """Squared distances of pairs, each taken by itself."""
    at_once = max(1, _pairs(points) // points.shape[1])
    parts = []
    for some in np.split(np.arange(len(left)), range(at_once, len(left), at_once)):
        a, b = (torch.from_numpy(index[some]).to(points.device, torch.int64) for index in (left, right))
        parts.append((points[a] - points[b]).square().sum(1).double().cpu().numpy())
    return np.concatenate(parts)


def _jaccard(weights: Sparse, most: int | None) -> Sparse:
    """See :func:`distances`. A piece of rows at a time: all that they share with others, added up in a table."""
    n = weights.shape[0]
    weights.sort_indices()
    columns = weights.T.tocsr()
    columns.sort_indices()
    kept = _Smallest(most)
    piece = max(1, _PAIRS["cpu"] // n)
    for first in range(0, n, piece):
        own = weights[first : first + piece]
        others = columns[own.indices]  # for every weight of these rows, who has a weight for the same point
        counts = np.diff(others.indptr)
        lesser = np.minimum(others.data, np.repeat(own.data, counts))
        row = np.repeat(np.arange(own.shape[0]), np.diff(own.indptr))
        place = np.repeat(row * n, counts) + others.indices
        shared = np.bincount(place, lesser, minlength=own.shape[0] * n)
        where = shared.nonzero()[0]
        i, j = where // n + first, where % n
        above = i < j
        i, j, m = i[above], j[above], shared[where[above]]
        kept.add(i, j, 1 - m / (2 - m))
    i, j, d = kept.all()
    diagonal = np.arange(n)
    rows, other = np.concatenate([i, j, diagonal]), np.concatenate([j, i, diagonal])
    return sparse.coo_array((np.concatenate([d, d, np.zeros(n)]), (rows, other)), shape=(n, n)).tocsr()


class _Smallest:
    """Collects pairs, and forgets those that cannot be among the ``most`` smallest above 0."""

    def __init__(self, most: int | None) -> None:
        self.most = most
        self._parts: list[tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]] = []
        self._cut, self._held = np.inf, 0

    def add(self, i: NDArray[np.int64], j: NDArray[np.int64], d: NDArray[np.float64]) -> None:
        d = np.where(d < ROUNDING, 0.0, d)
        near = d <= self._cut
        self._parts.append((i[near], j[near], d[near]))
        self._held += int(near.sum())
        if self.most is not None and self._held > 4 * self.most:
            self._forget(self.most)

    def all(self) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
        if self.most is not None:
            self._forget(self.most)
        i, j, d = (np.concatenate(column) for column in zip(*self._parts, strict=True))
        return i, j, d

    def _forget(self, most: int) -> None:
        i, j, d = (np.concatenate(column) for column in zip(*self._parts, strict=True))
        apart = d[d > 0]
        if len(apart) > most:
            self._cut = float(np.partition(apart, most - 1)[most - 1])
        near = d <= self._cut
        self._parts, self._held = [(i[near], j[near], d[near])], int(near.sum())


def _large(labels: NDArray[np.int64], least: int) -> NDArray[np.int64]:
    """Labels of clusters with ``least`` points, numbered anew by size, then by their first point."""
    names, first, sizes = np.unique(labels[labels >= 0], return_index=True, return_counts=True)
    order = np.lexsort((first, -sizes))
    new = np.full(len(names) + 1, NOBODY, dtype=np.int64)  # the last is for NOBODY
    large = order[sizes[order] >= least]
    new[names[large]] = np.arange(len(large))
    return new[labels]


def _pairs(points: Tensor) -> int:
    return _PAIRS.get(points.device.type, _PAIRS["cpu"])
