"""Prepare a dataset once, then map it: every image in one uint8 array, and an index beside it.

    <cache>/<name>-<key12>/
        images.npy      uint8 [n, C, H, W]
        index.parquet   one row an image, in the same order: split, class, file
        meta.json       content hash, shape, settings, counts, version, warnings, what it was made with
        images.seal.json   of a large dataset: that its images were verified, see :mod:`bench.datasets.sealing`
        unlabelled-train.npy, .json   of a large dataset: the same pixels in the order that methods see
    <cache>/.<name>-<key12>.claim/    while it is prepared: who does it
    <cache>/.<name>-<key12>.partial/  a preparation that was interrupted; the same command goes on from there

The key is a hash of the source's settings and of this code's version, so changed settings make a new folder
and a prepared dataset no longer needs its raw data.
"""

from __future__ import annotations

import itertools
import json
import os
import re
import shutil
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeGuard

import pyarrow as pa
import pyarrow.parquet as pq

from bench.basics.claims import Claim, Claimed, Lost, beside
from bench.basics.errors import BenchError
from bench.basics.files import install_folder, remove_leftovers
from bench.basics.keys import content_key
from bench.basics.npy import map_array
from bench.contracts import ProgressCallback
from bench.datasets.faults import Unfinished, is_utf8, shown
from bench.datasets.likeness import likenesses
from bench.datasets.opening import index_bytes, open_prepared
from bench.datasets.preprocessing import described, made_with
from bench.datasets.residence import is_large
from bench.datasets.scratch import copied, open_copy
from bench.datasets.source import SPLITS, AttributeSource, Dataset, DatasetSource, Item, WarningSource
from bench.datasets.unfinished import Writing, write_images

VERSION = 1
"""Raised when the files' layout changes or when a source draws other pixels from the same settings."""

ABANDONED_DAYS = 7.0
"""An interrupted preparation that nobody went on with for so long is deleted when another dataset is prepared."""

ELSEWHERE = "BENCH_CACHE=FOLDER puts prepared datasets elsewhere"


def default_cache() -> Path:
    """``$BENCH_CACHE``, else ``unsupervised-meta-bench`` in the user's cache folder."""
    if chosen := os.environ.get("BENCH_CACHE"):
        return Path(chosen)
    if base := os.environ.get("XDG_CACHE_HOME"):
        return Path(base) / "unsupervised-meta-bench"
    try:
        return Path.home() / ".cache" / "unsupervised-meta-bench"
    except RuntimeError as error:
        raise BenchError(
            "there is no home folder to keep prepared datasets in; set BENCH_CACHE to a folder for them"
        ) from error


def load(
    source: DatasetSource,
    cache: Path,
    progress: ProgressCallback | None = None,
    code: str | None = None,
    scratch: Path | None = None,
) -> Dataset:
    """The dataset of ``source``, prepared below ``cache`` if it is not there yet.

    code: SHA-256 of other people's code that reads it; edited, it is prepared anew. scratch: a folder on a disk of this
    host; the prepared dataset is copied there once, and opened from there.

    Two processes that ask at the same moment prepare it once. Raises BenchError when the raw data or the
    prepared copy are damaged, and when the copy cannot be written; Unfinished when the same call would go on.
    """
    if not re.fullmatch(r"[a-z0-9][a-z0-9._-]*", source.name):
        raise BenchError(
            f"a dataset cannot be named {source.name!r}; a name has lower-case letters, digits, '.', '_' and '-' only"
        )
    try:
        dataset = _load(source, cache, progress, code, scratch)
        return replace(dataset, preprocessing=described(source, dataset.image_shape))
    except MemoryError as error:
        raise Unfinished(
            f"there is not enough memory to prepare dataset {source.name!r}; what is done is kept, and the same "
            "command goes on from there"
        ) from error


