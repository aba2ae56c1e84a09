"""What is measured, as functions of vectors. T tasks, N way, K shot, Q queries per class, D dimensions."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


def nearest_own(support: Tensor, query: Tensor) -> Tensor:
    """Share of a task's queries whose nearest class mean is that of their own class: [T], float64 in [0, 1].

    support [T, N, K, D], query [T, N, Q, D]; Euclidean. Of k equally near classes, the own one counts 1/k.
    """
    tasks, way, count, _ = query.shape
    means = support.double().mean(2)
    distance = torch.cdist(query.double().flatten(1, 2), means, compute_mode="donot_use_mm_for_euclid_dist")
    distance = distance.view(tasks, way, count, way)
    nearest = distance == distance.amin(3, keepdim=True)
    own = nearest.diagonal(dim1=1, dim2=3).movedim(-1, 1)  # [T, N, Q]
    return (own.double() / nearest.sum(3)).mean((1, 2))


def spread(query: Tensor) -> Tensor:
    """Mean Euclidean distance between two different queries of a class, over the classes of a task.

    query [T, N, Q, D], Q of at least 2 -> [T], float64.
    """
    tasks, way, count, _ = query.shape
    vectors = query.double().flatten(0, 1)
    distance = torch.cdist(vectors, vectors, compute_mode="donot_use_mm_for_euclid_dist")
    return distance.sum((1, 2)).view(tasks, way).mean(1) / (count * (count - 1))


def frechet_distance(a: NDArray[np.floating], b: NDArray[np.floating]) -> float:
    """Squared Fréchet distance of the Gaussians with the moments of two sets of vectors [n, D] and [m, D].

    |μa − μb|² + tr(Sa + Sb − 2 (Sa Sb)^½) (Dowson and Landau 1982; Heusel et al. 2017, §2, whose FID takes vectors of
    the Inception network). In float64; covariances are divided by n − 1. The trace of the root is the sum of the roots
    of the eigenvalues of Sa^½ Sb Sa^½, a symmetric matrix, so it is real also where a covariance is singular.
    """
    mean_a, cov_a = _moments(a)
    mean_b, cov_b = _moments(b)
    values, vectors = np.linalg.eigh(cov_a)
    root = (vectors * np.sqrt(values.clip(min=0))) @ vectors.T
    product = np.linalg.eigvalsh(root @ cov_b @ root)
    trace = np.trace(cov_a) + np.trace(cov_b) - 2 * np.sqrt(product.clip(min=0)).sum()
    return float(max(0.0, np.square(mean_a - mean_b).sum() + trace))


def agreement(labels: NDArray[np.int64], classes: NDArray[np.int64]) -> tuple[float, float]:
    """Purity and normalised mutual information of clusters and true classes, both [n] and from 0; each in [0, 1].

    Purity: the share of images that are of the commonest class of their cluster. Mutual information is divided by the
    mean of the two entropies (scikit-learn's default); it is 1 where both have one value only, as there.
    """
    table = np.zeros((labels.max() + 1, classes.max() + 1), dtype=np.int64)
    np.add.at(table, (labels, classes), 1)
    purity = float(table.max(1).sum() / len(labels))
    joint = table / len(labels)
    of_labels, of_classes = (_entropy(joint.sum(axis)) for axis in (1, 0))
    information = of_labels + of_classes - _entropy(joint.ravel())
    if of_labels == 0 and of_classes == 0:
        return purity, 1.0
    return purity, float(max(0.0, information) / ((of_labels + of_classes) / 2))


def _entropy(shares: NDArray[np.float64]) -> float:
    """In nats."""
    some = shares[shares > 0]
    return abs(float(-(some * np.log(some)).sum()))  # not -0.0


def _moments(vectors: NDArray[np.floating]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    whole = vectors.astype(np.float64)
    return whole.mean(0), np.atleast_2d(np.cov(whole, rowvar=False))
