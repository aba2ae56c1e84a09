"""FGVCx Fungi 2018: photographs of 1,394 kinds of fungi, in the class split of Meta-Dataset."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.basics.errors import BenchError
from bench.basics.keys import content_key
from bench.datasets import archives
from bench.datasets.decoding import Photo, decode_trees, enlarged
from bench.datasets.raw import json_file, several
from bench.datasets.resize import Filter, check_filter
from bench.datasets.source import SPLITS, Item

CLASSES = {"train": 994, "val": 200, "test": 200}
"""Of Meta-Dataset's split (Triantafillou et al. 2020)."""

IMAGES = {"train.json": 85_578, "val.json": 4_182}
"""The competition's two halves, which Meta-Dataset merges: they hold images of the same classes."""

SPLIT_KEYS = {"train": "train", "valid": "val", "test": "test"}

SPLIT_SEED = 22  # of Meta-Dataset


@dataclass(frozen=True, slots=True)
class Fungi:
    """The training and validation images of the FGVCx Fungi challenge 2018, 994/200/200 classes.

    ``data_dir``, or its folder ``fungi``, holds ``train.json`` and ``val.json`` (images, annotations and categories
    as in COCO) and the folder ``images``. The split is that of Meta-Dataset (Triantafillou et al. 2020), computed as
    they did, by NumPy's generator with their seed; a file of its form, ``fungi_splits.json`` beside the images or the
    one that ``splits`` names, takes its place. Names of fungi repeat, so classes are known by the category's id, and
    named ``0041.Amanita rubescens`` as Meta-Dataset does.

    Many classes have few images: a task takes only those with enough for its shot. Images are resized to a square
    whatever their proportions (Khodadadeh et al. 2020, released code).
    """

    data_dir: str | None = None
    name: str = "fungi"
    size: int = 84
    resize: Filter = "bilinear"
    splits: str | None = None
    """The split file, absolute or below ``data_dir``."""
    allow_partial: bool = False
    """Accept other numbers of classes and images than the official ones; classes that no split names are left out."""

    def __post_init__(self) -> None:
        if not 8 <= self.size <= 512:
            raise BenchError(f"{self.name}: size must be from 8 to 512, not {self.size!r}")
        check_filter(self.resize)

    def settings(self) -> Mapping[str, Any]:
        """How images are made, what the files say, and the images' names, sizes and times."""
        root = self._root()
        tree = archives.FolderTree(root / "images")
        said = [json_file(root / name) for name in IMAGES]
        if (file := self._split_file(root)) is not None:
            said.append(json_file(file))
        return {
            "size": self.size,
            "resize": self.resize,
            "partial": self.allow_partial,
            "files": content_key({path: list(facts) for path, facts in tree.files.items()}),
            "annotations": content_key({"said": said}),
        }

    def scan(self) -> list[Item]:
        """Files are named as below ``data_dir``, ``images/…``. Checks that every annotated image is there."""
        root = self._root()
        tree = archives.FolderTree(root / "images")
        annotated = _Annotations.read(root)
        file = self._split_file(root)
        if file is not None:
            split_of = _read_splits(file, json_file(file), annotated.categories)
        else:
            split_of = _computed(root, annotated.categories)
        if missing := sorted(path for path in annotated.images if path not in tree.files):
            raise BenchError(
                f"{tree.where} lacks {len(missing)} of the {len(annotated.images)} images that train.json and val.json "
                f"name: {several(missing)}"
            )
        if not self.allow_partial and (differences := _differences(annotated, split_of)):
            raise BenchError(
                f"{root} is not the whole FGVCx Fungi in Meta-Dataset's split: {several(differences)}; get what is "
                "missing, or take what is there with dataset.allow_partial=true"
            )
        items = [
            Item(split_of[category], annotated.label(category), f"images/{path}")
            for path, category in annotated.images.items()
            if category in split_of
        ]
        return sorted(items, key=lambda item: (SPLITS.index(item.split), item.class_name, item.file_id))

    def read(self, items: Sequence[Item]) -> Iterator[NDArray[np.uint8] | BenchError]:
        """uint8 [3, size, size]."""
        return decode_trees(self._files(items), self._photo())

    def preprocessing(self) -> Mapping[str, str]:
        """From the files of the competition to pixels."""
        return {"files": "JPEG files of the FGVCx Fungi challenge 2018, as they come", **self._photo().in_words()}

    def warnings(self, items: Sequence[Item]) -> Sequence[str]:
        """Of photographs that are enlarged."""
        return enlarged(self._files(items), self._photo())

    def _photo(self) -> Photo:
        return Photo(self.size, resize=self.resize)

    def _files(self, items: Sequence[Item]) -> list[tuple[archives.Tree, str]]:
        tree: archives.Tree = archives.FolderTree(self._root() / "images")
        return [(tree, item.file_id.removeprefix("images/")) for item in items]

    def _root(self) -> Path:
        if self.data_dir is None:
            raise BenchError(f"{self.name} needs the images of FGVCx Fungi; say where they are with --data-dir DIR")
        for root in (Path(self.data_dir) / "fungi", Path(self.data_dir)):
            if (root / "images").is_dir() and all((root / name).is_file() for name in IMAGES):
                return root
        raise BenchError(
            f"{self.data_dir} holds no FGVCx Fungi; expected {' and '.join(IMAGES)}, and the folder images"
        )

    def _split_file(self, root: Path) -> Path | None:
        if self.splits is None:
            file = root / "fungi_splits.json"
            return file if file.is_file() else None
        base = Path(self.data_dir or "")
        there = [file for file in dict.fromkeys((base / self.splits, root / self.splits)) if file.is_file()]
        if len(there) > 1:
            raise BenchError(f"{self.name}: there are both {there[0]} and {there[1]}; give dataset.splits a whole path")
        if not there:
            raise BenchError(f"{self.name}: there is no split file {base / self.splits}")
        return there[0]


