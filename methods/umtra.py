"""UMTRA: classes out of single images and their augmentations."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from bench.contracts import Context, Learner, MetaLearner, Tasks, TaskSpec
from bench.datasets.images import UnlabelledImages
from bench.errors import BenchError, did_you_mean
from bench.tasks.draw import distinct
from methods.augment import random_colour, random_geometry, random_pixel_mask, random_subpixel_shift

AUGMENTATIONS = ("auto", "pixel", "photo")
LARGEST_PIXEL_SIDE = 32


@dataclass(frozen=True)
class Umtra:
    """Unsupervised meta-learning for few-shot classification (Khodadadeh et al. 2019, Algorithm 1).

    N distinct random images are the N classes of a task, on the bet that no two share a true class. The
    images, untouched, are the support; the query is Q augmented copies of each. With K > 1 the further K - 1
    support images are augmented copies too, since there is one original only.

    augment: ``pixel`` sets each pixel to 0 with probability ``mask``, then moves the image by real
    dx, dy ~ U(-shift, shift) pixels (both as in the authors' code for Omniglot). ``photo`` mirrors, rotates,
    zooms in, moves and changes colours. ``auto`` is pixel for one-channel images of at most 32 pixels, else
    photo.

    Strengths of photo: moving by 20 of 84 pixels, angles of 30 degrees, a zoom to 42 of 84 pixels and
    brightness 0.4 are figures of the authors' code for mini-ImageNet, which flips images too. Contrast and
    saturation get the strength of brightness. The learned AutoAugment policy of that code is not used.
    """

    learner: MetaLearner
    augment: str = "auto"
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
        if self.augment not in AUGMENTATIONS:
            hint = did_you_mean(self.augment, AUGMENTATIONS)
            raise BenchError(f"umtra: augment must be one of {', '.join(AUGMENTATIONS)}, not {self.augment!r}.{hint}")
        for name in ("shift", "photo_rotation"):
            if not 0 <= (value := getattr(self, name)) < math.inf:
                raise BenchError(f"umtra: {name} must be 0 or more, not {value}")
        strengths = ("photo_brightness", "photo_contrast", "photo_saturation")
        for name in ("mask", "photo_shift", "photo_crop", "photo_flip", *strengths):
            if not 0 <= (value := getattr(self, name)) <= 1:
                raise BenchError(f"umtra: {name} must be between 0 and 1, not {value}")

    def fit(self, images: UnlabelledImages, spec: TaskSpec, context: Context) -> Learner:
        """Meta-train on tasks of augmented images."""
        return self.learner.fit(self.sampler(images, context), spec, context)

    def sampler(self, images: UnlabelledImages, context: Context) -> UmtraSampler:
        """The task sampler over ``images``."""
        return UmtraSampler(self, images)


@dataclass(frozen=True)
class UmtraSampler:
    """A :class:`bench.contracts.TaskSampler`. T tasks, N way, S = K + Q - 1 augmented copies of an image."""

    recipe: Umtra
    images: UnlabelledImages

    def sample(self, n: int, spec: TaskSpec, rng: torch.Generator) -> Tasks:
        """``n`` tasks: one gather and one augmentation for all of them."""
        if len(self.images) < spec.way:
            raise BenchError(f"umtra: {len(self.images)} images are too few for {spec.way}-way tasks")
        originals = self.images.take(distinct(n, spec.way, len(self.images), rng))[:, :, None]  # [T, N, 1, C, H, W]
        copies = originals.expand(-1, -1, spec.shot + spec.query - 1, -1, -1, -1)  # [T, N, S, C, H, W]
        copies = self.augment(copies.flatten(0, 2), rng).view(copies.shape)
        support = torch.cat([originals, copies[:, :, : spec.shot - 1]], dim=2)
        return Tasks(support, copies[:, :, spec.shot - 1 :].contiguous())

    def augment(self, images: Tensor, rng: torch.Generator) -> Tensor:
        """Images [B, C, H, W] -> an augmented copy of each."""
        r = self.recipe
        channels, height, width = self.images.shape
        small = channels == 1 and max(height, width) <= LARGEST_PIXEL_SIDE
        if r.augment == "pixel" or (r.augment == "auto" and small):
            return random_subpixel_shift(random_pixel_mask(images, r.mask, rng), r.shift, rng)
        images = random_geometry(images, r.photo_shift, r.photo_rotation, r.photo_crop, r.photo_flip, rng)
        return random_colour(images, r.photo_brightness, r.photo_contrast, r.photo_saturation, rng)
