"""From which real image, and so from which true class, the classes of synthetic tasks began.

The harness looks pixels up in the labelled split; a method neither says nor knows.
"""

from __future__ import annotations

import hashlib
import itertools
import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from bench.datasets.images import LabelledImages
from bench.looking.inspection.records import Collisions

Classes = frozenset[int]
"""The true classes that an image belongs to: none for an image that is not of the split, several for one of which
the split holds copies in several classes."""

LEVEL_TOLERANCE = 1e-3
"""How far a pixel in [0, 255] may be from a whole number: what rounding in float32 does to a real image."""


class Origins:
    """Images of a labelled split by their pixels."""

    def __init__(self, images: LabelledImages) -> None:
        found: dict[bytes, set[int]] = {}
        for row, class_id in zip(images.pixels.cpu().numpy(), images.class_ids.tolist()):
            found.setdefault(_digest(row), set()).add(class_id)
        self._classes = {digest: frozenset(classes) for digest, classes in found.items()}
        self.sizes = tuple(Counter(images.class_ids.tolist()).values())

    def of(self, support: Tensor) -> list[list[Classes]]:
        """Support images [T, N, K, C, H, W] in [0, 1] -> for every class of every task, the true classes of the first
        of its images that is one of the split.
        """
        levels = support * 255
        whole = levels.round()
        exact = ((levels - whole).abs() < LEVEL_TOLERANCE).flatten(3).all(3).cpu().numpy()  # [T, N, K]
        pixels = whole.clamp(0, 255).byte().cpu().numpy()
        return [
            [self._first(images, real) for images, real in zip(of_task, real_of_task)]
            for of_task, real_of_task in zip(pixels, exact)
        ]

    def _first(self, images: NDArray[np.uint8], real: NDArray[np.bool_]) -> Classes:
        found = (self._classes.get(_digest(image), frozenset()) for image, one in zip(images, real) if one)
        return next((classes for classes in found if classes), frozenset())


@dataclass
class CollisionCount:
    """Counts tasks by whether two of their classes began in one true class."""

    tasks: int = 0
    certain: int = 0
    possible: int = 0
    ambiguous: int = 0
    classes: int = 0
    unknown: int = 0

    def add(self, tasks: Iterable[Sequence[Classes]]) -> None:
        """Tasks as the true classes of each of their N classes."""
        for task in tasks:
            self.tasks += 1
            self.classes += len(task)
            self.unknown += sum(not classes for classes in task)
            self.ambiguous += sum(len(classes) > 1 for classes in task)
            pairs = [(a, b) for a, b in itertools.combinations(task, 2) if a & b]
            self.possible += bool(pairs)
            self.certain += any(len(a | b) == 1 for a, b in pairs)

    def result(self, sizes: Sequence[int], way: int) -> tuple[Collisions | None, str | None]:
        """The counts, or why there are none."""
        if self.unknown == self.classes:
            return None, "no class begins with a real image"
        if self.unknown:
            share = 100 * (1 - self.unknown / self.classes)
            return None, f"only {share:.1f} % of the classes begin with a real image"
        return Collisions(self.certain, self.possible, self.ambiguous, collision_probability(sizes, way)), None


def collision_probability(sizes: Sequence[int], way: int) -> float:
    """The probability that ``way`` different images, drawn uniformly from classes of these sizes, share a class.

    1 − e(sizes) / C(n, way), where e is the elementary symmetric polynomial of degree ``way``: the number of ways to
    draw from different classes. Whole numbers until the last division.
    """
    apart = [1] + [0] * way
    for size in sizes:
        for degree in range(way, 0, -1):
            apart[degree] += size * apart[degree - 1]
    every = math.comb(sum(sizes), way)
    return (every - apart[way]) / every if every else 1.0


def _digest(image: NDArray[np.uint8]) -> bytes:
    return hashlib.blake2b(np.ascontiguousarray(image).data, digest_size=16).digest()
