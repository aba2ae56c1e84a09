"""Every open verifies: small files are hashed, large ones are known by a seal that any change breaks."""

import hashlib
import json
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from test_source_and_prepare import Made

from bench.basics.errors import BenchError
from bench.datasets import opening, residence, sealing
from bench.datasets.prepare import load
from bench.datasets.source import Dataset


@pytest.fixture
def large(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every dataset counts as large, and its files as old enough to be sealed."""
    monkeypatch.setattr(opening, "HASHED_BELOW", 0)
    monkeypatch.setattr(residence, "COPIED_UP_TO", 0)
    monkeypatch.setattr(sealing, "SETTLED_SECONDS", 0.0)


def zero_half_of_the_test_images(folder: Path) -> None:
    pixels = np.load(folder / "images.npy", mmap_mode="r+")
    pixels[-3:] = 0
    pixels.flush()


def permute_classes(folder: Path) -> None:
    index = pd.read_parquet(folder / "index.parquet")
    index["class"] = index["class"].replace({"d": "e", "e": "d"})
    index.to_parquet(folder / "index.parquet", index=False)


def put_back_the_time(folder: Path) -> None:
    """As ``touch -r`` and ``cp -p`` do."""
    before = (folder / "images.npy").stat()
    zero_half_of_the_test_images(folder)
    os.utime(folder / "images.npy", ns=(before.st_atime_ns, before.st_mtime_ns))


def replace_the_file(folder: Path) -> None:
    before = (folder / "images.npy").stat()
    data = bytearray((folder / "images.npy").read_bytes())
    data[-1] ^= 1
    (folder / "other").write_bytes(data)
    os.utime(folder / "other", ns=(before.st_atime_ns, before.st_mtime_ns))
    os.replace(folder / "other", folder / "images.npy")


@pytest.mark.usefixtures("large")
@pytest.mark.parametrize("damage", [zero_half_of_the_test_images, permute_classes, put_back_the_time, replace_the_file])
def test_damage_to_a_large_dataset_is_noticed_at_the_next_open(tmp_path: Path, damage) -> None:
    folder = load(Made(), tmp_path).folder
    load(Made(), tmp_path)
    assert (folder / "images.seal.json").is_file()
    damage(folder)
    with pytest.raises(BenchError, match=r"is damaged .its content does not match its checksum"):
        load(Made(), tmp_path)


@pytest.mark.usefixtures("large")
def test_a_sealed_file_is_not_hashed_again_and_a_touched_one_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = load(Made(), tmp_path).folder
    hashed: list[int] = []

    class Counted:
        def sha256(self, data: bytes = b"") -> "hashlib._Hash":
            hashed.append(memoryview(data).nbytes)
            return hashlib.sha256(data)

    monkeypatch.setattr(opening, "hashlib", Counted())
    size = 15 * 24
    load(Made(), tmp_path)
    assert size not in hashed
    os.utime(folder / "images.npy")
    load(Made(), tmp_path)
    assert hashed.count(size) == 1
    load(Made(), tmp_path)
    assert hashed.count(size) == 1


@pytest.mark.usefixtures("large")
@pytest.mark.parametrize("seal", ["", "{", "[]", "{}", '{"file": null}', "edited"])
def test_a_seal_that_is_none_costs_a_hash_and_nothing_else(tmp_path: Path, seal: str) -> None:
    dataset = load(Made(), tmp_path)
    file = dataset.folder / "images.seal.json"
    whole = file.read_text()
    if seal == "edited":
        seal = whole.replace('"content": "', '"content": "0', 1)
    file.write_text(seal)
    assert load(Made(), tmp_path).content_hash == dataset.content_hash
    assert file.read_text() == whole


@pytest.mark.usefixtures("large")
def test_a_file_that_changed_just_now_is_not_sealed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sealing, "SETTLED_SECONDS", 60.0)
    folder = load(Made(), tmp_path).folder
    assert not (folder / "images.seal.json").exists()
    load(Made(), tmp_path)
    assert not (folder / "images.seal.json").exists()


def unlabelled(dataset: Dataset) -> tuple[bytes, str]:
    images = dataset.splits["train"].unlabelled()
    return images.pixels.numpy().tobytes(), images.fingerprint


@pytest.mark.usefixtures("large")
def test_the_copy_that_methods_see_is_verified_too(tmp_path: Path) -> None:
    dataset = load(Made(), tmp_path)
    before = unlabelled(dataset)
    copy, facts = dataset.folder / "unlabelled-train.npy", dataset.folder / "unlabelled-train.json"
    assert unlabelled(dataset) == before
    assert set(json.loads(facts.read_text())) == {"pixels", "seal"}
    # One that an earlier version made has no seal; it is compared with the images, then sealed.
    facts.write_text(json.dumps({"pixels": before[1]}))
    assert unlabelled(dataset) == before
    assert "seal" in json.loads(facts.read_text())
    data = bytearray(copy.read_bytes())
    data[-1] ^= 1
    copy.write_bytes(data)
    with pytest.raises(BenchError, match=r"unlabelled-train\.npy is damaged; delete the folder"):
        unlabelled(dataset)
    # Nor do a copy and facts of other images that belong together pass.
    pixels = np.frombuffer(bytes(data[-before[0].__len__() :]), np.uint8).reshape(dataset.splits["train"].pixels.shape)
    facts.write_text(json.dumps({"pixels": residence.pixel_digest(pixels).hexdigest()}))
    with pytest.raises(BenchError, match="is damaged"):
        unlabelled(dataset)
    for file in (copy, facts):
        file.unlink()
    assert unlabelled(dataset) == before


@pytest.mark.usefixtures("large")
def test_what_a_killed_writer_of_the_copy_left_is_removed(tmp_path: Path) -> None:
    dataset = load(Made(), tmp_path)
    for file in dataset.folder.glob("unlabelled-*"):
        file.unlink()
    left = dataset.folder / ".unlabelled-train.npy.abc.tmp"
    left.write_bytes(b"gigabytes")
    unlabelled(dataset)
    assert not left.exists()
