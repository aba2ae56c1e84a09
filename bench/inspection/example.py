"""A task that a method invents, small enough to be kept beside its numbers: ``invented.npy``."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from bench.contracts import Tasks
from bench.errors import BenchError
from bench.files import replacing

FILE = "invented.npy"

MOST = 5  # classes, images of the support and of the query; in a picture more are too small to see
SIDE = 48  # pixels; larger images are shrunk by a whole factor

Example = NDArray[np.uint8]
"""[N, K + Q, C, H, W]: the support images of a class, then its queries."""


def example(tasks: Tasks) -> Example:
    """The first of ``tasks``, with at most MOST of each kind."""
    support, query = tasks.support[0, :MOST, :MOST], tasks.query[0, :MOST, :MOST]
    images = _shrunk(torch.cat([support, query], dim=1))
    found: Example = (255 * images).round().clamp(0, 255).to(torch.uint8).cpu().numpy()
    return found


def write_example(folder: Path, tasks: Tasks) -> None:
    """Write the first of ``tasks`` to ``invented.npy``."""
    with replacing(folder / FILE) as temporary, open(temporary, "wb") as file:
        np.save(file, example(tasks))


def read_example(path: Path) -> Example:
    """Read ``invented.npy``. BenchError, naming the file, when it holds no such images."""
    try:
        images = np.load(path, allow_pickle=False)
        if images.dtype != np.uint8 or images.ndim != 5 or images.shape[2] not in (1, 3) or not images.size:
            raise ValueError(f"uint8 images [N, K, 1 or 3, H, W] expected, not {images.dtype} {images.shape}")
    except (OSError, ValueError, EOFError) as error:
        reason = " ".join(str(error).split())[:120]
        raise BenchError(f"{path} is damaged ({reason}); delete it and inspect again") from error
    found: Example = images
    return found


def _shrunk(images: Tensor) -> Tensor:
    factor = -(-max(images.shape[-2:]) // SIDE)
    if factor == 1:
        return images
    flat = functional.avg_pool2d(images.flatten(0, 1), factor, ceil_mode=True)
    return flat.view(*images.shape[:2], *flat.shape[1:])
