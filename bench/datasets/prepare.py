"""Prepare a dataset once, then map it: every image in one uint8 array, and an index beside it.

    <cache>/<name>-<key12>/
        images.npy      uint8 [n, C, H, W]
        index.parquet   one row an image, in the same order: split, class, file
        meta.json       content hash, shape, settings, counts, version
    <cache>/<name>-<key12>.lock

The key is a hash of the source's settings and of this code's version, so changed settings make a new folder
and a prepared dataset no longer needs its raw data.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import re
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from filelock import FileLock
from numpy.typing import NDArray

from bench.artifacts import content_key
from bench.contracts import ProgressCallback
from bench.datasets.source import SPLITS, Dataset, DatasetSource, Item, Split
from bench.errors import BenchError
from bench.files import read_json, replacing_folder

VERSION = 1
"""Raised when the files' layout changes or when a source draws other pixels from the same settings."""

HASHED_BELOW = 256 * 2**20
"""images.npy smaller than this is hashed on every load; of a larger one only the size is checked. Bytes."""


def default_cache() -> Path:
    """``$BENCH_CACHE``, else ``unsupervised-meta-bench`` in the user's cache folder."""
    if chosen := os.environ.get("BENCH_CACHE"):
        return Path(chosen)
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "unsupervised-meta-bench"


def load(source: DatasetSource, cache: Path, progress: ProgressCallback | None = None) -> Dataset:
    """The dataset of ``source``, prepared below ``cache`` if it is not there yet.

    Two processes that ask at the same moment prepare it once. Raises BenchError when the raw data or the
    prepared copy are damaged, and when the copy cannot be written.
    """
    if not re.fullmatch(r"[a-z0-9][a-z0-9._-]*", source.name):
        raise BenchError(
            f"a dataset cannot be named {source.name!r}; a name has lower-case letters, digits, '.', '_' and '-' only"
        )
    settings = dict(source.settings())
    key = content_key({"name": source.name, "version": VERSION, "settings": settings})
    folder = cache / f"{source.name}-{key[:12]}"
    if not folder.is_dir():
        try:
            cache.mkdir(parents=True, exist_ok=True)
            with FileLock(f"{folder}.lock"):
                if not folder.is_dir():
                    _prepare(source, settings, key, folder, progress)
        except OSError as error:
            raise BenchError(f"cannot write to {cache}: {error.strerror or error}") from error
    return _open(source.name, key, folder)


def _prepare(
    source: DatasetSource,
    settings: Mapping[str, Any],
    key: str,
    folder: Path,
    progress: ProgressCallback | None,
) -> None:
    items = source.scan()
    _check_items(source.name, items)
    with replacing_folder(folder) as temporary:
        shape, digest = _write_images(source, items, temporary / "images.npy", progress)
        columns = {
            "split": [item.split for item in items],
            "class": [item.class_name for item in items],
            "file": [item.file_id for item in items],
        }
        _hash_index(digest, columns)
        pq.write_table(pa.table(columns), temporary / "index.parquet")
        per_split = Counter(item.split for item in items)
        classes = {name: len({item.class_name for item in items if item.split == name}) for name in SPLITS}
        meta = {
            "version": VERSION,
            "name": source.name,
            "key": key,
            "settings": settings,
            "shape": list(shape),
            "counts": {name: {"classes": classes[name], "images": per_split[name]} for name in SPLITS},
            "content_hash": digest.hexdigest(),
        }
        text = json.dumps(meta, indent=1, sort_keys=True, ensure_ascii=False)
        (temporary / "meta.json").write_text(text + "\n", encoding="utf-8")


def _check_items(name: str, items: Sequence[Item]) -> None:
    found = {item.split for item in items}
    if unknown := found.difference(SPLITS):
        raise BenchError(f"dataset {name!r} has a split {unknown.pop()!r}; the splits are {', '.join(SPLITS)}")
    for needed in ("train", "test"):
        if needed not in found:
            raise BenchError(f"dataset {name!r} has no images in its {needed} split")
    order = [(SPLITS.index(item.split), item.class_name, item.file_id) for item in items]
    if order != sorted(order) or len({item.file_id for item in items}) != len(items):
        raise BenchError(f"the images of dataset {name!r} must be ordered by split, class and file, each named once")
    pairs = sorted({(item.class_name, item.split) for item in items})
    for (one, first), (other, second) in itertools.pairwise(pairs):
        if one == other:
            raise BenchError(
                f"class {one!r} of dataset {name!r} is in the splits {first} and {second}; a class belongs to one split"
            )


