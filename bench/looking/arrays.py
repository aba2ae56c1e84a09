"""Reading images that a run left behind: what a file claims is checked before memory is taken. Imports no torch."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bench.basics.errors import BenchError
from bench.basics.files import check_regular

MOST_BYTES = 2**31


def check_own_file(path: Path) -> None:
    """ValueError for a link: a run's files are its own, and what a link leads to is nobody's result."""
    if path.is_symlink():
        raise ValueError("it is a link, not a file")


def read_images(path: Path, axes: int, mend: str) -> NDArray[np.uint8]:
    """Images uint8 [..., 1 or 3, H, W] of ``axes`` axes from an ``.npy`` file. BenchError, naming it, for others."""
    try:
        check_own_file(path)
        check_regular(path)
        if path.stat().st_size > MOST_BYTES:
            raise ValueError(f"more than {MOST_BYTES} bytes")
        # Mapped, not read: then NumPy compares the shape that the file claims with its size.
        images = np.load(path, mmap_mode="r", allow_pickle=False)
        if images.dtype != np.uint8 or images.ndim != axes or images.shape[-3] not in (1, 3) or not images.size:
            raise ValueError(f"uint8 images of {axes} axes expected, not {images.dtype} {images.shape}")
        return np.array(images)
    except (OSError, ValueError, EOFError, OverflowError, MemoryError, SyntaxError) as error:
        reason = " ".join(str(error).split())[:120]
        raise BenchError(f"{path} is damaged ({reason}); {mend}") from error
