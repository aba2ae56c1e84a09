"""Modules that draw their own first weights, seeded."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import torch
from torch import nn

from bench.basics.seeds import Seed

M = TypeVar("M", bound=nn.Module)


def initialised(make: Callable[[], M], seed: Seed | int) -> M:
    """What ``make()`` builds on the CPU, its weights drawn from ``seed`` (a number: from 0 to 2^63).

    PyTorch's modules draw from the global generator. Within, that has this seed; afterwards it is what it was.
    """
    with torch.random.fork_rng(devices=[]):  # the weights do not depend on the device: no GPU is seeded
        torch.default_generator.manual_seed(seed if isinstance(seed, int) else seed.value())
        return make()
