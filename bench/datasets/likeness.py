"""What makes scores on a dataset look better than they are: the same image, or the same class, more than once."""

from __future__ import annotations

import hashlib
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from bench.datasets.faults import printable

SHOWN = 3
"""Examples named in one sentence."""

REPEATED = 0.5
"""A class is told of when less than this share of its images are distinct; a few twins are in every collection."""

# (split, class, file) of every image
Rows = Sequence[tuple[str, str, str]]


def likenesses(pixels: NDArray[np.uint8], rows: Rows, *, of_classes: bool = True) -> list[str]:
    """Sentences on identical images and on near-equal names of classes; none where nothing is wrong.

    pixels: uint8 [n, C, H, W]. of_classes: whether the classes mean something; of images with attributes they do not.
    """
    found = _identical(pixels, rows, of_classes)
    return [*found, *near_equal({name: split for split, name, _ in rows})] if of_classes else found


def near_equal(split_of: Mapping[str, str]) -> list[str]:
    """A sentence if names of classes (name -> split) differ in nothing but case, blanks or the form of letters."""
    alike: dict[str, list[str]] = defaultdict(list)
    for name in split_of:
        alike[" ".join(unicodedata.normalize("NFKC", name).casefold().split())].append(name)
    groups = [group for group in alike.values() if len(group) > 1]
    if not groups:
        return []
    named = [" and ".join(f"{name!a} ({split_of[name]})" for name in group) for group in groups[:SHOWN]]
    return [
        f"names of classes differ only in upper and lower case, blanks or the Unicode form of a letter: "
        f"{_list(named, len(groups))}; if they are one class, put their images into one folder"
    ]


def _identical(pixels: NDArray[np.uint8], rows: Rows, of_classes: bool) -> list[str]:
    digests = [hashlib.blake2b(np.ascontiguousarray(image).data, digest_size=16).digest() for image in pixels]
    places: dict[bytes, list[int]] = defaultdict(list)
    for at, digest in enumerate(digests):
        places[digest].append(at)
    groups = [group for group in places.values() if len(group) > 1]
    across = [group for group in groups if len({rows[at][0] for at in group}) > 1]
    within = [
        group for group in groups if len({rows[at][0] for at in group}) == 1 and len({rows[at][1] for at in group}) > 1
    ]
    found = []
    if across:
        splits = sorted({rows[at][0] for group in across for at in group}, key=["train", "val", "test"].index)
        found.append(
            f"{_count(across)} in more than one of the splits {', '.join(splits)}: {_pairs(across, rows, 0)}; scores "
            "on images that were seen in training say little"
        )
    if of_classes and within:
        found.append(f"{_count(within)} in more than one class of a split: {_pairs(within, rows, 1)}")
    if of_classes:
        found += _repeated(digests, rows)
    return found


def _repeated(digests: Sequence[bytes], rows: Rows) -> list[str]:
    sizes = Counter(name for _, name, _ in rows)
    distinct = Counter(name for name, _ in {(name, digest) for (_, name, _), digest in zip(rows, digests)})
    few = [name for name in sizes if distinct[name] < REPEATED * sizes[name]]
    if not few:
        return []
    named = [f"{name!r} has {sizes[name]} images, {distinct[name]} of them distinct" for name in few[:SHOWN]]
    return [f"most images of a class are copies of one another: {_list(named, len(few))}"]


def _count(groups: Sequence[Sequence[int]]) -> str:
    return f"{len(groups)} images are" if len(groups) > 1 else "1 image is"


def _pairs(groups: Sequence[Sequence[int]], rows: Rows, column: int) -> str:
    """``a.png = b.png``: of every group two that differ in split (0) or class (1)."""
    named = []
    for group in groups[:SHOWN]:
        one, other = next((a, b) for a, b in pairwise(group) if rows[a][column] != rows[b][column])
        named.append(f"{printable(rows[one][2])} = {printable(rows[other][2])}")
    return _list(named, len(groups))


def _list(named: Sequence[str], of: int) -> str:
    return ", ".join(named) + (f" and {of - len(named)} more" if of > len(named) else "")
