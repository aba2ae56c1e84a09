"""Omniglot: 1,623 handwritten characters of 50 alphabets, each drawn by 20 people."""

from __future__ import annotations

import hashlib
import io
import random
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from bench.basics.errors import BenchError
from bench.basics.keys import content_key
from bench.contracts import ProgressCallback
from bench.datasets import archives
from bench.datasets.resize import Filter, check_filter, in_words, resize
from bench.datasets.source import SPLITS, Item

OFFICIAL = "https://raw.githubusercontent.com/brendenlake/omniglot/master/python/"


@dataclass(frozen=True, slots=True)
class _Part:
    """One half of the official release: the MD5 of its archive, and the SHA-256 of the PNG files it holds."""

    md5: str
    content: str
    classes: int


PARTS: Mapping[str, _Part] = {
    "images_background": _Part(
        "68d2efa1b9178cc56df9314c21c6e718",
        "deaa02f758afda524b3a045c7af40311f2d9ded3e2a39f715ece8470d474bc6a",
        964,
    ),
    "images_evaluation": _Part(
        "6b91aef0f799c5bb55b94e3f2daec811",
        "3d5e035f27423c362bf9a181af649b43cda64c1008f842177ddc5203269c901e",
        659,
    ),
}
DRAWERS = 20

LASIUM_COUNTS = (1200, 100, 323)
"""Train, val and test classes of Khodadadeh et al. 2020."""

# The character split of Vinyals et al. 2016 (1028/172/423), as torchmeta publishes it: whole alphabets but
# for one.
VINYALS_VAL = ("Armenian", "Bengali", "Early_Aramaic", "Hebrew", "Mkhedruli_(Georgian)")
VINYALS_TEST = (
    *(
        "Kannada",
        "Keble",
        "Malayalam",
        "Manipuri",
        "Mongolian",
        "Old_Church_Slavonic_(Cyrillic)",
        "Oriya",
        "Sylheti",
    ),
    *("Syriac_(Serto)", "Tengwar", "Tibetan", "ULOG"),
    *(f"Gurmukhi/character{number}" for number in range(42, 46)),
)


@dataclass(frozen=True, slots=True)
class Omniglot:
    """The official release (Lake, Salakhutdinov and Tenenbaum 2015), both parts, from zip files or unpacked.

    ``split="lasium"``: 1200/100/323 characters in the order of a seeded shuffle (Khodadadeh et al. 2020,
    released code); ``"vinyals"``: the 1028/172/423 split of Vinyals et al. 2016. No rotated classes. The
    defaults resize as Khodadadeh et al. did, bilinearly without antialiasing, but make ink 1 and paper 0
    (they left paper 1).
    """

    data_dir: str | None = None
    """Holds images_background and images_evaluation (.zip or folder), or a folder ``omniglot`` that does."""
    split: Literal["lasium", "vinyals"] = "lasium"
    size: int = 28
    invert: bool = True
    """Ink is 255, so that a shifted image is filled up with paper."""
    resize: Filter = "bilinear"
    allow_partial: bool = False
    """Accept other characters than the official ones; the split is then proportional."""

    def __post_init__(self) -> None:
        if self.split not in get_args(Literal["lasium", "vinyals"]):
            raise BenchError(f"omniglot: split must be lasium or vinyals, not {self.split!r}")
        if not 8 <= self.size <= 105:
            raise BenchError(f"omniglot: size must be from 8 to 105, not {self.size!r}")
        check_filter(self.resize)

    @property
    def name(self) -> str:
        """``omniglot``, or ``omniglot-vinyals`` under that split."""
        return "omniglot" if self.split == "lasium" else f"omniglot-{self.split}"

    def settings(self) -> Mapping[str, Any]:
        """The official content is fixed, so the raw data have no part in it; a partial copy's listing has."""
        settings = {"split": self.split, "size": self.size, "invert": self.invert, "resize": self.resize}
        if self.allow_partial:
            listing = {part: list(tree.files.items()) for part, tree in self._trees().items()}
            return {**settings, "partial": content_key(listing)}
        return settings

    def preprocessing(self) -> Mapping[str, str]:
        """From the official PNG files to pixels."""
        ink = "255 minus the value, before resizing: ink is 255, paper 0" if self.invert else "ink is 0, paper 255"
        return {
            "files": "the PNG files of the official release, 105 x 105 pixels of 1 bit",
            "decoder": "Pillow",
            "colour": "grey: ink 0, paper 255",
            "polarity": ink,
            "resize": in_words(self.resize, self.size),
        }

    def scan(self) -> list[Item]:
        """Classes are folders, ``images_background/Greek/character01``. Checks the official content."""
        characters: dict[str, list[str]] = {}
        for part, tree in self._trees().items():
            found = _characters(part, tree)
            if not self.allow_partial:
                _check_official(part, tree, found)
            characters |= found
        chosen = self._split(sorted(characters))
        return [
            Item(split, character, file)
            for split in SPLITS
            for character in sorted(chosen[split])
            for file in characters[character]
        ]

    def read(self, items: Sequence[Item]) -> Iterator[NDArray[np.uint8]]:
        """uint8 [1, size, size]."""
        trees = self._trees()
        for item in items:
            tree = trees[item.file_id.split("/")[0]]
            try:
                with Image.open(io.BytesIO(tree.read(item.file_id)), formats=["PNG"]) as image:
                    if image.size != (105, 105):
                        raise ValueError(f"it is {image.size[0]} x {image.size[1]}, not 105 x 105")
                    pixels = np.asarray(image.convert("L"))
            except (BenchError, MemoryError):
                raise
            except Exception as error:  # whatever Pillow meets in a broken file, SyntaxError included
                raise BenchError(f"{item.file_id} in {tree.where} is not an Omniglot drawing ({error})") from error
            if self.invert:
                pixels = 255 - pixels
            yield resize(pixels, self.size, self.size, self.resize)[None]

    def _split(self, characters: Sequence[str]) -> Mapping[str, Sequence[str]]:
        if self.split == "vinyals":
            chosen: dict[str, list[str]] = defaultdict(list)
            for character in characters:
                _, alphabet, number = character.split("/")
                inside = {alphabet, f"{alphabet}/{number}"}
                chosen["val" if inside & {*VINYALS_VAL} else "test" if inside & {*VINYALS_TEST} else "train"].append(
                    character
                )
            return chosen
        shuffled = list(characters)
        random.Random(47).shuffle(shuffled)
        share = len(shuffled) / sum(LASIUM_COUNTS)  # 1 for the official content
        train, val = round(LASIUM_COUNTS[0] * share), round(LASIUM_COUNTS[1] * share)
        return {
            "train": shuffled[:train],
            "val": shuffled[train : train + val],
            "test": shuffled[train + val :],
        }

    def _trees(self) -> Mapping[str, archives.Tree]:
        """One tree for each part; its paths begin with the part's name."""
        how = "get it with 'bench prepare omniglot --download', or say where it is with --data-dir DIR"
        if self.data_dir is None:
            raise BenchError(f"omniglot needs the Omniglot images; {how}")
        for folder in (Path(self.data_dir), Path(self.data_dir) / "omniglot"):
            if all((folder / part).is_dir() or (folder / f"{part}.zip").is_file() for part in PARTS):
                return {part: _part_tree(folder, part) for part in PARTS}
        wanted = " and ".join(f"{part}.zip" for part in PARTS)
        raise BenchError(f"{self.data_dir} holds no Omniglot, neither {wanted} nor these unpacked; {how}")


