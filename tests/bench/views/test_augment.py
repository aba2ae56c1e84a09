"""Every operation against a slow loop or a closed form."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.views import augment


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def shifted_by_loop(image: np.ndarray, dx: float, dy: float) -> np.ndarray:
    """Bilinear value at (i - dy, j - dx), 0 outside; whole-pixel shifts are its special case."""
    _, height, width = image.shape
    result = np.zeros_like(image, dtype=np.float64)
    for i in range(height):
        for j in range(width):
            y, x = i - dy, j - dx
            y0, x0 = math.floor(y), math.floor(x)
            for yy, wy in ((y0, 1 - (y - y0)), (y0 + 1, y - y0)):
                for xx, wx in ((x0, 1 - (x - x0)), (x0 + 1, x - x0)):
                    if 0 <= yy < height and 0 <= xx < width:
                        result[:, i, j] += wy * wx * image[:, yy, xx]
    return result


@settings(max_examples=25, deadline=None)
@given(
    height=st.integers(1, 7),
    width=st.integers(1, 7),
    channels=st.sampled_from([1, 3]),
    moves=st.lists(st.tuples(st.integers(-9, 9), st.integers(-9, 9)), min_size=1, max_size=4),
)
def test_whole_pixel_shift_is_the_loop_exactly_and_never_wraps(height, width, channels, moves):
    images = torch.rand(len(moves), channels, height, width, generator=rng())
    dx, dy = torch.tensor(moves).T
    moved = augment.shift(images, dx, dy)
    bright = augment.shift(images, dx, dy, fill=0.75)
    for image, (x, y), result, filled in zip(images, moves, moved, bright, strict=True):
        assert np.array_equal(result.numpy(), shifted_by_loop(image.numpy(), x, y).astype(np.float32))
        inside = shifted_by_loop(np.ones_like(image), x, y) > 0
        assert np.array_equal(filled.numpy(), np.where(inside, result.numpy(), np.float32(0.75)))


@settings(max_examples=25, deadline=None)
@given(moves=st.lists(st.tuples(st.floats(-6, 6), st.floats(-6, 6)), min_size=1, max_size=4))
def test_subpixel_shift_is_the_bilinear_loop(moves):
    images = torch.rand(len(moves), 1, 7, 9, generator=rng(), dtype=torch.float64)
    dx, dy = torch.tensor(moves, dtype=torch.float64).T
    moved = augment.subpixel_shift(images.float(), dx.float(), dy.float())
    for image, (x, y), result in zip(images, moves, moved, strict=True):
        np.testing.assert_allclose(result.numpy(), shifted_by_loop(image.numpy(), x, y), atol=5e-6)


def test_random_whole_pixel_shift_is_uniform_over_all_moves_and_per_image():
    images = torch.zeros(4000, 1, 11, 11)
    images[:, :, 5, 5] = 1
    moved = augment.random_shift(images, 2, rng())
    _, _, rows, columns = moved.nonzero(as_tuple=True)
    counts = torch.bincount((rows - 3) * 5 + (columns - 3), minlength=25)
    assert len(rows) == 4000
    assert len(counts) == 25
    assert (counts - 160).abs().max() < 5 * math.sqrt(160)


def test_random_subpixel_shift_is_uniform():
    images = torch.zeros(3000, 1, 21, 21)
    images[:, :, 10, 10] = 1
    moved = augment.random_subpixel_shift(images, 6.0, rng())[:, 0]
    place = torch.arange(21.0) - 10
    dx, dy = (moved.sum(1) * place).sum(1), (moved.sum(2) * place).sum(1)  # centres of mass
    for d in (dx, dy):
        assert d.abs().max() <= 6.0001
        assert abs(float(d.mean())) < 5 * 6 / math.sqrt(3 * 3000)
        assert abs(float(d.var()) - 12) < 0.7  # (2 * 6)^2 / 12
    assert abs(float(torch.corrcoef(torch.stack([dx, dy]))[0, 1])) < 0.1


def test_pixel_mask_drops_at_the_rate_asked_for_in_all_channels_at_once():
    images = torch.rand(200, 3, 10, 10, generator=rng()) * 0.9 + 0.1
    masked = augment.random_pixel_mask(images, 0.3, rng(1))
    gone = masked == 0
    assert torch.equal(gone.any(1), gone.all(1))
    assert torch.equal(masked[~gone], images[~gone])
    assert abs(float(gone.float().mean()) - 0.3) < 5 * math.sqrt(0.21 / 20000)
    assert len(gone[:, 0].flatten(1).unique(dim=0)) == 200  # a mask of its own for every image
    assert torch.equal(augment.random_pixel_mask(images, 0.0, rng()), images)
    assert not augment.random_pixel_mask(images, 1.0, rng()).any()


def test_no_strength_is_the_identity():
    images = torch.rand(5, 3, 12, 8, generator=rng())
    same = augment.random_geometry(images, shift=0, rotation=0, crop=1, flip=0, rng=rng())
    torch.testing.assert_close(same, images, atol=1e-5, rtol=0)
    same = augment.random_colour(images, 0, 0, 0, rng())
    torch.testing.assert_close(same, images, atol=1e-6, rtol=0)


def test_flip_mirrors_left_and_right_at_its_rate():
    images = torch.rand(400, 1, 6, 8, generator=rng())
    out = augment.random_geometry(images, shift=0, rotation=0, crop=1, flip=0.25, rng=rng())
    mirrored = (out - images.flip(-1)).abs().amax((1, 2, 3)) < 1e-5
    kept = (out - images).abs().amax((1, 2, 3)) < 1e-5
    assert (mirrored ^ kept).all()
    assert abs(int(mirrored.sum()) - 100) < 5 * math.sqrt(75)


def test_crop_blows_up_the_centre():
    # Zoom 1/2 of a 4x4 image: output pixel centres lie at 0.75, 1.25, 1.75, 2.25 of the input's.
    image = torch.arange(16.0).reshape(1, 1, 4, 4) / 16
    matrix = torch.tensor([[[0.5, 0, 0], [0, 0.5, 0]]])
    at = torch.tensor([0.75, 1.25, 1.75, 2.25])
    expected = (4 * at[:, None] + at[None, :]) / 16
    torch.testing.assert_close(augment.warp(image, matrix)[0, 0], expected)


@pytest.mark.parametrize(("height", "width"), [(20, 20), (16, 28)])
def test_a_rotation_is_a_rotation_whatever_the_ratio_of_the_sides(height, width):
    y, x = torch.meshgrid(torch.arange(height) - (height - 1) / 2, torch.arange(width) - (width - 1) / 2, indexing="ij")
    hill = torch.exp(-(x**2 + y**2) / 12)[None, None].repeat(50, 1, 1, 1)
    out = augment.random_geometry(hill, shift=0, rotation=180, crop=1, flip=0.5, rng=rng())
    assert (out - hill).abs().max() < 0.05  # round stays round, up to interpolation
    spot = ((x - 4) ** 2 + y**2 < 4).float()[None, None].repeat(500, 1, 1, 1)
    out = augment.random_geometry(spot, shift=0, rotation=30, crop=1, flip=0, rng=rng())[:, 0]
    mass = out.sum((1, 2))
    angle = torch.atan2((out * y).sum((1, 2)) / mass, (out * x).sum((1, 2)) / mass).rad2deg()
    assert angle.abs().max() < 31
    assert abs(float(angle.std()) - 60 / math.sqrt(12)) < 1.5
    assert angle.unique().numel() == 500


def test_colour_is_the_loop():
    images = torch.rand(6, 3, 4, 5, generator=rng())
    b, c, s = (torch.rand(6, generator=rng(k)) * 1.6 + 0.2 for k in (1, 2, 3))
    out = augment.colour(images, b, c, s)
    weights = np.array([0.299, 0.587, 0.114])
    for k in range(6):
        x = np.clip(images[k].double().numpy() * float(b[k]), 0, 1)
        mean = np.mean([weights @ x[:, i, j] for i in range(4) for j in range(5)])
        x = np.clip(mean + float(c[k]) * (x - mean), 0, 1)
        for i in range(4):
            for j in range(5):
                luma = weights @ x[:, i, j]
                x[:, i, j] = np.clip(luma + float(s[k]) * (x[:, i, j] - luma), 0, 1)
        np.testing.assert_allclose(out[k].numpy(), x, atol=2e-6)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**31), channels=st.sampled_from([1, 3]), extreme=st.booleans())
def test_values_stay_in_range_and_the_seed_decides(seed, channels, extreme):
    images = torch.rand(3, channels, 9, 7, generator=rng(seed))
    if extreme:
        images = images.round()
    operations = [
        lambda r: augment.random_shift(images, 5, r),
        lambda r: augment.random_pixel_mask(images, 0.5, r),
        lambda r: augment.random_subpixel_shift(images, 6.0, r),
        lambda r: augment.random_geometry(images, 0.3, 45.0, 0.4, 0.5, r),
        lambda r: augment.random_colour(images, 1.0, 1.0, 1.0, r),
    ]
    before = images.clone()
    for operation in operations:
        out = operation(rng(seed))
        assert out.shape == images.shape
        assert float(out.min()) >= 0
        assert float(out.max()) <= 1
        assert torch.equal(out, operation(rng(seed)))
    assert torch.equal(images, before)  # the originals are left alone
