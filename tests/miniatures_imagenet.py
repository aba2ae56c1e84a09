"""mini-ImageNet in each of the layouts it is passed around in, with few small images."""

import csv
import io
import pickle
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

SPLITS = ("train", "val", "test")
CLASSES = {"train": 6, "val": 2, "test": 5}


def picture(seed: int, size: int = 84) -> np.ndarray:
    """uint8 [size, size, 3]: a disc on a ground, coloured by ``seed // 100``, moved by the rest."""
    rng = np.random.default_rng(seed)
    ground, disc = np.random.default_rng(seed // 100).integers(0, 256, (2, 3))
    row, column = np.mgrid[:size, :size] - rng.integers(size // 3, 2 * size // 3, (2, 1, 1))
    image = np.where((row**2 + column**2 < (size / 4) ** 2)[..., None], disc, ground)
    return np.clip(image + rng.integers(-9, 10, image.shape), 0, 255).astype(np.uint8)


def rows(images: int, classes: dict[str, int] = CLASSES) -> Iterator[tuple[str, str, int, np.ndarray]]:
    """Split, class, number in the class, and pixels."""
    number = 0
    for split in SPLITS:
        for _ in range(classes[split]):
            number += 1
            for i in range(images):
                yield split, f"n{number:08d}", i, picture(100 * number + i)


def tables(folder: Path, images: int, line_end: str = "\n", kind: str = "PNG") -> Path:
    """``images/`` and Ravi and Larochelle's tables."""
    (folder / "images").mkdir(parents=True)
    files = {split: io.StringIO() for split in SPLITS}
    writers = {split: csv.writer(file, lineterminator=line_end) for split, file in files.items()}
    for writer in writers.values():
        writer.writerow(["filename", "label"])
    for split, label, i, pixels in rows(images):
        name = f"{label}{i:08d}.{'jpg' if kind == 'JPEG' else 'png'}"
        Image.fromarray(pixels).save(folder / "images" / name, kind)
        writers[split].writerow([name, label])
    for split, file in files.items():
        (folder / f"{split}.csv").write_bytes(file.getvalue().encode())
    return folder


def class_folders(folder: Path, images: int, names: dict[str, str] | None = None) -> Path:
    """``<split>/<class>/<image>``."""
    for split, label, i, pixels in rows(images):
        place = folder / (names or {}).get(split, split) / label
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(place / f"{i:08d}.png")
    return folder


def caches(folder: Path, images: int, protocol: int = 4, as_bytes: bool = False) -> Path:
    """``mini-imagenet-cache-<split>.pkl``, with text as of Python 3 or bytes as of Python 2."""
    folder.mkdir(parents=True)
    text = (lambda one: one.encode()) if as_bytes else str
    for split in SPLITS:
        mine = [(label, pixels) for where, label, _, pixels in rows(images) if where == split]
        classes: dict = {}
        for at, (label, _) in enumerate(mine):
            classes.setdefault(text(label), []).append(at)
        value = {text("image_data"): np.stack([pixels for _, pixels in mine]), text("class_dict"): classes}
        (folder / f"mini-imagenet-cache-{split}.pkl").write_bytes(pickle.dumps(value, protocol))
    return folder