def _write_images(
    source: DatasetSource, items: Sequence[Item], path: Path, progress: ProgressCallback | None
) -> tuple[tuple[int, ...], hashlib._Hash]:
    """Stream every image into ``path``; returns the array's shape and the hash of its pixels."""
    digest = hashlib.sha256()
    shape: tuple[int, ...] | None = None
    done, reported = 0, time.monotonic()
    # Written, not mapped: a full disk is an error of write(), but kills a process that stores into a map.
    with open(path, "wb") as file:
        for item, image in zip(items, source.read(items), strict=True):
            if shape is None:
                shape = image.shape
                whole = (len(items), *shape)
                np.lib.format.write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False, "shape": whole})
            if image.shape != shape or image.dtype != np.uint8:
                raise BenchError(
                    f"image {item.file_id!r} of dataset {source.name!r} is {image.dtype} {image.shape}, "
                    f"the first was uint8 {shape}"
                )
            data = image.tobytes()
            file.write(data)
            digest.update(data)
            done += 1
            if progress is not None and (done == len(items) or time.monotonic() - reported >= 0.2):
                reported = time.monotonic()
                progress(f"prepare {source.name}", done, len(items), {})
    assert shape is not None  # _check_items refuses an empty list
    return (len(items), *shape), digest


def _hash_index(digest: hashlib._Hash, columns: dict[str, list[str]]) -> None:
    rows = zip(columns["split"], columns["class"], columns["file"], strict=True)
    digest.update(json.dumps(list(rows), ensure_ascii=False, separators=(",", ":")).encode())


def _open(name: str, key: str, folder: Path) -> Dataset:
    try:
        meta = read_json(folder / "meta.json")
        if meta["key"] != key:
            raise ValueError("it was made with other settings than its name says")
        pixels = np.lib.format.open_memmap(folder / "images.npy", mode="r")
        if pixels.dtype != np.uint8 or list(pixels.shape) != meta["shape"]:
            raise ValueError(f"images.npy is {pixels.dtype} {list(pixels.shape)}, not uint8 {meta['shape']}")
        if (folder / "images.npy").stat().st_size != pixels.offset + pixels.nbytes:
            raise ValueError("images.npy is longer than its images")
        table = pq.read_table(folder / "index.parquet")
        columns: dict[str, list[str]] = {column: table[column].to_pylist() for column in ("split", "class", "file")}
        if len(columns["file"]) != len(pixels):
            raise ValueError(f"index.parquet names {len(columns['file'])} images of {len(pixels)}")
        if pixels.nbytes < HASHED_BELOW:
            digest = hashlib.sha256(pixels.data)
            _hash_index(digest, columns)
            if digest.hexdigest() != meta["content_hash"]:
                raise ValueError("its content does not match its checksum")
        splits = {split: _split(name, split, pixels, columns) for split in SPLITS}
        return Dataset(name, meta["content_hash"], splits, folder)
    except (BenchError, OSError, ValueError, KeyError, TypeError, pa.ArrowException) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        if isinstance(error, KeyError):
            reason = f"{reason} is missing"
        raise BenchError(
            f"the prepared dataset in {folder} is damaged ({reason}); delete that folder, and it will be prepared again"
        ) from error


def _split(dataset: str, name: str, pixels: NDArray[np.uint8], columns: dict[str, list[Any]]) -> Split:
    here = np.flatnonzero(np.array(columns["split"], dtype=object) == name)
    # The splits lie one after the other, so a split is a slice of the mapped file and costs no memory.
    first, last = (int(here[0]), int(here[-1]) + 1) if len(here) else (0, 0)
    if last - first != len(here):
        raise ValueError(f"the {name} images are not together")
    names, ids = np.unique(np.array(columns["class"][first:last], dtype=str), return_inverse=True)
    return Split(
        dataset,
        name,
        pixels[first:last],
        ids.astype(np.int64),
        tuple(str(one) for one in names),
        tuple(columns["file"][first:last]),
    )
