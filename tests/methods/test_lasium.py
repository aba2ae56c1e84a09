"""LASIUM's samplers against loops written from the paper, its rejection against the paper's own counts."""

from __future__ import annotations

import dataclasses
import math

import pytest
import scipy.stats
import torch
from helpers_methods import FakeGenerator, FakeVAE, Given, RecordingLearner, logit, make_context, make_images

from bench.backbones import Conv4
from bench.basics.errors import BenchError
from bench.contracts import LatentSampler, TaskSampler, TaskSpec
from bench.datasets.images import LabelledImages
from bench.learners.protonet import ProtoNet
from bench.training.checkpoint import Checkpoint
from methods.lasium import Lasium, LasiumSampler


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def sampler_of(tmp_path, generator=None, images=None, **settings) -> LasiumSampler:
    settings = {"query_shift": 0, **settings}
    method = Lasium(Given(generator or FakeVAE()), RecordingLearner(), **settings)
    return method.sampler(images or make_images(), make_context(tmp_path))


def latents_of(tasks) -> torch.Tensor:
    """FakeGenerator images -> the latents they were decoded from, [T, N, K + Q, d] float64."""
    return logit(torch.cat([tasks.support, tasks.query], dim=2).flatten(3))


def least_squared_distance(z: torch.Tensor) -> torch.Tensor:
    """[..., N, d] -> [...]: the squared distance of the closest pair, pair by pair in float64."""
    points = z.double().unbind(-2)
    pairs = [(a - b).square().sum(-1) for i, a in enumerate(points) for b in points[:i]]
    return torch.stack(pairs).amin(0)


class ScriptedNormal:
    """Stands in for every normal draw of the sampler and keeps what it handed out, in order."""

    def __init__(self, monkeypatch) -> None:
        self.drawn: list[torch.Tensor] = []
        monkeypatch.setattr("methods.lasium._normal", self)

    def __call__(self, shape, rng):
        self.drawn.append(torch.randn(shape, generator=rng))
        return self.drawn[-1]


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


# ---------------------------------------------------------------- samplers (float64 loops from §3.1)


@pytest.mark.parametrize("way", [2, 5])
@pytest.mark.parametrize("variance", [False, True])
def test_n_is_the_paper(tmp_path, monkeypatch, way, variance):
    normal = ScriptedNormal(monkeypatch)
    sampler = sampler_of(tmp_path, FakeGenerator(), strategy="n", noise_std=0.25, noise_is_variance=variance)
    z = latents_of(sampler.sample(3, TaskSpec(way, 2, 4), rng()))
    (noise,) = normal.drawn
    std = 0.5 if variance else 0.25
    for t in range(3):
        for c in range(way):
            for w in range(1, 6):
                expected = z[t, c, 0] + std * noise[t, c, w - 1].double()
                torch.testing.assert_close(z[t, c, w], expected, atol=1e-4, rtol=0)


@pytest.mark.parametrize(("way", "alpha"), [(2, 0.3), (5, 0.3), (5, -0.2)])
def test_ro_goes_alpha_of_the_way_to_fresh_draws_of_the_prior(tmp_path, way, alpha):
    class Recorded(FakeGenerator):
        drawn: list = []  # noqa: RUF012

        def sample_prior(self, n, rng):
            self.drawn.append(super().sample_prior(n, rng))
            return self.drawn[-1]

    generator = Recorded()
    z = latents_of(sampler_of(tmp_path, generator, strategy="ro", alpha=alpha).sample(3, TaskSpec(way, 2, 4), rng()))
    anchors, others = generator.drawn
    assert len(others) == 3 * way * 5  # one for every class and sample
    k = 0
    for t in range(3):
        for c in range(way):
            anchor = anchors[t * way + c].double()
            torch.testing.assert_close(z[t, c, 0], anchor, atol=1e-4, rtol=0)
            for w in range(1, 6):
                expected = anchor + alpha * (others[k].double() - anchor)
                torch.testing.assert_close(z[t, c, w], expected, atol=1e-4, rtol=0)
                k += 1


