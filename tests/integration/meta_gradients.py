"""How far a meta-gradient in float32 is from that in float64, on any device.

After one inner step at a small rate: later steps at the paper's rate amplify rounding, because a maximum or a ReLU
flips. One that flips even so moves the gradient by some 2e-3 of its norm; hence the median over several problems.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from bench.backbones import Conv4
from bench.learners.adaptation import adaptation

STRIDED = {"stride": 2, "pool": False, "head": "mean"}
STEPS, RATE, PROBLEMS = 1, 0.01, 5

MOST = 1e-2
"""Of the gradient's norm. Rounding images and weights to 10 bits, a part of what TF32 does, costs 5e-2 and more."""

Problem = tuple[dict[str, Tensor], Tensor, Tensor]


def problem(backbone: Conv4, seed: int, tasks: int = 4) -> Problem:
    """Parameters, support and query images, float64 on the CPU; 5-way 1-shot, 5 queries, 28 x 28."""
    rng = torch.Generator().manual_seed(seed)
    params = {name: value.double() for name, value in backbone.init(rng, (1, 28, 28), 5).items()}
    for name, value in params.items():
        if name.startswith("norm"):
            value += 0.1 * torch.randn(value.shape, generator=rng, dtype=torch.float64)
    support, query = (torch.rand(tasks, 5, n, 1, 28, 28, generator=rng, dtype=torch.float64) for n in (1, 5))
    return params, support, query


def gradient(backbone: Conv4, given: Problem, first_order: bool) -> Tensor:
    """All of it as one vector, float64 on the CPU."""
    params, support, query = given
    found = adaptation(backbone, STEPS, RATE, False).meta_gradient(params, support, query, first_order)[1]
    return torch.cat([found[name].double().cpu().flatten() for name in sorted(found)])


def moved(given: Problem, change: Callable[[Tensor], Tensor]) -> Problem:
    params, support, query = given
    return {name: change(value) for name, value in params.items()}, change(support), change(query)


def relative_error(backbone: Conv4, first_order: bool, change: Callable[[Tensor], Tensor]) -> float:
    """Of the gradient that is computed from ``change`` of every tensor; median over problems."""
    errors = []
    for seed in range(PROBLEMS):
        given = problem(backbone, seed)
        wanted = gradient(backbone, given, first_order)
        errors.append((gradient(backbone, moved(given, change), first_order) - wanted).norm() / wanted.norm())
    return float(torch.stack(errors).median())


def to_10_bits(x: Tensor) -> Tensor:
    """float32, rounded as the factors of a product in TF32 are."""
    bits = x.float().contiguous().view(torch.int32)
    return ((bits + 0x1000) & ~0x1FFF).view(torch.float32)
