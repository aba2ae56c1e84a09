"""AutoAugment: every operation against Pillow's, and policies drawn image by image."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest
import torch
from PIL import Image, ImageEnhance, ImageOps

from bench.basics.errors import BenchError
from methods.autoaugment import CIFAR10, GREY, IMAGENET, OPERATIONS, POLICIES, amount, random_policy

FILL = (int(GREY),) * 3


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def pictures() -> np.ndarray:
    """uint8 [n, H, W, 3]: noise, dark, flat, two levels, smooth, and one that uses few levels."""
    draws = np.random.default_rng(0)
    y, x = np.mgrid[0:36, 0:28]
    smooth = np.stack([120 + 100 * np.sin(x / 5), 100 + 3 * y, 4 * x + y], -1).clip(0, 255)
    return np.stack(
        [
            draws.integers(0, 256, (36, 28, 3)),
            draws.integers(30, 60, (36, 28, 3)),
            np.full((36, 28, 3), [10, 200, 77]),
            draws.integers(0, 2, (36, 28, 3)) * 255,
            smooth,
            draws.integers(0, 9, (36, 28, 3)) ** 2 * 3,
        ]
    ).astype(np.uint8)


def affine(image, *row):
    return image.transform(image.size, Image.Transform.AFFINE, row, Image.Resampling.NEAREST, fillcolor=FILL)


PILLOW = {
    "shear_x": lambda image, v: affine(image, 1, v, 0, 0, 1, 0),
    "shear_y": lambda image, v: affine(image, 1, 0, 0, v, 1, 0),
    "translate_x": lambda image, v: affine(image, 1, 0, v, 0, 1, 0),
    "translate_y": lambda image, v: affine(image, 1, 0, 0, 0, 1, v),
    "rotate": lambda image, v: image.rotate(v, Image.Resampling.NEAREST, fillcolor=FILL),
    "autocontrast": lambda image, v: ImageOps.autocontrast(image),
    "invert": lambda image, v: ImageOps.invert(image),
    "equalize": lambda image, v: ImageOps.equalize(image),
    "solarize": ImageOps.solarize,
    "posterize": lambda image, v: ImageOps.posterize(image, int(v)),
    "contrast": lambda image, v: ImageEnhance.Contrast(image).enhance(v),
    "color": lambda image, v: ImageEnhance.Color(image).enhance(v),
    "brightness": lambda image, v: ImageEnhance.Brightness(image).enhance(v),
    "sharpness": lambda image, v: ImageEnhance.Sharpness(image).enhance(v),
}
ROUNDED_APART = {"shear_x": 0.005, "shear_y": 0.005, "rotate": 0.005}
"""Share of pixels that may differ at will: Pillow's coordinates have 16 binary places, so a tie may fall elsewhere."""
NO_TIES = {"shear_x": 0.997, "shear_y": 0.997}
"""Shears by tenths of a pixel have ties in every other row; by a little less they have none."""
LEVELS_APART = {"contrast": 1, "color": 1, "brightness": 1, "sharpness": 1}
"""Pillow blends in float32 and cuts: a whole number may come out one lower."""


@pytest.mark.parametrize("name", sorted(OPERATIONS))
def test_operations_are_pillows(name):
    images = pictures()
    every = {amount(name, m, negative, (36, 28)) for m in range(10) for negative in (False, True)}
    strengths = [strength * NO_TIES.get(name, 1) for strength in sorted(every)]
    levels = torch.from_numpy(images).permute(0, 3, 1, 2).float()
    for strength in strengths:
        before = levels.clone()
        out = OPERATIONS[name](levels, torch.full((len(images),), strength, dtype=torch.float64))
        assert torch.equal(levels, before)
        expected = np.stack([np.asarray(PILLOW[name](Image.fromarray(image), strength)) for image in images])
        apart = np.abs(out.permute(0, 2, 3, 1).numpy() - expected)
        if name in ROUNDED_APART:
            assert (apart > 0).any(-1).mean() <= ROUNDED_APART[name]
        else:
            assert apart.max() <= LEVELS_APART.get(name, 0)
            assert (apart > 0).mean() < 0.01


