"""What a dataset is: where images come from (a source), and images made ready (a dataset of three splits)."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from numpy.typing import NDArray

from bench.datasets.images import LabelledImages, UnlabelledImages
from bench.errors import BenchError
from bench.seeds import Seed

SPLITS = ("train", "val", "test")
"""The classes of these three are disjoint: meta-train, meta-validation and meta-test."""


@dataclass(frozen=True, slots=True)
class Item:
    """One image of a source: its split (one of :data:`SPLITS`), its class, a name unique in the source."""

    split: str
    class_name: str
    file_id: str


@runtime_checkable
class DatasetSource(Protocol):
    """Raw images and their split. Asked for images only once, by :func:`bench.datasets.prepare.load`."""

    @property
    def name(self) -> str:
        """Names the dataset in folders and tables: lower-case letters, digits, ``.``, ``_`` and ``-``."""
        ...

    def settings(self) -> Mapping[str, Any]:
        """Everything that can change a pixel or the split, as JSON values; never where the raw data lie."""
        ...

    def scan(self) -> list[Item]:
        """Every image, ordered by split (train, val, test), class, file."""
        ...

    def read(self, items: Sequence[Item]) -> Iterator[NDArray[np.uint8]]:
        """The images of ``items`` in their order, each uint8 [C, H, W] of one shape."""
        ...


@dataclass(frozen=True, slots=True)
class Split:
    """The images of one split and their classes.

    pixels: uint8 [n, C, H, W], usually mapped from a file. class_ids: int64 [n], 0 … len(class_names)-1.
    """

    dataset: str
    name: str
    pixels: NDArray[np.uint8]
    class_ids: NDArray[np.int64]
    class_names: tuple[str, ...]
    image_ids: tuple[str, ...]

    def __post_init__(self) -> None:
        if not len(self.pixels) == len(self.class_ids) == len(self.image_ids):
            raise BenchError(
                f"split {self.name!r} of {self.dataset!r} has {len(self.pixels)} images, "
                f"{len(self.class_ids)} "
                f"class ids and {len(self.image_ids)} names; all three must agree"
            )
        if not np.array_equal(np.unique(self.class_ids), np.arange(len(self.class_names))):
            raise BenchError(
                f"the class ids of split {self.name!r} of {self.dataset!r} must count from 0 to "
                f"{len(self.class_names) - 1} with no gap, one for every class name"
            )

    def __len__(self) -> int:
        return len(self.pixels)

    def labelled(self, device: str | torch.device = "cpu") -> LabelledImages:
        """Images in the order of the files, with their classes: for the harness and supervised methods."""
        pixels = np.ascontiguousarray(self.pixels)
        digest = _pixel_digest(pixels)
        digest.update(self.class_ids.astype("<i8").tobytes())
        # Copies: torch wants memory that it may write to, and the mapped file is read-only.
        return LabelledImages(
            torch.tensor(pixels, device=device),
            torch.tensor(self.class_ids, dtype=torch.int64),
            self.class_names,
            digest.hexdigest(),
        )

    def unlabelled(self, device: str | torch.device = "cpu") -> UnlabelledImages:
        """Images alone, in an order that depends on the number of images and the names of dataset and split.

        Labels have no part in it: the same pixels under other labels give the same bytes and fingerprint.
        """
        pixels = self.pixels[self.unlabelled_order()]
        return UnlabelledImages(torch.from_numpy(pixels).to(device), _pixel_digest(pixels).hexdigest())

    def unlabelled_order(self) -> NDArray[np.int64]:
        """Which image stands where in :meth:`unlabelled`; with it the harness, and nobody else, finds labels again."""
        return Seed(0).at("unlabelled order", self.dataset, self.name, len(self)).numpy().permutation(len(self))


@dataclass(frozen=True, slots=True)
class Dataset:
    """A prepared dataset: ``splits`` has train, val and test, of which val may be empty."""

    name: str
    content_hash: str
    """SHA-256 over every pixel, and the split, class and name of every image."""
    splits: Mapping[str, Split]
    folder: Path

    def __post_init__(self) -> None:
        if tuple(self.splits) != SPLITS:
            raise BenchError(f"dataset {self.name!r} must have the splits {', '.join(SPLITS)}, not {list(self.splits)}")
        owner: dict[str, str] = {}
        for split in self.splits.values():
            for class_name in split.class_names:
                if class_name in owner:
                    raise BenchError(
                        f"class {class_name!r} of dataset {self.name!r} is in the splits "
                        f"{owner[class_name]!r} and "
                        f"{split.name!r}; the classes of the splits must be disjoint"
                    )
                owner[class_name] = split.name

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(C, H, W)."""
        _, channels, height, width = self.splits["train"].pixels.shape
        return channels, height, width


def _pixel_digest(pixels: NDArray[np.uint8]) -> hashlib._Hash:
    digest = hashlib.sha256(repr(pixels.shape).encode())
    digest.update(pixels.data)
    return digest
