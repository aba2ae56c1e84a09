"""Resizing against torch's own, which computes the same thing in another way."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from bench.basics.errors import BenchError
from bench.datasets.resize import check_filter, resize


@given(st.integers(0, 2**32 - 1), st.integers(1, 40), st.integers(1, 40), st.integers(1, 40), st.booleans())
def test_bilinear_is_torchs_bilinear_without_antialias(seed: int, h: int, w: int, size: int, colour: bool) -> None:
    image = np.random.default_rng(seed).integers(0, 256, (h, w, 3) if colour else (h, w), dtype=np.uint8)
    planes = torch.from_numpy(image.reshape(h, w, -1)).double().permute(2, 0, 1)[None]
    want = torch.nn.functional.interpolate(planes, (size, size), mode="bilinear", align_corners=False)
    got = resize(image, size, size, "bilinear")
    assert got.dtype == np.uint8
    assert got.shape == (size, size, *image.shape[2:])
    assert np.abs(got.reshape(size, size, -1) - want[0].permute(1, 2, 0).numpy()).max() <= 0.5 + 1e-6


def test_bilinear_at_omniglots_sizes_by_hand() -> None:
    row = np.zeros((105, 105), dtype=np.uint8)
    row[:, 5] = 200
    # Output 1 looks at (1 + 0.5) * 3.75 - 0.5 = 5.125: seven eighths of column 5, one eighth of column 6.
    assert resize(row, 28, 28, "bilinear")[10].tolist() == [0, 175, *[0] * 26]
    row[:] = 0
    row[:, 3] = 200  # between the samples at 1.375 and 5.125: a thin stroke falls through
    assert resize(row, 28, 28, "bilinear").max() == 0


@given(st.integers(0, 2**32 - 1))
def test_antialias_is_torchs_antialias(seed: int) -> None:
    image = np.random.default_rng(seed).integers(0, 256, (40, 40), dtype=np.uint8)
    planes = torch.from_numpy(image).double()[None, None]
    want = torch.nn.functional.interpolate(planes, (12, 12), mode="bilinear", antialias=True)[0, 0].numpy()
    assert np.abs(resize(image, 12, 12, "antialias") - want).max() <= 1.01  # Pillow rounds after each axis


def test_box_is_the_mean() -> None:
    image = np.random.default_rng(0).integers(0, 256, (20, 20), dtype=np.uint8)
    want = image.reshape(5, 4, 5, 4).mean(axis=(1, 3))
    assert np.abs(resize(image, 5, 5, "box") - want).max() <= 1.01


@pytest.mark.parametrize("kind", ["bilinear", "antialias", "box"])
def test_an_image_of_the_right_size_is_untouched(kind: str) -> None:
    image = np.random.default_rng(0).integers(0, 256, (9, 9, 3), dtype=np.uint8)
    assert np.array_equal(resize(image, 9, 9, kind), image)  # type: ignore[arg-type]


def test_an_unknown_filter_gets_a_suggestion() -> None:
    with pytest.raises(BenchError, match="Did you mean 'bilinear'"):
        check_filter("bilinar")
