"""Warnings on images and classes that are there twice, and on photographs that are enlarged."""

import io
import json
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prepared_folders import write_all
from test_folder import SPLITS, as_bytes, by_class, by_split, picture, zip_of
from test_source_and_prepare import Made

from bench.basics.errors import BenchError
from bench.datasets.folder import Folder
from bench.datasets.likeness import likenesses, near_equal
from bench.datasets.prepare import load
from bench.datasets.torchmeta import TorchmetaFolder


def warned(folder: Path, **options: object) -> str:
    return " | ".join(load(Folder(str(folder), size=20, **options), folder.parent / "cache").warnings)


def test_clean_photographs_bring_no_warning(tmp_path: Path) -> None:
    assert warned(by_split(tmp_path / "in")) == ""


def test_the_same_image_in_train_and_test_is_told(tmp_path: Path) -> None:
    folder = by_split(tmp_path / "in")
    (folder / "test" / "dog" / "0.png").write_bytes((folder / "train" / "ape" / "1.png").read_bytes())
    message = "1 image is in more than one of the splits train, test: train/ape/1.png = test/dog/0.png"
    assert message in warned(folder)
    found = load(Folder(str(folder), size=20), tmp_path / "cache")  # there already
    assert message in found.warnings[0]


def test_a_class_that_is_a_link_to_another_and_copies_of_one_image_are_told(tmp_path: Path) -> None:
    folder = by_split(tmp_path / "in")
    os.symlink(folder / "train" / "ape", folder / "train" / "monkey")
    for i in range(3):
        (folder / "test" / "elk" / f"{i}.png").write_bytes(as_bytes(picture(9)))
    message = warned(folder)
    assert "3 images are in more than one class of a split: train/ape/0.png = train/monkey/0.png" in message
    assert "'elk' has 3 images, 1 of them distinct" in message


def test_classes_of_nearly_one_name_are_told(tmp_path: Path) -> None:
    folder = by_split(tmp_path / "in")
    for old, new in (("train/ape", "train/caf\u00e9"), ("test/dog", "test/cafe\u0301"), ("train/bee", "train/ELK")):
        (folder / old).rename(folder / new)
    message = warned(folder)
    assert "'ELK' (train) and 'elk' (test)" in message
    assert r"'caf\xe9' (train) and 'cafe\u0301' (test)" in message


@given(st.lists(st.text(min_size=1, max_size=4), unique=True, max_size=8))
def test_names_alike_are_those_that_fold_to_one(names: list[str]) -> None:
    found = near_equal(dict.fromkeys(names, "train"))
    assert len(found) <= 1
    assert near_equal(dict.fromkeys((*names, "Twin", "tWIN "), "train"))


@given(st.lists(st.integers(0, 3), min_size=1, max_size=9), st.integers(0, 2**32 - 1))
def test_images_are_told_across_splits_exactly_if_there_are_any(kinds: list[int], seed: int) -> None:
    rng = np.random.default_rng(seed)
    splits = sorted(rng.choice(["train", "val", "test"], len(kinds)), key=["train", "val", "test"].index)
    pixels = np.array(kinds, np.uint8).reshape(-1, 1, 1, 1).repeat(2, 3)
    rows = [(str(split), f"{split}{i % 2}", f"{i}.png") for i, split in enumerate(splits)]
    want = any(len({s for s, k in zip(splits, kinds) if k == kind}) > 1 for kind in kinds)
    assert any("more than one of the splits" in one for one in likenesses(pixels, rows)) == want


def test_a_dataset_that_was_prepared_without_warnings_still_opens(tmp_path: Path) -> None:
    dataset = load(Made(), tmp_path)
    meta = json.loads((dataset.folder / "meta.json").read_text())
    assert meta.pop("warnings") == []
    (dataset.folder / "meta.json").write_text(json.dumps(meta))
    again = load(Made(), tmp_path)
    assert (again.warnings, again.content_hash) == ((), dataset.content_hash)
    (dataset.folder / "meta.json").write_text(json.dumps({**meta, "warnings": "none"}))
    with pytest.raises(BenchError, match="is damaged"):
        load(Made(), tmp_path)


def test_enlarged_photographs_are_told(tmp_path: Path) -> None:
    folder = by_split(tmp_path / "in")
    (folder / "train" / "ape" / "0.png").write_bytes(as_bytes(picture(1, 100, 90)))
    (folder / "train" / "ape" / "1.png").write_bytes(as_bytes(picture(1, 300, 32)))
    message = "14 of 15 images have fewer than 84 x 84 pixels, the smallest 20 wide or high, and were enlarged; "
    assert message in load(Folder(str(folder)), tmp_path / "cache").warnings[0]
    zipped = zip_of(folder, tmp_path / "z.zip")
    assert message in load(Folder(str(zipped)), tmp_path / "cache").warnings[0]


def test_enlarged_images_of_torchmeta_are_told(tmp_path: Path) -> None:
    root = write_all(tmp_path / "root")
    small = load(TorchmetaFolder(str(root), "cifar-fs"), tmp_path / "cache").warnings
    assert "216 of 216 images have fewer than 84 x 84 pixels, the smallest 32" in small[0]
    assert load(TorchmetaFolder(str(root), "miniimagenet"), tmp_path / "cache").warnings == ()


def test_what_windows_hides_is_left_out_with_a_word(tmp_path: Path) -> None:
    folder = by_class(tmp_path / "in", SPLITS)
    for name in ("Thumbs.db", "desktop.ini", ".DS_Store"):
        (folder / "ape" / name).write_bytes(b"x")
    (folder / "Desktop.ini").write_bytes(b"x")
    message = "left out what Windows hid among the images"
    assert message in warned(folder)
    archive = zip_of(folder, tmp_path / "z.zip")
    assert message in load(Folder(str(archive), size=20), tmp_path / "cache").warnings[0]
    assert io.BytesIO(archive.read_bytes()).read(2) == b"PK"
