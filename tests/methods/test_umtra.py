"""UMTRA's tasks: which images they are made of, and how."""

from __future__ import annotations

import math

import pytest
import torch
from helpers_methods import RecordingLearner, make_context, make_images

from bench.basics.errors import BenchError
from bench.contracts import TaskSampler, TaskSpec
from methods.umtra import Umtra


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def sampler_of(tmp_path, images, **settings):
    return Umtra(RecordingLearner(), **settings).sampler(images, make_context(tmp_path))


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 28, 28), (3, 84, 84), (1, 64, 64)])
@pytest.mark.parametrize("shot", [1, 3])
def test_support_starts_with_untouched_distinct_originals(tmp_path, shape, shot):
    images = make_images(9, shape)
    # A learned policy may leave an image as it is, and has finitely many outcomes: here one that has not.
    sampler = sampler_of(tmp_path, images, augmentation="photo" if shape[0] == 3 else "auto")
    assert isinstance(sampler, TaskSampler)
    tasks = sampler.sample(6, TaskSpec(5, shot, 4), rng())
    assert tasks.support.shape == (6, 5, shot, *shape)
    assert tasks.query.shape == (6, 5, 4, *shape)
    numbers = (tasks.support[:, :, 0, 0, 0, 0] * 255).round().long()
    assert torch.equal(tasks.support[:, :, 0], images.take(numbers))
    assert all(len(set(row.tolist())) == 5 for row in numbers)
    for x in (tasks.support, tasks.query):
        assert float(x.min()) >= 0
        assert float(x.max()) <= 1
    every = torch.cat([tasks.support, tasks.query], dim=2).flatten(0, 2).flatten(1)
    repeated = numbers.numel() - len(numbers.unique())  # originals that several tasks share
    assert len(every.unique(dim=0)) == len(every) - repeated  # no two copies are alike


def test_pixel_queries_are_masked_copies_of_their_own_original(tmp_path):
    images = make_images(9, (1, 28, 28))
    tasks = sampler_of(tmp_path, images, shift=0.0).sample(20, TaskSpec(5, 2, 4), rng())
    originals = tasks.support[:, :, :1]
    for copies in (tasks.support[:, :, 1:], tasks.query):
        kept = (copies - originals).abs() < 1e-5
        assert (kept | (copies < 1e-5)).all()
        rate = float((copies > 1e-4)[(originals > 0).expand_as(copies)].float().mean())
        assert abs(rate - 0.5) < 5 * 0.5 / math.sqrt(copies.numel())


def test_pixel_queries_move_at_most_six_pixels(tmp_path):
    images = make_images(5, (1, 28, 28))
    images.pixels.zero_()
    images.pixels[:, :, 14, 14] = 255
    tasks = sampler_of(tmp_path, images, mask=0.0).sample(200, TaskSpec(5, 1, 1), rng())
    place = torch.arange(28.0) - 14
    x = tasks.query.flatten(0, 3)
    torch.testing.assert_close(x.sum((1, 2)), torch.ones(1000), atol=1e-4, rtol=0)  # bilinear keeps the ink
    for axis in (1, 2):
        d = (x.sum(axis) * place).sum(1)
        assert 5.5 < float(d.abs().max()) <= 6.001
        assert abs(float(d.mean())) < 0.6


def test_photo_queries_have_the_colours_of_their_own_original(tmp_path):
    images = make_images(5, (3, 28, 28))
    images.pixels[:] = torch.tensor([40, 80, 120, 160, 200], dtype=torch.uint8)[:, None, None, None]
    tasks = sampler_of(
        tmp_path, images, augmentation="photo", photo_shift=0.0, photo_rotation=0.0, photo_brightness=0.1
    ).sample(50, TaskSpec(5, 1, 2), rng())
    ratio = tasks.query / tasks.support
    assert float(ratio.min()) > 0.89
    assert float(ratio.max()) < 1.11
    assert ratio[..., 0, 14, 14].flatten().unique().numel() > 400  # every copy has parameters of its own


def test_auto_goes_by_channels_and_size(tmp_path):
    spec = TaskSpec(5, 1, 2)
    for shape, same_as in [((1, 28, 28), "pixel"), ((1, 84, 84), "photo"), ((3, 28, 28), "autoaugment")]:
        images = make_images(9, shape)
        auto = sampler_of(tmp_path, images).sample(2, spec, rng())
        chosen = sampler_of(tmp_path, images, augmentation=same_as).sample(2, spec, rng())
        assert torch.equal(auto.query, chosen.query)


def test_the_seed_decides(tmp_path):
    sampler = sampler_of(tmp_path, make_images(30, (1, 28, 28)))
    spec = TaskSpec(5, 1, 5)
    first, again = sampler.sample(4, spec, rng(1)), sampler.sample(4, spec, rng(1))
    other = sampler.sample(4, spec, rng(2))
    assert torch.equal(first.query, again.query)
    assert torch.equal(first.support, again.support)
    assert not torch.equal(first.support, other.support)


def test_fit_trains_the_learner_on_the_sampler(tmp_path):
    learner = RecordingLearner()
    assert Umtra(learner).fit(make_images(9, (1, 28, 28)), TaskSpec(5, 1, 5), make_context(tmp_path)) is learner
    assert learner.tasks[0].query.shape == (4, 5, 5, 1, 28, 28)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"augmentation": "foto"},
            "augmentation must be one of auto, pixel, photo, autoaugment, not 'foto'. Did you mean 'photo'?",
        ),
        ({"policy": "cifar"}, "Did you mean 'cifar10'?"),
        ({"mask": 1.5}, "mask must be between 0 and 1"),
        ({"shift": -1.0}, "shift must be 0 or more"),
        ({"photo_flip": math.nan}, "photo_flip must be between 0 and 1"),
    ],
)
def test_bad_settings_are_refused(settings, message):
    with pytest.raises(BenchError) as error:
        Umtra(RecordingLearner(), **settings)
    assert message in str(error.value)


def test_too_few_images_are_refused(tmp_path):
    with pytest.raises(BenchError, match="4 images are too few for 5-way tasks"):
        sampler_of(tmp_path, make_images(4)).sample(1, TaskSpec(5, 1, 1), rng())
