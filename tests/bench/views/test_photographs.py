"""Photographs cut and recoloured: every step against a second computation."""

from __future__ import annotations

import colorsys

import numpy as np
import pytest
import torch

from bench.views.photographs import Photographs, turned_hue

STILL = {"area": 1.0, "flip": 0.0, "colour": 0.0, "greyscale": 0.0}


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def ramps(n: int, height: int = 40, width: int = 40) -> torch.Tensor:
    """Channel 0 is a pixel's x, channel 1 its y, in [0, 1]; channel 2 is 0.5. So a view says where it comes from."""
    x = ((torch.arange(width) + 0.5) / width).expand(height, width)
    y = ((torch.arange(height) + 0.5) / height)[:, None].expand(height, width)
    return torch.stack([x, y, torch.full_like(x, 0.5)])[None].repeat(n, 1, 1, 1)


def parts(views: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Width and height (signed: mirrored is negative) and middle of the part of the image that each view shows."""
    height, width = views.shape[-2:]
    quarter, rest = width // 4, width - 1 - width // 4
    share = (rest - quarter) / width
    across = (views[:, 0, height // 2, rest] - views[:, 0, height // 2, quarter]) / share
    down = (views[:, 1, rest, width // 2] - views[:, 1, quarter, width // 2]) / share
    middle = views[:, :2, height // 2 - 1 : height // 2 + 1, width // 2 - 1 : width // 2 + 1].mean((2, 3))
    return across, down, middle[:, 0], middle[:, 1]


def test_a_part_has_an_area_and_an_aspect_in_range_lies_inside_and_is_mirrored_half_the_time():
    views = Photographs(**STILL | {"area": 0.2, "most_area": 0.6, "flip": 0.5})(ramps(3000), rng())
    across, down, x, y = parts(views)
    area, aspect = across.abs() * down, across.abs() / down
    assert 0.19 < float(area.min()) < 0.23
    assert 0.57 < float(area.max()) < 0.61
    assert 0.74 < float(aspect.min()) < 0.78
    assert 1.29 < float(aspect.max()) < 1.35
    assert float((x - across.abs() / 2).min()) > -0.01
    assert float((x + across.abs() / 2).max()) < 1.01
    assert float((y - down / 2).min()) > -0.01
    assert float((y + down / 2).max()) < 1.01
    assert 0.45 < float((across < 0).float().mean()) < 0.55
    assert float(down.min()) > 0


def test_upside_down_is_a_flip_of_its_own():
    across, down, _, _ = parts(
        Photographs(**STILL | {"area": 0.3, "most_area": 0.3, "upright_flip": 0.5})(ramps(600), rng())
    )
    assert 0.44 < float((down < 0).float().mean()) < 0.56
    assert float(across.min()) > 0


def test_losing_colours_and_changing_them_happen_as_often_as_asked_for():
    images = torch.rand(1000, 3, 6, 6, generator=rng())
    views = Photographs(**STILL | {"greyscale": 0.2})(images, rng())
    grey = (views - views[:, :1]).abs().amax((1, 2, 3)) < 1e-6
    assert 0.16 < float(grey.float().mean()) < 0.24
    images = (0.2 + 0.6 * torch.rand(1000, 3, 1, 1, generator=rng())).expand(
        -1, -1, 6, 6
    )  # the same wherever it is cut
    views = Photographs(**STILL | {"colour": 0.8})(images, rng())
    changed = (views - images).abs().amax((1, 2, 3)) > 1e-4
    assert 0.75 < float(changed.float().mean()) < 0.85


def test_dropped_pixels_are_0_in_all_channels_and_the_others_make_up_for_them():
    images = torch.full((200, 3, 10, 10), 0.5)
    views = Photographs(**STILL | {"drop": 0.3})(images, rng())
    gone = views[:, 0] == 0
    assert 0.29 < float(gone.float().mean()) < 0.31
    torch.testing.assert_close(views, torch.where(gone[:, None], 0.0, 0.5 / 0.7).expand_as(views))


def test_an_erased_rectangle_is_whole_and_of_a_size_in_range():
    images = torch.ones(600, 1, 40, 40)
    views = Photographs(**STILL | {"erase": 0.5})(images, rng())
    erased = (views[:, 0] == 0).numpy()
    some = erased.any((1, 2))
    assert 0.44 < some.mean() < 0.56
    for one in erased[some]:
        rows, columns = np.flatnonzero(one.any(1)), np.flatnonzero(one.any(0))
        assert one[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].all()
        assert one.sum() == len(rows) * len(columns)
    share = erased[some].mean((1, 2))
    assert share.min() > 0.012
    assert share.max() < 0.36


@pytest.mark.parametrize("turn", [-0.1, 0.03, 0.1, 0.25])
def test_turning_the_hue_is_the_rotation_in_yiq(turn):
    images = 0.35 + 0.3 * torch.rand(2, 3, 3, 4, generator=rng())
    found = turned_hue(images, torch.full((2,), turn))
    angle = 2 * np.pi * turn
    for image, view in zip(images.double(), found.double(), strict=True):
        for i in range(3):
            for j in range(4):
                y, a, b = colorsys.rgb_to_yiq(*image[:, i, j].tolist())
                a, b = np.cos(angle) * a - np.sin(angle) * b, np.sin(angle) * a + np.cos(angle) * b
                expected = colorsys.yiq_to_rgb(y, a, b)
                np.testing.assert_allclose(
                    view[:, i, j].numpy(), expected, atol=0.02
                )  # it has other digits of the matrix
