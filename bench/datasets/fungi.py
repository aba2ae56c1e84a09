"""FGVCx Fungi 2018: 89,760 labelled photographs of 1,394 kinds of fungi."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.artifacts import content_key
from bench.datasets import archives, raw
from bench.datasets.decoding import Photo, decode_all
from bench.datasets.resize import Filter, check_filter
from bench.datasets.source import SPLITS, Item
from bench.errors import BenchError

IMAGES = 89_760
CLASSES = {"train": 994, "val": 200, "test": 200}
SPLIT_SEED = 22
ANNOTATIONS = ("train.json", "val.json")
SPLITS_FILE = "fungi_splits.json"
SPLIT_NAMES = {"train": "train", "valid": "val", "test": "test"}
"""As Meta-Dataset's file calls them -> as we do."""


@dataclass(frozen=True, slots=True)
class Fungi:
    """FGVCx Fungi 2018, training and validation images together, with the class split of Meta-Dataset.

    Classes are categories by their id, ``0226.Cortinarius malicorius``: some categories share a name. The split is
    that of Triantafillou et al. 2020, 994/200/200 classes, computed as they did, by NumPy's generator with their seed;
    where fungi_splits.json of theirs lies beside the images, it must say the same. Images are resized without regard
    to their proportions, bilinearly and without antialiasing, as by Khodadadeh et al. 2020.
    """

    data_dir: str | None = None
    """Holds train.json, val.json and images/ (or images.zip), or a folder ``fungi`` that does."""
    size: int = 84
    resize: Filter = "bilinear"
    allow_partial: bool = False
    """Accept other categories and images than the official ones; the split is then proportional, or the file's."""

    def __post_init__(self) -> None:
        if not 8 <= self.size <= 512:
            raise BenchError(f"fungi: size must be from 8 to 512, not {self.size!r}")
        check_filter(self.resize)

    @property
    def name(self) -> str:
        """``fungi``."""
        return "fungi"

    def settings(self) -> Mapping[str, Any]:
        """The official content is fixed, so the raw data have no part in it; a partial copy's listing has."""
        settings = {"size": self.size, "resize": self.resize}
        if not self.allow_partial:
            return settings
        folder, tree = self._open()
        lists = [raw.text(folder / file) for file in (*ANNOTATIONS, SPLITS_FILE) if (folder / file).exists()]
        return {**settings, "partial": content_key({"files": list(tree.files.items()), "lists": lists})}

    def scan(self) -> list[Item]:
        """Files are named as in train.json and val.json."""
        folder, tree = self._open()
        names: dict[int, str] = {}
        category_of: dict[str, int] = {}
        for file in ANNOTATIONS:
            found, images = _annotations(folder / file)
            if names and found != names:
                raise BenchError(f"{folder / file} has other categories than {ANNOTATIONS[0]}; both must have the same")
            names = found
            for image, category in images.items():
                if image in category_of:
                    raise BenchError(f"{image} is named by both {' and '.join(ANNOTATIONS)} in {folder}")
                category_of[image] = category
            kept = raw.check_present(self.name, tree.where, tree.files, list(images), self.allow_partial, folder / file)
            category_of = {image: one for image, one in category_of.items() if image in kept or image not in images}
        raw.check_count(self.name, f"categories in {folder}", len(names), sum(CLASSES.values()), self.allow_partial)
        raw.check_count(self.name, f"images in {folder}", len(category_of), IMAGES, self.allow_partial)
        split_of = self._split(folder, names)
        items = [
            Item(split_of[category], f"{category:04d}.{names[category]}", image)
            for image, category in category_of.items()
            if category in split_of
        ]
        return sorted(items, key=lambda item: (SPLITS.index(item.split), item.class_name, item.file_id))

    def read(self, items: Sequence[Item]) -> Iterator[NDArray[np.uint8] | BenchError]:
        """uint8 [3, size, size]."""
        return decode_all(self._open()[1], [item.file_id for item in items], Photo(self.size, resize=self.resize))

    def _open(self) -> tuple[Path, archives.Tree]:
        """The folder of the annotations, and the images, whose paths begin with ``images/``."""
        what = "train.json, val.json and images/ or images.zip"
        folders = raw.find(self.data_dir, self.name, ("fungi", "Fungi"), what)
        folder = next((one for one in folders if (one / ANNOTATIONS[0]).is_file()), folders[0])
        images = raw.file_in([folder], ("images", "images.zip"))
        missing = [file for file in ANNOTATIONS if not (folder / file).is_file()]
        if images is None:
            missing.append("images/ or images.zip")
        if missing or images is None:
            raise BenchError(
                f"{self.name}: {folder} lacks {', '.join(missing)}; 'bench list datasets --long' says where to get it"
            )
        if images.is_dir():
            return folder, archives.FolderTree(images, within="images")
        return folder, archives.ZipTree(images)

    def _split(self, folder: Path, names: Mapping[int, str]) -> dict[int, str]:
        """Category id -> split."""
        if sorted(names) != list(range(len(names))):
            raise BenchError(f"the ids of the categories in {folder} must count from 0 to {len(names) - 1} with no gap")
        computed = meta_dataset_split(len(names))
        file = folder / SPLITS_FILE
        if not file.is_file():
            return computed
        read = _read_split(file, names)
        if read != computed and not self.allow_partial:
            other = next(one for one in computed if read.get(one) != computed[one])
            raise BenchError(
                f"{file} puts category {other} into {read.get(other)}, Meta-Dataset into {computed[other]}; get the "
                "file again or delete it"
            )
        return read


