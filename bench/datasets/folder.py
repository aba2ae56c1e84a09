"""A user's own images: a folder, or a zip file, of classes."""

from __future__ import annotations

import os
import unicodedata
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from bench.basics.errors import BenchError, did_you_mean
from bench.basics.keys import content_key
from bench.datasets import archives, raw
from bench.datasets.decoding import Photo, decode_all, enlarged
from bench.datasets.faults import check_utf8, exists
from bench.datasets.resize import Filter, check_filter
from bench.datasets.source import SPLITS, Item

SUFFIXES = (".png", ".jpg", ".jpeg")
SPLIT_FOLDERS = {"train": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}
Crop = Literal["center", "none"]

# class -> (the split its folder stands in, or None; the paths of its images)
_Classes = Mapping[str, tuple[str | None, Sequence[str]]]


@dataclass(frozen=True, slots=True)
class Folder:
    """PNG and JPEG images in one of two layouts, on disk or in a zip file, possibly inside one more folder:

    - ``<split>/<class>/<image>`` with splits train, val (or valid, validation; it may be missing) and test;
    - ``<class>/<image>`` and a JSON file ``{"train": [classes], "val": [...], "test": [...]}``,
      ``splits.json`` beside the images or inside unless ``splits`` names another. Classes that it does not
      name are left out.

    An image that lies in no class folder, or in a folder within one, is refused.

    A photograph is turned as its EXIF orientation says, cropped to its central square, and resized.
    Transparent pixels are seen against white.
    """

    path: str | None = None
    """The folder or zip file, absolute or below ``data_dir``; by default ``data_dir`` itself. Nothing else is tried."""
    data_dir: str | None = None
    name: str = "folder"
    size: int = 84
    channels: int = 3
    """3, or 1 for grey."""
    invert: bool = False
    """Store 255 minus the value: for dark ink on bright paper."""
    resize: Filter = "antialias"
    crop: Crop = "center"
    """center: the largest central square. none: the whole image, whatever that does to its proportions."""
    splits: str | None = None
    """The JSON file, absolute or below ``data_dir``."""

    def __post_init__(self) -> None:
        if not 8 <= self.size <= 512:
            raise BenchError(f"{self.name}: size must be from 8 to 512, not {self.size!r}")
        if self.channels not in (1, 3):
            raise BenchError(f"{self.name}: channels must be 1 or 3, not {self.channels!r}")
        if self.crop not in get_args(Crop):
            raise BenchError(f"{self.name}: crop must be one of {', '.join(get_args(Crop))}, not {self.crop!r}")
        check_filter(self.resize)

    def settings(self) -> Mapping[str, Any]:
        """How images are made, and the raw files' names, sizes and times (in a zip file, checksums)."""
        tree, splits = self._open()
        return {
            "size": self.size,
            "channels": self.channels,
            "invert": self.invert,
            "resize": self.resize,
            "crop": self.crop,
            "files": content_key({path: list(facts) for path, facts in tree.files.items() if _is_image(path)}),
            "splits": None if splits is None else content_key({"splits": splits[1]}),
        }

    def scan(self) -> list[Item]:
        """Files are named as in the folder or archive."""
        tree, splits = self._open()
        classes = _classes(tree, by_split=splits is None)
        split_of = {name: split for name, (split, _) in classes.items() if split is not None}
        if splits is not None:
            split_of = _check_splits(splits[0], splits[1], classes, tree.where)
        for split in ("train", "test"):
            if split not in split_of.values():
                raise BenchError(
                    f"{splits[0] if splits else tree.where} has no {split} split; "
                    "train and test are needed, val may be missing"
                )
        return [
            Item(split, name, path)
            for split in SPLITS
            for name in sorted(split_of)
            if split_of[name] == split
            for path in sorted(classes[name][1])
        ]

    def read(self, items: Sequence[Item]) -> Iterator[NDArray[np.uint8] | BenchError]:
        """uint8 [channels, size, size]."""
        tree, _ = self._open()
        return decode_all(tree, [item.file_id for item in items], self._photo())

    def preprocessing(self) -> Mapping[str, str]:
        """From a PNG or JPEG file to pixels."""
        return self._photo().in_words()

    def warnings(self, items: Sequence[Item]) -> Sequence[str]:
        """Of photographs that are enlarged, and of hidden files."""
        tree, _ = self._open()
        found = enlarged([(tree, item.file_id) for item in items], self._photo())
        if tree.ignored:
            found.append(f"left out what Windows hid among the images: {raw.several(tree.ignored, 3)}")
        return found

    def _photo(self) -> Photo:
        return Photo(self.size, self.channels, self.crop, self.resize, self.invert)

    def _open(self) -> tuple[archives.Tree, tuple[str, Any] | None]:
        """The images, and the JSON file of splits: where and what (None: the folders are the splits)."""
        root = self._find(self.path, "the images")
        if root.is_dir():
            root = _lone_zip(root) or root
        tree = archives.open_tree(root)
        if self.splits is not None:
            file = self._find(self.splits, "the splits")
            return tree, (str(file), raw.json_file(file))
        inner = _descend(tree)
        if _split_folders(tree, inner):
            return tree, None
        if found := _splits_in(root, tree, inner):
            return tree, found
        if not tree.folders:
            raise BenchError(f"{tree.where} holds no class folders; expected train/<class>/<image>.png and so on")
        children = _children(tree, inner)
        if (
            strange := [name for name in children if name not in SPLIT_FOLDERS]
            if {"train", "test"} & {*children}
            else []
        ):
            raise BenchError(
                f"{tree.where} holds folders of splits, and beside them {strange[0]!r}, which is none.{_hint(strange)} "
                "Keep train, val and test alone there, or add a splits.json"
            )
        raise BenchError(
            f"{tree.where} does not say which classes are for training and testing; put its class folders "
            'into train, val and test, or add a splits.json {"train": [classes], "val": [...], "test": [...]}'
        )

    def _find(self, path: str | None, what: str) -> Path:
        """``path``, absolute or below ``data_dir``, which may be the folder that ``path`` begins with."""
        if path is None and self.data_dir is None:
            raise BenchError(f"dataset {self.name!r} needs images; say where they are with --data-dir DIR")
        base = Path(self.data_dir or ".")
        candidates = [base]
        if path is not None:
            first, *rest = Path(path).parts or ("",)
            candidates = [base / path]
            if rest and first == os.path.basename(os.path.abspath(base)):
                candidates.append(base.joinpath(*rest))
        for candidate in candidates:
            if exists(check_utf8(candidate)):
                return candidate
        hint = "" if self.data_dir else "; say where the data are with --data-dir DIR"
        raise BenchError(f"{what} of dataset {self.name!r} are not at {candidates[0]}{hint}")


