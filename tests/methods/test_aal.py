"""AAL's tasks: random images under random labels, queries that are copies of their own class's support."""

from __future__ import annotations

import pytest
import torch
from helpers_methods import RecordingLearner, make_context, make_images

from bench.basics.errors import BenchError
from bench.contracts import TaskSampler, TaskSpec
from methods.aal import Aal
from methods.umtra import Umtra


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def sampler_of(tmp_path, images, **settings):
    return Aal(RecordingLearner(), **settings).sampler(images, make_context(tmp_path))


def numbers(images):
    """Which image each is, by its first pixel."""
    return (images[..., 0, 0, 0] * 255).round().long()


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 28, 28), (1, 64, 64)])
@pytest.mark.parametrize(("shot", "query"), [(1, 5), (3, 7), (5, 2)])
def test_support_is_untouched_images_all_different(tmp_path, shape, shot, query):
    images = make_images(40, shape)
    sampler = sampler_of(tmp_path, images)
    assert isinstance(sampler, TaskSampler)
    tasks = sampler.sample(8, TaskSpec(5, shot, query), rng())
    assert tasks.support.shape == (8, 5, shot, *shape)
    assert tasks.query.shape == (8, 5, query, *shape)
    which = numbers(tasks.support)
    assert torch.equal(tasks.support, images.take(which))
    assert all(len(row.unique()) == 5 * shot for row in which.flatten(1))
    assert 0 <= float(tasks.query.min()) <= float(tasks.query.max()) <= 1


def test_queries_are_copies_of_the_support_of_their_class_in_turn(tmp_path):
    images = make_images(40, (1, 28, 28))
    unchanged = {"augmentation": "pixel", "mask": 0.0, "shift": 0.0}
    tasks = sampler_of(tmp_path, images, **unchanged).sample(6, TaskSpec(4, 3, 7), rng())
    which = numbers(tasks.support)
    assert torch.equal(numbers(tasks.query), torch.stack([which[:, :, j % 3] for j in range(7)], dim=2))
    masked = sampler_of(tmp_path, images, shift=0.0).sample(6, TaskSpec(4, 3, 7), rng())
    assert torch.equal(masked.support, tasks.support)
    kept = (masked.query - tasks.query).abs() < 1e-5
    assert (kept | (masked.query < 1e-5)).all()
    assert 0.4 < float(kept.float().mean()) < 0.6
    every = masked.query.flatten(0, 2).flatten(1)
    assert len(every.unique(dim=0)) == len(every)  # a mask of its own for every copy


def test_labels_are_random_every_image_is_in_every_class_equally_often(tmp_path):
    images = make_images(6, (1, 4, 4))
    which = numbers(sampler_of(tmp_path, images).sample(3000, TaskSpec(3, 2, 1), rng()).support)
    for label in range(3):
        counts = torch.bincount(which[:, label].flatten(), minlength=6)
        assert (counts - 1000).abs().max() < 130  # 5 standard deviations
    together = (which[:, 0].sort(1).values @ torch.tensor([6, 1])).unique()
    assert len(together) == 15  # any two images may share a label


def test_one_shot_tasks_are_those_of_umtra(tmp_path):
    images, spec = make_images(40, (3, 28, 28)), TaskSpec(5, 1, 4)
    ours = sampler_of(tmp_path, images).sample(4, spec, rng(3))
    theirs = Umtra(RecordingLearner()).sampler(images, make_context(tmp_path)).sample(4, spec, rng(3))
    assert torch.equal(ours.support, theirs.support)
    assert torch.equal(ours.query, theirs.query)


def test_the_seed_decides(tmp_path):
    sampler, spec = sampler_of(tmp_path, make_images(40, (3, 28, 28))), TaskSpec(5, 2, 4)
    first, again, other = (sampler.sample(4, spec, rng(seed)) for seed in (1, 1, 2))
    assert torch.equal(first.query, again.query)
    assert torch.equal(first.support, again.support)
    assert not torch.equal(first.support, other.support)


def test_fit_trains_the_learner_on_the_sampler(tmp_path):
    learner = RecordingLearner()
    assert Aal(learner).fit(make_images(30, (1, 28, 28)), TaskSpec(5, 5, 5), make_context(tmp_path)) is learner
    assert learner.tasks[0].support.shape == (4, 5, 5, 1, 28, 28)


def test_bad_settings_and_too_few_images_are_refused(tmp_path):
    with pytest.raises(BenchError, match=r"aal: policy must be one of imagenet, cifar10, not 'imgnet'\. Did you mean"):
        Aal(RecordingLearner(), policy="imgnet")
    with pytest.raises(BenchError, match="aal: 24 images are too few for 5-way 5-shot tasks of 25"):
        sampler_of(tmp_path, make_images(24)).sample(1, TaskSpec(5, 5, 1), rng())
