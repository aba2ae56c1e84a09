"""Drawings as another hand might have drawn them."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from bench.basics.errors import BenchError
from bench.views.augment import uniform


@dataclass(frozen=True, slots=True)
class Strokes:
    """Views of drawings whose background is 0 and whose ink is 1.

    Every view is turned, stretched along both axes, sheared and moved, displaced smoothly, and drawn with another pen;
    all by amounts of its own.

    rotation: degrees, U(-r, r). log_scale: of the factor along either axis, U(-s, s). shear: U(-s, s).
    shift: along either axis, U(-s, s). displacement: standard deviation of normal vectors on a grid of ``knots`` x
    ``knots``, bilinear between them. Shift and displacement are in 1/28 of the image's side: pixels of a 28x28 image.
    pen: the probability that the thickness changes too: the view is blurred by ``BLUR`` and cut at a level ~ U(thick,
    thin), which are between 0 and 1; where the level is low the stroke is thick.
    """

    rotation: float = 18.0
    log_scale: float = 0.2
    shear: float = 0.25
    shift: float = 2.5
    displacement: float = 2.0
    knots: int = 5
    pen: float = 0.5
    thick: float = 0.2
    thin: float = 0.45

    def __post_init__(self) -> None:
        limits = {"rotation": 180.0, "log_scale": 2.0, "shear": 2.0, "shift": 28.0, "displacement": 28.0, "pen": 1.0}
        for name, most in limits.items():
            if not 0 <= (value := getattr(self, name)) <= most:
                raise BenchError(f"views.{name} must be from 0 to {most:g}, not {value}")
        if not isinstance(self.knots, int) or not 2 <= self.knots <= 64:
            raise BenchError(f"views.knots must be an integer from 2 to 64, not {self.knots!r}")
        if not 1 / (2 * GAIN) <= self.thick <= self.thin <= 1:
            raise BenchError(
                f"views.thick and views.thin must be from {1 / (2 * GAIN):g} to 1 and in this order, not "
                f"{self.thick} and {self.thin}"
            )

    def __call__(self, images: Tensor, rng: torch.Generator) -> Tensor:
        """Images [B, C, H, W] in [0, 1] -> a view of each, same shape."""
        moved = F.grid_sample(
            images, self._grid(images, rng), mode="bilinear", padding_mode="zeros", align_corners=False
        )
        if self.pen == 0:
            return moved.clamp_(0, 1)
        drawn = redrawn(moved, uniform(len(images), self.thick, self.thin, rng))
        if self.pen < 1:
            other = torch.rand(len(images), generator=rng, device=rng.device) < self.pen
            drawn = torch.where(other[:, None, None, None], drawn, moved)
        return drawn.clamp_(0, 1)

    def _grid(self, images: Tensor, rng: torch.Generator) -> Tensor:
        """Where each pixel of a view comes from, in units of half a side: [B, H, W, 2], x first."""
        n, _, height, width = images.shape
        angle = uniform(n, -self.rotation, self.rotation, rng) * (math.pi / 180)
        across, down = (uniform(n, -self.log_scale, self.log_scale, rng).exp() for _ in range(2))
        shear = uniform(n, -self.shear, self.shear, rng)
        x, y = (uniform(n, -self.shift, self.shift, rng) / 14 for _ in range(2))
        cos, sin, ratio = angle.cos(), angle.sin(), height / width
        # Turned, then sheared, then stretched; the ratio of the sides keeps a rotation a rotation.
        first = torch.stack([cos * across, (shear * cos - sin) * down * ratio, x], 1)
        second = torch.stack([sin * across / ratio, (shear * sin + cos) * down, y], 1)
        grid = F.affine_grid(torch.stack([first, second], 1), [n, 1, height, width], align_corners=False)
        if self.displacement > 0:
            knots = torch.randn(n, 2, self.knots, self.knots, generator=rng, device=rng.device)
            field = F.interpolate(knots, (height, width), mode="bilinear", align_corners=True)
            grid = grid + field.permute(0, 2, 3, 1) * (self.displacement / 14)
        return grid


GAIN = 4.0
BLUR = (0.25, 0.5, 0.25)
"""Along either axis."""


def redrawn(images: Tensor, level: Tensor) -> Tensor:
    """Images [B, C, H, W] blurred, then cut at ``level`` [B], softly: 0.5 + GAIN (blurred - level), in [0, 1]."""
    channels = images.shape[1]
    tap = torch.stack([images.new_full((), weight) for weight in BLUR])
    kernel = (tap[:, None] * tap).expand(channels, 1, 3, 3)
    blurred = F.conv2d(images, kernel, padding=1, groups=channels)
    return (0.5 + GAIN * (blurred - level[:, None, None, None])).clamp(0, 1)