def _lone_zip(root: Path) -> Path | None:
    """The zip file in a folder that holds no folders; BenchError where there are several, or images beside it."""
    seen = [one for one in sorted(root.iterdir()) if not archives.hidden(one.name)]
    zips = [one.name for one in seen if one.name.lower().endswith(".zip")]
    if not zips or any(one.is_dir() for one in seen):
        return None
    if len(zips) > 1:
        raise BenchError(
            f"{root} holds {len(zips)} zip files, {raw.several(zips).replace(';', ',')}; say which one is meant, as in "
            f"dataset.path={zips[0]}"
        )
    if loose := [one.name for one in seen if _is_image(one.name)]:
        raise BenchError(f"{root} holds {zips[0]} and beside it {loose[0]}, which would be left out; keep one of them")
    return root / zips[0]


def _splits_in(root: Path, tree: archives.Tree, inner: str) -> tuple[str, Any] | None:
    """The splits.json beside the images, or in a folder that leads to their classes: where and what."""
    found = []
    beside = (root if root.is_dir() else root.parent) / "splits.json"
    if beside.is_file():
        found.append((str(beside), raw.json_file(beside)))
    levels = [inner[:end] for end in range(len(inner), -1, -1) if not inner[:end] or inner[:end].endswith("/")]
    for level in levels:
        name = f"{level}splits.json"
        where = f"{tree.where}/{name}"
        if name in tree.files and where != str(beside):
            found.append((where, raw.json_value(tree.read(name), where)))
    for where, value in found[1:]:
        if value != found[0][1]:
            raise BenchError(f"{found[0][0]} and {where} differ; say with dataset.splits=FILE which one is meant")
    return found[0] if found else None


def _is_image(path: str) -> bool:
    return path.lower().endswith(SUFFIXES)


def _children(tree: archives.Tree, inner: str) -> list[str]:
    """Names of the folders directly in ``inner`` (empty, or ending in a slash)."""
    below = (path.removeprefix(inner) for path in tree.folders if path.startswith(inner))
    return sorted(name for name in below if name and "/" not in name)