@pytest.mark.parametrize("way", [2, 3, 5])
def test_oc_goes_to_the_other_classes_in_turn_and_to_noise_instead_of_itself(tmp_path, monkeypatch, way):
    normal = ScriptedNormal(monkeypatch)
    sampler = sampler_of(tmp_path, FakeGenerator(), strategy="oc", alpha=0.4)
    z = latents_of(sampler.sample(3, TaskSpec(way, 1, 7), rng()))
    (noise,) = normal.drawn
    for t in range(3):
        for c in range(way):
            for w in range(1, 8):
                if w % way == 0:
                    expected = z[t, c, 0] + noise[t, c, w - 1].double()
                else:
                    expected = z[t, c, 0] + 0.4 * (z[t, (c + w) % way, 0] - z[t, c, 0])
                torch.testing.assert_close(z[t, c, w], expected, atol=1e-4, rtol=0)


def test_oc_with_a_vae_samples_the_posteriors_afresh_before_every_w(tmp_path, monkeypatch):
    normal, images = ScriptedNormal(monkeypatch), make_images()
    sampler = sampler_of(tmp_path, FakeVAE(std=0.3), images, strategy="oc", alpha=0.4)
    tasks = sampler.sample(2, TaskSpec(3, 1, 5), rng())
    mean = tasks.support[:, :, 0].flatten(2).double() - 0.5
    _, posterior, noise = (drawn.double() for drawn in normal.drawn)  # anchors (unused by oc), per-w samples, noise
    made = logit(tasks.query.flatten(3))
    for t in range(2):
        for c in range(3):
            for w in range(1, 6):
                here = mean[t, c] + 0.3 * posterior[t, c, w - 1]
                j = (c + w) % 3
                there = mean[t, j] + 0.3 * posterior[t, j, w - 1]
                expected = here + noise[t, c, w - 1] if w % 3 == 0 else here + 0.4 * (there - here)
                torch.testing.assert_close(made[t, c, w - 1], expected, atol=1e-4, rtol=0)


def test_n_with_a_vae_perturbs_one_posterior_sample_per_class(tmp_path):
    images = make_images()
    tasks = sampler_of(tmp_path, FakeVAE(std=0.5), images, strategy="n", noise_std=0.0).sample(
        400, TaskSpec(5, 1, 3), rng()
    )
    made = logit(tasks.query.flatten(3))
    torch.testing.assert_close(made[:, :, 0], made[:, :, 2], atol=1e-6, rtol=0)
    deviation = made[:, :, 0] - (tasks.support[:, :, 0].flatten(2).double() - 0.5)
    assert abs(float(deviation.std()) - 0.5) < 0.01  # a sample of the posterior, not its mean
    assert abs(float(deviation.mean())) < 0.01


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


# ---------------------------------------------------------------- rejection


# Sets of 5 draws of N(0, I_128) that are rejected before 4000 are accepted (1000 iterations of 4 tasks), from two
# million simulated sets with all distances computed; Table 9 prints 395, 27432, 155499, 378742, 1472860, 25936957.
TABLE_9 = {187.5: 391, 218.75: 6512, 234.375: 27373, 250.0: 160035, 256.3125: 373518, 265.625: 1.49e6, 281.25: 25.1e6}


@pytest.mark.parametrize("eps_sq", TABLE_9)
def test_the_acceptance_rate_agrees_with_table_9(tmp_path, eps_sq):
    expected = TABLE_9[eps_sq] / 4000
    batches = 1000 if expected < 100 else 50 if expected < 400 else 12
    sampler = sampler_of(tmp_path, FakeGenerator((1, 8, 8), latent_dim=128), strategy="n", eps_sq=eps_sq)
    seed = rng(7)
    for _ in range(batches):
        sampler._anchors(4, 5, seed)
    assert sampler.accepted == 4 * batches
    sd_of_ours = math.sqrt(expected * (1 + expected) / sampler.accepted)  # geometric
    sd_of_theirs = (1 + expected) ** 1.5 / math.sqrt(2e6) + 0.004 * expected  # the simulation, and its rounding
    assert abs(sampler.rejected / sampler.accepted - expected) < 4 * math.hypot(sd_of_ours, sd_of_theirs)


