"""Vectorised drawing without replacement."""

from __future__ import annotations

import torch
from torch import Tensor


def distinct(rows: int, count: int, below: int | Tensor, rng: torch.Generator) -> Tensor:
    """For each of ``rows`` rows, ``count`` distinct integers in [0, below), uniform over ordered tuples.

    ``below`` is one number or an int64 tensor [rows], each at least ``count``. Returns int64 [rows, count] on the
    generator's device. No rejection, so no device sync: the j-th draw is uniform over the below-j integers that are
    left, counted past those already taken (in ascending order).
    """
    device = rng.device
    limit = torch.as_tensor(below, device=device)
    taken = torch.empty(rows, 0, dtype=torch.int64, device=device)
    drawn = []
    for j in range(count):
        uniform = torch.rand(rows, generator=rng, device=device, dtype=torch.float64)
        value = (uniform * (limit - j)).to(torch.int64)
        for smaller in taken.unbind(1):
            value = value + (value >= smaller)
        drawn.append(value)
        taken = torch.cat([taken, value[:, None]], dim=1).sort(dim=1).values
    return torch.stack(drawn, dim=1)
