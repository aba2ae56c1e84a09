"""CelebA: 202,599 photographs of 10,177 celebrities, as tasks over identities and as tasks over attributes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from bench.basics.errors import BenchError, did_you_mean
from bench.basics.keys import content_key
from bench.datasets import archives, raw
from bench.datasets.decoding import Box, Photo, decode_all
from bench.datasets.resize import Filter, check_filter
from bench.datasets.source import SPLITS, Item

IMAGES = {"train": 162_770, "val": 19_867, "test": 19_962}
IDENTITIES = 10_177
ATTRIBUTES = 40
BLOCKS = {"train": slice(0, 20), "val": slice(20, 30), "test": slice(30, 40)}
"""Columns of list_attr_celeba.txt that make the tasks of each split (Hsu et al. 2019; Khodadadeh et al. 2020, §4.3)."""

Crop = Literal["none", "progan", "progan-protonet", "center"]

# Khodadadeh et al. 2020, released code: what of an image their systems with a ProGAN see, as that GAN was trained on
# faces framed more closely. Top, bottom, left, right.
CROPS: Mapping[str, Box] = {"progan": (0.25, 0.8, 0.25, 0.75), "progan-protonet": (0.2, 0.8, 0.2, 0.8)}

FILES = "img_align_celeba/ or img_align_celeba.zip, and list_eval_partition.txt"


@dataclass(frozen=True, slots=True)
class _Files:
    """The official release on disk."""

    images: archives.Tree
    path_of: Mapping[str, str]
    """Name of an image -> its path in ``images``."""
    partition: Path
    labels: Path


@dataclass(frozen=True, slots=True)
class CelebA:
    """CelebA, aligned and cropped images 178 x 218 (Liu et al. 2015), from a folder or the official zip file.

    The classes are identities (identity_CelebA.txt). The splits are the official partition of the images
    (list_eval_partition.txt), which keeps the images of an identity together; a file that does not is refused. Tasks
    leave out identities with fewer images than they need, so with more shots there are fewer.

    crop: ``none`` is the whole image, ``progan`` (rows 25-80 %, columns 25-75 %) and ``progan-protonet`` (20-80 % of
    both) what the systems with a ProGAN of Khodadadeh et al. 2020 see, ``center`` the central square. Whatever it is
    is resized to a square without regard to its proportions, bilinearly and without antialiasing, as they did.
    """

    data_dir: str | None = None
    """Holds the official files, or a folder ``celeba`` that does; also in their official folders Img, Anno, Eval."""
    size: int = 84
    crop: Crop = "none"
    resize: Filter = "bilinear"
    allow_partial: bool = False
    """Accept another content than the official one, and go without images that are missing."""

    def __post_init__(self) -> None:
        _check(self.name, self.size, self.crop, self.resize)

    @property
    def name(self) -> str:
        """``celeba``."""
        return "celeba"

    def settings(self) -> Mapping[str, Any]:
        """The official content is fixed, so the raw data have no part in it; a partial copy's listing has."""
        return _settings(self)

    def scan(self) -> list[Item]:
        """Classes are identities, files the official names of the images."""
        files = _files(self.name, self.data_dir, "identity_CelebA.txt")
        split_of = _partition(self.name, files, self.allow_partial)
        identity_of: dict[str, str] = {}
        for number, (image, identity) in raw.rows(files.labels, 2):
            if not identity.isdigit():
                raise BenchError(f"line {number} of {files.labels} names an identity {identity!r}, which is no number")
            identity_of[image] = f"{int(identity):05d}"
        _check_labelled(self.name, files, split_of, identity_of)
        raw.check_count(
            self.name, "identities", len({identity_of[one] for one in split_of}), IDENTITIES, self.allow_partial
        )
        home: dict[str, str] = {}
        for image, split in split_of.items():
            if home.setdefault(identity_of[image], split) != split:
                raise BenchError(
                    f"{self.name}: identity {int(identity_of[image])} has images in the splits "
                    f"{home[identity_of[image]]} and {split} of {files.partition}; the official partition keeps the "
                    "images of an identity together, so get it again"
                )
        items = [Item(split, identity_of[image], image) for image, split in split_of.items()]
        return sorted(items, key=lambda item: (SPLITS.index(item.split), item.class_name, item.file_id))

    def read(self, items: Sequence[Item]) -> Iterator[NDArray[np.uint8] | BenchError]:
        """uint8 [3, size, size]."""
        return _read(_files(self.name, self.data_dir, "identity_CelebA.txt"), items, _photo(self))

    def preprocessing(self) -> Mapping[str, str]:
        """From the aligned images to pixels."""
        return {"files": "img_align_celeba, the aligned and cropped JPEG files, 178 x 218", **_photo(self).in_words()}


