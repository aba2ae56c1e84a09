"""A teacher that follows its student slowly, and what it said last."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from bench.basics.seeds import Seed
from bench.learners.prototypes import unit


@torch.no_grad()
def follow(teacher: Iterable[Tensor], student: Iterable[Tensor], momentum: float) -> None:
    """teacher <- momentum teacher + (1 - momentum) student, tensor by tensor, in place (He et al. 2020, eq. 2)."""
    torch._foreach_lerp_(list(teacher), list(student), 1 - momentum)


@dataclass(frozen=True, slots=True)
class Queue:
    """The last embeddings of a teacher, first in, first out.

    items: [Q, d] of unit length, at first random directions. next: int64 [], where the oldest one is. given: [B, d],
    what goes in at the end of this step; the loss has to be done with the items before they change.
    """

    items: Tensor
    next: Tensor
    given: Tensor

    @classmethod
    def of(cls, size: int, batch: int, dim: int, seed: Seed, device: torch.device) -> Queue:
        """Drawn on the CPU, so that it does not depend on the device; ``batch`` of at most ``size``."""
        items = unit(torch.randn(size, dim, generator=seed.generator())).to(device)
        next_ = torch.zeros((), dtype=torch.int64, device=device)
        return cls(items, next_, torch.zeros(batch, dim, device=device))

    def push(self) -> None:
        """Put what was given in the place of the oldest."""
        size, batch = len(self.items), len(self.given)
        place = (self.next + torch.arange(batch, device=self.items.device)) % size
        self.items.index_copy_(0, place, self.given)
        self.next.add_(batch).remainder_(size)
