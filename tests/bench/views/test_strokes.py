"""Deformed strokes: what each amount does, alone, and that the whole keeps its promises."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.ndimage import convolve, map_coordinates

from bench.basics.errors import BenchError
from bench.contracts import TaskSpec
from bench.datasets.images import UnlabelledImages
from bench.views.choice import Fitting, quarter_turns, several
from bench.views.photographs import Photographs
from bench.views.sampler import ViewSampler
from bench.views.strokes import GAIN, Strokes, redrawn

STILL = {"rotation": 0, "log_scale": 0, "shear": 0, "shift": 0, "displacement": 0, "pen": 0}


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def smooth(n: int, height: int = 28, width: int = 28) -> torch.Tensor:
    """A soft spot off the middle: where it goes can be measured to a fraction of a pixel."""
    y, x = torch.meshgrid(torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing="ij")
    spot = torch.exp(-((x - 0.65 * width) ** 2 + (y - 0.4 * height) ** 2) / 8)
    return spot[None, None].repeat(n, 1, 1, 1)


def centres(images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Of mass, in pixels from the middle: x, y."""
    height, width = images.shape[-2:]
    mass = images[:, 0].double()
    x, y = torch.arange(width) + 0.5 - width / 2, torch.arange(height) + 0.5 - height / 2
    total = mass.sum((1, 2))
    return (mass * x).sum((1, 2)) / total, (mass * y[:, None]).sum((1, 2)) / total


def test_without_any_amount_nothing_changes():
    images = torch.rand(3, 1, 20, 28, generator=rng())
    torch.testing.assert_close(Strokes(**STILL)(images, rng()), images, atol=1e-5, rtol=0)


@pytest.mark.parametrize("side", [28, 56])
def test_a_shift_is_at_most_its_amount_along_either_axis_and_in_28ths_of_the_side(side):
    images = smooth(400, side, side)
    x, y = centres(Strokes(**STILL | {"shift": 2.5})(images, rng()))
    x0, y0 = (float(c[0]) for c in centres(images))
    for moved in (x - x0, y - y0):
        scaled = moved * 28 / side
        assert float(scaled.abs().max()) < 2.55
        assert float(scaled.max()) > 2.3
        assert float(scaled.min()) < -2.3
        assert abs(float(scaled.mean())) < 0.2


@pytest.mark.parametrize(("height", "width"), [(28, 28), (28, 40)])
def test_a_rotation_turns_every_point_about_the_middle_and_keeps_its_distance(height, width):
    images = smooth(300, height, width)
    x, y = centres(Strokes(**STILL | {"rotation": 18})(images, rng()))
    x0, y0 = (float(c[0]) for c in centres(images))
    radius = torch.hypot(x, y)
    torch.testing.assert_close(radius, torch.full_like(radius, math.hypot(x0, y0)), atol=0.05, rtol=0)
    angle = torch.rad2deg(torch.atan2(y, x)) - math.degrees(math.atan2(y0, x0))
    assert 17 < float(angle.max()) < 18.5
    assert -18.5 < float(angle.min()) < -17


def test_scales_are_independent_and_symmetric_in_the_logarithm():
    images = smooth(2000)
    x, y = centres(Strokes(**STILL | {"log_scale": 0.2})(images, rng()))
    x0, y0 = (float(c[0]) for c in centres(images))
    across, down = (x / x0).log(), (y / y0).log()
    for amount in (across, down):
        assert 0.19 < float(amount.max()) < 0.21
        assert -0.21 < float(amount.min()) < -0.19
        assert abs(float(amount.mean())) < 0.01
    assert abs(float(torch.corrcoef(torch.stack([across, down]))[0, 1])) < 0.06


def test_shear_moves_along_one_axis_in_proportion_to_the_other():
    images = smooth(500)
    x, y = centres(Strokes(**STILL | {"shear": 0.25})(images, rng()))
    x0, y0 = (float(c[0]) for c in centres(images))
    torch.testing.assert_close(y, torch.full_like(y, y0), atol=0.02, rtol=0)
    amount = (x - x0) / y0
    assert 0.24 < float(amount.max()) < 0.26
    assert -0.26 < float(amount.min()) < -0.24


def test_the_displacement_is_the_bilinear_field_of_its_knots():
    images = torch.rand(2, 1, 28, 28, generator=rng(5))
    views = Strokes(**STILL | {"displacement": 2.0})(images, rng(7))
    draws = rng(7)
    for _ in range(6):  # angle, two scales, shear, two shifts
        torch.rand(2, generator=draws)
    knots = torch.randn(2, 2, 5, 5, generator=draws)
    place = np.linspace(0, 4, 28)
    at = np.meshgrid(place, place, indexing="ij")
    for image, view, of_image in zip(images[:, 0], views[:, 0], knots, strict=True):
        dx, dy = (map_coordinates(k.double().numpy(), at, order=1) * 2.0 for k in of_image)
        rows, columns = np.meshgrid(np.arange(28.0), np.arange(28.0), indexing="ij")
        padded = np.pad(image.double().numpy(), 20)
        expected = map_coordinates(padded, [rows + dy + 20, columns + dx + 20], order=1)
        np.testing.assert_allclose(view.numpy(), expected, atol=2e-5)


