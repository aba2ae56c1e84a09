"""Views by kind of image, and the untouched image."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from bench.contracts import Views
from bench.views.photographs import Photographs
from bench.views.strokes import Strokes


@dataclass(frozen=True, slots=True)
class Fitting:
    """Images of one channel are taken for drawings, others for photographs."""

    strokes: Strokes = field(default_factory=Strokes)
    photographs: Photographs = field(default_factory=Photographs)

    def __call__(self, images: Tensor, rng: torch.Generator) -> Tensor:
        """Images [B, C, H, W] in [0, 1] -> a view of each."""
        return (self.strokes if images.shape[1] == 1 else self.photographs)(images, rng)


def several(views: Views, images: Tensor, count: int, rng: torch.Generator) -> Tensor:
    """``count`` views of each image, drawn one by one: [B, C, H, W] -> [B, count, C, H, W]."""
    repeated = images[:, None].expand(-1, count, -1, -1, -1)
    return views(repeated.flatten(0, 1), rng).view(len(images), count, *images.shape[1:])


def quarter_turns(images: Tensor, turns: Tensor) -> Tensor:
    """Square images [B, C, S, S], each turned by ``turns`` [B] (int64, 0 … 3) times 90 degrees against the clock."""
    side = images.shape[-1]
    place = torch.arange(side * side, device=images.device).view(side, side)
    maps = torch.stack([torch.rot90(place, k).flatten() for k in range(4)])  # [4, S*S]
    index = maps[turns][:, None].expand(-1, images.shape[1], -1)
    return images.flatten(2).gather(2, index).view_as(images)
