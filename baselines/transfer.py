"""Transfer learning: a network trained on something else, frozen, and a new last layer for every task."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from bench.basics.errors import BenchError
from bench.basics.seeds import Seed
from bench.contracts import Context, EncoderRecipe, TaskSpec
from bench.datasets.images import UnlabelledImages
from bench.learners.embedding import EmbeddingClassifier

VERSION = 1
"""Raised whenever the same settings would give other answers."""


@dataclass(frozen=True)
class Transfer:
    """Khodadadeh et al. 2020, §4 (the VGG-19 rows), as in the authors' code: nothing is meta-trained.

    A dense layer on the frozen features is trained on the support set of every task: ``steps`` steps of plain
    gradient descent on the mean cross-entropy of all its images, learning rate ``lr``, from Glorot-uniform weights and
    zero biases. These are the same for every task, and follow from the training seed.
    """

    encoder: EncoderRecipe
    lr: float = 0.05
    steps: int = 50

    def __post_init__(self) -> None:
        if not 0 < self.lr < math.inf:
            raise BenchError(f"transfer: lr must be above 0, not {self.lr!r}")
        if type(self.steps) is not int or self.steps < 0:
            raise BenchError(f"transfer: steps must be an integer of at least 0, not {self.steps!r}")

    def fit(self, images: UnlabelledImages, spec: TaskSpec, context: Context) -> EmbeddingClassifier:
        """``images`` are looked at only where the encoder is configured to learn from them."""
        if not isinstance(images, UnlabelledImages):
            raise BenchError(f"transfer takes unlabelled images, not {type(images).__name__}")
        encoder = self.encoder.obtain(images, context)
        return EmbeddingClassifier(encoder, Head(self.lr, self.steps, context.seed.at("transfer", "head")))


@dataclass(frozen=True, slots=True)
class Head:
    """A :class:`bench.contracts.Classifier`, see :class:`Transfer`.

    The gradient for the weights lies in the span of the support embeddings X [P, d]: W = W0 - X^T A. So the steps are
    taken on A [P, N] with the products X X^T, at a cost that does not depend on d. In float64: with features as long as
    VGG's, the first steps overshoot and rounding errors grow from step to step.
    """

    lr: float
    steps: int
    seed: Seed

    def start(self, dim: int, way: int, like: Tensor) -> Tensor:
        """The weights W0 [dim, way] of every task; type and place of ``like``."""
        limit = math.sqrt(6 / (dim + way))
        rng = self.seed.at("weights", way).generator()
        return torch.empty(dim, way, dtype=torch.float64).uniform_(-limit, limit, generator=rng).to(like)

    @torch.no_grad()
    def classify(self, support: Tensor, query: Tensor) -> Tensor:
        """Embeddings [T, N, K, d] and [T, M, d] -> logits [T, M, N]."""
        way, shot, dim = support.shape[1:]
        x, asked = support.flatten(1, 2).double(), query.double()
        targets = torch.eye(way, dtype=x.dtype, device=x.device).repeat_interleave(shot, 0)
        start = self.start(dim, way, x)
        at_start, gram = x @ start, x @ x.mT  # [T, P, N], [T, P, P]
        moved = torch.zeros_like(at_start)  # A
        bias = x.new_zeros(len(x), 1, way)
        for _ in range(self.steps):
            logits = at_start - gram @ moved + bias
            step = (logits.softmax(2) - targets) * (self.lr / (way * shot))
            moved += step
            bias -= step.sum(1, keepdim=True)
        return (asked @ start - (asked @ x.mT) @ moved + bias).to(query.dtype)
