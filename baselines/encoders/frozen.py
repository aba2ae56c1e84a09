"""Networks that others trained for classification or clustering of photographs, as encoders."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from baselines.encoders.whitening import Whitening
from bench.basics.errors import BenchError
from bench.contracts import Context
from bench.datasets.images import UnlabelledImages
from bench.learners.embeddings import embed_all
from bench.training.work import count

VERSION = 1
"""Raised whenever the same features would be whitened otherwise."""

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet's colours, in [0, 1]
CHUNK = {"cpu": 16, "cuda": 256}  # images at a time


@dataclass(frozen=True)
class FrozenEncoder:
    """A :class:`bench.contracts.Encoder`: features of a network for colour photographs of ``size`` pixels a side.

    Grey images are repeated to three colours; the whole image is resized, bilinearly without antialiasing, and
    normalised as ImageNet's. ``features`` takes [n, 3, size, size] and returns [n, dim]. Nothing tracks gradients.
    """

    features: Callable[[Tensor], Tensor]
    dim: int
    size: int

    @torch.no_grad()
    def encode(self, x: Tensor) -> Tensor:
        """Images [B, C, H, W] in [0, 1], C 1 or 3 -> [B, dim]."""
        count(len(x))
        return torch.cat([self.features(self.prepared(part)) for part in x.split(CHUNK.get(x.device.type, 16))])

    def prepared(self, x: Tensor) -> Tensor:
        """[n, C, H, W] in [0, 1] -> what the network takes."""
        x = x.expand(-1, 3, -1, -1)
        if x.shape[2:] != (self.size, self.size):
            x = F.interpolate(x, (self.size, self.size), mode="bilinear", align_corners=False)
        mean, std = x.new_tensor(MEAN), x.new_tensor(STD)
        return (x - mean[:, None, None]) / std[:, None, None]


@dataclass(frozen=True)
class WhitenedEncoder:
    """Principal components of another encoder's features, of unit variance, the whole of unit length."""

    encoder: FrozenEncoder
    whitening: Whitening

    @property
    def dim(self) -> int:
        """How many components there are."""
        return self.whitening.projection.shape[1]

    def encode(self, x: Tensor) -> Tensor:
        """Images [B, C, H, W] in [0, 1] -> [B, dim]."""
        return self.whitening.apply(self.encoder.encode(x))


def whitened(
    name: str,
    encoder: FrozenEncoder,
    dim: int | None,
    identity: Mapping[str, Any],
    images: UnlabelledImages,
    context: Context,
) -> FrozenEncoder | WhitenedEncoder:
    """The encoder after PCA of the meta-train ``images`` to at most ``dim`` components; None leaves it as it is.

    identity: all that its features depend on. The components are kept in the artifact store.
    """
    if dim is None:
        return encoder
    recipe = {
        "encoder": "whitening",
        "version": VERSION,
        "of": dict(identity),
        "dim": dim,
        "images": images.fingerprint,
    }

    def make(_: object) -> tuple[Mapping[str, Tensor], Mapping[str, Any]]:
        everything = torch.arange(len(images), device=images.device)
        features = embed_all(encoder, images, everything, images.device, context.progress)
        found = Whitening.of(f"encoder {name}", features, dim)
        return {"mean": found.mean, "projection": found.projection}, {}

    kept = context.artifacts.get("encoder-whitening", recipe, make, context.budget.checkpoint_seconds).tensors
    device = images.device
    return WhitenedEncoder(encoder, Whitening(kept["mean"].to(device), kept["projection"].to(device)))


def check_whole(who: str, name: str, value: object, least: int = 1) -> None:
    """Refuse a setting that is not an integer of at least ``least``."""
    if type(value) is not int or value < least:
        raise BenchError(f"{who}: {name} must be an integer of at least {least}, not {value!r}")
