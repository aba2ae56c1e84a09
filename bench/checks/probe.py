"""Questions for a learner, made of meta-train images: nothing of the tasks that are scored is in them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from bench.basics.seeds import Seed
from bench.contracts import TaskSpec
from bench.datasets.images import LabelledImages, UnlabelledImages

TASKS = 3
PER_CLASS = 2
"""Queries: a task has as many times its way."""

ROUNDING = {"float32": 2e-6, "tf32": 1e-3}
"""By how much, relatively, numbers may be moved without anything being said of a learner: several units in the last
place of the precision that a run computes in."""


@dataclass(frozen=True, slots=True)
class Probe:
    """Support [3, N, K, ...], queries [3, M, ...] and M other queries [M, ...]; ... is an image, or its embedding.

    rounding: one of :data:`ROUNDING`.
    """

    support: Tensor
    query: Tensor
    others: Tensor
    rounding: float = ROUNDING["float32"]

    def through(self, embed: Callable[[Tensor], Tensor]) -> Probe:
        """The same questions as embeddings; all images are embedded in one call."""
        parts = self.support, self.query, self.others
        lead = [part.shape[:-3] for part in parts]
        embedded = embed(torch.cat([part.reshape(-1, *part.shape[-3:]) for part in parts]))
        rows = embedded.split([shape.numel() for shape in lead])  # type: ignore[no-untyped-call]
        support, query, others = (one.reshape(*shape, *one.shape[1:]) for one, shape in zip(rows, lead, strict=True))
        return Probe(support, query, others, self.rounding)

    def blurred(self) -> Probe:
        """As much else as rounding could make of it."""
        rng = Seed(0).at("blur").generator()

        def blur(x: Tensor) -> Tensor:
            less = torch.rand(x.shape, generator=rng, dtype=torch.float32).to(x)
            return x * (1 - self.rounding * less)

        return Probe(blur(self.support), blur(self.query), blur(self.others), self.rounding)


def probe(images: UnlabelledImages | LabelledImages, spec: TaskSpec, precision: str = "float32") -> Probe:
    """For tasks of this way and shot. Of random images, each of them once where there are enough."""
    queries = PER_CLASS * spec.way
    counts = TASKS * spec.way * spec.shot, TASKS * queries, queries
    order = torch.from_numpy(Seed(0).at("probe", len(images)).numpy().permutation(len(images)))
    index = order.repeat(-(-sum(counts) // len(order)))[: sum(counts)]
    support, query, others = images.take(index.to(images.device)).split(counts)  # type: ignore[no-untyped-call]
    return Probe(
        support.reshape(TASKS, spec.way, spec.shot, *images.shape),
        query.reshape(TASKS, queries, *images.shape),
        others,
        ROUNDING.get(precision, ROUNDING["tf32"]),
    )
