"""mini-ImageNet: 100 classes of ImageNet with 600 images each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from bench.artifacts import content_key
from bench.datasets import archives, array_pickle, raw
from bench.datasets.decoding import Photo, decode_all
from bench.datasets.resize import Filter, check_filter, resize
from bench.datasets.source import SPLITS, Item
from bench.errors import BenchError, did_you_mean

CLASSES = {"train": 64, "val": 16, "test": 20}
PER_CLASS = 600
FOLDERS = ("mini-imagenet", "miniimagenet", "mini_imagenet", "miniImageNet", "mini-ImageNet")
SUFFIXES = (".jpg", ".jpeg", ".png")

Form = Literal["auto", "csv", "folders", "pickle"]


@dataclass(frozen=True, slots=True)
class MiniImageNet:
    """mini-ImageNet (Vinyals et al. 2016) with the classes of Ravi and Larochelle 2017: 64/16/20.

    In one of the forms that it is handed on in, which differ a little in their pixels:

    - ``csv``: train.csv, val.csv and test.csv of Ravi and Larochelle (filename,label) and images/ (or images.zip);
    - ``folders``: train/<class>/, val/<class>/ and test/<class>/;
    - ``pickle``: mini-imagenet-cache-{train,val,test}.pkl (Ren et al. 2018), with image_data uint8 [n, 84, 84, 3] and
      class_dict; of Python 2 or 3. Whatever else than arrays a pickle holds is refused, never run.

    ``auto`` takes the first of pickle, csv and folders that is there.
    """

    data_dir: str | None = None
    """Holds the files, or a folder ``mini-imagenet`` that does."""
    form: Form = "auto"
    size: int = 84
    resize: Filter = "bilinear"
    """Of images of another size; bilinear without antialiasing, as Khodadadeh et al. 2020."""
    allow_partial: bool = False
    """Accept another content than the official one, and go without images that are missing."""

    def __post_init__(self) -> None:
        if self.form not in (known := get_args(Form)):
            hint = did_you_mean(self.form, known)
            raise BenchError(f"mini-imagenet: form must be one of {', '.join(known)}, not {self.form!r}.{hint}")
        if not 8 <= self.size <= 512:
            raise BenchError(f"mini-imagenet: size must be from 8 to 512, not {self.size!r}")
        check_filter(self.resize)

    @property
    def name(self) -> str:
        """``mini-imagenet``."""
        return "mini-imagenet"

    def settings(self) -> Mapping[str, Any]:
        """The official content of a form is fixed, so the raw data have no part in it; a partial copy's listing has."""
        form = self.form if self.form != "auto" else self._open()[0]
        settings = {"form": form, "size": self.size, "resize": self.resize}
        if not self.allow_partial:
            return settings
        form, folder = self._open()
        files = {str(path): (path.stat().st_size, path.stat().st_mtime_ns) for path in _lists(form, folder)}
        if form != "pickle":
            files |= {path: facts for tree in _trees(form, folder) for path, facts in tree.files.items()}
        return {**settings, "partial": content_key({path: list(facts) for path, facts in files.items()})}

    def scan(self) -> list[Item]:
        """Classes are WordNet ids, or what the folders are called."""
        form, folder = self._open()
        if form == "csv":
            items = self._scan_csv(folder)
        elif form == "folders":
            items = self._scan_folders(folder)
        else:
            items = [item for split in SPLITS for item in _scan_pickle(_cache(folder, split), split)]
        for split, official in CLASSES.items():
            here = [item for item in items if item.split == split]
            classes = len({item.class_name for item in here})
            raw.check_count(self.name, f"{split} classes in {folder}", classes, official, self.allow_partial)
            raw.check_count(
                self.name, f"{split} images in {folder}", len(here), PER_CLASS * official, self.allow_partial
            )
        return sorted(items, key=lambda item: (SPLITS.index(item.split), item.class_name, item.file_id))

    def read(self, items: Sequence[Item]) -> Iterator[NDArray[np.uint8] | BenchError]:
        """uint8 [3, size, size]."""
        form, folder = self._open()
        if form == "pickle":
            yield from self._read_pickles(folder, items)
            return
        photo = Photo(self.size, resize=self.resize)
        if form == "csv":
            tree = _images(folder)
            path_of = raw.by_name(self.name, tree)
            yield from decode_all(tree, [path_of[item.file_id] for item in items], photo)
            return
        for split, tree in zip(SPLITS, _trees(form, folder), strict=True):
            yield from decode_all(tree, [item.file_id for item in items if item.split == split], photo)

    def _open(self) -> tuple[Form, Path]:
        what = "mini-imagenet-cache-*.pkl, or train.csv, val.csv, test.csv and images/, or train/, val/ and test/"
        for folder in raw.find(self.data_dir, self.name, FOLDERS, what):
            there: dict[Form, bool] = {
                "pickle": _cache(folder, "train").is_file(),
                "csv": (folder / "train.csv").is_file(),
                "folders": (folder / "train").is_dir() and (folder / "test").is_dir(),
            }
            form = next((form for form, yes in there.items() if yes and self.form in ("auto", form)), None)
            if form is None:
                continue
            missing = [path.name for path in _lists(form, folder) if not path.exists()]
            if missing:
                raise BenchError(f"{self.name}: {folder} lacks {', '.join(missing)}")
            return form, folder
        wanted = what if self.form == "auto" else f"what dataset.form={self.form} needs ({what})"
        raise BenchError(
            f"{self.name}: {self.data_dir} does not hold {wanted}; 'bench list datasets --long' says where to get it"
        )

    def _scan_csv(self, folder: Path) -> list[Item]:
        tree = _images(folder)
        there = raw.by_name(self.name, tree)
        items: list[Item] = []
        for split in SPLITS:
            file = folder / f"{split}.csv"
            rows = raw.table(file, ("filename", "label"))
            for image, _ in rows:
                raw.check_name(image, file)
            names = [image for image, _ in rows]
            kept = raw.check_present(self.name, tree.where, there, names, self.allow_partial, file)
            items += [Item(split, label, image) for image, label in rows if image in kept]
        return items

    def _scan_folders(self, folder: Path) -> list[Item]:
        items = []
        for split, tree in zip(SPLITS, _trees("folders", folder), strict=True):
            for path in tree.files:
                parts = path.split("/")
                if len(parts) != 3 or not path.lower().endswith(SUFFIXES):
                    raise BenchError(f"{tree.where} holds {path!r}, which is no image ({split}/<class>/<image>.jpg)")
                items.append(Item(split, parts[1], path))
        return items

    def _read_pickles(self, folder: Path, items: Sequence[Item]) -> Iterator[NDArray[np.uint8]]:
        for split in SPLITS:
            rows = [int(item.file_id.rpartition("/")[2]) for item in items if item.split == split]
            if rows:
                images, _ = _load_cache(_cache(folder, split))
                for row in rows:
                    yield resize(images[row], self.size, self.size, self.resize).transpose(2, 0, 1)


