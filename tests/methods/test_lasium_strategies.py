"""LASIUM's three strategies against loops written from the paper (§3.1), in float64."""

from __future__ import annotations

import pytest
import torch
from helpers_lasium import ScriptedNormal, latents_of, rng, sampler_of
from helpers_methods import FakeGenerator, FakeVAE, logit, make_images

from bench.contracts import TaskSpec


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
