"""The prepared copy is whole or absent, damage is named, and labels never reach unlabelled images."""

import ctypes
import hashlib
import json
import multiprocessing
import os
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from bench.basics.errors import BenchError
from bench.datasets.prepare import default_cache, load
from bench.datasets.source import Item, Split


@dataclass
class Made:
    """A source in memory: three images a class, whose pixels depend on their names only."""

    name: str = "made"
    classes: dict[str, Sequence[str]] = field(
        default_factory=lambda: {"train": ("a", "b", "c"), "val": (), "test": ("d", "e")}
    )
    shape: tuple[int, int, int] = (2, 4, 3)
    extra: Any = None
    reads: int = 0

    def settings(self) -> dict[str, Any]:
        return {"shape": list(self.shape), "extra": self.extra}

    def scan(self) -> list[Item]:
        return [
            Item(split, name, f"{name}/{i}.png")
            for split, names in self.classes.items()
            for name in names
            for i in range(3)
        ]

    def image(self, item: Item) -> np.ndarray:
        seed = int(hashlib.sha256(item.file_id.encode()).hexdigest()[:8], 16)
        return np.random.default_rng(seed).integers(0, 256, self.shape, dtype=np.uint8)

    def read(self, items: Sequence[Item]) -> Iterator[np.ndarray]:
        self.reads += 1
        for item in items:
            yield self.image(item)


def test_a_prepared_dataset_holds_the_sources_images_in_order(tmp_path: Path) -> None:
    source, seen = Made(), []
    dataset = load(source, tmp_path, lambda *call: seen.append(call))
    rows = [(s.name, s.class_names[c], f) for s in dataset.splits.values() for c, f in zip(s.class_ids, s.image_ids)]
    assert rows == [(i.split, i.class_name, i.file_id) for i in source.scan()]
    for split in dataset.splits.values():
        items = [item for item in source.scan() if item.split == split.name]
        for image, item in zip(split.pixels, items, strict=True):
            assert np.array_equal(image, source.image(item))
    assert dataset.image_shape == (2, 4, 3)
    assert seen[-1][:3] == ("prepare made", 15, 15)
    assert seen[-1][3]["images/s"] > 0
    # A second computation of the content hash: pixels, then the index as JSON rows.
    digest = hashlib.sha256(b"".join(source.image(item).tobytes() for item in source.scan()))
    digest.update(json.dumps(rows, separators=(",", ":")).encode())
    assert dataset.content_hash == digest.hexdigest()


