"""Embedding images: what an encoder returns is checked, and no image of a pool is embedded twice."""

from __future__ import annotations

import time

import torch
from torch import Tensor

from bench.basics.errors import BenchError, Diverged
from bench.contracts import Encoder, ProgressCallback
from bench.datasets.images import LabelledImages, UnlabelledImages
from bench.training.memory import in_pieces

STAGE = "embed"
"""As which :func:`embed_all` tells how far it is."""

IMAGES_AT_ONCE = {"cpu": 256, "cuda": 2048}


@torch.no_grad()
def embed(encoder: Encoder, images: Tensor) -> Tensor:
    """Images [B, C, H, W] in [0, 1] -> embeddings [B, dim], float32 (or float64 where the encoder gives that).

    Raises BenchError, with both shapes, for an encoder that returns anything else, and Diverged for one whose
    embeddings are not finite. Both name the encoder.
    """
    found = encoder.encode(images)
    name = type(encoder).__name__
    expected = [len(images), encoder.dim]
    if not isinstance(found, Tensor) or list(found.shape) != expected:
        got = list(found.shape) if isinstance(found, Tensor) else type(found).__name__
        raise BenchError(f"encoder {name} must turn images {list(images.shape)} into embeddings {expected}, not {got}")
    finite = found.isfinite().all(1)
    if not bool(finite.all()):
        raise Diverged(
            f"encoder {name}: the embeddings of {int((~finite).sum())} of {len(found)} images are not finite"
        )
    return found if found.dtype == torch.float64 else found.float()


def embed_all(
    encoder: Encoder,
    images: LabelledImages | UnlabelledImages,
    index: Tensor,
    device: torch.device,
    progress: ProgressCallback | None = None,
) -> Tensor:
    """The images at ``index`` [n] -> embeddings [n, dim] on ``device``, as many images at a time as fit its memory."""
    parts: list[Tensor] = []
    reported = time.monotonic()

    def one(rows: slice) -> None:
        nonlocal reported
        parts.append(embed(encoder, images.take(index[rows]).to(device)))
        if progress is not None and time.monotonic() - reported >= 0.5:
            progress(STAGE, rows.stop, len(index), {})
            reported = time.monotonic()

    in_pieces(len(index), IMAGES_AT_ONCE.get(device.type, 256), one)
    return torch.cat(parts) if parts else torch.empty(0, encoder.dim, device=device)


class Pool:
    """Embeddings of the images of one split by one encoder: each is computed when it is first needed, and kept.

    Manifests of one split for several numbers of shots share images, so they share a pool.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._of: tuple[Encoder, str] | None = None
        self._row = torch.empty(0, dtype=torch.int64)
        self._table = torch.empty(0)

    def cover(
        self, encoder: Encoder, images: LabelledImages, index: Tensor, progress: ProgressCallback | None = None
    ) -> None:
        """Make sure that the images at ``index`` (any shape) are embedded. Another encoder or split starts anew."""
        if self._of is None or self._of[0] is not encoder or self._of[1] != images.fingerprint:
            self._of = encoder, images.fingerprint
            self._row = torch.full((len(images),), -1, device=self._device)
            self._table = torch.empty(0, encoder.dim, device=self._device)
        wanted = torch.zeros(len(images), dtype=torch.bool, device=self._device)
        wanted[index.reshape(-1).to(self._device)] = True
        missing = (wanted & (self._row < 0)).nonzero()[:, 0]
        if len(missing):
            new = embed_all(encoder, images, missing, self._device, progress)
            self._row[missing] = torch.arange(len(missing), device=self._device) + len(self._table)
            self._table = torch.cat([self._table, new]) if len(self._table) else new

    def take(self, index: Tensor) -> Tensor:
        """The embeddings [*index.shape, dim] of images that are covered."""
        rows = self._table.index_select(0, self._row[index.reshape(-1)])
        return rows.reshape(*index.shape, self._table.shape[1])
