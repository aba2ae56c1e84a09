"""Folders that torchmeta 1.8.0 has prepared, read with h5py alone. torchmeta itself is not needed, nor imported.

==============  ================================================  ================================================
name            images below the root                             classes of a split
==============  ================================================  ================================================
omniglot        omniglot/data.hdf5: group/alphabet/character,     omniglot/vinyals_{split}_labels.json
                uint8 [20, 105, 105], ink 255
omniglot-lake   the same                                          omniglot/{split}_labels.json, no val
miniimagenet    miniimagenet/{split}_data.hdf5: datasets/wnid,    miniimagenet/{split}_labels.json
                uint8 [n, 84, 84, 3]
tieredimagenet  …/{split}_data.hdf5: datasets/name, PNG files     …/{split}_labels.json
cub             …/{split}_data.hdf5: datasets/folder, JPEG files  …/{split}_labels.json
cifar-fs        cifar100/data.hdf5: coarse/fine,                  cifar100/cifar-fs/{split}_labels.json
                uint8 [n, 32, 32, 3]
fc100           the same                                          cifar100/fc100/{split}_labels.json
==============  ================================================  ================================================
"""

from __future__ import annotations

import importlib
import io
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from bench.basics.errors import BenchError, did_you_mean
from bench.datasets.faults import no_fault_of_the_data
from bench.datasets.raw import json_file

EXTRA = "pip install 'unsupervised-meta-bench[torchmeta]'"
MOST_PIXELS = 64_000_000
"""A larger image is refused before it is decoded."""


@dataclass(frozen=True, slots=True)
class Layout:
    """Where things are: the HDF5 file, a group within it, the JSON list of a split's classes."""

    data: str
    group: str
    labels: str
    splits: tuple[str, ...] = ("train", "val", "test")


def _per_split(folder: str) -> Layout:
    return Layout(f"{folder}/{{split}}_data.hdf5", "datasets", f"{folder}/{{split}}_labels.json")


LAYOUTS: Mapping[str, Layout] = {
    "omniglot": Layout("omniglot/data.hdf5", "", "omniglot/vinyals_{split}_labels.json"),
    "omniglot-lake": Layout("omniglot/data.hdf5", "", "omniglot/{split}_labels.json", ("train", "test")),
    "miniimagenet": _per_split("miniimagenet"),
    "tieredimagenet": _per_split("tieredimagenet"),
    "cub": _per_split("cub"),
    "cifar-fs": Layout("cifar100/data.hdf5", "", "cifar100/cifar-fs/{split}_labels.json"),
    "fc100": Layout("cifar100/data.hdf5", "", "cifar100/fc100/{split}_labels.json"),
}


@dataclass(frozen=True)
class PreparedSplit:
    """One split of a prepared folder: names of classes, in torchmeta's order, and images read class by class."""

    path: Path
    group: str
    classes: tuple[str, ...]

    def counts(self) -> tuple[int, ...]:
        """How many images every class has."""
        with _opened(self.path) as file:
            return tuple(len(self._dataset(file, name)) for name in self.classes)

    def images(self, name: str) -> list[NDArray[np.uint8]]:
        """The images of one class, each uint8 [H, W] or [H, W, 3]; of different sizes where they are photographs."""
        if name not in self.classes:
            raise BenchError(f"this split of {self.path} has no class {name!r}.{did_you_mean(name, self.classes)}")
        with _opened(self.path) as file:
            return self._unpacked(self._dataset(file, name)[:], name)

    def first_shape(self, name: str) -> tuple[int, int]:
        """Height and width of the first image of a class."""
        with _opened(self.path) as file:
            height, width = self._unpacked(self._dataset(file, name)[:1], name)[0].shape[:2]
        return height, width

    def _unpacked(self, rows: Any, name: str) -> list[NDArray[np.uint8]]:
        if rows.dtype == object:
            where = f"{self.path}:{name}"
            return [_decode(np.asarray(row, dtype=np.uint8).tobytes(), where) for row in rows]
        return list(rows)

    def _dataset(self, file: Any, name: str) -> Any:
        """The HDF5 dataset of a class. Links to other files, and data kept in other files, are not followed."""
        h5py = _h5py()
        node, where = file, f"{self.path}:{name}"
        for part in [part for part in (self.group, *name.split("/")) if part]:
            link = node.get(part, getlink=True) if isinstance(node, h5py.Group) else None
            if link is None:
                raise BenchError(f"{self.path} has no images of class {name!r}, which its list of classes names")
            if not isinstance(link, h5py.HardLink):
                raise BenchError(f"{where} is a link to somewhere else; torchmeta writes none, so it is not followed")
            node = node[part]
        if not isinstance(node, h5py.Dataset) or node.external or node.is_virtual:
            raise BenchError(f"{where} holds no images of its own; torchmeta writes one dataset of images a class")
        packed = h5py.check_vlen_dtype(node.dtype) == np.uint8 and node.ndim == 1
        plain = node.dtype == np.uint8 and (node.ndim == 3 or (node.ndim == 4 and node.shape[3] == 3))
        if not packed and not plain:
            raise BenchError(
                f"{where} must be uint8 images [n, H, W] or [n, H, W, 3], or n image files, "
                f"not {node.dtype} {list(node.shape)}"
            )
        return node


