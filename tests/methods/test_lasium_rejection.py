"""LASIUM's rejection of anchors that lie close: against the paper's own counts and a plain loop."""

from __future__ import annotations

import math

import pytest
import scipy.stats
import torch
from helpers_lasium import ScriptedNormal, least_squared_distance, rng, sampler_of
from helpers_methods import FakeGenerator, FakeVAE, logit

from bench.basics.errors import BenchError
from bench.contracts import TaskSpec

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
