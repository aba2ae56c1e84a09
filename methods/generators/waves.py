"""A generator without training: sums of standing waves. For checks of what is built on a generator, not for results.

bench run --methods lasium-ro-object-protonet generator.callable=methods.generators.waves:decode generator.latent_dim=16
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

SIDE = 16
FREQUENCIES = 4  # along either axis
CONTRAST = 1.5


def decode(z: Tensor) -> Tensor:
    """Latents [n, 16] -> images [n, 1, 16, 16] in (0, 1): each latent is the amplitude of one product of cosines."""
    position = (torch.arange(SIDE, device=z.device, dtype=z.dtype) + 0.5) / SIDE
    frequency = torch.arange(1, FREQUENCIES + 1, device=z.device, dtype=z.dtype)
    wave = torch.cos(math.pi * frequency[:, None] * position)  # [F, side]
    waves = torch.einsum("ay,bx->abyx", wave, wave).flatten(0, 1)  # [16, side, side]
    return torch.sigmoid(CONTRAST * torch.einsum("nk,kyx->nyx", z, waves))[:, None]
