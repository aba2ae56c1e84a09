"""Guessing: where the scale begins."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from bench.basics.errors import BenchError
from bench.contracts import Context, TaskSpec
from bench.datasets.images import UnlabelledImages


@dataclass(frozen=True)
class Chance:
    """A uniformly random class for every query. Trains nothing."""

    def fit(self, images: UnlabelledImages, spec: TaskSpec, context: Context) -> Guess:
        """``images`` are not looked at; another training seed guesses otherwise."""
        if not isinstance(images, UnlabelledImages):
            raise BenchError(f"chance takes unlabelled images, not {type(images).__name__}")
        return Guess(context.seed.at("chance").value())


@dataclass(frozen=True, slots=True)
class Guess:
    """Scores that look random but are a function of the seed, the task's support images and the query image.

    So equal questions get equal answers, whatever the order of the queries, the size of a chunk or the
    device. The function is a keyed hash in whole numbers, which, unlike fractions, add up alike in any order.
    """

    seed: int
    transductive: bool = False

    def predict(self, support: Tensor, query: Tensor) -> Tensor:
        """Scores [T, M, N], uniform in [0, 1)."""
        of_task = _mix(_fingerprint(support.flatten(1, 2), self.seed)).sum(1, keepdim=True)
        of_query = _mix(of_task + _fingerprint(query, self.seed))
        classes = torch.arange(1, support.shape[1] + 1, device=query.device)
        bits = _mix(of_query[..., None] + classes * _GAMMA)
        return _shift(bits, 40).to(torch.float32) / 2**24


# The constants of SplitMix64 (Steele, Lea and Flood 2014) as signed 64-bit numbers.
_GAMMA, _FIRST, _SECOND = (c - 2**64 for c in (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB))


def _fingerprint(images: Tensor, seed: int) -> Tensor:
    """Images [..., C, H, W] in [0, 1] -> int64 [...]: grey levels, weighted with seeded random whole numbers.

    Levels are below 2^8 and weights below 2^24, so float64, which holds whole numbers up to 2^53, adds up two
    million of them without rounding; and it has a fast matrix product.
    """
    levels = (images * 255).round().flatten(-3).to(torch.float64)
    position = torch.arange(levels.shape[-1], device=images.device)
    weights = _shift(_mix(position * _GAMMA + seed), 40).to(torch.float64)
    return (levels @ weights).to(torch.int64)


def _mix(z: Tensor) -> Tensor:
    """The finaliser of SplitMix64, elementwise on int64 as if unsigned."""
    z = (z ^ _shift(z, 30)) * _FIRST
    z = (z ^ _shift(z, 27)) * _SECOND
    return z ^ _shift(z, 31)


def _shift(z: Tensor, bits: int) -> Tensor:
    """Logical shift to the right; torch's own keeps the sign."""
    return (z >> bits) & (2 ** (64 - bits) - 1)
