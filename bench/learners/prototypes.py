"""Nearest prototype on a frozen embedding, and a linear head that begins there and is trained on the support."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from bench.basics.errors import BenchError, did_you_mean
from bench.basics.seeds import Seed

METRICS = ("cosine", "euclidean")
Metric = Literal["cosine", "euclidean"]


@dataclass(frozen=True, slots=True)
class Prototypes:
    """A class is the mean of its embedded support images; a :class:`bench.contracts.Classifier`.

    metric: ``euclidean``, minus the squared distance (Snell et al. 2017, §2.3); ``cosine``, of embeddings that are all
    divided by their length before and after the mean.
    """

    metric: Metric = "cosine"

    def __post_init__(self) -> None:
        check_metric("prototypes", self.metric)

    def classify(self, support: Tensor, query: Tensor) -> Tensor:
        """Embeddings [T, N, K, d] and [T, M, d] -> scores [T, M, N]."""
        if self.metric == "cosine":
            return unit(query) @ unit(unit(support).mean(2)).mT
        prototypes = support.mean(2)
        # |q - p|^2 pair by pair: as |q|^2 - 2 q.p + |p|^2 near distances would be differences of large numbers.
        return -torch.stack([(query - p[:, None]).square().sum(2) for p in prototypes.unbind(1)], 2)


@dataclass(frozen=True, slots=True)
class TunedPrototypes:
    """ProtoTune (Medina et al. 2020, §3.2): a linear head that begins as the nearest prototype, trained on the support.

    Weights 2 p and offsets -|p|^2 give the squared Euclidean distances up to what all classes share. Then ``epochs``
    passes of Adam over the support, in batches of as many images as there are classes, in an order that is the same for
    all tasks; the embedding stays as it is.
    """

    seed: Seed
    epochs: int = 15
    lr: float = 1e-3

    def __post_init__(self) -> None:
        if not isinstance(self.epochs, int) or self.epochs < 0:
            raise BenchError(f"prototypes: epochs must be an integer of at least 0, not {self.epochs!r}")
        if not 0 < self.lr < math.inf:
            raise BenchError(f"prototypes: lr must be above 0, not {self.lr!r}")

    @torch.no_grad()
    def classify(self, support: Tensor, query: Tensor) -> Tensor:
        """Embeddings [T, N, K, d] and [T, M, d] -> logits [T, M, N]."""
        way, shot = support.shape[1:3]
        prototypes, x = support.mean(2), support.flatten(1, 2)
        weight, offset = 2 * prototypes, -prototypes.square().sum(2)  # [T, N, d] and [T, N]
        targets = torch.eye(way, dtype=x.dtype, device=x.device).repeat_interleave(shot, 0)
        adam = torch.optim.Adam([weight, offset], lr=self.lr, fused=True)
        for epoch in range(self.epochs):
            order = torch.randperm(way * shot, generator=self.seed.at("order", epoch).generator()).to(x.device)
            for rows in torch.split(order, way):
                some = x[:, rows]
                logits = some @ weight.mT + offset[:, None]
                error = (logits.softmax(2) - targets[rows]) / len(rows)
                weight.grad, offset.grad = error.mT @ some, error.sum(1)
                adam.step()
        return query @ weight.mT + offset[:, None]


def unit(x: Tensor) -> Tensor:
    """Vectors [..., d] divided by their length; the zero vector stays."""
    return torch.nn.functional.normalize(x, dim=-1)


def check_metric(name: str, metric: str) -> None:
    """BenchError, with did-you-mean, for a metric that is none."""
    if metric not in METRICS:
        hint = did_you_mean(str(metric), METRICS)
        raise BenchError(f"{name}: metric must be one of {', '.join(METRICS)}, not {metric!r}.{hint}")
