"""Whether a generator makes anything at all."""

from __future__ import annotations

import torch

from bench.basics.errors import Diverged
from bench.contracts import Generator, PosteriorEncoder
from bench.datasets.images import UnlabelledImages
from bench.training.rehearsal import is_rehearsal
from bench.training.work import metered


def check_alive(
    name: str,
    generator: Generator,
    rng: torch.Generator,
    real: UnlabelledImages | None,
    samples: int = 256,
    least: float = 0.01,
) -> float:
    """The diversity of the generator's images; Diverged where they are not finite or, for all latents, one.

    Diversity is the standard deviation of a pixel over images of ``samples`` latents of the prior, mean over pixels,
    in units of the same for ``real`` images; below ``least`` a generator counts as collapsed. Where a generator can
    encode, as many posterior means of real images are among the latents: under a small KL weight they lie elsewhere,
    and it is them that the decoder has learnt to tell apart. Without ``real`` (a generator that nobody trained)
    diversity is in units of the full range, and none is too small.
    """
    with metered():  # a check is no training
        diversity = _diversity(name, generator, rng, real, samples)
    if real is not None and diversity < least and not is_rehearsal():
        raise Diverged(
            f"{name}: it collapsed, images of different latents differ by {diversity:.2g} of what real images differ by"
        )
    return diversity


def _diversity(
    name: str, generator: Generator, rng: torch.Generator, real: UnlabelledImages | None, samples: int
) -> float:
    latents = generator.sample_prior(samples, rng)
    if real is None:
        return _spread(name, generator.decode(latents))
    some = real.take(torch.randint(len(real), (samples,), generator=rng, device=rng.device))
    if isinstance(generator, PosteriorEncoder):
        latents = torch.cat([latents, generator.encode(some)[0]])
    return _spread(name, generator.decode(latents)) / max(float(some.std(dim=0).mean()), 1e-12)


def _spread(name: str, images: torch.Tensor) -> float:
    if not bool(images.isfinite().all()):
        raise Diverged(f"{name}: it decodes latents to non-finite images")
    return float(images.std(dim=0).mean())