def read_prepared(root: str | Path, name: str, split: str) -> PreparedSplit:
    """``split`` (train, val, test) of the dataset ``name`` in the folder that was given to torchmeta as its root.

    BenchError for an unknown name, a missing or damaged file, and a list of classes that is none.
    """
    if name not in LAYOUTS:
        raise BenchError(f"unknown torchmeta folder {name!r}; use {', '.join(LAYOUTS)}.{did_you_mean(name, LAYOUTS)}")
    layout = LAYOUTS[name]
    if split not in layout.splits:
        raise BenchError(f"{name} has the splits {', '.join(layout.splits)}, not {split!r}")
    data = Path(root) / layout.data.format(split=split)
    if not data.is_file():
        raise BenchError(f"{data} does not exist; torchmeta prepares it when it downloads {name.partition('-')[0]}")
    file = Path(root) / layout.labels.format(split=split)
    labels = json_file(file)
    if not isinstance(labels, list):
        raise BenchError(f"{file} must be a JSON list of class names, as torchmeta writes it")
    names = ["/".join(one) if isinstance(one, list) and all(isinstance(x, str) for x in one) else one for one in labels]
    if not names or not all(isinstance(one, str) for one in names):
        raise BenchError(f"{file} must be a JSON list of class names, as torchmeta writes it")
    if len(set(names)) < len(names):
        twice = next(one for one in names if names.count(one) > 1)
        raise BenchError(f"{file} names class {twice!r} twice")
    return PreparedSplit(data, layout.group, tuple(names))


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    try:
        file = _h5py().File(path, "r")
    except OSError as error:
        if what := no_fault_of_the_data(error):
            raise BenchError(f"cannot open {path}: {what}") from error
        raise BenchError(f"{path} is not a readable HDF5 file ({str(error).partition(chr(10))[0]})") from error
    with file:
        try:
            yield file
        except OSError as error:
            raise BenchError(f"{path} is damaged ({str(error).partition(chr(10))[0]})") from error


def _h5py() -> Any:
    try:
        return importlib.import_module("h5py")
    except ModuleNotFoundError as error:
        raise BenchError(f"folders prepared by torchmeta are HDF5 files, which need h5py; {EXTRA}") from error


def _decode(data: bytes, where: str) -> NDArray[np.uint8]:
    """uint8 [H, W, 3] of a PNG or JPEG file, as torchmeta shows it."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            image = Image.open(io.BytesIO(data), formats=["PNG", "JPEG"])
        if image.width * image.height > MOST_PIXELS:
            raise BenchError(f"an image of {where} has {image.width} x {image.height} pixels, more than {MOST_PIXELS}")
        return np.asarray(image.convert("RGB"))
    except (BenchError, MemoryError):
        raise
    except Exception as error:  # whatever Pillow meets in a broken file
        raise BenchError(f"an image of {where} is damaged or neither PNG nor JPEG") from error
