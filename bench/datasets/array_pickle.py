"""Reading pickled NumPy arrays of foreign origin without running anything of theirs.

A pickle is a program that may call whatever it names. Here it may name what NumPy writes for arrays, numbers and their
types, and even for these it gets plain stand-ins of this module, not NumPy's own functions.
"""

from __future__ import annotations

import math
import pickle
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.errors import BenchError

TYPES = frozenset({"b1", "u1", "u2", "u4", "u8", "i1", "i2", "i4", "i8", "f4", "f8"})
MOST_BYTES = 8 * 2**30


def load(path: Path) -> Any:
    """The value in a pickle of dicts, lists, tuples, numbers, text and NumPy arrays; of Python 2 too.

    Text of Python 2 comes as bytes. The file is held in memory whole. BenchError, in one sentence, for one that names
    anything else, and for a damaged one.
    """
    try:
        if (size := path.stat().st_size) > MOST_BYTES:
            raise BenchError(f"{path} has {size} bytes, more than the limit of {MOST_BYTES}")
        with open(path, "rb") as file:
            return _plain(_Unpickler(file, encoding="bytes").load())
    except BenchError as error:
        raise BenchError(
            f"{path} is refused: {error}" if not str(error).startswith(str(path)) else str(error)
        ) from error
    except OSError as error:
        raise BenchError(f"cannot read {path}: {error.strerror or error}") from error
    # What a damaged or hostile stream makes pickle raise is not documented; MemoryError for absurd lengths is among it.
    except Exception as error:
        what = str(error).partition("\n")[0] or type(error).__name__
        raise BenchError(f"{path} is damaged or holds something else than arrays ({what})") from error


class _Dtype:
    """Stands for ``numpy.dtype``."""

    __slots__ = ("code", "order")

    def __init__(self, code: str | bytes, align: bool = False, copy: bool = False) -> None:
        self.code = _text(code).lstrip("<>|=")
        self.order = "<"
        if self.code not in TYPES:
            raise BenchError(f"it holds an array of the type {self.code[:20]!r}; numbers only can be read")

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        order = _text(state[1])
        if order not in ("<", ">", "|", "="):
            raise ValueError("unknown byte order")
        self.order = ">" if order == ">" else "<"

    @property
    def real(self) -> np.dtype[Any]:
        return np.dtype(self.order + self.code)


class _Array:
    """Stands for ``numpy.ndarray``."""

    __slots__ = ("array",)

    array: NDArray[Any]

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        shape, dtype, fortran, data = state[-4:]
        self.array = _from_bytes(data, dtype, shape, "F" if fortran else "C")


def _from_bytes(data: object, dtype: object, shape: object, order: object) -> NDArray[Any]:
    if not isinstance(data, bytes | bytearray | memoryview) or not isinstance(dtype, _Dtype):
        raise ValueError("an array is not of numbers")
    if not isinstance(shape, tuple) or not all(isinstance(n, int) and n >= 0 for n in shape):
        raise ValueError("an array has no shape")
    if memoryview(data).nbytes != math.prod(shape) * dtype.real.itemsize:
        raise ValueError("an array has another size than its shape says")
    return np.frombuffer(data, dtype.real).reshape(shape, order="F" if _text(order) == "F" else "C")


def _reconstruct(kind: object, shape: object, code: object) -> _Array:
    if kind is not _Array:
        raise BenchError("it makes arrays of a class of its own")
    return _Array()


def _frombuffer(data: object, dtype: object, shape: object, order: object, *_: object) -> _Array:
    made = _Array()
    made.array = _from_bytes(data, dtype, shape, order)
    return made


def _scalar(dtype: object, data: object) -> Any:
    return _from_bytes(data, dtype, (), "C").item()


def _encode(text: str, encoding: str = "latin1") -> bytes:
    """How Python 3 writes bytes where Python 2 is to read them."""
    if _text(encoding) not in ("latin1", "latin-1"):
        raise ValueError("unknown encoding")
    return text.encode("latin1")


_ADMITTED: Mapping[tuple[str, str], Callable[..., Any]] = {
    ("numpy", "ndarray"): _Array,
    ("numpy", "dtype"): _Dtype,
    ("_codecs", "encode"): _encode,
    **{
        (f"numpy.{core}.{module}", name): stand_in
        for core in ("core", "_core")
        for module, name, stand_in in (
            ("multiarray", "_reconstruct", _reconstruct),
            ("multiarray", "scalar", _scalar),
            ("numeric", "_frombuffer", _frombuffer),
        )
    },
}


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        found = _ADMITTED.get((module, name))
        if found is None:
            raise BenchError(f"it names {module}.{name}, which could run code; arrays and plain values only are read")
        return found


def _plain(value: Any) -> Any:
    """Stand-ins replaced by arrays, in dicts and lists at the top."""
    if isinstance(value, _Array):
        return value.array
    if isinstance(value, dict):
        return {key: _plain(one) for key, one in value.items()}
    if isinstance(value, list) and any(isinstance(one, _Array) for one in value):
        return [_plain(one) for one in value]
    return value


def _text(value: object) -> str:
    if isinstance(value, bytes):
        return value.decode("ascii")
    if not isinstance(value, str):
        raise ValueError("text is missing")
    return value
