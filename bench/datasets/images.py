"""Images as a method sees them: uint8 tensors on the device, scaled to [0, 1] only where they are gathered."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


class _Resident:
    """What both kinds of images can do; ``pixels`` is uint8 [n, C, H, W].

    ``home`` is the device that images are gathered to where the device cannot hold ``pixels``, which then are a
    mapped file on the CPU; None where they are on the device.
    """

    __slots__ = ()
    pixels: Tensor
    home: torch.device | None

    def __len__(self) -> int:
        return len(self.pixels)

    @property
    def shape(self) -> tuple[int, int, int]:
        """(C, H, W)."""
        _, channels, height, width = self.pixels.shape
        return channels, height, width

    @property
    def device(self) -> torch.device:
        """Where :meth:`take` puts images."""
        return self.pixels.device if self.home is None else self.home

    @property
    def resident(self) -> bool:
        """Whether the pixels are on the device that :meth:`take` gathers to."""
        return self.home is None

    def take(self, index: Tensor) -> Tensor:
        """Images at ``index`` (any shape) -> float32 [*index.shape, C, H, W] in [0, 1]: one gather, one scale."""
        return take(self.pixels, index, self.home)


@dataclass(frozen=True, slots=True)
class UnlabelledImages(_Resident):
    """The wall between labels and methods: pixels in shuffled order, and nothing else.

    pixels: uint8 [n, C, H, W]. fingerprint: content hash of the pixels in this order.
    """

    pixels: Tensor
    fingerprint: str
    home: torch.device | None = None


@dataclass(frozen=True, slots=True)
class Attributes:
    """Labels of another kind than classes: yes or no to each of A questions, ``values`` bool [n, A]."""

    names: tuple[str, ...]
    values: NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class LabelledImages(_Resident):
    """A labelled split, given only to methods declared supervised, and to the harness itself.

    pixels: uint8 [n, C, H, W]. class_ids: int64 [n] on the CPU, 0 … len(class_names)-1. Of a dataset whose tasks
    are made of ``attributes`` the classes say nothing: there is one.
    """

    pixels: Tensor
    class_ids: Tensor
    class_names: Sequence[str]
    fingerprint: str
    home: torch.device | None = None
    attributes: Attributes | None = None


def take(pixels: Tensor, index: Tensor, device: torch.device | None = None) -> Tensor:
    """uint8 [n, C, H, W] at ``index`` -> float32 [*index.shape, C, H, W] in [0, 1] on ``device``, else beside them."""
    rows = pixels.flatten(1)
    flat_index = index.reshape(-1).to(pixels.device)
    if rows.shape[1] % 8 == 0 and rows.is_contiguous() and rows.storage_offset() % 8 == 0:
        # Eight pixels at a time: on a CPU a gather of bytes takes ten times as long as one of words.
        flat = rows.view(torch.int64).index_select(0, flat_index).view(torch.uint8)
    else:
        flat = rows.index_select(0, flat_index)
    return flat.to(device or pixels.device).to(torch.float32).div_(255.0).reshape(*index.shape, *pixels.shape[1:])