@dataclass(frozen=True, slots=True)
class CelebAAttributes:
    """The images of :class:`CelebA`, for tasks over attributes (Hsu et al. 2019; Khodadadeh et al. 2020, §4.3).

    A task is three attributes and a yes or no to each: one class has all three, the other the opposite of each (see
    :mod:`bench.tasks.attributes`). Splits are the official partition of the images; in the order of
    list_attr_celeba.txt, the first 20 attributes make the tasks of meta-training, the next 10 those of validation, the
    last 10 those of the test. ``crop`` as for :class:`CelebA`.
    """

    data_dir: str | None = None
    size: int = 84
    crop: Crop = "none"
    resize: Filter = "bilinear"
    allow_partial: bool = False

    def __post_init__(self) -> None:
        _check(self.name, self.size, self.crop, self.resize)

    @property
    def name(self) -> str:
        """``celeba-attributes``."""
        return "celeba-attributes"

    def settings(self) -> Mapping[str, Any]:
        """As of :class:`CelebA`."""
        return _settings(self)

    def attribute_names(self) -> Mapping[str, Sequence[str]]:
        """Those of the split's block."""
        names = _attribute_names(_files(self.name, self.data_dir, "list_attr_celeba.txt").labels)
        return {split: names[block] for split, block in BLOCKS.items()}

    def scan(self) -> list[Item]:
        """One class a split, named like it."""
        files = _files(self.name, self.data_dir, "list_attr_celeba.txt")
        split_of = _partition(self.name, files, self.allow_partial)
        bits_of = _attribute_bits(files.labels)
        _check_labelled(self.name, files, split_of, bits_of)
        return [
            Item(split, split, image, bits_of[image][BLOCKS[split]])
            for split in SPLITS
            for image in sorted(one for one, of in split_of.items() if of == split)
        ]

    def read(self, items: Sequence[Item]) -> Iterator[NDArray[np.uint8] | BenchError]:
        """uint8 [3, size, size]."""
        return _read(_files(self.name, self.data_dir, "list_attr_celeba.txt"), items, _photo(self))

    def preprocessing(self) -> Mapping[str, str]:
        """From the aligned images to pixels."""
        return {"files": "img_align_celeba, the aligned and cropped JPEG files, 178 x 218", **_photo(self).in_words()}


def _check(name: str, size: int, crop: str, kind: str) -> None:
    if not 8 <= size <= 178:
        raise BenchError(f"{name}: size must be from 8 to 178, not {size!r}")
    if crop not in get_args(Crop):
        known = get_args(Crop)
        raise BenchError(f"{name}: crop must be one of {', '.join(known)}, not {crop!r}.{did_you_mean(crop, known)}")
    check_filter(kind)


def _settings(dataset: CelebA | CelebAAttributes) -> Mapping[str, Any]:
    settings = {"size": dataset.size, "crop": dataset.crop, "resize": dataset.resize}
    if not dataset.allow_partial:
        return settings
    labels = "identity_CelebA.txt" if isinstance(dataset, CelebA) else "list_attr_celeba.txt"
    files = _files(dataset.name, dataset.data_dir, labels)
    lists = [raw.text(path) for path in (files.partition, files.labels)]
    return {**settings, "partial": content_key({"files": list(files.images.files.items()), "lists": lists})}


