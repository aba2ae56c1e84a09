"""The augmentations that make the queries of UMTRA and AAL, chosen and set in one place."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from bench.basics.errors import BenchError, did_you_mean
from bench.views.augment import random_colour, random_geometry, random_pixel_mask, random_subpixel_shift
from methods.autoaugment import POLICIES, random_policy

AUGMENTATIONS = ("auto", "pixel", "photo", "autoaugment")
LARGEST_PIXEL_SIDE = 32


@dataclass(frozen=True, kw_only=True)
class Augmentation:
    """How to make another image of the same thing; the base of methods that do so.

    augmentation: ``pixel`` sets each pixel to 0 with probability ``mask``, then moves the image by real
    dx, dy ~ U(-shift, shift) pixels (both as in the authors' code of UMTRA for Omniglot). ``autoaugment`` is a learned
    policy of Cubuk et al. 2019 (see :mod:`methods.autoaugment`), as in the authors' code of UMTRA for mini-ImageNet
    and in that of Khodadadeh et al. 2020 for CelebA, mini-ImageNet and Fungi. ``photo`` mirrors, rotates, zooms in,
    moves and changes colours. ``auto`` is autoaugment for colour images, pixel for one-channel images of at most 32
    pixels, else photo.

    policy: ``imagenet``, as Khodadadeh et al. 2020 for all their colour datasets, or ``cifar10``, as UMTRA's own code.

    Strengths of photo: moving by 20 of 84 pixels, angles of 30 degrees, a zoom to 42 of 84 pixels and brightness 0.4
    are figures of UMTRA's code for mini-ImageNet, which flips images too. Contrast and saturation get the strength of
    brightness.
    """

    augmentation: str = "auto"
    policy: str = "imagenet"
    mask: float = 0.5
    shift: float = 6.0
    photo_shift: float = 0.24
    photo_rotation: float = 30.0
    photo_crop: float = 0.5
    photo_flip: float = 0.5
    photo_brightness: float = 0.4
    photo_contrast: float = 0.4
    photo_saturation: float = 0.4

    def __post_init__(self) -> None:
        name = type(self).__name__.lower()
        for setting, known in (("augmentation", AUGMENTATIONS), ("policy", tuple(POLICIES))):
            if (value := getattr(self, setting)) not in known:
                hint = did_you_mean(value, known)
                raise BenchError(f"{name}: {setting} must be one of {', '.join(known)}, not {value!r}.{hint}")
        for setting in ("shift", "photo_rotation"):
            if not 0 <= (value := getattr(self, setting)) < math.inf:
                raise BenchError(f"{name}: {setting} must be 0 or more, not {value}")
        strengths = ("photo_brightness", "photo_contrast", "photo_saturation")
        for setting in ("mask", "photo_shift", "photo_crop", "photo_flip", *strengths):
            if not 0 <= (value := getattr(self, setting)) <= 1:
                raise BenchError(f"{name}: {setting} must be between 0 and 1, not {value}")

    def capturable(self, shape: tuple[int, int, int]) -> bool:
        """Whether :meth:`augmented` launches the same kernels whatever it draws, for images [C, H, W]."""
        return (self.augmentation if self.augmentation != "auto" else _fitting(shape)) != "autoaugment"

    def __call__(self, images: Tensor, rng: torch.Generator) -> Tensor:
        """As :meth:`augmented`: the augmentations of UMTRA are :class:`bench.contracts.Views` too."""
        return self.augmented(images, rng)

    def augmented(self, images: Tensor, rng: torch.Generator) -> Tensor:
        """Images [B, C, H, W] in [0, 1] -> an augmented copy of each, with parameters of its own drawn from ``rng``."""
        chosen = self.augmentation if self.augmentation != "auto" else _fitting(images.shape[1:])
        if chosen == "autoaugment":
            return random_policy(images, POLICIES[self.policy], rng)
        if chosen == "pixel":
            return random_subpixel_shift(random_pixel_mask(images, self.mask, rng), self.shift, rng)
        images = random_geometry(images, self.photo_shift, self.photo_rotation, self.photo_crop, self.photo_flip, rng)
        return random_colour(images, self.photo_brightness, self.photo_contrast, self.photo_saturation, rng)


def _fitting(shape: Sequence[int]) -> str:
    channels, height, width = shape
    if channels == 3:
        return "autoaugment"
    return "pixel" if channels == 1 and max(height, width) <= LARGEST_PIXEL_SIDE else "photo"
