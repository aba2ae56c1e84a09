"""From image files to uint8 arrays: one photograph, or very many in several processes. No file is trusted.

Imports no torch, so that a process that decodes starts at once.
"""

from __future__ import annotations

import io
import multiprocessing
import os
import signal
import threading
import warnings
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from functools import cache
from itertools import groupby
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from bench.basics.cpus import usable_cpus
from bench.basics.errors import BenchError
from bench.datasets.archives import Place, Reader, Tree
from bench.datasets.faults import Unfinished
from bench.datasets.resize import Filter, in_words, resize

MOST_PIXELS = 64_000_000
"""A larger image is refused before it is decoded."""

GREY = "grey: (19595 R + 38470 G + 7471 B + 32768) // 65536, as Pillow's convert('L')"

TOGETHER = 64
"""Images that a process decodes at a time."""

LOOKED_AT = 1000
"""Images whose size is looked up, to say whether they are enlarged."""

IN_ONE_PROCESS = 1024
"""Up to this many images, starting processes takes longer than decoding."""

Box = tuple[float, float, float, float]
"""Top, bottom, left, right, as fractions of height and width."""


@dataclass(frozen=True, slots=True)
class Photo:
    """How an image file becomes an image of a dataset: turned as its EXIF orientation says, cropped, resized.

    Transparent pixels are seen against white.
    """

    size: int
    channels: int = 3
    """3, or 1 for grey."""
    crop: Literal["center", "none"] | Box = "none"
    """center: the largest central square. none: the whole image, whatever that does to its proportions."""
    resize: Filter = "antialias"
    invert: bool = False
    """255 minus the value."""

    def __call__(self, data: bytes, where: str) -> NDArray[np.uint8]:
        """A PNG or JPEG file -> uint8 [channels, size, size]. ``where`` names the file in errors."""
        pixels = self._cropped(decode(data, self.channels, where))
        pixels = resize(np.ascontiguousarray(pixels), self.size, self.size, self.resize)
        if self.invert:
            pixels = 255 - pixels
        return pixels.reshape(self.size, self.size, self.channels).transpose(2, 0, 1)

    def in_words(self) -> dict[str, str]:
        """The same in words, step by step."""
        if isinstance(self.crop, str):
            square, whole = "the largest central square", "none: the whole image, whatever its proportions"
            crop = square if self.crop == "center" else whole
        else:
            top, bottom, left, right = self.crop
            crop = f"rows from {top} to {bottom} of the height, columns from {left} to {right} of the width, rounded"
        return {
            "decoder": "Pillow, PNG or JPEG; turned as the EXIF orientation says; of 16 bits the upper 8",
            "transparency": "seen against white",
            "colour": GREY if self.channels == 1 else "RGB",
            "crop": crop,
            "resize": in_words(self.resize, self.size),
            "polarity": "255 minus the value, after resizing" if self.invert else "as in the file",
        }

    def _cropped(self, pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        height, width = pixels.shape[:2]
        if self.crop == "none":
            return pixels
        if self.crop == "center":
            side = min(height, width)
            top, left = (height - side) // 2, (width - side) // 2
            return pixels[top : top + side, left : left + side]
        top, bottom = (round(height * part) for part in self.crop[:2])
        left, right = (round(width * part) for part in self.crop[2:])
        return pixels[top : max(bottom, top + 1), left : max(right, left + 1)]


def decode(data: bytes, channels: int, where: str) -> NDArray[np.uint8]:
    """uint8 [H, W] or [H, W, 3] of a PNG or JPEG file; BenchError, in one sentence, names a damaged one."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            image: Image.Image = Image.open(io.BytesIO(data), formats=["PNG", "JPEG"])
        if image.width * image.height > MOST_PIXELS:
            raise BenchError(
                f"{where} has {image.width} x {image.height} pixels, more than the limit of "
                f"{MOST_PIXELS}; make it smaller"
            )
        image = ImageOps.exif_transpose(image)
        if image.mode.startswith("I"):  # 16 bits: keep the upper 8
            image = Image.fromarray((np.asarray(image).astype(np.int64) >> 8).clip(0, 255).astype(np.uint8))
        if image.has_transparency_data:
            image = image.convert("RGBA")
            image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
        return np.asarray(image.convert("L" if channels == 1 else "RGB"))
    except Image.DecompressionBombError as error:
        raise BenchError(f"{where} has more pixels than the limit of {MOST_PIXELS}; make it smaller") from error
    except BenchError:
        raise
    except MemoryError as error:
        raise Unfinished(
            f"there is not enough memory to decode {where}; run the same command again to go on"
        ) from error
    except Exception as error:  # whatever Pillow meets in a broken file, struct.error and SyntaxError included
        raise BenchError(f"{where} is damaged or not an image ({_short(error, where)})") from error


def decode_all(tree: Tree, files: Sequence[str], photo: Photo) -> Iterator[NDArray[np.uint8] | BenchError]:
    """The images of ``files`` in their order; for one that cannot be read, the error that names it.

    Many images are decoded in as many processes as there are cores. Of those decoded ahead no more are held than a
    few blocks for every process.
    """
    if len(files) <= IN_ONE_PROCESS or (processes := _cores()) == 1:
        for path in files:
            yield _decoded(tree, path, photo)
        return
    blocks = iter([files[first : first + TOGETHER] for first in range(0, len(files), TOGETHER)])
    # Spawned, not forked: a copy of a process with torch's threads may hang.
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(processes, mp_context=spawn, initializer=_follow_parent) as pool:
        ahead: deque[Future[list[NDArray[np.uint8] | BenchError]]] = deque()
        try:
            while True:
                while len(ahead) < 4 * processes and (block := next(blocks, None)) is not None:
                    ahead.append(pool.submit(_decode_block, tree.place, tuple(block), photo))
                if not ahead:
                    return
                yield from ahead.popleft().result()
        except BrokenProcessPool as error:
            raise Unfinished(
                f"a process that reads the images of {tree.where} was killed, perhaps for want of memory; "
                "run the same command again to go on"
            ) from error
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def decode_trees(files: Sequence[tuple[Tree, str]], photo: Photo) -> Iterator[NDArray[np.uint8] | BenchError]:
    """As :func:`decode_all`, of files in several trees, those of one tree one after the other."""
    for _, some in groupby(files, key=lambda file: id(file[0])):
        group = list(some)
        yield from decode_all(group[0][0], [path for _, path in group], photo)


def enlarged(files: Sequence[tuple[Tree, str]], photo: Photo) -> list[str]:
    """A sentence if photographs are smaller than what is made of them; of very many, an even sample is looked at."""
    step = max(1, -(-len(files) // LOOKED_AT))
    sizes = [size for tree, path in files[::step] if (size := _size_of(tree, path, photo)) is not None]
    return told_enlarged([side for side in sizes if side < photo.size], len(sizes), photo.size, len(files))


def told_enlarged(small: Sequence[int], looked_at: int, size: int, of: int) -> list[str]:
    """The sentence: ``small`` are the shorter sides, in pixels, of the images that are too small."""
    if not small:
        return []
    sample = "" if looked_at == of else f" (of {of}, an even sample)"
    return [
        f"{len(small)} of {looked_at} images{sample} have fewer than {size} x {size} pixels, the smallest {min(small)} "
        f"wide or high, and were enlarged; dataset.size={max(8, min(small))} would be true to them"
    ]


def _size_of(tree: Tree, path: str, photo: Photo) -> int | None:
    """The shorter side of the part of an image that is kept, from its header; None of one that cannot be read."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            image = Image.open(io.BytesIO(tree.read(path)), formats=["PNG", "JPEG"])
        if isinstance(photo.crop, str):
            return min(image.size)
        top, bottom, left, right = photo.crop
        return min(round(image.height * (bottom - top)), round(image.width * (right - left)))
    except Exception:  # whatever Pillow meets; who decodes the image says so
        return None


def _decode_block(place: Place, files: Sequence[str], photo: Photo) -> list[NDArray[np.uint8] | BenchError]:
    tree = _reopened(place)
    return [_decoded(tree, path, photo) for path in files]


def _follow_parent() -> None:
    """Leave an interrupt to the parent, and end with it, however it ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()

    def watch() -> None:
        if parent is not None:
            parent.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


@cache
def _reopened(place: Place) -> Reader:
    return place.reader()


def _decoded(tree: Reader, path: str, photo: Photo) -> NDArray[np.uint8] | BenchError:
    try:
        return photo(tree.read(path), f"{tree.where}/{path}")
    except Unfinished:
        raise
    except BenchError as error:
        return error


def _cores() -> int:
    return usable_cpus()


def _short(error: Exception, where: str) -> str:
    text = str(error)
    return "not recognised as PNG or JPEG" if "cannot identify" in text else text.replace(where, "it")
