"""The embedding that is none."""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import Tensor

from bench.contracts import Context
from bench.datasets.images import UnlabelledImages


@dataclass(frozen=True, slots=True)
class RawPixels:
    """The pixels themselves. Trains nothing."""

    def obtain(self, images: UnlabelledImages, context: Context) -> PixelEncoder:
        """Only the shape of ``images`` is used."""
        return PixelEncoder(math.prod(images.shape))


@dataclass(frozen=True, slots=True)
class PixelEncoder:
    """An image is its own embedding: the flattened pixels, in [0, 1]."""

    dim: int

    def encode(self, x: Tensor) -> Tensor:
        """Images [B, C, H, W] -> [B, C*H*W]."""
        return x.flatten(1)
