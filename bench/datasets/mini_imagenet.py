"""mini-ImageNet: 100 classes of ImageNet with 600 images each, in the split of Ravi and Larochelle 2017."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from bench.basics.errors import BenchError
from bench.basics.keys import content_key
from bench.datasets import archives, raw
from bench.datasets.decoding import Photo, decode_trees, enlarged, told_enlarged
from bench.datasets.folder import SPLIT_FOLDERS, SUFFIXES
from bench.datasets.pickles import read_arrays
from bench.datasets.raw import several
from bench.datasets.resize import Filter, check_filter, in_words, resize
from bench.datasets.source import SPLITS, Item

CLASSES = {"train": 64, "val": 16, "test": 20}
IMAGES = 600
"""In every class."""

HOW = (
    "expected images/ with train.csv, val.csv and test.csv, or train/<class>/, val/<class>/ and test/<class>/, or "
    "mini-imagenet-cache-train.pkl, -val.pkl and -test.pkl"
)


class _Layout(Protocol):
    """One of the three ways in which mini-ImageNet lies on disks."""

    def facts(self) -> Any:
        """Names, sizes and times of the files, as JSON values."""
        ...

    def scan(self) -> list[Item]:
        """Every image, in any order."""
        ...

    def read(self, items: Sequence[Item], size: int, kind: Filter) -> Iterator[NDArray[np.uint8] | BenchError]:
        """Each uint8 [3, size, size]; items of one split lie together."""
        ...

    def enlarged(self, items: Sequence[Item], size: int) -> list[str]:
        """A sentence if images are smaller than that."""
        ...

    def in_words(self, size: int, kind: Filter) -> dict[str, str]:
        """How they are made, in words."""
        ...


@dataclass(frozen=True, slots=True)
class MiniImagenet:
    """64/16/20 classes of 600 images (Ravi and Larochelle 2017; Vinyals et al. 2016 chose the classes).

    Found below ``data_dir`` or its folder ``mini-imagenet``, the first of:

    - ``images/`` and the files ``train.csv``, ``val.csv`` and ``test.csv`` with the columns filename and label;
    - class folders for each split, ``train/n01532829/…`` (also ``valid``, ``validation``);
    - ``mini-imagenet-cache-{train,val,test}.pkl``, each a dict of ``image_data`` (uint8 [n, 84, 84, 3]) and
      ``class_dict`` (class name -> indices), written by Python 2 or 3.

    Images are resized to a square whatever their proportions, as the paper's code and its forerunners do.
    """

    data_dir: str | None = None
    name: str = "mini-imagenet"
    size: int = 84
    resize: Filter = "bilinear"
    """bilinear: without antialiasing, as the code of Khodadadeh et al. 2020; images of 84 pixels stay as they are."""
    allow_partial: bool = False
    """Accept other numbers of classes and images than the official ones."""

    def __post_init__(self) -> None:
        if not 8 <= self.size <= 512:
            raise BenchError(f"{self.name}: size must be from 8 to 512, not {self.size!r}")
        check_filter(self.resize)

    def settings(self) -> Mapping[str, Any]:
        """How images are made, and the raw files' names, sizes and times."""
        return {
            "size": self.size,
            "resize": self.resize,
            "partial": self.allow_partial,
            "files": content_key({"facts": self._layout().facts()}),
        }

    def scan(self) -> list[Item]:
        """Classes are named as in the files, ``n01532829``. Checks the official numbers."""
        items = self._layout().scan()
        _check_one_split_each(items, self.data_dir)
        if not self.allow_partial and (missing := _differences(items)):
            raise BenchError(
                f"{self.data_dir} is not the whole mini-ImageNet: {several(missing)}; get what is missing, or take "
                "what is there with dataset.allow_partial=true"
            )
        return sorted(items, key=lambda item: (SPLITS.index(item.split), item.class_name, item.file_id))

    def read(self, items: Sequence[Item]) -> Iterator[NDArray[np.uint8] | BenchError]:
        """uint8 [3, size, size]."""
        return self._layout().read(items, self.size, self.resize)

    def preprocessing(self) -> Mapping[str, str]:
        """From files, or arrays of 84 x 84 pixels that somebody else made of them, to pixels."""
        return self._layout().in_words(self.size, self.resize)

    def warnings(self, items: Sequence[Item]) -> Sequence[str]:
        """Of photographs that are enlarged."""
        return self._layout().enlarged(items, self.size)

    def _layout(self) -> _Layout:
        if self.data_dir is None:
            raise BenchError(f"{self.name} needs the images of mini-ImageNet; say where they are with --data-dir DIR")
        for root in (Path(self.data_dir) / "mini-imagenet", Path(self.data_dir)):
            if (root / "images").is_dir() and all((root / f"{split}.csv").is_file() for split in SPLITS):
                return _Tables(root)
            folders = {name: split for name, split in SPLIT_FOLDERS.items() if (root / name).is_dir()}
            if {"train", "test"} <= set(folders.values()):
                return _Folders(root, folders)
            if all(_cache_file(root, split).is_file() for split in SPLITS):
                return _Caches(root)
        raise BenchError(f"{self.data_dir} holds no mini-ImageNet; {HOW}")