def _photo(dataset: CelebA | CelebAAttributes) -> Photo:
    crop = dataset.crop
    return Photo(dataset.size, crop="center" if crop == "center" else CROPS.get(crop, "none"), resize=dataset.resize)


def _read(files: _Files, items: Sequence[Item], photo: Photo) -> Iterator[NDArray[np.uint8] | BenchError]:
    return decode_all(files.images, [files.path_of[item.file_id] for item in items], photo)


def _files(name: str, data_dir: str | None, labels: str) -> _Files:
    what = f"{FILES} and {labels}"
    folders = raw.find(data_dir, name, ("celeba", "CelebA"), what)
    images = raw.file_in(folders, [f"{place}img_align_celeba{end}" for place in ("", "Img/") for end in ("", ".zip")])
    partition = raw.file_in(folders, ["list_eval_partition.txt", "Eval/list_eval_partition.txt"])
    labels_file = raw.file_in(folders, [labels, f"Anno/{labels}"])
    if images is None or partition is None or labels_file is None:
        needed = [
            one
            for one, found in (
                ("img_align_celeba/ or img_align_celeba.zip", images),
                ("list_eval_partition.txt", partition),
                (labels, labels_file),
            )
            if found is None
        ]
        raise BenchError(
            f"{name}: {folders[0]} lacks {', '.join(needed)}; 'bench list datasets --long' says where to get it"
        )
    tree = archives.open_tree(images)
    return _Files(tree, raw.by_name(name, tree), partition, labels_file)


def _partition(name: str, files: _Files, allow_partial: bool) -> dict[str, str]:
    """Image -> split, of the images that are there."""
    split_of: dict[str, str] = {}
    for number, (image, part) in raw.rows(files.partition, 2):
        if part not in ("0", "1", "2"):
            raise BenchError(f"line {number} of {files.partition} says {part!r}; 0 is train, 1 val and 2 test")
        raw.check_name(image, files.partition)
        if image in split_of:
            raise BenchError(f"line {number} of {files.partition} names {image} a second time")
        split_of[image] = SPLITS[int(part)]
    for split, official in IMAGES.items():
        found = sum(1 for of in split_of.values() if of == split)
        raw.check_count(name, f"{split} images in {files.partition}", found, official, allow_partial)
    there = raw.check_present(name, files.images.where, files.path_of, list(split_of), allow_partial, files.partition)
    return {image: split for image, split in split_of.items() if image in there}


def _check_labelled(name: str, files: _Files, split_of: Mapping[str, str], labels: Mapping[str, str]) -> None:
    without = sorted(image for image in split_of if image not in labels)
    if without:
        raise BenchError(
            f"{name}: {files.labels} says nothing of {len(without)} images that {files.partition.name} names, "
            f"{without[0]} the first of them; get it again"
        )


def _attribute_names(path: Path) -> list[str]:
    lines = raw.text(path).splitlines()
    names = lines[1].split() if len(lines) > 1 else []
    if len({*names}) != ATTRIBUTES or not lines[0].strip().isdigit():
        raise BenchError(
            f"{path} must begin with the number of images and the names of {ATTRIBUTES} attributes, "
            f"but its second line has {len({*names})} names"
        )
    return names


def _attribute_bits(path: Path) -> dict[str, str]:
    """Image -> 40 times 0 or 1."""
    lines = raw.text(path).splitlines()
    _attribute_names(path)
    found: dict[str, str] = {}
    for number, line in enumerate(lines[2:], start=3):
        words = line.split()
        if not words:
            continue
        if len(words) != ATTRIBUTES + 1 or {*words[1:]} - {"1", "-1"}:
            raise BenchError(f"line {number} of {path} must be an image and {ATTRIBUTES} times 1 or -1: {line[:80]!r}")
        found[words[0]] = "".join("1" if word == "1" else "0" for word in words[1:])
    if len(found) != int(lines[0]):
        raise BenchError(f"{path} has {len(found)} images, not {int(lines[0])} as its first line says; get it again")
    return found