def _part_tree(folder: Path, part: str) -> archives.Tree:
    zipped = folder / f"{part}.zip"
    return archives.ZipTree(zipped) if zipped.is_file() else archives.FolderTree(folder / part, within=part)


def _characters(part: str, tree: archives.Tree) -> dict[str, list[str]]:
    """Character folder -> its drawings. BenchError when something else lies there."""
    found: dict[str, list[str]] = defaultdict(list)
    for path in tree.files:
        if path.startswith(f"{part}/") and path.count("/") == 3 and path.endswith(".png"):
            found[path.rpartition("/")[0]].append(path)
        else:
            raise BenchError(
                f"{tree.where} holds {path!r}, which is no drawing ({part}/<alphabet>/<character>/<drawing>.png)"
            )
    if not found:
        raise BenchError(f"{tree.where} holds no drawings ({part}/<alphabet>/<character>/<drawing>.png)")
    return found


def _check_official(part: str, tree: archives.Tree, characters: Mapping[str, Sequence[str]]) -> None:
    official = PARTS[part]
    short = next((name for name, files in characters.items() if len(files) != DRAWERS), None)
    if len(characters) != official.classes or short:
        what = f"{len(characters)} characters, not {official.classes}"
        if short:
            what = f"{len(characters[short])} drawings of {short}, not {DRAWERS}"
        raise BenchError(f"{tree.where} is not the official Omniglot: it has {what}; get it again")
    digest = hashlib.sha256()
    # In order of alphabet, character, file: a plain sort of whole paths would put "A-B/" before "A/".
    for path in sorted(tree.files, key=lambda path: path.split("/")):
        digest.update(f"{hashlib.sha256(tree.read(path)).hexdigest()}  {path}\n".encode())
    if digest.hexdigest() != official.content:
        raise BenchError(f"{tree.where} is not the official Omniglot: its images differ; get it again")


def download(data_dir: Path, base_url: str = OFFICIAL, progress: ProgressCallback | None = None) -> Path:
    """Fetch the official archives that ``data_dir/omniglot`` lacks; returns that folder.

    Each archive is checked against the official MD5 as it arrives; preparing the dataset checks every image
    in it.
    """
    folder = data_dir / "omniglot"
    for part, official in PARTS.items():
        if not (folder / f"{part}.zip").is_file():
            archives.download(f"{base_url.rstrip('/')}/{part}.zip", folder / f"{part}.zip", official.md5, progress)
    return folder