def _computed(root: Path, categories: Mapping[int, str]) -> dict[int, str]:
    if sorted(categories) != list(range(len(categories))):
        raise BenchError(f"the ids of the categories in {root} must count from 0 to {len(categories) - 1} with no gap")
    return meta_dataset_split(len(categories))


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


@dataclass(frozen=True, slots=True)
class _Annotations:
    """What both halves say together."""

    categories: Mapping[int, str]
    images: Mapping[str, int]
    """Path below the folder of images -> category."""
    listed: Mapping[str, int]
    """File -> how many images it lists."""

    def label(self, category: int) -> str:
        return f"{category:04d}.{self.categories[category]}"

    @classmethod
    def read(cls, root: Path) -> _Annotations:
        categories: dict[int, str] = {}
        paths: dict[int, str] = {}
        category_of: dict[int, int] = {}
        listed: dict[str, int] = {}
        for file in (root / name for name in IMAGES):
            value = json_file(file)
            for one in _rows(file, value, "categories", {"id": int, "name": str}):
                if categories.setdefault(one["id"], one["name"]) != one["name"]:
                    raise BenchError(
                        f"{file} calls category {one['id']} {one['name']!r}, but it is called "
                        f"{categories[one['id']]!r} before"
                    )
            for one in _rows(file, value, "images", {"id": int, "file_name": str}):
                if one["id"] in paths:
                    raise BenchError(f"{file} has an image of the id {one['id']}, as {paths[one['id']]} has already")
                paths[one["id"]] = one["file_name"].removeprefix("images/")
            listed[file.name] = len(value["images"])
            for one in _rows(file, value, "annotations", {"image_id": int, "category_id": int}):
                if one["category_id"] not in categories:
                    raise BenchError(
                        f"{file} puts image {one['image_id']} into an unknown category {one['category_id']}"
                    )
                if one["image_id"] in category_of:
                    raise BenchError(f"{file} annotates image {one['image_id']} a second time")
                category_of[one["image_id"]] = one["category_id"]
        both = " and ".join(IMAGES)
        if unknown := sorted(category_of.keys() - paths.keys()):
            raise BenchError(f"{both} in {root} annotate images that they do not list: {_numbers(unknown)}")
        if bare := sorted(paths.keys() - category_of.keys()):
            raise BenchError(f"{both} in {root} give no category to the images {_numbers(bare)}")
        if twice := [path for path, count in Counter(paths.values()).items() if count > 1]:
            raise BenchError(f"{both} in {root} list files more than once: {several(twice)}")
        return cls(categories, {path: category_of[number] for number, path in paths.items()}, listed)


def _rows(file: Path, value: Any, key: str, fields: Mapping[str, type]) -> list[dict[str, Any]]:
    """The list under ``key``, each entry with fields of these types."""
    rows = value.get(key) if isinstance(value, dict) else None
    if not isinstance(rows, list):
        raise BenchError(f"{file} must hold a list {key!r}, as the annotations of COCO do")
    for number, row in enumerate(rows):
        if not isinstance(row, dict) or not all(type(row.get(field)) is kind for field, kind in fields.items()):
            wanted = " and ".join(f"{field} ({kind.__name__})" for field, kind in fields.items())
            raise BenchError(f"entry {number} of {key!r} in {file} must have {wanted}")
    return rows


def _read_splits(file: Path, value: Any, categories: Mapping[int, str]) -> dict[int, str]:
    """Category -> split. An entry is ``NNNN.name``; what the annotations do not know is left out."""
    form = '{"train": ["0041.Amanita rubescens", ...], "valid": [...], "test": [...]}, the id first'
    if not isinstance(value, dict) or set(value) != set(SPLIT_KEYS):
        raise BenchError(f"{file} must be of Meta-Dataset's form {form}")
    split_of: dict[int, str] = {}
    for key, split in SPLIT_KEYS.items():
        for entry in value[key] if isinstance(value[key], list) else [value[key]]:
            number, dot, name = entry.partition(".") if isinstance(entry, str) else ("", "", "")
            if not dot or not number.isascii() or not number.isdigit():
                raise BenchError(f"{file} has an entry {entry!r} under {key!r}; its form is {form}")
            category = int(number)
            if category in split_of:
                raise BenchError(f"{file} names category {category} twice; a class belongs to one split, once")
            if category in categories and categories[category].strip() != name.strip():
                raise BenchError(
                    f"{file} calls category {category} {name.strip()!r}, but the annotations "
                    f"{categories[category].strip()!r}: they do not belong together"
                )
            split_of[category] = split
    return {category: split for category, split in split_of.items() if category in categories}


def _differences(annotated: _Annotations, split_of: Mapping[int, str]) -> list[str]:
    """What is not as in the official release."""
    counts = Counter(split_of.values())
    filled = set(annotated.images.values())
    return [
        *(
            f"{file} lists {annotated.listed[file]} images, not {n}"
            for file, n in IMAGES.items()
            if annotated.listed[file] != n
        ),
        *(f"{split} has {counts[split]} classes, not {n}" for split, n in CLASSES.items() if counts[split] != n),
        *(f"{annotated.label(one)} is in no split" for one in sorted(annotated.categories) if one not in split_of),
        *(f"{annotated.label(one)} has no images" for one in sorted(split_of) if one not in filled),
    ]


def _numbers(ids: Sequence[int]) -> str:
    return several([str(number) for number in ids]).replace(";", ",")