class _Tables:
    """``images/`` and one table for each split."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._tree: archives.Tree = archives.FolderTree(root / "images")

    def facts(self) -> Any:
        tables = {split: _read_table(self._root / f"{split}.csv") for split in SPLITS}
        return [{path: list(facts) for path, facts in self._tree.files.items()}, content_key(tables)]

    def scan(self) -> list[Item]:
        items = [
            Item(split, label, f"images/{name}")
            for split in SPLITS
            for name, label in _read_table(self._root / f"{split}.csv")
        ]
        if missing := sorted({_inside(item.file_id) for item in items} - set(self._tree.files)):
            raise BenchError(
                f"{self._tree.where} lacks {len(missing)} of the {len(items)} images that the tables name: "
                f"{several(missing)}"
            )
        if twice := [file for file, count in Counter(item.file_id for item in items).items() if count > 1]:
            raise BenchError(f"the tables in {self._root} name images more than once: {several(twice)}")
        return items

    def read(self, items: Sequence[Item], size: int, kind: Filter) -> Iterator[NDArray[np.uint8] | BenchError]:
        return decode_trees(self._files(items), Photo(size, resize=kind))

    def enlarged(self, items: Sequence[Item], size: int) -> list[str]:
        return enlarged(self._files(items), Photo(size))

    def in_words(self, size: int, kind: Filter) -> dict[str, str]:
        return {"files": "image files of ImageNet, as they come", **Photo(size, resize=kind).in_words()}

    def _files(self, items: Sequence[Item]) -> list[tuple[archives.Tree, str]]:
        return [(self._tree, _inside(item.file_id)) for item in items]


class _Folders:
    """Class folders in a folder for each split."""

    def __init__(self, root: Path, folders: Mapping[str, str]) -> None:
        if len(set(folders.values())) < len(folders):
            raise BenchError(f"{root} has two folders for one split ({', '.join(folders)}); keep one of them")
        self._split_of = folders
        self._trees: Mapping[str, archives.Tree] = {folder: archives.FolderTree(root / folder) for folder in folders}

    def facts(self) -> Any:
        return {
            folder: {path: list(facts) for path, facts in tree.files.items()} for folder, tree in self._trees.items()
        }

    def scan(self) -> list[Item]:
        items = []
        for folder, tree in self._trees.items():
            for path in tree.files:
                if path.count("/") != 1 or not path.lower().endswith(SUFFIXES):
                    raise BenchError(
                        f"{tree.where} holds {path!r}, which is no image of a class ({folder}/<class>/<image>)"
                    )
                items.append(Item(self._split_of[folder], path.split("/")[0], f"{folder}/{path}"))
        return items

    def read(self, items: Sequence[Item], size: int, kind: Filter) -> Iterator[NDArray[np.uint8] | BenchError]:
        return decode_trees(self._files(items), Photo(size, resize=kind))

    def enlarged(self, items: Sequence[Item], size: int) -> list[str]:
        return enlarged(self._files(items), Photo(size))

    def in_words(self, size: int, kind: Filter) -> dict[str, str]:
        return {"files": "image files of ImageNet, as they come", **Photo(size, resize=kind).in_words()}

    def _files(self, items: Sequence[Item]) -> list[tuple[archives.Tree, str]]:
        return [(self._trees[item.file_id.split("/")[0]], _inside(item.file_id)) for item in items]


class _Caches:
    """A pickle file for each split. An image is called ``<split>/<its row>``."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def facts(self) -> Any:
        infos = {split: _cache_file(self._root, split).stat() for split in SPLITS}
        return {split: [info.st_size, info.st_mtime_ns] for split, info in infos.items()}

    def scan(self) -> list[Item]:
        return [
            Item(split, name, f"{split}/{row:06d}")
            for split in SPLITS
            for name, rows in self._load(split)[1].items()
            for row in rows
        ]

    def read(self, items: Sequence[Item], size: int, kind: Filter) -> Iterator[NDArray[np.uint8] | BenchError]:
        # In their order, so each file is read once.
        for item in items:
            images, _ = self._load(item.split)
            image = np.ascontiguousarray(images[int(_inside(item.file_id))])
            yield resize(image, size, size, kind).transpose(2, 0, 1)

    def enlarged(self, items: Sequence[Item], size: int) -> list[str]:
        sides = {split: min(self._load(split)[0].shape[1:3]) for split in SPLITS}
        found = [sides[item.split] for item in items]
        return told_enlarged([side for side in found if side < size], len(items), size, len(items))

    def in_words(self, size: int, kind: Filter) -> dict[str, str]:
        side = "images of the pickle files, RGB, as whoever wrote them decoded and resized ImageNet's"
        return {"arrays": side, "resize": in_words(kind, size)}

    def _load(self, split: str) -> tuple[NDArray[np.uint8], Mapping[str, Sequence[int]]]:
        file = _cache_file(self._root, split)
        return _load_cache(file, file.stat().st_mtime_ns)


