"""The unfinished copy of a dataset: images are streamed into it, and a killed preparation goes on from it."""

from __future__ import annotations

import hashlib
import math
import os
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

import numpy as np

from bench.basics.errors import BenchError
from bench.basics.files import read_json, remove_leftovers, write_json
from bench.contracts import ProgressCallback
from bench.datasets.faults import Unfinished
from bench.datasets.residence import npy_header
from bench.datasets.source import DatasetSource, Item

MOST_NAMED = 50  # damaged images named in one message
CHECKPOINT_SECONDS = 5.0
BLOCK = 2**24  # bytes hashed at a time


@dataclass
class Writing:
    """The unfinished copy of a dataset: how many images are in it, safely, and their hash."""

    folder: Path
    items: str
    """Hash of all items: a copy of other ones is not gone on with."""
    shape: tuple[int, ...] = ()
    done: int = 0
    digest: hashlib._Hash = field(default_factory=hashlib.sha256)

    @property
    def images(self) -> Path:
        return self.folder / "images.npy"

    @property
    def progress(self) -> Path:
        return self.folder / "progress.json"

    def resume(self, total: int) -> None:
        """Take over the images of an interrupted preparation, if their hash is what it was."""
        try:
            found = read_json(self.progress)
            shape, done = tuple(int(n) for n in found["shape"]), int(found["done"])
            if found["items"] == self.items and 0 < done <= total:
                digest = hashlib.sha256()
                left = done * math.prod(shape)
                with open(self.images, "rb") as file:
                    file.seek(len(npy_header((total, *shape))))
                    while left and (data := file.read(min(BLOCK, left))):
                        digest.update(data)
                        left -= len(data)
                remove_leftovers(self.folder)
                if digest.hexdigest() == found["sha256"]:
                    self.shape, self.done, self.digest = shape, done, digest
                    return
        except (BenchError, OSError, KeyError, TypeError, ValueError):
            pass
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)

    def checkpoint(self, file: IO[bytes]) -> None:
        """From here on an interrupted preparation goes on."""
        file.flush()
        os.fsync(file.fileno())
        facts = {"items": self.items, "shape": list(self.shape), "done": self.done}
        write_json(self.progress, {**facts, "sha256": self.digest.copy().hexdigest()})


def write_images(
    source: DatasetSource, items: Sequence[Item], writing: Writing, progress: ProgressCallback | None
) -> None:
    """Stream every image into the file; a damaged one ends that, but the others are looked at too, to name them all."""
    writing.resume(len(items))
    # Written, not mapped: a full disk is an error of write(), but kills a process that stores into a map.
    with open(writing.images, "rb+" if writing.done else "wb") as file:
        if writing.done:
            file.seek(len(npy_header((len(items), *writing.shape))) + writing.done * math.prod(writing.shape))
            file.truncate()
        try:
            damaged = _stream(source, items, writing, file, progress)
        except Unfinished:
            if writing.done:
                writing.checkpoint(file)
            raise
    if damaged:
        raise BenchError(_all_damaged(source.name, len(items), [str(error) for error in damaged]))


def _stream(
    source: DatasetSource,
    items: Sequence[Item],
    writing: Writing,
    file: IO[bytes],
    progress: ProgressCallback | None,
) -> list[BenchError]:
    """Write the images that are not there yet, up to the first damaged one; returns what is wrong with all such."""
    before = seen = writing.done
    began = reported = saved = time.monotonic()
    damaged: list[BenchError] = []
    left = items[before:]
    for item, image in zip(left, source.read(left) if left else (), strict=True):
        seen += 1
        if isinstance(image, BenchError):
            damaged.append(image)
        elif not damaged:
            if not writing.shape:
                writing.shape = image.shape
                file.write(npy_header((len(items), *image.shape)))
            if image.shape != writing.shape or image.dtype != np.uint8:
                raise BenchError(
                    f"image {item.file_id!r} of dataset {source.name!r} is {image.dtype} {image.shape}, "
                    f"the first was uint8 {writing.shape}"
                )
            data = image.tobytes()
            file.write(data)
            writing.digest.update(data)
            writing.done += 1
        now = time.monotonic()
        if progress is not None and (seen == len(items) or now - reported >= 0.2):
            reported = now
            rate = (seen - before) / max(now - began, 1e-9)
            progress(f"prepare {source.name}", seen, len(items), {"images/s": round(rate, 1)})
        if writing.done and not damaged and now - saved >= CHECKPOINT_SECONDS:
            writing.checkpoint(file)
            saved = time.monotonic()
    return damaged


def _all_damaged(name: str, total: int, messages: Sequence[str]) -> str:
    if len(messages) == 1:
        return messages[0]
    named = "; ".join(messages[:MOST_NAMED])
    more = f"; and {len(messages) - MOST_NAMED} more" if len(messages) > MOST_NAMED else ""
    return f"{len(messages)} of {total} images of dataset {name!r} cannot be read: {named}{more}"
