"""Opening a prepared dataset: mapped, not read, and never used unless it is what was prepared."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from bench.basics.errors import BenchError
from bench.basics.files import read_json
from bench.basics.npy import map_array
from bench.contracts import ProgressCallback
from bench.datasets.faults import no_fault_of_the_data
from bench.datasets.images import Attributes
from bench.datasets.preprocessing import NOT_RECORDED
from bench.datasets.residence import MappedFrom
from bench.datasets.sealing import facts_of, is_sealed, read_seal, seal_of, write_seal
from bench.datasets.source import SPLITS, Dataset, Split

HASHED_BELOW = 256 * 2**20
"""images.npy smaller than this is hashed on every load; a larger one once, and then known by its seal. Bytes."""


def open_prepared(name: str, key: str, folder: Path, progress: ProgressCallback | None = None) -> Dataset:
    """The dataset in ``folder``. BenchError in one sentence when it is damaged, and another when it may not be read."""
    try:
        meta = read_json(folder / "meta.json")
        if meta["key"] != key:
            raise ValueError("it was made with other settings than its name says")
        pixels = map_array(folder / "images.npy")
        if pixels.dtype != np.uint8 or list(pixels.shape) != meta["shape"]:
            raise ValueError(f"images.npy is {pixels.dtype} {list(pixels.shape)}, not uint8 {meta['shape']}")
        if (folder / "images.npy").stat().st_size != pixels.offset + pixels.nbytes:
            raise ValueError("images.npy is longer than its images")
        table = pq.read_table(folder / "index.parquet", use_threads=False)
        names = meta.get("attributes")
        wanted = ("split", "class", "file", *(["attributes"] if names is not None else []))
        columns: dict[str, list[str]] = {column: table[column].to_pylist() for column in wanted}
        if len(columns["file"]) != len(pixels):
            raise ValueError(f"index.parquet names {len(columns['file'])} images of {len(pixels)}")
        _verify(name, folder, pixels, index_bytes(columns, names), meta["content_hash"], progress)
        file = MappedFrom(folder / "images.npy", pixels.offset, meta["content_hash"])
        splits = {split: _split(name, split, pixels, columns, file, names) for split in SPLITS}
        return Dataset(name, meta["content_hash"], splits, folder, _warnings(meta), made_with=_made_with(meta))
    except (
        BenchError,
        OSError,
        MemoryError,
        ValueError,
        KeyError,
        TypeError,
        AttributeError,
        pa.ArrowException,
    ) as error:
        if what := no_fault_of_the_data(error):
            raise BenchError(
                f"cannot open the prepared dataset in {folder}: {what}; that says nothing against the data, so keep "
                "them, and give this process what it lacks, or set BENCH_CACHE to a folder of your own"
            ) from error
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        if isinstance(error, KeyError):
            reason = f"{reason} is missing"
        raise BenchError(
            f"the prepared dataset in {folder} is damaged ({reason}); delete that folder, and it will be prepared again"
        ) from error


def index_bytes(columns: Mapping[str, Sequence[str]], names: Mapping[str, Sequence[str]] | None) -> bytes:
    """What the content hash covers besides the pixels: split, class and name of every image, and its attributes."""
    rows = list(zip(*(columns[one] for one in ("split", "class", "file")), strict=True))
    data = json.dumps(rows, ensure_ascii=False, separators=(",", ":")).encode()
    if names is not None:
        data += json.dumps([names, columns["attributes"]], sort_keys=True, separators=(",", ":")).encode()
    return data


def _verify(
    name: str,
    folder: Path,
    pixels: NDArray[np.uint8],
    index: bytes,
    content_hash: str,
    progress: ProgressCallback | None,
) -> None:
    """ValueError unless pixels and index have the content hash. The index is always hashed."""
    images, seal = folder / "images.npy", folder / "images.seal.json"
    large = pixels.nbytes >= HASHED_BELOW
    content = {"content": str(content_hash), "index": hashlib.sha256(index).hexdigest()}
    if large and is_sealed(images, read_seal(seal), content):
        return
    if large and progress is not None:
        progress(f"check {name}: hashing {pixels.nbytes / 2**30:.1f} GiB", 0, 0, {})
    before = facts_of(images)
    digest = hashlib.sha256(pixels.data)
    digest.update(index)
    if digest.hexdigest() != content_hash:
        raise ValueError("its content does not match its checksum")
    if large:
        write_seal(seal, seal_of(images, before, content))


def _warnings(meta: Mapping[str, Any]) -> tuple[str, ...]:
    """Those of a dataset that was prepared before there were any: none."""
    found = meta.get("warnings", [])
    if not isinstance(found, list) or not all(isinstance(one, str) for one in found):
        raise ValueError("the warnings in meta.json are no list of sentences")
    return tuple(found)


def _made_with(meta: Mapping[str, Any]) -> dict[str, str]:
    found = meta.get("made_with", NOT_RECORDED)
    if not isinstance(found, dict) or not all(isinstance(one, str) for one in found.values()):
        raise ValueError("the versions in meta.json are no texts")
    return found


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
