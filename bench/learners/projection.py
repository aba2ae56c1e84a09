"""The projection of contrastive learning: a hidden layer behind the features, thrown away after training."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from bench.backbones import Params
from bench.basics.seeds import Seed


def projection(
    inputs: int, outputs: int, seed: Seed, device: torch.device, hidden: int | None = None, name: str = "projection"
) -> Params:
    """Weights ``<name>1`` [hidden, inputs] and ``<name>2`` [outputs, hidden] with offsets; hidden: ``inputs`` if None.

    He-normal weights (He et al. 2015), zero offsets, drawn on the CPU. Empty where ``outputs`` is 0.
    """
    if outputs == 0:
        return {}
    hidden = hidden or inputs
    params: Params = {}
    rng = seed.generator()
    for layer, (rows, columns) in enumerate(((hidden, inputs), (outputs, hidden)), 1):
        params[f"{name}{layer}.weight"] = torch.randn(rows, columns, generator=rng) * math.sqrt(2 / columns)
        params[f"{name}{layer}.bias"] = torch.zeros(rows)
    return {key: value.to(device) for key, value in params.items()}


def project(params: Mapping[str, Tensor], features: Tensor, name: str = "projection") -> Tensor:
    """Features [B, inputs] -> [B, outputs], ReLU between."""
    hidden = torch.addmm(params[f"{name}1.bias"], features, params[f"{name}1.weight"].mT).relu()
    return torch.addmm(params[f"{name}2.bias"], hidden, params[f"{name}2.weight"].mT)
