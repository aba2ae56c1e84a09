"""What a dataset is: where images come from (a source), and images made ready (a dataset of three splits)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from numpy.typing import NDArray

from bench.basics.errors import BenchError
from bench.basics.seeds import Seed
from bench.datasets.images import Attributes, LabelledImages, UnlabelledImages
from bench.datasets.residence import MappedFrom, is_large, mapped_pixels, pixel_digest, settle, shuffled_copy

SPLITS = ("train", "val", "test")
"""The classes of these three are disjoint: meta-train, meta-validation and meta-test."""


@dataclass(frozen=True, slots=True)
class Item:
    """One image of a source: its split (one of :data:`SPLITS`), its class, a name unique in the source.

    ``attributes``: of a source with attributes, a 1 or a 0 for each attribute of the split, ``"0110"``.
    """

    split: str
    class_name: str
    file_id: str
    attributes: str = ""


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

    def read(self, items: Sequence[Item]) -> Iterator[NDArray[np.uint8] | BenchError]:
        """The images of ``items`` in their order, each uint8 [C, H, W] of one shape.

        For an image that cannot be read comes the error that says why, so that all of them can be named at once.
        """
        ...


@runtime_checkable
class AttributeSource(Protocol):
    """A source whose tasks are made of attributes, not of classes."""

    def attribute_names(self) -> Mapping[str, Sequence[str]]:
        """The attributes of each split, in the order of ``Item.attributes``."""
        ...


@runtime_checkable
class WarningSource(Protocol):
    """A source that knows what makes scores on its images misleading."""

    def warnings(self, items: Sequence[Item]) -> Sequence[str]:
        """A sentence for each; asked for once, when the dataset is prepared."""
        ...


@runtime_checkable
class DescribedSource(Protocol):
    """A source that says how its images are made."""

    def preprocessing(self) -> Mapping[str, str]:
        """Every step between a raw file and a pixel, in their order: what -> how, exact enough to be done elsewhere."""
        ...


@dataclass(frozen=True, slots=True)
class Split:
    """The images of one split and their classes.

    pixels: uint8 [n, C, H, W], usually mapped from a file. class_ids: int64 [n], 0 … len(class_names)-1. file: where
    they are mapped from, if so. attributes: what tasks are made of, where not of classes.
    """

    dataset: str
    name: str
    pixels: NDArray[np.uint8]
    class_ids: NDArray[np.int64]
    class_names: tuple[str, ...]
    image_ids: tuple[str, ...]
    file: MappedFrom | None = None
    attributes: Attributes | None = None

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
        pixels, home = settle(self.pixels, self.file, device)
        if self.file is not None and is_large(self.pixels):  # hashing gigabytes would take every run ten seconds
            digest = pixel_digest(np.frombuffer(f"{self.file.content_hash} {self.name}".encode(), dtype=np.uint8))
        else:
            digest = pixel_digest(np.ascontiguousarray(self.pixels))
        digest.update(self.class_ids.astype("<i8").tobytes())
        class_ids = torch.tensor(self.class_ids, dtype=torch.int64)
        return LabelledImages(pixels, class_ids, self.class_names, digest.hexdigest(), home, self.attributes)

    def unlabelled(self, device: str | torch.device = "cpu") -> UnlabelledImages:
        """Images alone, in an order that depends on the number of images and the names of dataset and split.

        Labels have no part in it: the same pixels under other labels give the same bytes and fingerprint.
        """
        order = self.unlabelled_order()
        if self.file is None or not is_large(self.pixels):
            shuffled = self.pixels[order]
            return UnlabelledImages(torch.from_numpy(shuffled).to(device), pixel_digest(shuffled).hexdigest())
        path = self.file.path.with_name(f"unlabelled-{self.name}.npy")
        file, fingerprint = shuffled_copy(self.pixels, order, path, self.file.content_hash)
        mapped = mapped_pixels(file, self.pixels.shape, "r")
        pixels, home = settle(mapped, file, device)
        return UnlabelledImages(pixels, fingerprint, home)

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
    warnings: tuple[str, ...] = ()
    """Sentences, found when it was prepared: images that are there twice, classes of nearly one name, and so on."""
    preprocessing: Mapping[str, str] = field(default_factory=dict)
    """How its images are made, see :mod:`bench.datasets.preprocessing`; empty where nobody asked its source."""
    made_with: Mapping[str, str] = field(default_factory=dict)
    """The versions of what made them."""

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
