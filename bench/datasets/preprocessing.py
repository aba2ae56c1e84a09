"""How the images of a dataset were made, in words and numbers, so that somebody else can make the same ones.

The class of a dataset says it (:class:`bench.datasets.source.DescribedSource`), as steps in their order: what -> how.
How every image is kept and seen is the same for all, and stands here.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import metadata
from typing import Any

import bench
from bench.basics.errors import BenchError
from bench.datasets.source import DatasetSource, DescribedSource

NOT_DESCRIBED = {"steps": "not described"}
"""Of a dataset whose class says nothing."""

NOT_RECORDED = {"versions": "not recorded"}
"""Of a copy that was prepared before versions were kept."""

MOST_LETTERS = 10_000
LIBRARIES = ("numpy", "pillow")
"""What decodes and resizes."""


def described(source: DatasetSource, shape: tuple[int, int, int]) -> dict[str, str]:
    """The steps of ``source``, and how its images [C, H, W] are kept. BenchError unless they are texts."""
    steps: Any = source.preprocessing() if isinstance(source, DescribedSource) else NOT_DESCRIBED
    texts = isinstance(steps, Mapping) and all(isinstance(one, str) for pair in steps.items() for one in pair)
    if not texts or sum(len(key) + len(value) for key, value in steps.items()) > MOST_LETTERS:
        raise BenchError(
            f"preprocessing() of dataset {source.name!r} must give words for steps, such as "
            f'{{"resize": "box filter to 28 x 28"}}, at most {MOST_LETTERS} letters'
        )
    kept = (
        f"uint8, [C, H, W] = {list(shape)}, row by row, 0 to 255; seen as float32 in [0, 1], each number divided by 255"
    )
    return {**steps, "kept": kept}


def made_with() -> dict[str, str]:
    """The versions that a preparation runs with: they are told, and no part of a hash."""
    found = {"bench": bench.__version__}
    for name in LIBRARIES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:  # it lies on the path without its metadata
            found[name] = "unknown"
    return found
