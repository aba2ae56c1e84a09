"""A generator without training: sums of standing waves. For checks of what is built on a generator, not for results.

``generator.callable=methods.generators.waves:decode generator.latent_dim=16``. The text of this file is part of a run's
name, so that every edit of it asks for a new baseline of the accuracy gate.
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