def test_a_prepared_dataset_needs_no_raw_data_and_other_settings_make_another(tmp_path: Path) -> None:
    source = Made()
    first = load(source, tmp_path)
    again = load(source, tmp_path)
    assert source.reads == 1
    assert (first.content_hash, first.folder) == (again.content_hash, again.folder)
    assert load(Made(extra=1), tmp_path).folder != first.folder
    assert [path for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_splits_are_mapped_not_loaded(tmp_path: Path) -> None:
    train = load(Made(), tmp_path).splits["train"]
    assert isinstance(train.pixels, np.memmap)
    assert not train.pixels.flags.writeable


@pytest.mark.parametrize(
    ("classes", "message"),
    [
        ({"train": ("a",), "test": ()}, "no images in its test split"),
        ({"train": ("a",), "test": ("a",)}, "each named once"),
        ({"train": ("b", "a"), "test": ("c",)}, "must be ordered"),
        ({"train": ("a",), "tset": ("c",)}, "has a split 'tset'"),
    ],
)
def test_a_source_that_breaks_the_rules_leaves_nothing(tmp_path: Path, classes: dict, message: str) -> None:
    with pytest.raises(BenchError, match=message):
        load(Made(classes=classes), tmp_path)
    assert [path for path in tmp_path.iterdir() if path.is_dir()] == []


def test_a_class_in_two_splits_is_refused(tmp_path: Path) -> None:
    class Overlap(Made):
        def scan(self) -> list[Item]:
            return [Item("train", "a", "1"), Item("test", "a", "2")]

    with pytest.raises(BenchError, match="class 'a' of dataset 'made' is in the splits test and train"):
        load(Overlap(), tmp_path)


def test_a_source_that_fails_midway_leaves_nothing(tmp_path: Path) -> None:
    class Broken(Made):
        def image(self, item: Item) -> np.ndarray:
            if item.file_id == "d/1.png":
                raise BenchError("d/1.png is damaged")
            return super().image(item)

    with pytest.raises(BenchError, match=r"d/1\.png is damaged"):
        load(Broken(), tmp_path)
    assert [path for path in tmp_path.iterdir() if path.is_dir()] == []


def test_an_image_of_another_shape_is_named(tmp_path: Path) -> None:
    class Uneven(Made):
        def image(self, item: Item) -> np.ndarray:
            return super().image(item)[:, : 3 if item.file_id == "b/2.png" else 4]

    with pytest.raises(BenchError, match=r"'b/2\.png' of dataset 'made' is uint8 \(2, 3, 3\)"):
        load(Uneven(), tmp_path)


@pytest.mark.parametrize("name", ["", "Upper", "../up", "a b"])
def test_a_name_that_is_no_folder_name_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(BenchError, match="a dataset cannot be named"):
        load(Made(name=name), tmp_path)


# ------------------------------------------------------------------------------------------------- damage


def _truncate(folder: Path) -> None:
    os.truncate(folder / "images.npy", (folder / "images.npy").stat().st_size - 1)


def _lengthen(folder: Path) -> None:
    with open(folder / "images.npy", "ab") as file:
        file.write(b"x")


def _edit_pixel(folder: Path) -> None:
    data = bytearray((folder / "images.npy").read_bytes())
    data[-1] ^= 1
    (folder / "images.npy").write_bytes(data)


def _rename_class(folder: Path) -> None:
    import pandas as pd

    index = pd.read_parquet(folder / "index.parquet")
    index["class"] = index["class"].replace("a", "z")
    index.to_parquet(folder / "index.parquet", index=False)


DAMAGES = {
    "truncated images": _truncate,
    "longer images": _lengthen,
    "edited pixel": _edit_pixel,
    "edited index": _rename_class,
    "no images": lambda folder: (folder / "images.npy").unlink(),
    "pickle for images": lambda folder: np.save(folder / "images.npy", np.array([{}]), allow_pickle=True),
    "garbage images": lambda folder: (folder / "images.npy").write_bytes(b"PK\x03\x04 garbage"),
    "garbage index": lambda folder: (folder / "index.parquet").write_bytes(b"garbage"),
    "garbage meta": lambda folder: (folder / "meta.json").write_text("{"),
    "empty meta": lambda folder: (folder / "meta.json").write_text("{}"),
    "list for meta": lambda folder: (folder / "meta.json").write_text("[]"),
    "binary meta": lambda folder: (folder / "meta.json").write_bytes(b"\xff\xfe"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_copy_is_named_and_preparing_again_mends_it(tmp_path: Path, damage: str) -> None:
    dataset = load(Made(), tmp_path)
    DAMAGES[damage](dataset.folder)
    with pytest.raises(BenchError) as caught:
        load(Made(), tmp_path)
    message = str(caught.value)
    assert str(dataset.folder) in message
    assert "is damaged" in message
    assert "delete that folder, and it will be prepared again" in message
    assert "\n" not in message
    for file in dataset.folder.iterdir():
        file.unlink()
    dataset.folder.rmdir()
    assert load(Made(), tmp_path).content_hash == dataset.content_hash


# ------------------------------------------------------------------------------------ disks and processes


def test_a_cache_that_cannot_be_a_folder_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(BenchError, match=r"cannot write to .*file"):
        load(Made(), tmp_path / "file" / "cache")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 1 MiB."""
    place = tmp_path / "disk"
    place.mkdir()
    libc = ctypes.CDLL(None, use_errno=True)
    if not hasattr(libc, "mount") or libc.mount(b"tmpfs", bytes(place), b"tmpfs", 0, b"size=1m") != 0:
        pytest.skip("cannot mount a small tmpfs here")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=False)


def test_a_full_disk_is_one_sentence_and_nothing_half_written(small_disk: Path) -> None:
    with pytest.raises(BenchError, match="No space left on device"):
        load(Made(shape=(3, 200, 200)), small_disk)
    assert [path for path in small_disk.iterdir() if path.is_dir()] == []


def _prepare_slowly(cache: Path) -> tuple[int, str]:
    source = Made(shape=(3, 100, 100))
    return source.reads, load(source, cache).content_hash + str(source.reads)


def test_two_processes_prepare_once(tmp_path: Path) -> None:
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        results = pool.map(_prepare_slowly, [tmp_path, tmp_path])
    assert sorted(text[-1] for _, text in results) == ["0", "1"]
    assert len({text[:-1] for _, text in results}) == 1


def test_default_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BENCH_CACHE", "/x/y")
    assert default_cache() == Path("/x/y")
    monkeypatch.delenv("BENCH_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", "/c")
    assert default_cache() == Path("/c/unsupervised-meta-bench")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert default_cache() == Path.home() / ".cache" / "unsupervised-meta-bench"


# ------------------------------------------------------------------------------------------------ the wall


def split_of(pixels: np.ndarray, class_ids: np.ndarray, name: str = "train", dataset: str = "made") -> Split:
    names = tuple(f"class {i}" for i in range(int(class_ids.max()) + 1)) if len(class_ids) else ()
    return Split(dataset, name, pixels, class_ids, names, tuple(map(str, range(len(pixels)))))


@given(st.integers(0, 2**32 - 1), st.integers(4, 30))
def test_relabelled_pixels_give_the_same_unlabelled_bytes(seed: int, n: int) -> None:
    rng = np.random.default_rng(seed)
    pixels = rng.integers(0, 256, (n, 1, 3, 3), dtype=np.uint8)
    ids = np.arange(n) % 4
    one, other = (split_of(pixels, labels).unlabelled() for labels in (ids, rng.permutation(ids)))
    assert torch.equal(one.pixels, other.pixels)
    assert one.fingerprint == other.fingerprint
    assert sorted(map(bytes, one.pixels.numpy())) == sorted(map(bytes, pixels))


def test_the_fingerprint_follows_pixels_and_the_order_follows_names() -> None:
    pixels = np.arange(50, dtype=np.uint8).reshape(50, 1, 1, 1)
    base = split_of(pixels, np.arange(50) // 5).unlabelled()
    edited = pixels.copy()
    edited[7] = 255
    assert split_of(edited, np.arange(50) // 5).unlabelled().fingerprint != base.fingerprint
    for other in ({"name": "test"}, {"dataset": "other"}):
        assert not torch.equal(split_of(pixels, np.arange(50) // 5, **other).unlabelled().pixels, base.pixels)
    assert base.pixels.flatten().tolist() != list(range(50))


def test_labelled_images_keep_the_order_and_their_fingerprint_follows_labels() -> None:
    pixels = np.arange(12, dtype=np.uint8).reshape(6, 1, 2, 1)
    ids = np.array([0, 0, 1, 1, 2, 2])
    images = split_of(pixels, ids).labelled()
    assert images.pixels.numpy().tolist() == pixels.tolist()
    assert images.class_ids.tolist() == ids.tolist()
    assert images.class_ids.dtype == torch.int64
    assert split_of(pixels, ids[::-1].copy()).labelled().fingerprint != images.fingerprint


def test_what_is_handed_out_is_a_copy(tmp_path: Path) -> None:
    train = load(Made(), tmp_path).splits["train"]
    before = train.pixels.tobytes()
    train.labelled().pixels.zero_()
    train.unlabelled().pixels.zero_()
    assert train.pixels.tobytes() == before


def test_an_empty_split_can_be_asked_for_its_images(tmp_path: Path) -> None:
    val = load(Made(), tmp_path).splits["val"]
    assert len(val) == len(val.unlabelled()) == len(val.labelled()) == 0


def test_class_ids_must_count_from_zero() -> None:
    pixels = np.zeros((2, 1, 1, 1), np.uint8)
    with pytest.raises(BenchError, match="must count from 0 to 2"):
        Split("made", "train", pixels, np.array([0, 2]), ("a", "b", "c"), ("1", "2"))
