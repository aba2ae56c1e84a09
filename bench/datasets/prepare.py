"""Prepare a dataset once, then map it: every image in one uint8 array, and an index beside it.

    <cache>/<name>-<key12>/
        images.npy      uint8 [n, C, H, W]
        index.parquet   one row an image, in the same order: split, class, file
        meta.json       content hash, shape, settings, counts, version
        unlabelled-train.npy, .json   of a large dataset: the same pixels in the order that methods see
    <cache>/<name>-<key12>.lock
    <cache>/.<name>-<key12>.partial/  a preparation that was interrupted; the same command goes on from there

The key is a hash of the source's settings and of this code's version, so changed settings make a new folder
and a prepared dataset no longer needs its raw data.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import math
import os
import re
import shutil
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, TypeGuard

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from filelock import FileLock
from numpy.typing import NDArray

from bench.basics.errors import BenchError
from bench.basics.files import install_folder, read_json, write_json
from bench.basics.keys import content_key
from bench.contracts import ProgressCallback
from bench.datasets.images import Attributes
from bench.datasets.residence import MappedFrom, is_large, npy_header
from bench.datasets.source import SPLITS, AttributeSource, Dataset, DatasetSource, Item, Split

VERSION = 1
"""Raised when the files' layout changes or when a source draws other pixels from the same settings."""

MOST_NAMED = 50  # damaged images named in one message
CHECKPOINT_SECONDS = 5.0
BLOCK = 2**24  # bytes hashed at a time

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
    names = {split: list(of) for split, of in source.attribute_names().items()} if _has_attributes(source) else None
    columns = {
        "split": [item.split for item in items],
        "class": [item.class_name for item in items],
        "file": [item.file_id for item in items],
    }
    if names is not None:
        _check_attributes(source.name, items, names)
        columns["attributes"] = [item.attributes for item in items]
    writing = _Writing(folder.with_name(f".{folder.name}.partial"), content_key({"columns": columns, "names": names}))
    try:
        _write_images(source, items, writing, progress)
        _hash_index(writing.digest, columns, names)
        pq.write_table(pa.table(columns), writing.folder / "index.parquet")
        per_split = Counter(item.split for item in items)
        classes = {name: len({item.class_name for item in items if item.split == name}) for name in SPLITS}
        meta = {
            "version": VERSION,
            "name": source.name,
            "key": key,
            "settings": settings,
            "shape": [len(items), *writing.shape],
            "counts": {name: {"classes": classes[name], "images": per_split[name]} for name in SPLITS},
            "content_hash": writing.digest.hexdigest(),
        }
        if names is not None:
            meta["attributes"] = names
        text = json.dumps(meta, indent=1, sort_keys=True, ensure_ascii=False)
        (writing.folder / "meta.json").write_text(text + "\n", encoding="utf-8")
        writing.progress.unlink(missing_ok=True)
        install_folder(writing.folder, folder)
    except (BenchError, OSError):  # but not an interrupt: what is there then, is right
        shutil.rmtree(writing.folder, ignore_errors=True)
        raise
    train = _open(source.name, key, folder).splits["train"]
    if is_large(train.pixels):
        if progress is not None:
            progress(f"prepare {source.name}: the order that methods see", 0, 0, {})
        train.unlabelled()


def _has_attributes(source: DatasetSource) -> TypeGuard[AttributeSource]:
    return isinstance(source, AttributeSource)


def _check_attributes(name: str, items: Sequence[Item], names: Mapping[str, Sequence[str]]) -> None:
    for item in items:
        if len(item.attributes) != len(names[item.split]) or set(item.attributes) - {"0", "1"}:
            raise BenchError(
                f"image {item.file_id!r} of dataset {name!r} must have a 0 or a 1 for each of the "
                f"{len(names[item.split])} attributes of its split, not {item.attributes!r}"
            )


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


@dataclass
class _Writing:
    """The unfinished copy of a dataset: how many images are in it, safely, and their hash."""

    folder: Path
    items: str
    """Hash of all items: a copy of other ones is not gone on with."""
    shape: tuple[int, ...] = ()
    done: int = 0
    digest: hashlib._Hash = field(default_factory=hashlib.sha256)

    @property
    def images(self) -> Path:
        return self.folder / "images.npy"

    @property
    def progress(self) -> Path:
        return self.folder / "progress.json"

    def resume(self, total: int) -> None:
        """Take over the images of an interrupted preparation, if their hash is what it was."""
        try:
            found = read_json(self.progress)
            shape, done = tuple(int(n) for n in found["shape"]), int(found["done"])
            if found["items"] == self.items and 0 < done <= total:
                digest = hashlib.sha256()
                left = done * math.prod(shape)
                with open(self.images, "rb") as file:
                    file.seek(len(npy_header((total, *shape))))
                    while left and (data := file.read(min(BLOCK, left))):
                        digest.update(data)
                        left -= len(data)
                if digest.hexdigest() == found["sha256"]:
                    self.shape, self.done, self.digest = shape, done, digest
                    return
        except (BenchError, OSError, KeyError, TypeError, ValueError):
            pass
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)

    def checkpoint(self, file: IO[bytes]) -> None:
        """From here on an interrupted preparation goes on."""
        file.flush()
        os.fsync(file.fileno())
        facts = {"items": self.items, "shape": list(self.shape), "done": self.done}
        write_json(self.progress, {**facts, "sha256": self.digest.copy().hexdigest()})


