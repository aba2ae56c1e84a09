"""Few-shot classifiers on a frozen embedding."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from bench.contracts import Encoder
from bench.errors import BenchError


def embed(encoder: Encoder, support: Tensor, query: Tensor) -> tuple[Tensor, Tensor]:
    """Embeddings [T, N, K, dim] of support [T, N, K, C, H, W] and [T, M, dim] of queries [T, M, C, H, W]."""
    with torch.no_grad():
        of_support = encoder.encode(support.flatten(0, 2))
        of_query = encoder.encode(query.flatten(0, 1))
    return of_support.reshape(*support.shape[:3], -1), of_query.reshape(*query.shape[:2], -1)


@dataclass(frozen=True, slots=True)
class NearestNeighbours:
    """k nearest neighbours (the K_nn baseline of Hsu et al. 2019): Euclidean, every neighbour has one vote.

    The score of a class is its share of the votes. Of equally near support images, the one of the first
    class, and in a class the first, counts as nearer; of classes with equally many votes the first wins, as
    in scikit-learn. Distances are taken in float64, pair by pair, so that they do not depend on what else is
    in the batch.
    """

    encoder: Encoder
    k: int = 1
    transductive: bool = False

    def __post_init__(self) -> None:
        if self.k < 1:
            raise BenchError(f"k nearest neighbours need k of at least 1, not {self.k}")

    def predict(self, support: Tensor, query: Tensor) -> Tensor:
        """Scores [T, M, N] in [0, 1]; BenchError when a task has fewer than ``k`` support images."""
        tasks, way, shot = support.shape[:3]
        if self.k > way * shot:
            raise BenchError(f"{self.k} nearest neighbours need as many support images, but a task has {way * shot}")
        of_support, of_query = embed(self.encoder, support, query)
        # The faster form, by a matrix product, is inexact: equal images would not be at distance 0.
        distance = torch.cdist(
            of_query.double(), of_support.double().flatten(1, 2), compute_mode="donot_use_mm_for_euclid_dist"
        )
        nearest = distance.sort(dim=2, stable=True).indices[:, :, : self.k]
        votes = torch.zeros(tasks, query.shape[1], way, device=query.device)
        return votes.scatter_add_(2, nearest // shot, torch.full_like(nearest, 1 / self.k, dtype=votes.dtype))
