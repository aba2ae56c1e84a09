"""A sampler of LASIUM on generators that can be read backwards, and what its tasks were decoded from."""

from __future__ import annotations

import torch
from helpers_methods import FakeVAE, Given, RecordingLearner, logit, make_context, make_images

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