def _load(
    source: DatasetSource, cache: Path, progress: ProgressCallback | None, code: str | None, scratch: Path | None
) -> Dataset:
    try:
        settings = dict(source.settings())
    except OSError as error:
        raise _unreadable(source.name, error) from error
    read_by = {} if code is None else {"code": code}
    key = content_key({"name": source.name, "version": VERSION, "settings": settings, **read_by})
    folder = cache / f"{source.name}-{key[:12]}"
    if scratch is not None and (found := open_copy(source.name, key, folder, scratch, progress)) is not None:
        return found
    try:
        if not folder.is_dir():
            cache.mkdir(parents=True, exist_ok=True)
            with Claim.take(beside(folder), told=_telling(progress)) as claim:
                if not folder.is_dir():
                    _sweep(cache, folder)
                    _prepare(source, settings, key, folder, progress, claim)
    except OSError as error:
        raise BenchError(f"cannot write to {cache}: {error.strerror or error}; {ELSEWHERE}") from error
    if scratch is not None:
        return copied(source.name, key, folder, scratch, progress)
    return open_prepared(source.name, key, folder, progress)


def _unreadable(name: str, error: OSError) -> BenchError:
    where = shown(error.filename) if isinstance(error.filename, str | os.PathLike) else f"the files of {name!r}"
    return BenchError(f"cannot read {where}: {error.strerror or error}")


def _telling(progress: ProgressCallback | None) -> Callable[[str], None] | None:
    return None if progress is None else lambda line: progress(line, 0, 0, {})


def _partial(folder: Path) -> Path:
    return folder.with_name(f".{folder.name}.partial")


def _sweep(cache: Path, folder: Path) -> None:
    """Delete what interrupted preparations of other datasets left, where nobody writes it or will go on with it."""
    for left in cache.glob(".*.partial"):
        name = left.name.removeprefix(".").removesuffix(".partial")
        try:
            newest = max(path.stat().st_mtime for path in (left, *left.iterdir()))
            if left == _partial(folder) or time.time() - newest < ABANDONED_DAYS * 86_400:
                continue
            with Claim.take(beside(cache / name), wait=False):
                shutil.rmtree(left, ignore_errors=True)
        except (OSError, Claimed):
            continue


def _prepare(
    source: DatasetSource,
    settings: Mapping[str, Any],
    key: str,
    folder: Path,
    progress: ProgressCallback | None,
    claim: Claim,
) -> None:
    try:
        items = source.scan()
    except OSError as error:
        raise _unreadable(source.name, error) from error
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
    writing = Writing(_partial(folder), content_key({"columns": columns, "names": names}))
    try:
        write_images(source, items, writing, progress)
        writing.digest.update(index_bytes(columns, names))
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
            "warnings": _warnings(source, items, writing.images),
            "made_with": made_with(),
        }
        if names is not None:
            meta["attributes"] = names
        text = json.dumps(meta, indent=1, sort_keys=True, ensure_ascii=False)
        (writing.folder / "meta.json").write_text(text + "\n", encoding="utf-8")
        writing.progress.unlink(missing_ok=True)
        remove_leftovers(writing.folder)
        claim.hold()
        install_folder(writing.folder, folder)
    except (BenchError, OSError) as error:  # but not an interrupt: what is there then, is right
        if not isinstance(error, Unfinished | Lost):
            shutil.rmtree(writing.folder, ignore_errors=True)
        raise
    train = open_prepared(source.name, key, folder, progress).splits["train"]
    if is_large(train.pixels):
        if progress is not None:
            progress(f"prepare {source.name}: the order that methods see", 0, 0, {})
        train.unlabelled()


def _warnings(source: DatasetSource, items: Sequence[Item], images: Path) -> list[str]:
    """What anyone who reads a score on these images should know."""
    pixels = map_array(images)
    rows = [(item.split, item.class_name, item.file_id) for item in items]
    found = likenesses(pixels, rows, of_classes=not _has_attributes(source))
    return [*found, *(source.warnings(items) if isinstance(source, WarningSource) else ())]


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
    for item in items:
        if not (is_utf8(item.class_name) and is_utf8(item.file_id)):
            raise BenchError(
                f"image {item.file_id!a} of class {item.class_name!a} of dataset {name!r} has a name that is not "
                "UTF-8; rename it"
            )
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
