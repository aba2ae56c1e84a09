"""Pseudo-random numbers that are a function of their place: no stream, so nothing depends on what was drawn before."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from bench.basics.seeds import Seed


def priority(seed: Seed, tasks: NDArray[np.int64], item: NDArray[np.int64]) -> NDArray[np.uint64]:
    """A pseudo-random 64-bit number for every task and item; ``item`` has shape [tasks or 1, ...].

    It is the item-th output of SplitMix64 (Steele, Lea and Flood 2014) started at the task's own seed.
    Unlike a stream of random numbers it can be evaluated anywhere, and no new version of NumPy changes it.
    """
    seeds = np.array([seed.at(int(task)).value() for task in tasks], dtype=np.uint64)
    seeds = seeds.reshape(-1, *[1] * (item.ndim - 1))
    z: NDArray[np.uint64] = seeds + (item.astype(np.uint64) + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.asarray(z ^ (z >> np.uint64(31)))