def test_redrawn_is_the_blurred_image_cut_softly_at_the_level():
    images = torch.rand(3, 2, 9, 11, generator=rng())
    level = torch.tensor([0.2, 0.3, 0.45])
    kernel = np.outer([0.25, 0.5, 0.25], [0.25, 0.5, 0.25])
    found = redrawn(images, level)
    for b in range(3):
        for c in range(2):
            blurred = convolve(images[b, c].double().numpy(), kernel, mode="constant")
            expected = np.clip(0.5 + GAIN * (blurred - float(level[b])), 0, 1)
            np.testing.assert_allclose(found[b, c].numpy(), expected, atol=1e-5)


def test_a_low_level_draws_thicker_and_paper_stays_paper():
    line = torch.zeros(2, 1, 15, 15)
    line[:, :, 7, 2:13] = 1
    thick, thin = redrawn(line, torch.tensor([0.2, 0.45]))
    assert float(thick.sum()) > 1.5 * float(thin.sum())
    assert float(thin.sum()) > 3
    assert not redrawn(torch.zeros(1, 1, 8, 8), torch.tensor([1 / (2 * GAIN)])).any()


def test_the_pen_changes_for_the_share_that_was_asked_for():
    images = (torch.rand(2000, 1, 12, 12, generator=rng()) > 0.7).float()
    changed = (Strokes(**STILL | {"pen": 0.3})(images, rng()) - images).abs().amax((1, 2, 3)) > 0.01
    assert 0.26 < float(changed.float().mean()) < 0.34


@pytest.mark.parametrize("views", [Strokes(), Photographs(drop=0.2, erase=0.5), Fitting()])
@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 20, 33)])
def test_views_are_images_a_function_of_the_generator_and_of_one_image_each(views, shape):
    images = torch.rand(6, *shape, generator=rng(1))
    before = images.clone()
    state = torch.get_rng_state()
    first, again, other = views(images, rng(2)), views(images, rng(2)), views(images, rng(3))
    assert first.shape == images.shape
    assert first.dtype == torch.float32
    assert float(first.min()) >= 0
    assert float(first.max()) <= 1
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert torch.equal(images, before)
    assert torch.equal(torch.get_rng_state(), state)
    replaced = images.clone()
    replaced[2] = torch.rand(shape, generator=rng(9))
    rows = [0, 1, 3, 4, 5]
    torch.testing.assert_close(views(replaced, rng(2))[rows], first[rows])


def test_several_views_are_of_their_own_image_and_differ():
    images = torch.zeros(3, 1, 28, 28)
    for b in range(3):
        images[b, 0, 8:20, 8:20] = (b + 1) / 3
    views = several(Strokes(pen=0), images, 4, rng())
    assert views.shape == (3, 4, 1, 28, 28)
    torch.testing.assert_close(views.amax((2, 3, 4)), torch.tensor([[1 / 3], [2 / 3], [1.0]]).expand(3, 4))
    assert len({view.numpy().tobytes() for view in views.flatten(0, 1)}) == 12


def test_quarter_turns_are_those_of_torch():
    images = torch.rand(8, 2, 5, 5, generator=rng())
    turns = torch.tensor([0, 1, 2, 3, 3, 2, 1, 0])
    for image, turn, found in zip(images, turns.tolist(), quarter_turns(images, turns), strict=True):
        assert torch.equal(found, torch.rot90(image, turn, (1, 2)))


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Strokes(rotation=-1), "views.rotation must be from 0 to 180"),
        (lambda: Strokes(pen=1.5), "views.pen must be from 0 to 1"),
        (lambda: Strokes(knots=1), "views.knots must be an integer from 2"),
        (lambda: Strokes(thick=0.5, thin=0.4), "in this order"),
        (lambda: Strokes(thick=0.01), "views.thick and views.thin must be from 0.125"),
        (lambda: Strokes(shift=float("nan")), "views.shift"),
        (lambda: Photographs(area=0.0), "views.area must be above 0"),
        (lambda: Photographs(area=0.9, most_area=0.5), "at most views.most_area"),
        (lambda: Photographs(hue=0.6), "views.hue must be from 0 to 0.5"),
        (lambda: Photographs(drop=1.0), "views.drop must be below 1"),
    ],
)
def test_amounts_that_make_no_sense_are_refused_by_name(make, words):
    with pytest.raises(BenchError, match=words):
        make()


@pytest.mark.parametrize("untouched", [False, True])
def test_a_task_of_views_has_different_images_for_classes_and_views_of_them_for_members(untouched):
    pixels = torch.zeros(12, 1, 28, 28, dtype=torch.uint8)
    for b in range(12):
        pixels[b, 0, 8:20, 8:20] = 20 * (b + 1)  # the brightest pixel of a view says whose it is
    sampler = ViewSampler(Strokes(pen=0), UnlabelledImages(pixels, "made"), untouched)
    tasks = sampler.sample(3, TaskSpec(5, 2, 4), rng())
    assert tasks.support.shape == (3, 5, 2, 1, 28, 28)
    assert tasks.query.shape == (3, 5, 4, 1, 28, 28)
    whose = (torch.cat([tasks.support, tasks.query], 2).amax((3, 4, 5)) * 255 / 20).round()
    assert torch.equal(whose, whose[:, :, :1].expand_as(whose))
    assert all(len(set(row.tolist())) == 5 for row in whose[:, :, 0])
    shown = pixels[whose[:, :, 0].long() - 1].float() / 255
    assert torch.equal(tasks.support[:, :, 0], shown) is untouched
    with pytest.raises(BenchError, match="12 images are too few for 13-way"):
        sampler.sample(1, TaskSpec(13, 1, 1), rng())