def _cache_file(root: Path, split: str) -> Path:
    return root / f"mini-imagenet-cache-{split}.pkl"


# The largest split takes 0.8 GB, so one at a time; the stamp notices a file that was replaced.
@lru_cache(maxsize=1)
def _load_cache(file: Path, _: int) -> tuple[NDArray[np.uint8], Mapping[str, Sequence[int]]]:
    """The images of a pickle file, uint8 [n, H, W, 3], and class name -> rows."""
    value = read_arrays(file)
    content = {_text(key): one for key, one in value.items()} if isinstance(value, dict) else {}
    images, classes = content.get("image_data"), content.get("class_dict")
    if not isinstance(images, np.ndarray) or images.dtype != np.uint8 or images.ndim != 4 or images.shape[3] != 3:
        raise BenchError(f"{file} must hold 'image_data', an array of uint8 [n, 84, 84, 3]")
    if not isinstance(classes, dict) or not all(
        isinstance(rows, list | tuple | np.ndarray) for rows in classes.values()
    ):
        raise BenchError(f"{file} must hold 'class_dict', a dict of class name -> indices")
    found: dict[str, Sequence[int]] = {}
    for name, rows in classes.items():
        numbers = np.asarray(rows)
        if numbers.ndim != 1 or (numbers.size and numbers.dtype.kind not in "iu"):
            raise BenchError(f"the indices of class {_text(name)!r} in {file} must be whole numbers")
        if numbers.size and not 0 <= numbers.min() <= numbers.max() < len(images):
            raise BenchError(f"class {_text(name)!r} in {file} has indices beyond its {len(images)} images")
        found[_text(name)] = [int(number) for number in numbers]
    if sum(map(len, found.values())) != len({row for rows in found.values() for row in rows}):
        raise BenchError(f"{file} gives one image to more than one class, or to one twice")
    return images, found


def _text(key: Any) -> str:
    return key.decode("utf-8", "replace") if isinstance(key, bytes) else str(key)


def _read_table(file: Path) -> list[tuple[str, str]]:
    """(filename, label) of every row, whatever ends its lines."""
    try:
        rows = [[cell.strip() for cell in row] for row in csv.reader(io.StringIO(raw.text(file), newline=""))]
    except csv.Error as error:
        raise BenchError(f"{file} is not a CSV file ({error})") from error
    if not rows or rows[0] != ["filename", "label"]:
        raise BenchError(f"{file} must begin with the line 'filename,label'")
    for number, row in enumerate(rows[1:], 2):
        if row and (len(row) != 2 or not all(row)):
            raise BenchError(f"line {number} of {file} is {','.join(row)!r}, not a filename and a label")
    return [(row[0], row[1]) for row in rows[1:] if row]


def _inside(file_id: str) -> str:
    """The path below the folder of images, or of a split."""
    return file_id.split("/", 1)[1]


def _check_one_split_each(items: Sequence[Item], where: str | None) -> None:
    owner: dict[str, str] = {}
    for item in items:
        if owner.setdefault(item.class_name, item.split) != item.split:
            raise BenchError(
                f"class {item.class_name!r} in {where} is in the splits {owner[item.class_name]} and {item.split}; "
                "a class belongs to one split"
            )


def _differences(items: Sequence[Item]) -> list[str]:
    """What is not as in the official release."""
    images = Counter((item.split, item.class_name) for item in items)
    classes = Counter(split for split, _ in images)
    return [
        *(f"{split} has {classes[split]} classes, not {n}" for split, n in CLASSES.items() if classes[split] != n),
        *(f"{name} of {split} has {n} images, not {IMAGES}" for (split, name), n in images.items() if n != IMAGES),
    ]
