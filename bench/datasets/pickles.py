"""Pickle files of NumPy arrays, read without running anything that they name.

A pickle is a program that may call whatever it names. This reader admits the handful of names with which NumPy writes
arrays, numbers and their types (of NumPy 1 and 2, under Python 2 and 3), and answers them with functions of its own,
so that not even NumPy's own code sees what a stranger wrote. Any other name is refused before it is looked up. How much
it would make is counted first, see :mod:`bench.datasets.pickle_bounds`.
"""

from __future__ import annotations

import pickle
import re
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from bench.basics.errors import BenchError
from bench.basics.files import check_regular
from bench.datasets.pickle_bounds import Excessive, names_asked_for

_DEEPEST = 8
"""Levels of dicts and lists within each other that are looked into."""


class _Refused(Exception):
    """A pickle asks for something that arrays do not need."""


def read_arrays(path: Path) -> Any:
    """The content of a pickle file: dicts, lists, tuples, strings, numbers and NumPy arrays of numbers.

    Strings of Python 2 come as bytes. Arrays are read-only. Raises BenchError in one sentence for a file that is
    damaged or no regular file, for one that names anything but NumPy's arrays, and for one that stands for far more
    values than it has; nothing of it is run then.
    """
    try:
        check_regular(path)
        with open(path, "rb") as file:
            names_asked_for(file)
            file.seek(0)
            return _settled(_Unpickler(file, encoding="bytes").load())
    except Excessive as error:
        raise BenchError(f"{path} is refused: it {error}, and no file of arrays needs that") from error
    except _Refused as error:
        raise BenchError(f"{path} is refused: {error}") from error
    except OSError as error:
        raise BenchError(f"cannot read {path}: {error.strerror or error}") from error
    except MemoryError as error:
        raise BenchError(
            f"{path} asks for more memory than there is; it is damaged or no pickle file, or memory is short"
        ) from error
    # A damaged pickle is a wrong program, which can fail in any way.
    except Exception as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise BenchError(f"{path} is damaged or no pickle file ({reason}); get it again") from error


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        """What stands for a global name."""
        admitted = _ADMITTED.get((re.sub(r"^numpy\._core\.", "numpy.core.", module), name))
        if admitted is None:
            raise _Refused(
                f"it asks for {module}.{name}, and a pickle may name nothing but NumPy's arrays, because it can run "
                "any code that it names"
            )
        return admitted

    def persistent_load(self, pid: Any) -> NoReturn:
        """There are no objects outside the file."""
        raise _Refused("it refers to objects outside itself")


class _Frozen:
    """What a pickle is given to call must not be changed by it."""

    __slots__ = ()

    def __setstate__(self, state: Any) -> None:
        raise _Refused("it would change how arrays are read")


class _ArrayClass(_Frozen):
    """Stands for ``numpy.ndarray``, which NumPy only ever names as the class to make."""

    __slots__ = ()


class _Type(_Frozen):
    """Stands for ``numpy.dtype`` and makes one: numbers of 1 to 8 bytes and booleans, nothing structured."""

    __slots__ = ()

    def __call__(self, code: Any, *_: Any) -> _TypeOf:
        return _TypeOf(code)


class _TypeOf:
    """A dtype in the making: its byte order comes as the state."""

    __slots__ = ("code", "dtype")

    def __init__(self, code: Any) -> None:
        self.code = _text(code)
        if not re.fullmatch(r"[biuf][1248]", self.code):
            raise _Refused(f"it holds an array of {self.code!r}, not of numbers")
        self.dtype = np.dtype(self.code)

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        order = _text(state[1])
        self.dtype = np.dtype(("" if order == "|" else order) + self.code)


class _Array:
    """An array in the making: everything about it comes as the state, as ``ndarray.__reduce__`` writes it."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value: NDArray[Any] | None = None

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _, shape, kind, column_major, data = state
        self.value = _array(data, kind, shape, "F" if column_major else "C")


class _Reconstruct(_Frozen):
    __slots__ = ()

    def __call__(self, subtype: Any, *_: Any) -> _Array:
        if not isinstance(subtype, _ArrayClass):
            raise _Refused("it holds a subclass of NumPy's arrays")
        return _Array()


class _FromBuffer(_Frozen):
    """Arrays of pickle protocol 5."""

    __slots__ = ()

    def __call__(self, data: Any, kind: Any, shape: Any, order: Any, *_: Any) -> NDArray[Any]:
        return _array(data, kind, shape, "F" if order in ("F", b"F") else "C")


class _Scalar(_Frozen):
    __slots__ = ()

    def __call__(self, kind: Any, data: Any) -> int | float | bool:
        value: int | float | bool = _array(data, kind, (1,), "C")[0].item()
        return value


class _Encode(_Frozen):
    """``_codecs.encode``, with which Python 3 writes bytes for Python 2."""

    __slots__ = ()

    def __call__(self, text: str, encoding: Any = "latin1") -> bytes:
        if encoding not in ("latin1", b"latin1"):
            raise _Refused("it encodes text in a way of its own")
        return text.encode("latin1")


class _NoBytes(_Frozen):
    """``bytes()``, the content of an empty array before pickle protocol 3."""

    __slots__ = ()

    def __call__(self) -> bytes:
        return b""


def _text(value: Any) -> str:
    """The name or byte order of a type, by Python 2 or 3."""
    text = value.decode("ascii") if isinstance(value, bytes) else value
    if not isinstance(text, str):
        raise _Refused("it holds an array of something else than numbers")
    return text[:20]


def _array(data: Any, kind: Any, shape: Any, order: Any) -> NDArray[Any]:
    if not isinstance(kind, _TypeOf) or not isinstance(data, bytes | bytearray):
        raise _Refused("it holds an array of something else than numbers")
    # A view: the bytes are there already, and their number says how large the array can be.
    return np.frombuffer(data, kind.dtype).reshape(shape, order=order)


_ADMITTED: dict[tuple[str, str], Any] = {
    ("numpy", "ndarray"): _ArrayClass(),
    ("numpy", "dtype"): _Type(),
    ("numpy.core.multiarray", "_reconstruct"): _Reconstruct(),
    ("numpy.core.multiarray", "scalar"): _Scalar(),
    ("numpy.core.numeric", "_frombuffer"): _FromBuffer(),
    ("_codecs", "encode"): _Encode(),
    ("__builtin__", "bytes"): _NoBytes(),
}


def _settled(value: Any, depth: int = 0) -> Any:
    """``value`` with finished arrays in the place of those in the making."""
    if depth > _DEEPEST:
        raise _Refused(f"it nests more than {_DEEPEST} deep")
    if isinstance(value, _Array):
        if value.value is None:
            raise _Refused("it holds an array without content")
        return value.value
    if isinstance(value, dict):
        return {key: _settled(one, depth + 1) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_settled(one, depth + 1) for one in value)
    if value is None or isinstance(value, bool | int | float | str | bytes | np.ndarray):
        return value
    raise _Refused(f"it holds a {type(value).__name__.lstrip('_')}, which is neither array, number nor text")
