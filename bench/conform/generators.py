"""Whether a generator decodes as :class:`bench.contracts.Generator` says."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from bench.basics.seeds import Seed
from bench.checks.finding import Finding
from bench.checks.process import Process
from bench.conform.trial import CPU
from bench.contracts import Generator, PosteriorEncoder

LATENTS = 8


def examine(obtain: Callable[[str], Generator], shape: tuple[int, int, int]) -> Iterator[Finding]:
    """``obtain(name)`` trains it, or reads it, in a folder of that name. shape: that of the training images."""
    before = Process(CPU)
    generator = obtain("first")
    name, seed = type(generator).__name__, Seed(0).at("latents")
    dim, made = getattr(generator, "latent_dim", None), tuple(getattr(generator, "image_shape", ()))
    fault = None
    if not isinstance(dim, int) or dim < 1 or len(made) != 3:
        fault = f"{name} needs latent_dim, a whole number, and image_shape (C, H, W), not {dim!r} and {made!r}"
    elif made != tuple(shape):
        fault = f"{name} makes images of shape {list(made)}, but its training images are {list(shape)}; resize them"
    yield Finding("sizes", "latent_dim and image_shape, the images as large as those of the dataset", fault)
    if fault is not None:
        return
    z, again, other = (generator.sample_prior(LATENTS, one.generator()) for one in (seed, seed, seed.at("other")))
    fault = None
    if list(z.shape) != [LATENTS, dim] or not z.is_floating_point():
        fault = f"{name}.sample_prior({LATENTS}, rng) must return real numbers [{LATENTS}, {dim}], not {list(z.shape)}"
    elif not torch.equal(z, again):
        fault = f"{name}.sample_prior gives other latents from an equal rng; take every draw from it"
    elif torch.equal(z, other):
        fault = f"{name}.sample_prior gives the same latents from every rng; draw them from it"
    yield Finding("prior", "latents [n, d], a function of rng", fault)
    if fault is not None:
        return
    kept = z.clone()
    images = generator.decode(z)
    fault = _ill_formed(f"{name}.decode", images, [LATENTS, *made])
    yield Finding("decode", "latents [n, d] become float32 images [n, C, H, W] in [0, 1], without gradient", fault)
    if fault is not None:
        return
    fault = None
    if not torch.equal(z, kept):
        fault = f"{name}.decode changed the latents that it was given; work on a copy"
    elif not torch.allclose(generator.decode(z), images, atol=1e-4):
        fault = f"{name}.decode gives other images from the same latents; put the network into evaluation mode"
    elif not torch.allclose(generator.decode(z[:2]), images[:2], atol=1e-3):
        fault = f"{name}.decode lets latents of one batch influence one another; put the network into evaluation mode"
    yield Finding("function", "an image depends on its latent alone", fault)
    fault = None if bool((images != images[:1]).any()) else f"{name}.decode makes one image of all latents"
    yield Finding("distinct", "other latents become other images", fault)
    if isinstance(generator, PosteriorEncoder):
        yield _encodes(name, generator, images, z.shape[1])
    drew, changed = before.drew_from(), before.changed()
    fault = None
    if drew:
        fault = f"it draws from, or seeds, the global generator of {' and '.join(drew)}; use context.seed and rng"
    elif changed:
        fault = f"it changed {' and '.join(changed)}; put that back"
    yield Finding("process", "it draws from no global generator and leaves the process as it was", fault)
    same = torch.equal(obtain("second").decode(z), images)
    fault = None if same else "two trainings with one seed differ; seed every draw from context.seed"
    yield Finding("reproducible", "obtained twice with one seed it is the same", fault)


def _ill_formed(name: str, images: object, expected: list[int]) -> str | None:
    if not isinstance(images, Tensor) or list(images.shape) != expected or images.dtype != torch.float32:
        got = f"{list(images.shape)}, {images.dtype}" if isinstance(images, Tensor) else type(images).__name__
        return f"{name} must return float32 images {expected}, not {got}"
    if images.requires_grad:
        return f"{name} must return images without gradient; decorate it with @torch.no_grad()"
    low, high = float(images.amin()), float(images.amax())
    if low >= -1e-3 and high <= 1 + 1e-3:  # false for NaN too
        return None
    return f"{name} makes values from {low:g} to {high:g}; they must be in [0, 1]"


def _encodes(name: str, generator: PosteriorEncoder, images: Tensor, dim: int) -> Finding:
    found = generator.encode(images)
    fault = None
    if not isinstance(found, tuple) or [list(part.shape) for part in found] != 2 * [[len(images), dim]]:
        fault = f"{name}.encode must return mean and log-variance, each [{len(images)}, {dim}]"
    elif not all(bool(part.isfinite().all()) for part in found):
        fault = f"{name}.encode gives numbers that are not finite"
    return Finding("encode", "images become mean and log-variance [n, d], finite", fault)
