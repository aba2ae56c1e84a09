"""Whether an encoder embeds as :class:`bench.contracts.Encoder` says: each image by itself, always the same."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from bench.basics.errors import Diverged
from bench.checks.finding import Finding
from bench.checks.probe import Probe
from bench.checks.process import Process
from bench.contracts import Encoder

AGAIN = 4
"""Images that are embedded a second time, by themselves."""

TOLERANCE = 1e-3
AMPLIFIED = 10.0


def examine(encoder: Encoder, probe: Probe) -> Iterator[Finding]:
    """The checks, of the images of a probe. Raises Diverged where an embedding is not finite."""
    name = type(encoder).__name__
    images = probe.query.reshape(-1, *probe.query.shape[-3:])
    before, given = Process(images.device), images.clone()
    first = embed(encoder, images)
    fault = ill_formed(encoder, images, first)
    yield Finding("embedding", "images [B, C, H, W] become real numbers [B, dim] on their device", fault)
    if fault is not None:
        return
    first = _finite(name, first)
    second = _finite(name, embed(encoder, images[:AGAIN]))
    fault = None
    if _differ(encoder, images, first, second, probe.rounding):
        fault = (
            f"{name}.encode gives an image another embedding when other images are beside it, or when asked twice; "
            "put the network into evaluation mode (module.eval()): no statistics of the batch, no dropout"
        )
    yield Finding("image by image", "an embedding depends on its image alone", fault)
    fault = None if torch.equal(images, given) else f"{name}.encode changed the images that it was given; copy them"
    yield Finding("encoder inputs", "the images that it is given stay as they are", fault)
    fault = None
    if drew := before.drew_from():
        fault = f"{name}.encode draws from, or seeds, the global generator of {' and '.join(drew)}; leave that out"
    elif changed := before.changed():
        fault = f"{name}.encode changed {' and '.join(changed)}; leave the process as it was"
    yield Finding("encoder process", "it draws from no global generator and leaves the process as it was", fault)


@torch.no_grad()
def embed(encoder: Encoder, images: Tensor) -> Tensor:
    """What it returns."""
    return encoder.encode(images)


def embedded(encoder: Encoder, images: Tensor) -> Tensor:
    """As the harness hands embeddings on."""
    found = embed(encoder, images)
    return found if found.dtype == torch.float64 else found.float()


def ill_formed(encoder: Encoder, images: Tensor, found: object) -> str | None:
    """What is wrong with embeddings."""
    name, dim = type(encoder).__name__, getattr(encoder, "dim", None)
    if not isinstance(dim, int) or dim < 1:
        return f"{name}.dim must be the length of an embedding, a whole number of at least 1, not {dim!r}"
    expected = [len(images), dim]
    if not isinstance(found, Tensor) or list(found.shape) != expected:
        got = list(found.shape) if isinstance(found, Tensor) else type(found).__name__
        return f"encoder {name} must turn images {list(images.shape)} into embeddings {expected}, not {got}"
    if found.device != images.device:
        return f"encoder {name} must return embeddings on {images.device}, where the images are, not on {found.device}"
    return None


def _finite(name: str, found: Tensor) -> Tensor:
    if not bool(found.isfinite().all()):
        raise Diverged(f"encoder {name}: some embeddings of meta-train images are not finite")
    return found if found.dtype == torch.float64 else found.float()


def _differ(encoder: Encoder, images: Tensor, first: Tensor, few: Tensor, rounding: float) -> bool:
    """Whether the first images have other embeddings among all, ``first``, than among a few."""
    allowed = TOLERANCE * float(first.amax() - first.amin()) + 1e-9
    apart = (first[: len(few)] - few).abs().amax(1)
    if not bool((apart > allowed).any()):
        return False
    again = (embedded(encoder, images) - first).abs().amax(1)
    # On a GPU sums of equal numbers may differ from call to call; what is random differs for most images.
    if float((again > (20 if first.is_cuda else 1) * allowed).float().mean()) > 0.1:
        return True
    # Where rounding alone does as much, it says nothing.
    moved = (embedded(encoder, images * (1 - rounding)) - first).abs().amax()
    return bool((apart > max(allowed, AMPLIFIED * float(moved))).any())
