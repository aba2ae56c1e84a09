"""LASIUM's tasks: their images, what is noted, walls and settings."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch
from helpers_lasium import latents_of, rng, sampler_of
from helpers_methods import FakeGenerator, FakeVAE, Given, RecordingLearner, make_context, make_images

from bench.backbones import Conv4
from bench.basics.errors import BenchError
from bench.contracts import LatentSampler, TaskSampler, TaskSpec
from bench.datasets.images import LabelledImages
from bench.learners.protonet import ProtoNet
from bench.training.checkpoint import Checkpoint
from methods.lasium import Lasium

# ---------------------------------------------------------------- the task


def test_the_sampler_is_a_task_sampler_with_shapes_and_range(tmp_path):
    for generator in (FakeVAE((3, 8, 8)), FakeGenerator((3, 8, 8))):
        for strategy in ("n", "ro", "oc"):
            sampler = sampler_of(tmp_path, generator, make_images(shape=(3, 8, 8)), strategy=strategy, query_shift=2)
            assert isinstance(sampler, TaskSampler)
            tasks = sampler.sample(3, TaskSpec(4, 2, 5), rng())
            assert tasks.support.shape == (3, 4, 2, 3, 8, 8)
            assert tasks.query.shape == (3, 4, 5, 3, 8, 8)
            for x in (tasks.support, tasks.query):
                assert x.dtype == torch.float32
                assert float(x.min()) >= 0
                assert float(x.max()) <= 1


def test_with_a_vae_the_untouched_real_images_are_sample_0_and_differ_within_a_task(tmp_path):
    images = make_images(12)
    for shot in (1, 3):
        tasks = sampler_of(tmp_path, images=images, query_shift=3).sample(50, TaskSpec(5, shot, 4), rng())
        anchors = (tasks.support[:, :, 0, 0, 0, 0] * 255).round().long()  # the number in an image's first pixel
        assert torch.equal(tasks.support[:, :, 0], images.take(anchors))
        assert all(len(set(row.tolist())) == 5 for row in anchors)
        assert set(anchors.flatten().tolist()) == set(range(12))


def test_with_a_prior_the_decoded_anchors_are_sample_0(tmp_path):
    tasks = sampler_of(tmp_path, FakeGenerator(), alpha=0.0).sample(4, TaskSpec(5, 1, 5), rng())
    z = latents_of(tasks)
    expected = torch.randn(4 * 5, 64, generator=rng()).view(4, 5, 64)  # the first draw is the anchors
    torch.testing.assert_close(z[:, :, 0].float(), expected, atol=1e-4, rtol=0)


def test_ro_with_alpha_0_decodes_the_anchors_again(tmp_path):
    tasks = sampler_of(tmp_path, FakeGenerator(), alpha=0.0).sample(4, TaskSpec(5, 2, 5), rng())
    assert torch.equal(tasks.query, tasks.support[:, :, :1].expand_as(tasks.query))
    images = make_images()
    tasks = sampler_of(tmp_path, FakeVAE(std=1e-12), images, alpha=0.0).sample(4, TaskSpec(5, 1, 5), rng())
    assert torch.allclose(latents_of(tasks)[:, :, 1:], tasks.support.flatten(3).double() - 0.5, atol=1e-5)


# ---------------------------------------------------------------- query shift


def test_what_the_shift_uncovers_is_filled(tmp_path):
    black = sampler_of(tmp_path, query_shift=2).sample(20, TaskSpec(5, 2, 4), rng())
    white = sampler_of(tmp_path, query_shift=2, query_fill=1.0).sample(20, TaskSpec(5, 2, 4), rng())
    assert torch.equal(black.support, white.support)
    changed = black.query != white.query
    assert changed.any()
    assert (black.query[changed] == 0).all()
    assert (white.query[changed] == 1).all()


def test_only_queries_move_and_by_whole_pixels(tmp_path):
    still = sampler_of(tmp_path, query_shift=0).sample(20, TaskSpec(5, 2, 4), rng())
    moved = sampler_of(tmp_path, query_shift=2).sample(20, TaskSpec(5, 2, 4), rng())
    assert torch.equal(still.support, moved.support)
    seen = set()
    for before, after in zip(still.query.flatten(0, 2), moved.query.flatten(0, 2), strict=True):
        padded = torch.nn.functional.pad(before, (2, 2, 2, 2))
        at = [
            (dx, dy)
            for dx in range(-2, 3)
            for dy in range(-2, 3)
            if torch.equal(after, padded[:, 2 - dy : 10 - dy, 2 - dx : 10 - dx])
        ]
        assert len(at) == 1
        seen.add(at[0])
    assert len(seen) == 25


# ---------------------------------------------------------------- fit, walls, settings


def test_fit_hands_the_learner_tasks_and_notes_the_acceptance(tmp_path):
    learner, context = RecordingLearner(), make_context(tmp_path)
    method = Lasium(Given(FakeGenerator()), learner, eps_sq=60.0)
    assert method.fit(make_images(), TaskSpec(5, 1, 5), context) is learner
    assert learner.tasks[0].query.shape == (4, 5, 5, 1, 8, 8)
    assert context.notes["accepted_sets"] == 8
    assert context.notes["acceptance_rate"] == 8 / (8 + context.notes["rejected_sets"])


def test_a_failed_training_notes_its_rejections_too(tmp_path):
    context = make_context(tmp_path)
    method = Lasium(Given(FakeGenerator()), RecordingLearner(), eps_sq=1e6, max_retries=50)
    with pytest.raises(BenchError, match="smaller eps_sq"):
        method.fit(make_images(), TaskSpec(5, 1, 5), context)
    assert (context.notes["accepted_sets"], context.notes["rejected_sets"]) == (0, 4 * 51)


def test_counts_survive_an_interruption_and_are_there_when_nothing_is_left_to_train(tmp_path, one_thread):
    method = Lasium(
        Given(FakeGenerator()),
        ProtoNet(Conv4(filters=4, stride=2, pool=False, head="mean"), meta_batch=2),
        eps_sq=100.0,
    )
    images, spec = make_images(), TaskSpec(5, 1, 2)

    def noted(folder, stop_at=None):
        def progress(stage, done, total, metrics):
            if done == stop_at:
                raise KeyboardInterrupt

        context = make_context(folder, progress=progress)
        context.budget = dataclasses.replace(context.budget, meta_iterations=6)
        context.checkpoint = Checkpoint(context.checkpoint.path, every_seconds=0)
        method.fit(images, spec, context)
        return context.notes

    whole = noted(tmp_path / "whole")
    assert whole["accepted_sets"] == 12
    assert whole["rejected_sets"] > 0
    with pytest.raises(KeyboardInterrupt):
        noted(tmp_path / "parts", stop_at=3)
    assert noted(tmp_path / "parts") == whole
    assert noted(tmp_path / "parts") == whole


@pytest.mark.parametrize("strategy", ["n", "ro", "oc"])
def test_the_seed_decides_everything_and_nothing_else_does(tmp_path, strategy):
    sampler = sampler_of(tmp_path, strategy=strategy, query_shift=2, eps_sq=4.0)
    first = sampler.sample(4, TaskSpec(5, 2, 3), rng(1))
    torch.rand(3)  # the global generator plays no part
    other = sampler.sample(4, TaskSpec(5, 2, 3), rng(2))
    again = sampler.sample(4, TaskSpec(5, 2, 3), rng(1))
    assert torch.equal(first.support, again.support)
    assert torch.equal(first.query, again.query)
    assert not torch.equal(first.query, other.query)


def test_labels_are_never_looked_at(tmp_path):
    class Sealed:
        def __getattr__(self, name):
            raise AssertionError(f"a label was looked at: {name}")

        __len__ = __getitem__ = __iter__ = __getattr__

    plain = make_images()
    sealed = LabelledImages(plain.pixels, Sealed(), Sealed(), plain.fingerprint)
    spec = TaskSpec(5, 1, 5)
    a = sampler_of(tmp_path, images=plain).sample(4, spec, rng())
    b = sampler_of(tmp_path, images=sealed).sample(4, spec, rng())
    assert torch.equal(a.query, b.query)


def test_tasks_can_take_part_in_a_gradient_even_from_an_inference_mode_generator(tmp_path):
    class Inference(FakeGenerator):
        @torch.inference_mode()
        def decode(self, z):
            return super().decode(z)

    tasks = sampler_of(tmp_path, Inference()).sample(2, TaskSpec(2, 1, 2), rng())
    weight = torch.ones(3, 64, requires_grad=True)
    for x in (tasks.support, tasks.query):
        torch.nn.functional.linear(x.flatten(3), weight).sum().backward()
    assert weight.grad is not None


def test_anchors_can_be_chosen(tmp_path):
    assert sampler_of(tmp_path, FakeVAE(), anchors="prior").posterior is None
    assert sampler_of(tmp_path, FakeVAE(), anchors="posterior").posterior is not None
    with pytest.raises(BenchError, match="needs a generator that can encode"):
        sampler_of(tmp_path, FakeGenerator(), anchors="posterior")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"strategy": "or"}, "strategy must be one of n, ro, oc, not 'or'. Did you mean 'ro'?"),
        ({"anchors": "priors"}, "Did you mean 'prior'?"),
        ({"alpha": math.inf}, "alpha must be a finite number"),
        ({"noise_std": math.nan}, "noise_std must be 0 or more"),
        ({"eps_sq": math.inf}, "eps_sq must be 0 or more"),
        ({"query_shift": -1}, "query_shift must be 0 or more"),
        ({"query_fill": 1.5}, "query_fill must be between 0 and 1, not 1.5"),
        ({"query_fill": math.nan}, "query_fill must be between 0 and 1"),
    ],
)
def test_bad_settings_are_refused_in_one_sentence(settings, message):
    with pytest.raises(BenchError) as error:
        Lasium(Given(FakeVAE()), RecordingLearner(), **settings)
    assert message in str(error.value)


def test_images_that_do_not_fit_are_refused(tmp_path):
    with pytest.raises(BenchError, match="the generator makes 1x8x8 images but the dataset has 3x8x8 ones"):
        sampler_of(tmp_path, images=make_images(shape=(3, 8, 8)))
    with pytest.raises(BenchError, match="4 images are too few for 5-way tasks"):
        sampler_of(tmp_path, images=make_images(4)).sample(1, TaskSpec(5, 1, 1), rng())


# ---------------------------------------------------------------- latents, to look at


@pytest.mark.parametrize("generator", [FakeGenerator(), FakeVAE()])
def test_the_latents_of_a_strategy_are_those_its_tasks_are_decoded_from(tmp_path, generator):
    spec = TaskSpec(4, 1, 5)
    shown = sampler_of(tmp_path, generator, strategy="n")
    assert isinstance(shown, LatentSampler)
    assert list(shown.strategies) == ["n", "ro", "oc"]
    drawn = {strategy: shown.latents(3, spec, strategy, rng()) for strategy in shown.strategies}
    for strategy, latents in drawn.items():
        own = sampler_of(tmp_path, generator, strategy=strategy)
        assert torch.equal(latents[:, :, 0], drawn["n"][:, :, 0]), "the anchors are the same for every strategy"
        torch.testing.assert_close(latents_of(own.sample(3, spec, rng()))[:, :, 1:].float(), latents[:, :, 1:])
    assert shown.recipe.strategy == "n"