def test_accepted_sets_are_distributed_as_those_of_a_plain_loop(tmp_path):
    """Anchors drawn one after the other, with whole sets rejected: as if every set had been drawn whole."""
    eps_sq = 100.0
    sampler = sampler_of(tmp_path, FakeGenerator(latent_dim=64), strategy="n", eps_sq=eps_sq)
    ours = sampler._anchors(1000, 5, rng(1))[1]
    drawn = torch.randn(20_000, 5, 64, generator=rng(2))
    plain = drawn[least_squared_distance(drawn) > eps_sq][:1000]
    assert len(plain) > 500
    for of in (lambda z: z.norm(dim=2).mean(1), least_squared_distance, lambda z: z[:, 0].norm(dim=1)):
        assert scipy.stats.ks_2samp(of(ours).numpy(), of(plain).numpy()).pvalue > 1e-3


@pytest.mark.parametrize("generator", [FakeGenerator(), FakeVAE()])
def test_accepted_anchors_are_apart_and_their_images_are_theirs(tmp_path, generator, monkeypatch):
    normal = ScriptedNormal(monkeypatch)
    probe = sampler_of(tmp_path, generator, strategy="n")
    eps_sq = float(least_squared_distance(probe._draw(1000, 5, rng())[1]).quantile(0.7))
    sampler = sampler_of(tmp_path, generator, strategy="n", noise_std=0.0, eps_sq=eps_sq)
    normal.drawn.clear()
    tasks = sampler.sample(64, TaskSpec(5, 1, 1), rng(1))
    z = logit(tasks.query[:, :, 0].flatten(2))
    assert (least_squared_distance(z) > eps_sq * (1 - 1e-4)).all()
    assert 64 < sampler.rejected < 400  # 64 * 0.7 / 0.3 is 149
    if isinstance(generator, FakeVAE):
        near = z - (tasks.support[:, :, 0].flatten(2).double() - 0.5)
        assert near.abs().max() < 0.3 * 5
        assert all(len(set(row.tolist())) == 5 for row in tasks.support[:, :, 0, 0, 0, 0])


def test_an_impossible_eps_ends_with_a_clear_error(tmp_path):
    sampler = sampler_of(tmp_path, FakeGenerator(latent_dim=128), eps_sq=512.5, max_retries=500)
    with pytest.raises(
        BenchError, match=r"no set of 5 anchors was accepted in 501 tries; eps_sq=512.5 is .* smaller eps_sq"
    ):
        sampler.sample(4, TaskSpec(5, 1, 1), rng())
    assert sampler.rejected == 4 * 501


def test_no_rejection_counts_nothing_and_draws_nothing_more(tmp_path):
    sampler = sampler_of(tmp_path, FakeGenerator())
    plain = sampler.sample(4, TaskSpec(5, 1, 1), rng())
    assert (sampler.accepted, sampler.rejected) == (0, 0)
    harmless = sampler_of(tmp_path, FakeGenerator(), eps_sq=1e-9)
    harmless.sample(4, TaskSpec(5, 1, 1), rng())
    assert (harmless.accepted, harmless.rejected) == (4, 0)
    again = sampler.sample(4, TaskSpec(5, 1, 1), rng())
    assert torch.equal(plain.query, again.query)


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


# ---------------------------------------------------------------- spaces in which only the direction counts


def unit(z):
    return z / z.norm(dim=-1, keepdim=True)


@pytest.mark.parametrize("strategy", ["n", "ro", "oc"])
def test_latent_norm_rescales_what_the_authors_rescale(tmp_path, strategy):
    class Sphere(FakeGenerator):
        latent_norm = True

        def sample_prior(self, n, rng):
            drawn.append(super().sample_prior(n, rng))
            return drawn[-1]

    drawn: list[torch.Tensor] = []
    z = latents_of(sampler_of(tmp_path, Sphere(), strategy=strategy).sample(2, TaskSpec(5, 1, 3), rng()))
    anchors, near = z[:, :, :1], z[:, :, 1:]
    first = drawn[0].double().view(2, 5, 1, 64)
    close = {"rtol": 0, "atol": 2e-5}
    torch.testing.assert_close(anchors, first if strategy == "oc" else unit(first), **close)
    if strategy == "n":
        assert torch.allclose(near.norm(dim=-1), torch.ones(2, 5, 3, dtype=torch.float64), atol=1e-5)
    if strategy == "ro":
        v = unit(drawn[1].double().view(2, 5, 3, 64))
        torch.testing.assert_close(near, 0.8 * unit(first) + 0.2 * v, **close)
    if strategy == "oc":
        torch.testing.assert_close(near[:, 0, 0], 0.8 * first[:, 0, 0] + 0.2 * first[:, 1, 0], **close)


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
