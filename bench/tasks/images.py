"""What a list of tasks says of its images: the hash of their pixels, how they were made, and with what.

It stands beside what is sealed, under a key of its own in the file's metadata and with a digest of its own: the
SHA-256 of a list, by which records know it, was there before, and has the dataset's content hash in it, which covers
every pixel.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

from bench.basics.keys import content_key
from bench.basics.typed import typed
from bench.datasets.source import Dataset

METADATA_KEY = b"bench.images"
_LETTERS = 60
"""Of the words for a step, in a sentence."""
_BLOCK = 4096  # images hashed at a time: bounds the memory where they are mapped from a large file


@dataclass(frozen=True, slots=True)
class TaskImages:
    """The images that a list of tasks names, as they were where it was made."""

    pixels: str
    """SHA-256 of the bytes, uint8 [C, H, W] row by row, of every image that is named, once, in order of image_index."""
    images: int
    """How many these are."""
    shape: tuple[int, ...]
    """(C, H, W)."""
    preprocessing: Mapping[str, str]
    """How they were made, step by step, see :mod:`bench.datasets.preprocessing`."""
    made_with: Mapping[str, str]
    """The versions of what made them."""


def images_of(dataset: Dataset, split: str, indices: NDArray[np.int64]) -> TaskImages:
    """Of the images at ``indices`` (any shape) of a split."""
    named, pixels = np.unique(indices), dataset.splits[split].pixels
    digest = hashlib.sha256()
    for first in range(0, len(named), _BLOCK):
        digest.update(np.ascontiguousarray(pixels[named[first : first + _BLOCK]]).data)
    return TaskImages(
        digest.hexdigest(), len(named), tuple(pixels.shape[1:]), dict(dataset.preprocessing), dict(dataset.made_with)
    )


def to_metadata(images: TaskImages, manifest: str) -> dict[bytes, bytes]:
    """For a file whose list has the SHA-256 ``manifest``."""
    said = {**asdict(images), "shape": list(images.shape), "manifest": manifest}
    text = json.dumps({**said, "sha256": content_key(said)}, separators=(",", ":"), ensure_ascii=False)
    return {METADATA_KEY: text.encode()}


def from_metadata(metadata: Mapping[bytes, bytes], manifest: str) -> TaskImages | None:
    """None of a file from before this was kept. ValueError where it is damaged, or belongs to another list."""
    if METADATA_KEY not in metadata:
        return None
    try:
        said = json.loads(metadata[METADATA_KEY])
    except RecursionError as error:
        raise ValueError("what it says of its images is nested too deeply") from error
    if not isinstance(said, dict) or said.pop("sha256", None) != content_key(said):
        raise ValueError("what it says of its images does not have the SHA-256 that it was sealed with")
    if said.pop("manifest", None) != manifest:
        raise ValueError("what it says of its images belongs to another list of tasks")
    return typed(TaskImages, said)


def difference(there: TaskImages | None, dataset: Dataset, split: str, indices: NDArray[np.int64]) -> str:
    """What is known of why images ``there`` are not those of ``dataset``, as the rest of a sentence, or nothing."""
    if there is None:
        return ""
    if indices.max() >= (count := len(dataset.splits[split])):
        return f" ({split} has {count} images here, and it names more)"
    here = images_of(dataset, split, indices)
    if here.pixels == there.pixels:
        return " (the pixels of its tasks are the same; what differs is names, splits, or other images)"
    return f" (pixels of its tasks: SHA-256 {there.pixels[:12]} there, {here.pixels[:12]} here{_other(there, here)})"


def _other(there: TaskImages, here: TaskImages) -> str:
    """Which steps differ, and versions that both sides know."""
    steps = dict.fromkeys((*there.preprocessing, *here.preprocessing))
    versions = [one for one in there.made_with if one in here.made_with]
    rows = [(one, there.preprocessing.get(one, "nothing"), here.preprocessing.get(one, "nothing")) for one in steps]
    rows += [(one, there.made_with[one], here.made_with[one]) for one in versions]
    return "".join(f"; {what}: {_cut(old)!r} there, {_cut(new)!r} here" for what, old, new in rows if old != new)


def _cut(words: str) -> str:
    return words if len(words) <= _LETTERS else words[:_LETTERS] + "…"
