"""A random part of the image, for drawings too: what contrastive learning was first published with."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from bench.views.photographs import Photographs


@dataclass(frozen=True, slots=True)
class Crops:
    """A random part blown up to the image, perhaps mirrored; of images of three channels the colours change too.

    The settings are those of :class:`bench.views.photographs.Photographs`.
    """

    area: float = 0.2
    flip: float = 0.5
    colour: float = 0.8
    brightness: float = 0.4
    contrast: float = 0.4
    saturation: float = 0.4
    hue: float = 0.1
    greyscale: float = 0.2

    def __post_init__(self) -> None:
        self._of(3)  # refuses what it cannot use

    def weak(self) -> Crops:
        """The same parts, in the colours that they have."""
        return replace(self, colour=0.0, greyscale=0.0)

    def __call__(self, images: Tensor, rng: torch.Generator) -> Tensor:
        """Images [B, C, H, W] in [0, 1] -> a view of each, same shape."""
        return self._of(images.shape[1])(images, rng)

    def _of(self, channels: int) -> Photographs:
        return Photographs(
            area=self.area,
            flip=self.flip,
            colour=self.colour if channels == 3 else 0.0,
            brightness=self.brightness,
            contrast=self.contrast,
            saturation=self.saturation,
            hue=self.hue,
            greyscale=self.greyscale,
        )
