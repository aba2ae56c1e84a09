"""Few-shot classifiers on a frozen embedding."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from bench.basics.errors import BenchError
from bench.contracts import Classifier, Encoder
from bench.learners.embeddings import embed

_PIECE = 2**22
"""Numbers in the embeddings that a CPU works on at once."""
_ROWS = 2**24
"""Numbers held at once where distances are taken pair by pair."""


@dataclass(frozen=True, slots=True)
class EmbeddingClassifier:
    """A :class:`bench.contracts.EmbeddingLearner`: a classifier that sees images through ``encoder`` only."""

    encoder: Encoder
    classifier: Classifier
    transductive: bool = False

    def predict(self, support: Tensor, query: Tensor) -> Tensor:
        """Images -> scores [T, M, N]. The images of one call are embedded together."""
        images = torch.cat([support.flatten(0, 2), query.flatten(0, 1)])
        embeddings = embed(self.encoder, images)
        first = support[..., 0, 0, 0].numel()
        of_support = embeddings[:first].reshape(*support.shape[:3], -1)
        return self.predict_embedded(of_support, embeddings[first:].reshape(*query.shape[:2], -1))

    def predict_embedded(self, support: Tensor, query: Tensor) -> Tensor:
        """Embeddings -> scores [T, M, N]."""
        return self.classifier.classify(support, query)

    def state(self) -> dict[str, Tensor]:
        """What the classifier learned from the unlabelled images, by name."""
        state = getattr(self.classifier, "state", None)
        return state() if state is not None else {}


@dataclass(frozen=True, slots=True)
class NearestNeighbours:
    """k nearest neighbours (the K_nn baseline of Hsu et al. 2019): Euclidean, every neighbour has one vote.

    The score of a class is its share of the votes. Of equally near support images, the one of the first
    class, and in a class the first, counts as nearer; of classes with equally many votes the first wins, as
    in scikit-learn.
    """

    k: int = 1

    def __post_init__(self) -> None:
        if not isinstance(self.k, int) or self.k < 1:
            raise BenchError(f"k nearest neighbours need k of at least 1, not {self.k!r}")

    def classify(self, support: Tensor, query: Tensor) -> Tensor:
        """Scores [T, M, N] in [0, 1]; BenchError when a task has fewer than ``k`` support images."""
        tasks, way, shot, _ = support.shape
        if self.k > way * shot:
            raise BenchError(f"{self.k} nearest neighbours need as many support images, but a task has {way * shot}")
        neighbours = nearest(support.flatten(1, 2), query, self.k)
        votes = torch.zeros(tasks, query.shape[1], way, device=query.device)
        return votes.scatter_add_(2, neighbours // shot, votes.new_full((), 1 / self.k).expand(neighbours.shape))


def nearest(points: Tensor, query: Tensor, k: int) -> Tensor:
    """The ``k`` of points [T, P, d] nearest to each query [T, M, d], in no order: indices [T, M, k].

    The answer is that of float64 distances taken pair by pair, where of equally near points the first counts
    as nearer, so it does not depend on what else is in the batch. Most queries are answered by a matrix
    product, which is an order of magnitude faster but inexact; where its rounding error could matter the
    distances are taken again.
    """
    piece = max(1, _PIECE // max(1, query[0].numel() + points[0].numel())) if query.device.type == "cpu" else len(query)
    found = [_nearest(p, q, k) for p, q in zip(torch.split(points, piece), torch.split(query, piece), strict=True)]
    return torch.cat(found)


def _nearest(points: Tensor, query: Tensor, k: int) -> Tensor:
    if points.device.type != "cpu":  # no TF32; and float64 is no burden there
        points, query = points.double(), query.double()
    # Up to |q|^2, which is the same for all points, the squared distance is |p|^2 - 2 q.p.
    norm = torch.linalg.vector_norm(points, dim=2)
    rough = torch.baddbmm(norm.square()[:, None, :], query, points.mT, alpha=-2)
    if k == 1:
        furthest, found = rough.min(2, keepdim=True)
    else:
        smallest, found = rough.topk(k, dim=2, largest=False)
        furthest = smallest[:, :, -1:]
    # Higham 2002, §3.1: summed in any order, q.p is off by at most d u |q| |p|, u = eps / 2. Twice that is allowed for.
    longest = norm.amax(1)[:, None, None]
    relative = (points.shape[2] + 4) * torch.finfo(rough.dtype).eps
    error = relative * longest * (longest + 2 * torch.linalg.vector_norm(query, dim=2, keepdim=True))
    unsure = (rough <= furthest + 2 * error).sum(2) > k
    task, row = unsure.nonzero(as_tuple=True)
    for some in torch.split(torch.arange(len(task), device=task.device), max(1, _ROWS // points[0].numel())):
        t, m = task[some], row[some]
        found[t, m] = _nearest_exactly(points[t], query[t, m][:, None], k)[:, 0]
    return found


def _nearest_exactly(points: Tensor, query: Tensor, k: int) -> Tensor:
    distance = torch.cdist(query.double(), points.double(), compute_mode="donot_use_mm_for_euclid_dist")
    return distance.sort(dim=2, stable=True).indices[:, :, :k]