def meta_dataset_split(categories: int) -> dict[int, str]:
    """Category id -> split, drawn as by Meta-Dataset (Triantafillou et al. 2020, released code).

    Of another number of categories than theirs, in the same proportions.
    """
    share = categories / sum(CLASSES.values())
    test = max(1, round(CLASSES["test"] * share))
    val = round(CLASSES["val"] * share)
    rng = np.random.RandomState(SPLIT_SEED)  # the stream that drew the published split
    rest = rng.choice(categories, categories - test, replace=False)
    train = rng.choice(rest, categories - test - val, replace=False)
    split_of = dict.fromkeys(range(categories), "test")
    return split_of | dict.fromkeys(rest.tolist(), "val") | dict.fromkeys(train.tolist(), "train")


def _annotations(path: Path) -> tuple[dict[int, str], dict[str, int]]:
    """Category id -> name, and image -> category id, of a file in the format of COCO."""
    value = raw.json_object(path, ("categories", "images", "annotations"))
    try:
        names = {int(one["id"]): str(one["name"]) for one in value["categories"]}
        if len(names) != len(value["categories"]):
            raise BenchError(f"{path} has two categories of one id")
        file_of = {one["id"]: str(one["file_name"]) for one in value["images"]}
        if len(file_of) != len(value["images"]):
            raise BenchError(f"{path} has two images of one id")
        category: dict[str, int] = {}
        for one in value["annotations"]:
            if one["image_id"] not in file_of or one["category_id"] not in names:
                raise BenchError(f"{path} has an annotation of an image or a category that it does not list: {one}")
            image = _inside(file_of[one["image_id"]], path)
            if category.setdefault(image, one["category_id"]) != one["category_id"]:
                raise BenchError(f"{path} gives {image} two categories, {category[image]} and {one['category_id']}")
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise BenchError(f"{path} is not in the format of COCO ({type(error).__name__}: {error})") from error
    without = sorted(file for file in file_of.values() if _inside(file, path) not in category)
    if without:
        raise BenchError(f"{path} gives {len(without)} images no category, {without[0]} the first of them")
    return names, category


def _inside(file: str, source: Path) -> str:
    """``images/…``, whether the list says so or leaves the folder out."""
    raw.check_name(file, source)
    return file if file.startswith("images/") else f"images/{file}"


def _read_split(path: Path, names: Mapping[int, str]) -> dict[int, str]:
    """Meta-Dataset's file: lists of ``<id>.<name>``, of which the id counts."""
    value = raw.json_object(path, tuple(SPLIT_NAMES))
    split_of: dict[int, str] = {}
    for theirs, ours in SPLIT_NAMES.items():
        if not isinstance(value[theirs], list):
            raise BenchError(f"{path}: {theirs} must be a list of <id>.<name>")
        for label in value[theirs]:
            number = str(label).partition(".")[0]
            if not number.isdigit() or int(number) not in names:
                raise BenchError(f"{path} names a category {label!r} that train.json and val.json do not have")
            if int(number) in split_of:
                raise BenchError(f"{path} names category {number} twice; a class belongs to one split")
            split_of[int(number)] = ours
    return split_of