def _write_images(
    source: DatasetSource, items: Sequence[Item], writing: _Writing, progress: ProgressCallback | None
) -> None:
    """Stream every image into the file; a damaged one ends that, but the others are looked at too, to name them all."""
    writing.resume(len(items))
    before = seen = writing.done
    began = reported = saved = time.monotonic()
    damaged: list[BenchError] = []
    # Written, not mapped: a full disk is an error of write(), but kills a process that stores into a map.
    with open(writing.images, "rb+" if writing.done else "wb") as file:
        if writing.done:
            file.seek(len(npy_header((len(items), *writing.shape))) + writing.done * math.prod(writing.shape))
            file.truncate()
        left = items[before:]
        for item, image in zip(left, source.read(left) if left else (), strict=True):
            seen += 1
            if isinstance(image, BenchError):
                damaged.append(image)
            elif not damaged:
                if not writing.shape:
                    writing.shape = image.shape
                    file.write(npy_header((len(items), *image.shape)))
                if image.shape != writing.shape or image.dtype != np.uint8:
                    raise BenchError(
                        f"image {item.file_id!r} of dataset {source.name!r} is {image.dtype} {image.shape}, "
                        f"the first was uint8 {writing.shape}"
                    )
                data = image.tobytes()
                file.write(data)
                writing.digest.update(data)
                writing.done += 1
            now = time.monotonic()
            if progress is not None and (seen == len(items) or now - reported >= 0.2):
                reported = now
                rate = (seen - before) / max(now - began, 1e-9)
                progress(f"prepare {source.name}", seen, len(items), {"images/s": round(rate, 1)})
            if writing.done and not damaged and now - saved >= CHECKPOINT_SECONDS:
                writing.checkpoint(file)
                saved = time.monotonic()
    if damaged:
        raise BenchError(_all_damaged(source.name, len(items), [str(error) for error in damaged]))


def _all_damaged(name: str, total: int, messages: Sequence[str]) -> str:
    if len(messages) == 1:
        return messages[0]
    named = "; ".join(messages[:MOST_NAMED])
    more = f"; and {len(messages) - MOST_NAMED} more" if len(messages) > MOST_NAMED else ""
    return f"{len(messages)} of {total} images of dataset {name!r} cannot be read: {named}{more}"


def _hash_index(
    digest: hashlib._Hash, columns: dict[str, list[str]], names: Mapping[str, Sequence[str]] | None = None
) -> None:
    rows = list(zip(*(columns[one] for one in ("split", "class", "file")), strict=True))
    digest.update(json.dumps(rows, ensure_ascii=False, separators=(",", ":")).encode())
    if names is not None:
        digest.update(json.dumps([names, columns["attributes"]], sort_keys=True, separators=(",", ":")).encode())


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
        names = meta.get("attributes")
        wanted = ("split", "class", "file", *(["attributes"] if names is not None else []))
        columns: dict[str, list[str]] = {column: table[column].to_pylist() for column in wanted}
        if len(columns["file"]) != len(pixels):
            raise ValueError(f"index.parquet names {len(columns['file'])} images of {len(pixels)}")
        if pixels.nbytes < HASHED_BELOW:
            digest = hashlib.sha256(pixels.data)
            _hash_index(digest, columns, names)
            if digest.hexdigest() != meta["content_hash"]:
                raise ValueError("its content does not match its checksum")
        file = MappedFrom(folder / "images.npy", pixels.offset, meta["content_hash"])
        splits = {split: _split(name, split, pixels, columns, file, names) for split in SPLITS}
        return Dataset(name, meta["content_hash"], splits, folder)
    except (BenchError, OSError, ValueError, KeyError, TypeError, pa.ArrowException) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        if isinstance(error, KeyError):
            reason = f"{reason} is missing"
        raise BenchError(
            f"the prepared dataset in {folder} is damaged ({reason}); delete that folder, and it will be prepared again"
        ) from error


def _split(
    dataset: str,
    name: str,
    pixels: NDArray[np.uint8],
    columns: dict[str, list[Any]],
    file: MappedFrom,
    attribute_names: Mapping[str, Sequence[str]] | None,
) -> Split:
    here = np.flatnonzero(np.array(columns["split"], dtype=object) == name)
    # The splits lie one after the other, so a split is a slice of the mapped file and costs no memory.
    first, last = (int(here[0]), int(here[-1]) + 1) if len(here) else (0, 0)
    if last - first != len(here):
        raise ValueError(f"the {name} images are not together")
    attributes = None
    if attribute_names is not None:
        asked = tuple(attribute_names[name])
        bits = np.frombuffer("".join(columns["attributes"][first:last]).encode(), dtype=np.uint8) == ord("1")
        attributes = Attributes(asked, bits.reshape(last - first, len(asked)))
    names, ids = np.unique(np.array(columns["class"][first:last], dtype=str), return_inverse=True)
    return Split(
        dataset,
        name,
        pixels[first:last],
        ids.astype(np.int64),
        tuple(str(one) for one in names),
        tuple(columns["file"][first:last]),
        MappedFrom(file.path, file.offset + first * pixels[:1].nbytes, file.content_hash),
        attributes,
    )
