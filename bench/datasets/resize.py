"""Resizing 8-bit images."""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from bench.basics.errors import BenchError, did_you_mean

Filter = Literal["bilinear", "antialias", "box"]
"""bilinear: two by two neighbours, whatever the reduction, as ``tf.image.resize`` does; strokes thinner than
the step between two samples may fall through. antialias: a triangle widened by the reduction. box: the mean
over the area."""


def check_filter(name: str) -> None:
    """BenchError unless ``name`` is a :data:`Filter`."""
    if name not in get_args(Filter):
        known = get_args(Filter)
        raise BenchError(f"resize must be one of {', '.join(known)}, not {name!r}.{did_you_mean(str(name), known)}")


def in_words(kind: Filter, size: int) -> str:
    """The filter in words, for :meth:`bench.datasets.source.DescribedSource.preprocessing`."""
    how = {
        "bilinear": "bilinear between the two by two nearest pixels whatever the reduction, so not antialiased; pixel "
        "i is at (i + 0.5) * (old / new) - 0.5, not beyond the edge; in float64, rows first, halves rounded up",
        "antialias": "a triangle widened by the reduction (Pillow's BILINEAR), so antialiased",
        "box": "the mean over the area of a pixel (Pillow's BOX)",
    }[kind]
    return f"to {size} x {size} pixels: {how}; an image of that size stays as it is"


def resize(image: NDArray[np.uint8], height: int, width: int, kind: Filter) -> NDArray[np.uint8]:
    """uint8 [H, W] or [H, W, C] -> uint8 [height, width(, C)], rounded to the nearest."""
    if image.shape[:2] == (height, width):
        return image
    if kind == "bilinear":
        return _bilinear(image, height, width)
    resample = Image.Resampling.BILINEAR if kind == "antialias" else Image.Resampling.BOX
    return np.asarray(Image.fromarray(image).resize((width, height), resample))


def _bilinear(image: NDArray[np.uint8], height: int, width: int) -> NDArray[np.uint8]:
    y0, y1, fy = _neighbours(image.shape[0], height)
    x0, x1, fx = _neighbours(image.shape[1], width)
    # Per-row and per-column fractions, broadcast over the axes that follow theirs.
    fy = fy.reshape(-1, *(1,) * (image.ndim - 1))
    fx = fx.reshape(1, -1, *(1,) * (image.ndim - 2))
    rows = image[y0] * (1 - fy) + image[y1] * fy
    values = rows[:, x0] * (1 - fx) + rows[:, x1] * fx
    return np.floor(values + 0.5).astype(np.uint8)


def _neighbours(old: int, new: int) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """The two source positions of each output, and the weight of the second; pixel centres are at halves."""
    at = np.clip((np.arange(new) + 0.5) * (old / new) - 0.5, 0, old - 1)
    lower = np.floor(at).astype(np.int64)
    return lower, np.minimum(lower + 1, old - 1), at - lower