def _cache(folder: Path, split: str) -> Path:
    return folder / f"mini-imagenet-cache-{split}.pkl"


def _lists(form: Form, folder: Path) -> list[Path]:
    """The files and folders that a form must have, images apart."""
    if form == "pickle":
        return [_cache(folder, split) for split in SPLITS]
    return [folder / (f"{split}.csv" if form == "csv" else split) for split in SPLITS]


def _trees(form: Form, folder: Path) -> list[archives.Tree]:
    if form == "csv":
        return [_images(folder)]
    return [archives.FolderTree(folder / split, within=split) for split in SPLITS]


def _images(folder: Path) -> archives.Tree:
    found = raw.file_in([folder], ("images", "images.zip"))
    if found is None:
        raise BenchError(f"mini-imagenet: {folder} has train.csv but neither images/ nor images.zip")
    return archives.open_tree(found)


def _scan_pickle(path: Path, split: str) -> list[Item]:
    images, classes = _load_cache(path)
    owner: dict[int, str] = {}
    for name, rows in classes.items():
        for row in rows:
            if not 0 <= row < len(images):
                raise BenchError(f"{path}: class {name!r} has image {row}, but there are {len(images)}")
            if owner.setdefault(row, name) != name:
                raise BenchError(f"{path}: image {row} is of the classes {owner[row]!r} and {name!r}")
    return [Item(split, name, f"{split}/{row:06d}") for row, name in sorted(owner.items())]


def _load_cache(path: Path) -> tuple[NDArray[np.uint8], dict[str, list[int]]]:
    """The images uint8 [n, H, W, 3] and, for every class, its rows."""
    value = array_pickle.load(path)
    form = f"{path} must hold a dict of image_data, uint8 [n, H, W, 3], and class_dict, lists of rows by class"
    if not isinstance(value, dict):
        raise BenchError(form)
    value = {_name(key): one for key, one in value.items()}
    images, classes = value.get("image_data"), value.get("class_dict")
    if not isinstance(images, np.ndarray) or images.dtype != np.uint8 or images.ndim != 4 or images.shape[3] != 3:
        raise BenchError(form)
    if not isinstance(classes, dict):
        raise BenchError(form)
    try:
        return images, {_name(name): [int(row) for row in rows] for name, rows in classes.items()}
    except (TypeError, ValueError) as error:
        raise BenchError(form) from error


def _name(key: object) -> str:
    """Keys of Python 2 are bytes."""
    return key.decode("utf-8", "replace") if isinstance(key, bytes) else str(key)
