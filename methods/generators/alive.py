"""Whether a generator makes anything at all."""

from __future__ import annotations

import torch

from bench.contracts import Generator
from bench.datasets.images import UnlabelledImages
from bench.errors import Diverged

LEAST_DIVERSITY = 0.01


def check_alive(
    name: str, generator: Generator, rng: torch.Generator, real: UnlabelledImages | None, samples: int = 256
) -> float:
    """The diversity of the generator's images; Diverged where they are not finite or, for all latents, one.

    Diversity is the standard deviation of a pixel over images of ``samples`` latents of the prior, mean over pixels,
    in units of the same for ``real`` images; below 0.01 a generator counts as collapsed. Without ``real`` (a
    generator that nobody trained) it is in units of the full range, and none is too small.
    """
    images = generator.decode(generator.sample_prior(samples, rng))
    if not bool(images.isfinite().all()):
        raise Diverged(f"{name}: it decodes latents to non-finite images")
    spread = float(images.std(dim=0).mean())
    if real is None:
        return spread
    some = torch.randint(len(real), (samples,), generator=rng, device=rng.device)
    diversity = spread / max(float(real.take(some).std(dim=0).mean()), 1e-12)
    if diversity < LEAST_DIVERSITY:
        raise Diverged(
            f"{name}: it collapsed, images of different latents differ by {diversity:.2g} of what real images differ by"
        )
    return diversity
