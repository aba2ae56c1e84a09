"""Opening an ``.npy`` file that may be damaged."""

from __future__ import annotations

import tokenize
from pathlib import Path
from typing import Any

import numpy as np


def map_array(path: Path) -> np.memmap[Any, Any]:
    """The array of a file, mapped, not read: NumPy compares the shape that the file claims with its size.

    ValueError where it is damaged: NumPy hands its header to Python's own parser, whose errors are of many kinds.
    """
    try:
        return np.lib.format.open_memmap(path, mode="r")
    except (SyntaxError, tokenize.TokenError, EOFError, OverflowError, TypeError, RecursionError) as error:
        raise ValueError(f"its header is damaged: {error}") from error