def _descend(tree: archives.Tree) -> str:
    """The innermost folder that holds more than one folder of folders: zip files often wrap theirs."""
    inner = ""
    while len(children := _children(tree, inner)) == 1:
        deeper = f"{inner}{children[0]}/"
        if children[0] in SPLIT_FOLDERS or not _children(tree, deeper):
            break
        inner = deeper
    return inner


def _split_folders(tree: archives.Tree, inner: str) -> dict[str, str]:
    """Folder -> split, if every folder is named like a split; else empty."""
    children = _children(tree, inner)
    if not children or any(child not in SPLIT_FOLDERS for child in children):
        return {}
    found = {child: SPLIT_FOLDERS[child] for child in children}
    if len(set(found.values())) < len(found):
        raise BenchError(f"{tree.where} has two folders for one split ({', '.join(children)}); keep one of them")
    return found


def _classes(tree: archives.Tree, by_split: bool) -> _Classes:
    """Every class folder and its images. No image of the tree is left out."""
    inner = _descend(tree)
    homes = (
        [(split, f"{inner}{folder}/") for folder, split in _split_folders(tree, inner).items()]
        if by_split
        else [(None, inner)]
    )
    images: dict[str, list[str]] = defaultdict(list)
    for path in tree.files:
        images[path.rpartition("/")[0] + "/"].append(path)
    found: dict[str, tuple[str | None, Sequence[str]]] = {}
    for split, home in homes:
        for name in _children(tree, home):
            if name in found:
                raise BenchError(
                    f"class {name!r} is in the splits {found[name][0]} and {split} of {tree.where}; "
                    "a class belongs to one split"
                )
            files = images.pop(f"{home}{name}/", [])
            for path in files:
                if not _is_image(path):
                    raise BenchError(f"{tree.where}/{path} is neither PNG nor JPEG; class folders hold images only")
            if not files:
                _refuse_loose(
                    tree, {where: paths for where, paths in images.items() if where.startswith(f"{home}{name}/")}
                )
                raise BenchError(f"class folder {tree.where}/{home}{name} holds no PNG or JPEG images")
            found[name] = (split, files)
    if not found:
        raise BenchError(f"{tree.where} holds no class folders; expected train/<class>/<image>.png and so on")
    _refuse_loose(tree, images)
    return found


def _refuse_loose(tree: archives.Tree, images: Mapping[str, Sequence[str]]) -> None:
    """BenchError for images that would be left out: in no class folder, or in a folder within one."""
    loose = [path for paths in images.values() for path in paths if _is_image(path)]
    if loose:
        count = f"{len(loose)} images that are" if len(loose) > 1 else "an image that is"
        raise BenchError(
            f"{tree.where} holds {count} not directly in a class folder: {raw.several(loose, 3)}; put the images of a "
            "class into its folder, or move them away"
        )


def _check_splits(file: str, value: Any, classes: _Classes, where: str) -> dict[str, str]:
    """Class -> split, as the JSON file says."""
    if not isinstance(value, dict) or not all(
        isinstance(names, list) and all(isinstance(name, str) for name in names) for names in value.values()
    ):
        raise BenchError(f'{file} must be of the form {{"train": [classes], "val": [...], "test": [...]}}')
    split_of: dict[str, str] = {}
    for key, names in value.items():
        if key not in SPLIT_FOLDERS:
            raise BenchError(f"{file} names a split {key!r}; the splits are train, val and test")
        for name in names:
            if name not in classes:
                raise BenchError(f"{file} names a class {name!r} that {where} does not hold.{_meant(name, classes)}")
            if name in split_of:
                raise BenchError(f"{file} names class {name!r} twice; a class belongs to one split, once")
            split_of[name] = SPLIT_FOLDERS[key]
    return split_of


def _meant(name: str, classes: _Classes) -> str:
    """A class of nearly the name; one that looks the same is told apart by its code points."""
    for other in classes:
        if unicodedata.normalize("NFC", name) == unicodedata.normalize("NFC", other):
            return f" It holds {other!a}, the same letters in another form of Unicode, where the file has {name!a}."
    return did_you_mean(name, classes)


def _hint(strange: Sequence[str]) -> str:
    return did_you_mean(strange[0], SPLIT_FOLDERS)
