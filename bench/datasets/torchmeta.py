"""A folder that torchmeta has prepared, as a dataset."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from bench.basics.errors import BenchError, did_you_mean
from bench.datasets.decoding import GREY, told_enlarged
from bench.datasets.resize import Filter, check_filter, in_words, resize
from bench.datasets.source import SPLITS, Item
from bench.datasets.torchmeta_folders import LAYOUTS, PreparedSplit, read_prepared


@dataclass(frozen=True, slots=True)
class TorchmetaFolder:
    """Classes and splits as in the folder (see :mod:`bench.datasets.torchmeta_folders`), images resized.

    Every split is read as it is; what a class's images are called is their number in it.
    """

    data_dir: str | None = None
    """The root that torchmeta was given."""
    folder: str = "miniimagenet"
    name: str = "torchmeta"
    size: int = 84
    channels: int = 3
    """3, or 1 for grey."""
    resize: Filter = "antialias"

    def __post_init__(self) -> None:
        if self.folder not in LAYOUTS:
            hint = did_you_mean(self.folder, LAYOUTS)
            raise BenchError(f"{self.name}: folder must be one of {', '.join(LAYOUTS)}, not {self.folder!r}.{hint}")
        if not 8 <= self.size <= 512:
            raise BenchError(f"{self.name}: size must be from 8 to 512, not {self.size!r}")
        if self.channels not in (1, 3):
            raise BenchError(f"{self.name}: channels must be 1 or 3, not {self.channels!r}")
        check_filter(self.resize)

    def settings(self) -> Mapping[str, Any]:
        """How images are made, and the raw files' sizes and times."""
        files = {}
        for split, part in self._splits().items():
            facts = part.path.stat()
            files[split] = [facts.st_size, facts.st_mtime_ns, list(part.classes)]
        return {"size": self.size, "channels": self.channels, "resize": self.resize, "files": files}

    def scan(self) -> list[Item]:
        """Images are named ``<class>/<number>``, with zeros in front so that names sort as numbers do."""
        return [
            Item(split, name, f"{name}/{number:06}")
            for split, part in self._splits().items()
            for name, count in sorted(zip(part.classes, part.counts(), strict=True))
            for number in range(count)
        ]

    def read(self, items: Sequence[Item]) -> Iterator[NDArray[np.uint8]]:
        """uint8 [channels, size, size]; a class is read at a time."""
        splits = self._splits()
        for (split, name), group in groupby(items, key=lambda item: (item.split, item.class_name)):
            images = splits[split].images(name)
            for item in group:
                yield self._made(images[int(item.file_id.rpartition("/")[2])])

    def preprocessing(self) -> Mapping[str, str]:
        """From the folder's HDF5 files to pixels."""
        return {
            "files": f"HDF5 files of {self.folder} as torchmeta 1.8.0 prepares them: arrays, or PNG and JPEG files",
            "decoder": "h5py; of files Pillow, as RGB",
            "colour": GREY if self.channels == 1 else "RGB",
            "resize": in_words(self.resize, self.size),
            "polarity": "as torchmeta keeps it",
        }

    def warnings(self, items: Sequence[Item]) -> Sequence[str]:
        """Of images that are enlarged, by the first of every class."""
        splits, small = self._splits(), []
        for (split, name), group in groupby(items, key=lambda item: (item.split, item.class_name)):
            side = min(splits[split].first_shape(name))
            small += [side] * len(list(group)) if side < self.size else []
        return told_enlarged(small, len(items), self.size, len(items))

    def _made(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        mode = "L" if self.channels == 1 else "RGB"
        pixels = np.ascontiguousarray(np.asarray(Image.fromarray(image).convert(mode)))
        pixels = resize(pixels, self.size, self.size, self.resize)
        return pixels.reshape(self.size, self.size, self.channels).transpose(2, 0, 1)

    def _splits(self) -> dict[str, PreparedSplit]:
        if self.data_dir is None:
            raise BenchError(
                "dataset 'torchmeta' needs the folder that torchmeta was given as its root; --data-dir DIR"
            )
        there = LAYOUTS[self.folder].splits
        return {split: read_prepared(Path(self.data_dir), self.folder, split) for split in SPLITS if split in there}