@pytest.mark.parametrize("name", sorted(OPERATIONS))
def test_every_image_of_a_batch_has_its_own_strength_and_one_channel_will_do(name):
    levels = torch.from_numpy(pictures()).permute(0, 3, 1, 2).float()
    strengths = torch.tensor([amount(name, m, m % 2 == 0, (36, 28)) for m in (0, 2, 4, 5, 7, 9)], dtype=torch.float64)
    together = OPERATIONS[name](levels, strengths)
    for i in range(len(levels)):
        assert torch.equal(together[i : i + 1], OPERATIONS[name](levels[i : i + 1], strengths[i : i + 1]))
    if name != "color":  # three equal channels are a grey image, of which one is enough
        grey = levels[:, :1].expand(-1, 3, -1, -1)
        assert torch.equal(OPERATIONS[name](grey, strengths)[:, :1], OPERATIONS[name](levels[:, :1], strengths))


def test_magnitudes_are_those_of_the_papers_table():
    size = (331, 662)
    assert [amount("posterize", m, False, size) for m in (0, 5, 8, 9)] == [8, 6, 4, 4]
    assert [amount("solarize", m, False, size) for m in (0, 9)] == [256, 0]
    colors = [amount("color", m, sign, size) for m in (0, 9) for sign in (False, True)]
    assert colors == pytest.approx([0.1, 0.1, 1.9, 1.9])
    assert [amount("rotate", 9, sign, size) for sign in (False, True)] == [30, -30]
    assert [amount("translate_y", 9, False, size), amount("translate_x", 9, True, size)] == [150, -300]
    assert amount("shear_x", 3, False, size) == pytest.approx(0.1)


@pytest.mark.parametrize("policy", [IMAGENET, CIFAR10])
def test_policies_have_25_pairs_of_known_operations(policy):
    assert len(policy) == 25
    for pair in policy:
        for name, probability, magnitude in pair:
            assert name in OPERATIONS
            assert 0 <= probability <= 1
            assert magnitude in range(10)


def alone(image: torch.Tensor, steps) -> torch.Tensor:
    levels = (image[None] * 255).round()
    for name, strength in steps:
        levels = OPERATIONS[name](levels, torch.tensor([strength], dtype=torch.float64))
    return levels[0] / 255


def test_every_image_draws_a_sub_policy_operations_and_signs_of_its_own():
    policy = ((("rotate", 1.0, 9), ("invert", 0.25, 0)), (("translate_x", 0.5, 6), ("solarize", 1.0, 5)))
    image = torch.from_numpy(pictures()[4]).permute(2, 0, 1).float() / 255
    count = 2000
    out = random_policy(image.expand(count, -1, -1, -1), policy, rng())
    expected = {}
    for sign in (False, True):
        turned = ("rotate", amount("rotate", 9, sign, (36, 28)))
        moved = ("translate_x", amount("translate_x", 6, sign, (36, 28)))
        inverted, solarized = ("invert", 0.0), ("solarize", amount("solarize", 5, False, (36, 28)))
        expected[alone(image, [turned]).numpy().tobytes()] = (("turned", sign), 0.5 * 0.75 / 2)
        expected[alone(image, [turned, inverted]).numpy().tobytes()] = (("turned, inverted", sign), 0.5 * 0.25 / 2)
        expected[alone(image, [moved, solarized]).numpy().tobytes()] = (("moved, solarized", sign), 0.5 * 0.5 / 2)
    expected[alone(image, [solarized]).numpy().tobytes()] = (("solarized",), 0.5 * 0.5)
    assert len(expected) == 7
    found = Counter(expected[one.numpy().tobytes()] for one in out)
    for (what, share), times in found.items():
        assert abs(times - count * share) < 5 * math.sqrt(count * share * (1 - share)), what
    assert len(found) == 7


@pytest.mark.parametrize("name", sorted(POLICIES))
@pytest.mark.parametrize("channels", [1, 3])
def test_the_generator_alone_decides_and_values_stay_in_range(name, channels):
    images = torch.rand(60, channels, 20, 24, generator=rng(5))
    before = images.clone()
    first = random_policy(images, POLICIES[name], rng(1))
    torch.manual_seed(99)
    again = random_policy(images, POLICIES[name], rng(1))
    assert torch.equal(first, again)
    assert torch.equal(images, before)
    assert not torch.equal(first, random_policy(images, POLICIES[name], rng(2)))
    assert first.shape == images.shape
    assert first.dtype == images.dtype
    assert 0 <= float(first.min()) <= float(first.max()) <= 1
    assert len(first.flatten(1).unique(dim=0)) == 60


def test_other_numbers_of_channels_are_refused():
    with pytest.raises(BenchError, match="1 or 3 channels, not 2"):
        random_policy(torch.rand(2, 2, 8, 8), IMAGENET, rng())
