"""A synthetic task of a method, small enough to be kept beside its numbers: ``synthetic.npy``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from bench.records.arrays import read_images, write_images

if TYPE_CHECKING:  # reports read these files, and do without PyTorch
    from bench.contracts import Tasks

FILE = "synthetic.npy"
EARLIER_FILE = "invented.npy"
"""Its name until version 0.1."""

MOST = 5  # classes, images of the support and of the query; in a picture more are too small to see
SIDE = 48  # pixels; larger images are shrunk by a whole factor

Example = NDArray[np.uint8]
"""[N, K + Q, C, H, W]: the support images of a class, then its queries."""


def example(tasks: Tasks) -> Example:
    """The first of ``tasks``, with at most MOST of each kind."""
    kinds = [part[0, :MOST, :MOST].detach().cpu().numpy() for part in (tasks.support, tasks.query)]
    images = _shrunk(np.concatenate(kinds, axis=1))
    return np.clip(np.round(255 * images), 0, 255).astype(np.uint8)


def write_example(folder: Path, tasks: Tasks) -> None:
    """Write the first of ``tasks`` to ``synthetic.npy``."""
    write_images(folder / FILE, example(tasks))


def file_of(folder: Path) -> Path | None:
    """Where the example of a run folder lies, under its name of today or of version 0.1."""
    return next((folder / name for name in (FILE, EARLIER_FILE) if (folder / name).exists()), None)


def read_example(path: Path) -> Example:
    """Read ``synthetic.npy``. BenchError, naming the file, when it holds no such images."""
    return read_images(path, 5, "delete it and inspect again")


def _shrunk(images: NDArray[np.float32]) -> NDArray[np.float32]:
    """Means of whole blocks; what is left over at the right and below goes."""
    factor = -(-max(images.shape[-2:]) // SIDE)
    height, width = (side // factor for side in images.shape[-2:])
    whole = images[..., : height * factor, : width * factor]
    blocks = whole.reshape(*images.shape[:-2], height, factor, width, factor)
    found: NDArray[np.float32] = blocks.mean(axis=(-3, -1))
    return found
