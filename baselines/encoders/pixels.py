"""The embedding that is none."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True, slots=True)
class PixelEncoder:
    """An image is its own embedding: the flattened pixels, in [0, 1]."""

    dim: int

    def encode(self, x: Tensor) -> Tensor:
        """Images [B, C, H, W] -> [B, C*H*W]."""
        return x.flatten(1)
