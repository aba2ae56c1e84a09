"""Photographs of the same thing, cut and lit otherwise."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from bench.basics.errors import BenchError
from bench.views.augment import colour, grey, uniform

ASPECT = (3 / 4, 4 / 3)


@dataclass(frozen=True, slots=True)
class Photographs:
    """A random part of the image blown up to its size, perhaps mirrored, with other colours, perhaps without any.

    The recipe of contrastive learning (Chen et al. 2020, §3 and appendix A; He et al. 2020, §3.3), one draw an image.

    area: the part's share of the image ~ U(area, most_area), with sides of 3:4 to 4:3 (uniform in their logarithm) as
    far as they fit. flip, upright_flip: probabilities of mirroring left and right, top and bottom. colour: of changing
    brightness, contrast and saturation by factors ~ U(1 - s, 1 + s) and hue, of three channels, by an angle ~
    U(-h, h) of the whole circle. greyscale: of losing the colours. drop: every pixel is set to 0 with this probability
    and the others divided by 1 - drop (Srivastava et al. 2014), then cut to [0, 1]. erase: the probability that a
    rectangle of 2 to 33 % of the image is set to 0 (Zhong et al. 2020).
    """

    area: float = 0.2
    most_area: float = 1.0
    flip: float = 0.5
    upright_flip: float = 0.0
    colour: float = 0.8
    brightness: float = 0.4
    contrast: float = 0.4
    saturation: float = 0.4
    hue: float = 0.1
    greyscale: float = 0.2
    drop: float = 0.0
    erase: float = 0.0

    def __post_init__(self) -> None:
        for name in self.__slots__:
            most = 0.5 if name == "hue" else 1.0
            if not 0 <= (value := getattr(self, name)) <= most:
                raise BenchError(f"views.{name} must be from 0 to {most:g}, not {value}")
        if not 0 < self.area <= self.most_area:
            raise BenchError(f"views.area must be above 0 and at most views.most_area, not {self.area}")
        if self.drop == 1:
            raise BenchError("views.drop must be below 1, or nothing is left of an image")

    def __call__(self, images: Tensor, rng: torch.Generator) -> Tensor:
        """Images [B, C, H, W] in [0, 1] -> a view of each, same shape."""
        n = len(images)

        def chosen(probability: float) -> Tensor:
            return (torch.rand(n, generator=rng, device=rng.device) < probability)[:, None, None, None]

        views = self._cut(images, rng)
        if self.colour > 0:
            strengths = (self.brightness, self.contrast, self.saturation)
            recoloured = colour(views, *(uniform(n, 1 - s, 1 + s, rng) for s in strengths))
            if self.hue > 0 and images.shape[1] == 3:
                recoloured = turned_hue(recoloured, uniform(n, -self.hue, self.hue, rng))
            views = torch.where(chosen(self.colour), recoloured, views)
        if self.greyscale > 0 and images.shape[1] == 3:
            views = torch.where(chosen(self.greyscale), grey(views).expand_as(views), views)
        if self.drop > 0:
            kept = torch.rand(n, 1, *images.shape[2:], generator=rng, device=rng.device) >= self.drop
            views = (views * kept / (1 - self.drop)).clamp(0, 1)
        if self.erase > 0:
            views = torch.where(chosen(self.erase) & self._rectangle(images, rng), 0.0, views)
        return views

    def _cut(self, images: Tensor, rng: torch.Generator) -> Tensor:
        n = len(images)
        area = uniform(n, self.area, self.most_area, rng)
        root = (uniform(n, math.log(ASPECT[0]), math.log(ASPECT[1]), rng) / 2).exp()
        width, height = ((area.sqrt() * side).clamp(max=1) for side in (root, 1 / root))
        x, y = ((1 - side) * uniform(n, -1, 1, rng) for side in (width, height))
        mirror, upside = (
            1 - 2 * (torch.rand(n, generator=rng, device=rng.device) < p).float()
            for p in (self.flip, self.upright_flip)
        )
        zero = torch.zeros_like(x)
        matrix = torch.stack([torch.stack([mirror * width, zero, x], 1), torch.stack([zero, upside * height, y], 1)], 1)
        grid = F.affine_grid(matrix, list(images.shape), align_corners=False)
        return F.grid_sample(images, grid, mode="bilinear", padding_mode="border", align_corners=False).clamp_(0, 1)

    def _rectangle(self, images: Tensor, rng: torch.Generator) -> Tensor:
        """bool [B, 1, H, W]: sides of 0.3 to 3.3, uniform in their logarithm, 2 to 33 % of the area, inside."""
        n, _, height, width = images.shape
        area, root = uniform(n, 0.02, 0.33, rng), (uniform(n, math.log(0.3), math.log(3.3), rng) / 2).exp()
        inside = []
        for size, ratio in ((height, root), (width, 1 / root)):
            side = (area.sqrt() * ratio).clamp(max=1) * size
            start = uniform(n, 0, 1, rng) * (size - side)
            place = torch.arange(size, device=images.device) + 0.5
            inside.append((place >= start[:, None]) & (place < (start + side)[:, None]))
        return (inside[0][:, :, None] & inside[1][:, None, :])[:, None]


def turned_hue(images: Tensor, turn: Tensor) -> Tensor:
    """RGB [B, 3, H, W] in [0, 1] with the hue turned by ``turn`` [B] of the circle, at the same luma.

    A rotation in the plane of I and Q of YIQ, cut to [0, 1].
    """
    angle = turn * (2 * math.pi)
    cos, sin = angle.cos()[:, None, None, None], angle.sin()[:, None, None, None]
    luma, i, q = _product(images, _YIQ)
    rotated = torch.cat([luma, cos * i - sin * q, sin * i + cos * q], 1)
    return torch.cat(_product(rotated, _RGB), 1).clamp_(0, 1)


_YIQ = ((0.299, 0.587, 0.114), (0.596, -0.274, -0.322), (0.211, -0.523, 0.312))
_RGB = ((1.0, 0.956, 0.621), (1.0, -0.272, -0.647), (1.0, -1.106, 1.703))


def _product(images: Tensor, matrix: tuple[tuple[float, ...], ...]) -> list[Tensor]:
    channels = list(torch.split(images, 1, dim=1))
    return [sum((w * c for w, c in zip(row, channels, strict=True)), torch.zeros_like(channels[0])) for row in matrix]
