"""Mutual nearest neighbours, without a matrix of all pairs."""

from __future__ import annotations

import torch
from torch import Tensor

_PAIRS = 2**26
"""Similarities held at once."""


def nearest_others(points: Tensor, k: int) -> Tensor:
    """For points [n, d] the ``k`` others with the largest inner product, nearest first: int64 [n, k]."""
    found = []
    everyone = torch.arange(len(points), device=points.device)
    for rows in torch.split(everyone, max(1, _PAIRS // len(points))):
        similarity = points[rows] @ points.mT
        similarity[torch.arange(len(rows), device=points.device), rows] = -torch.inf
        found.append(similarity.topk(k, dim=1).indices)
    return torch.cat(found)


def mutual_neighbours(points: Tensor, k: int) -> Tensor:
    """Which of the ``k`` nearest others of each point have it among theirs: int64 [n, k], itself where one has not."""
    near = nearest_others(points, k)
    own = torch.arange(len(points), device=points.device)
    mutual = (near[near] == own[:, None, None]).any(2)
    return torch.where(mutual, near, own[:, None])
