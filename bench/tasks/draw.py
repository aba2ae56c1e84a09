"""Vectorised drawing without replacement."""

from __future__ import annotations

import torch
from torch import Tensor

SORTED_BELOW = 2**14
"""Up to this many random numbers it is cheaper to draw one for every candidate and keep the smallest."""


def distinct(rows: int, count: int, below: int | Tensor, rng: torch.Generator, most: int | None = None) -> Tensor:
    """For each of ``rows`` rows, ``count`` distinct integers in [0, below), uniform over ordered tuples.

    ``below`` is one number, or an int64 tensor [rows] of numbers of which ``most`` (needed for speed only) is the
    largest; each is at least ``count``. Returns int64 [rows, count] on the generator's device, without waiting for it.
    """
    if isinstance(below, int):
        most = below
    if most is not None and rows * most <= SORTED_BELOW:
        return _by_sorting(rows, count, below, most, rng)
    return _by_counting(rows, count, below, rng)


def _by_sorting(rows: int, count: int, below: int | Tensor, most: int, rng: torch.Generator) -> Tensor:
    """The ``count`` candidates with the largest random numbers, in that order."""
    keys = torch.rand(rows, most, generator=rng, device=rng.device)
    if isinstance(below, Tensor):
        keys.masked_fill_(torch.arange(most, device=rng.device) >= below[:, None], -1.0)
    return keys.topk(count, dim=1).indices


def _by_counting(rows: int, count: int, below: int | Tensor, rng: torch.Generator) -> Tensor:
    """The j-th draw is uniform over the below-j integers that are left, counted past those taken, in order."""
    device = rng.device
    uniform = torch.rand(count, rows, generator=rng, device=device, dtype=torch.float64)
    taken: list[Tensor] = []  # ascending in every row
    drawn = []
    for j in range(count):
        value = (uniform[j] * (below - j)).to(torch.int64)
        for smaller in taken:
            value = value + (value >= smaller)
        drawn.append(value)
        # Put it in its place among those taken: one pass of insertion.
        for place, other in enumerate(taken):
            taken[place], value = torch.minimum(other, value), torch.maximum(other, value)
        taken.append(value)
    return torch.stack(drawn, dim=1)
