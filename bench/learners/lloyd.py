"""k-means on a GPU: Lloyd's algorithm, where scikit-learn's on the CPU would take most of a run.

Sums are matrix products, never additions in no fixed order, so that equal seeds give equal clusters.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Clusters:
    """centroids [k, d]; labels int64 [n]; inertia: sum of squared distances to them, a scalar; iterations taken."""

    centroids: Tensor
    labels: Tensor
    inertia: Tensor
    iterations: int


@torch.no_grad()
def kmeans(
    points: Tensor,
    clusters: int,
    rng: torch.Generator,
    *,
    restarts: int = 1,
    max_iter: int = 300,
    start: str = "k-means++",
    tolerance: float = 1e-4,
) -> Clusters:
    """The best of ``restarts`` k-means of points [n, d], n >= clusters, all on the device of ``rng``.

    start: ``k-means++`` (Arthur & Vassilvitskii 2007, the best of 2 + log k draws each, as in scikit-learn) or
    ``random`` points. It ends when no label changes, or the centroids move by less than ``tolerance`` of the points'
    variance, as in scikit-learn. A cluster that loses all its points takes the one that is furthest from its centroid.
    """
    centre = points.mean(0)
    points = points - centre  # about zero the products below lose fewer digits
    norms = points.square().sum(1)
    still = tolerance * float(points.var(0, correction=0).mean())
    best: Clusters | None = None
    for _ in range(restarts):
        if start == "random":
            centroids = points[torch.rand(len(points), generator=rng, device=rng.device).topk(clusters).indices]
        else:
            centroids = _spread(points, norms, clusters, rng)
        found = _lloyd(points, norms, centroids, max_iter, still)
        if best is None or bool(found.inertia < best.inertia):
            best = found
    assert best is not None
    return Clusters(best.centroids + centre, best.labels, best.inertia, best.iterations)


def _spread(points: Tensor, norms: Tensor, clusters: int, rng: torch.Generator) -> Tensor:
    """Starts far from each other: each new one is drawn by its squared distance to those there are."""
    tries = 2 + int(math.log(clusters))
    chosen = torch.empty(clusters, dtype=torch.int64, device=points.device)
    chosen[0] = torch.randint(len(points), (), generator=rng, device=rng.device)
    nearest = _squared(points, norms, points[chosen[:1]])[:, 0]
    for i in range(1, clusters):
        share = nearest.cumsum(0, dtype=torch.float64)
        drawn = torch.rand(tries, generator=rng, device=rng.device, dtype=torch.float64) * share[-1]
        candidates = torch.searchsorted(share, drawn).clamp_(max=len(points) - 1)
        closer = torch.minimum(_squared(points, norms, points[candidates]), nearest[:, None])  # [n, tries]
        best = closer.sum(0).argmin()
        chosen[i], nearest = candidates[best], closer[:, best]
    return points[chosen]


def _lloyd(points: Tensor, norms: Tensor, centroids: Tensor, max_iter: int, still: float) -> Clusters:
    labels = torch.full_like(norms, -1, dtype=torch.int64)
    iteration = 0
    for iteration in range(1, max_iter + 1):  # noqa: B007
        nearest, found = _squared(points, norms, centroids).min(1)
        member = torch.zeros(len(points), len(centroids), device=points.device, dtype=points.dtype)
        member.scatter_(1, found[:, None], 1.0)
        sizes = member.sum(0)
        moved = (member.T @ points) / sizes.clamp(min=1)[:, None]
        empty = sizes == 0
        if bool(empty.any()):
            moved[empty] = points[nearest.topk(int(empty.sum())).indices]
        shift = (moved - centroids).square().sum()
        done = bool((found == labels).all()) or float(shift) <= still
        labels, centroids = found, moved
        if done:
            break
    nearest, labels = _squared(points, norms, centroids).min(1)
    return Clusters(centroids, labels, nearest.sum(dtype=torch.float64), iteration)


def _squared(points: Tensor, norms: Tensor, others: Tensor) -> Tensor:
    """Squared distances [n, m], not below 0."""
    return torch.addmm(norms[:, None] + others.square().sum(1), points, others.T, alpha=-2).clamp_(min=0)
