"""Small folders in exactly the layouts that torchmeta 1.8.0 writes."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
from PIL import Image

SPLITS = ("train", "val", "test")
CLASSES, IMAGES = 6, 12  # so many images that numbers do not sort as text


def write_all(root: Path) -> Path:
    """Every folder that :mod:`bench.datasets.torchmeta_folders` reads, ``CLASSES`` classes a split."""
    draws = np.random.default_rng(0)
    write_omniglot(root, draws)
    write_cifar(root, draws)
    for folder, packed in (("miniimagenet", None), ("tieredimagenet", "PNG"), ("cub", "JPEG")):
        write_per_split(root, folder, packed, draws)
    return root


def write_omniglot(root: Path, draws: np.random.Generator) -> None:
    import h5py

    folder = root / "omniglot"
    folder.mkdir(parents=True)
    groups = {"train": "images_background", "val": "images_background", "test": "images_evaluation"}
    names = {
        split: [[groups[split], f"Alphabet_of_{split}", f"character{c:02}"] for c in range(1, CLASSES + 1)]
        for split in SPLITS
    }
    with h5py.File(folder / "data.hdf5", "w") as file:
        for name in (name for split in SPLITS for name in names[split]):
            file.create_dataset("/".join(name), data=draws.integers(0, 256, (IMAGES, 105, 105), dtype=np.uint8))
    for split in SPLITS:
        (folder / f"vinyals_{split}_labels.json").write_text(json.dumps(names[split]))
    (folder / "train_labels.json").write_text(json.dumps(names["train"] + names["val"]))
    (folder / "test_labels.json").write_text(json.dumps(names["test"]))


def write_cifar(root: Path, draws: np.random.Generator) -> None:
    import h5py

    fine = {f"coarse_{split}": [f"{split}_{c}" for c in range(CLASSES)] for split in SPLITS}
    for sub in ("cifar-fs", "fc100"):
        (root / "cifar100" / sub).mkdir(parents=True)
    with h5py.File(root / "cifar100" / "data.hdf5", "w") as file:
        for coarse, names in fine.items():
            for name in names:
                images = draws.integers(0, 256, (IMAGES, 32, 32, 3), dtype=np.uint8)
                file.create_dataset(f"{coarse}/{name}", data=images)
    (root / "cifar100" / "fine_names.json").write_text(json.dumps(fine))
    for split in SPLITS:
        labels = [[f"coarse_{split}", name] for name in fine[f"coarse_{split}"]]
        for sub in ("cifar-fs", "fc100"):
            (root / "cifar100" / sub / f"{split}_labels.json").write_text(json.dumps(labels))


def write_per_split(root: Path, folder: str, packed: str | None, draws: np.random.Generator) -> None:
    import h5py

    (root / folder).mkdir(parents=True)
    for s, split in enumerate(SPLITS):
        names = [f"n{s}{c:03}" for c in range(CLASSES)]
        (root / folder / f"{split}_labels.json").write_text(json.dumps(names))
        with h5py.File(root / folder / f"{split}_data.hdf5", "w") as file:
            group = file.create_group("datasets")
            for c, name in enumerate(names):
                count = IMAGES if c else 3  # one class has too few images for most tasks
                if packed is None:
                    group.create_dataset(name, data=draws.integers(0, 256, (count, 84, 84, 3), dtype=np.uint8))
                    continue
                dataset = group.create_dataset(name, (count,), dtype=h5py.special_dtype(vlen=np.uint8))
                dataset.attrs["label_general"], dataset.attrs["label_specific"] = f"general{c % 2}", name
                for i in range(count):
                    size = (84, 84, 3) if packed == "PNG" else (40 + 5 * i, 60 - 2 * c, 3)
                    image = Image.fromarray(draws.integers(0, 256, size, dtype=np.uint8))
                    buffer = io.BytesIO()
                    image.save(buffer, packed)
                    dataset[i] = np.frombuffer(buffer.getvalue(), dtype=np.uint8)
