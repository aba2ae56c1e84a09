"""Images and learning curves that a run leaves behind, each with a digest in its file. Imports no torch.

What a file claims is checked before memory is taken. Files of version 0.1 have no digest, and are taken as they are.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from bench.basics.errors import BenchError
from bench.basics.files import Replacing, check_regular, replacing
from bench.basics.npy import map_array

MOST_BYTES = 2**31
_TRAILER = b"\nsha256 "  # stands behind the images of a .npy file, where NumPy does not look
_KEY = b"bench.sha256"
CURVE = pa.schema([("stage", pa.string()), ("step", pa.int64()), ("name", pa.string()), ("value", pa.float64())])


def write_images(path: Path, images: NDArray[np.uint8], how: Replacing = replacing) -> None:
    """An ``.npy`` file, whole or not at all, with the digest of the images behind them."""
    whole = np.ascontiguousarray(images)
    with how(path) as temporary, open(temporary, "wb") as file:
        np.save(file, whole)
        file.write(_TRAILER + _digest(whole).encode())


def write_curve(path: Path, table: pa.Table, how: Replacing = replacing, **options: Any) -> None:
    """A learning curve (stage, step, name, value) as Parquet, with its digest; ``options`` as of ``write_table``."""
    whole = table.select(CURVE.names).cast(CURVE).replace_schema_metadata(None)
    sealed = whole.replace_schema_metadata({_KEY: _curve_digest(whole).encode()})
    with how(path) as temporary:
        pq.write_table(sealed, temporary, **options)


def read_curve(path: Path) -> pa.Table:
    """What :func:`write_curve` wrote. ValueError, OSError or ArrowException where it is damaged."""
    check_own_file(path)
    check_regular(path)
    with pq.ParquetFile(path) as file:
        table = file.read(use_threads=False)
    if missing := set(CURVE.names) - set(table.column_names):
        raise ValueError(f"it has no column {' or '.join(sorted(missing))}")
    facts = {key: value for key, value in (table.schema.metadata or {}).items() if key != b"pandas"}
    whole = table.select(CURVE.names).cast(CURVE).replace_schema_metadata(None)
    if facts and facts != {_KEY: _curve_digest(whole).encode()}:
        raise ValueError("its values do not match their checksum")
    return whole


def _curve_digest(table: pa.Table) -> str:
    digest = hashlib.sha256(repr(table.num_rows).encode())
    for name in CURVE.names:
        column = table[name]
        text = pa.types.is_string(column.type)
        digest.update(
            "\n".join(map(str, column.to_pylist())).encode() if text else np.ascontiguousarray(column.to_numpy()).data
        )
    return digest.hexdigest()


def _digest(images: NDArray[np.uint8]) -> str:
    return hashlib.sha256(f"{images.dtype} {images.shape}".encode() + images.tobytes()).hexdigest()


def check_own_file(path: Path) -> None:
    """ValueError for a link: a run's files are its own, and what a link leads to is nobody's result."""
    if path.is_symlink():
        raise ValueError("it is a link, not a file")


def read_images(path: Path, axes: int, mend: str) -> NDArray[np.uint8]:
    """Images uint8 [..., 1 or 3, H, W] of ``axes`` axes from an ``.npy`` file. BenchError, naming it, for others."""
    try:
        check_own_file(path)
        check_regular(path)
        if path.stat().st_size > MOST_BYTES:
            raise ValueError(f"more than {MOST_BYTES} bytes")
        images = map_array(path)
        behind = path.read_bytes()[images.offset + images.nbytes :]
        if behind and (behind[: len(_TRAILER)] != _TRAILER or behind[len(_TRAILER) :].decode() != _digest(images)):
            raise ValueError("its images do not match their checksum")
        if images.dtype != np.uint8 or images.ndim != axes or images.shape[-3] not in (1, 3) or not images.size:
            raise ValueError(f"uint8 images of {axes} axes expected, not {images.dtype} {images.shape}")
        return np.array(images)
    except (OSError, ValueError, MemoryError) as error:
        reason = " ".join(str(error).split())[:120]
        raise BenchError(f"{path} is damaged ({reason}); {mend}") from error
