"""Files are written whole or not at all."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import json
import os
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

from bench.basics.errors import BenchError


@contextmanager
def replacing(path: Path, within: Path | None = None) -> Iterator[Path]:
    """A temporary path beside ``path`` to write to; synced and renamed over ``path`` if the block succeeds.

    within: another folder of the same file system for the temporary file. Raises BenchError, in one sentence, when the
    disk is full or the folder cannot be written to.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=within or path.parent, prefix=f".{path.name}.", suffix=".tmp")
        os.close(handle)
        temporary = Path(name)
        try:
            yield temporary
            with open(temporary, "rb+") as file:
                os.fsync(file.fileno())
            os.chmod(temporary, 0o666 & ~_umask())
            os.replace(temporary, path)
            _sync_folder(path.parent)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise BenchError(f"cannot write {path}: {error.strerror or error}") from error


@contextmanager
def replacing_folder(path: Path) -> Iterator[Path]:
    """As :func:`replacing`, for a folder. An existing folder of that name is replaced as a whole."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp"))
        try:
            yield temporary
            install_folder(temporary, path)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    except OSError as error:
        raise BenchError(f"cannot write {path}: {error.strerror or error}") from error


def install_folder(temporary: Path, path: Path) -> None:
    """Sync what is in the folder ``temporary`` and rename it to ``path`` beside it, replacing what is there."""
    for file in temporary.rglob("*"):
        if file.is_file():
            with open(file, "rb+") as handle:
                os.fsync(handle.fileno())
    os.chmod(temporary, 0o777 & ~_umask())
    if not path.exists():
        os.replace(temporary, path)
    elif _exchange(temporary, path):
        shutil.rmtree(temporary, ignore_errors=True)
    else:  # where two folders cannot be exchanged in one step, the old one is beside it for a moment
        old = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}.", suffix=".old"))
        os.replace(path, old / path.name)
        os.replace(temporary, path)
        shutil.rmtree(old, ignore_errors=True)
    _sync_folder(path.parent)


def _exchange(one: Path, other: Path) -> bool:
    """Swap two paths in one step, so that a kill finds the one or the other. False where that cannot be done."""
    try:
        renameat2 = ctypes.CDLL(None, use_errno=True).renameat2
    except (AttributeError, OSError):
        return False
    here, exchange = -100, 2  # AT_FDCWD, RENAME_EXCHANGE
    return bool(renameat2(here, os.fsencode(one), here, os.fsencode(other), exchange) == 0)


Replacing = Callable[[Path], AbstractContextManager[Path]]
"""How a file is replaced: by :func:`replacing`, or as :meth:`bench.basics.claims.Claim.replacing` allows."""


def write_text(path: Path, text: str, how: Replacing = replacing) -> None:
    """Write UTF-8 text, whole or not at all."""
    with how(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any, how: Replacing = replacing) -> None:
    """Write a JSON document with sorted keys; NaN and infinities are refused."""
    write_text(path, json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n", how)


def check_regular(path: Path) -> None:
    """OSError unless ``path`` is, or leads to, a file: reading from a pipe would wait for ever."""
    if not stat.S_ISREG(path.stat().st_mode):
        raise OSError(errno.EINVAL, "it is no file", str(path))


def remove_leftovers(folder: Path, name: str = "*") -> None:
    """Delete the temporary files that writers of ``name`` left when they were killed. The caller holds their lock."""
    for path in folder.glob(f".{name}.*.tmp"):
        with contextlib.suppress(OSError):
            path.unlink()


MOST_BYTES_OF_JSON = 64 * 2**20


def read_json(path: Path, mend: str = "delete it and run again") -> Any:
    """Read a JSON document; BenchError names the file when it is damaged, and says how to ``mend`` that.

    NaN and infinities are no JSON. Only a regular file of at most 64 MiB is read, in UTF-8 (with or without a mark).
    """
    try:
        # Not to wait for ever at a pipe that somebody put there.
        with open(os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0)), "rb") as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise BenchError(f"{path} is no file; {mend}")
            data = file.read(MOST_BYTES_OF_JSON + 1)
    except OSError as error:
        raise BenchError(f"cannot read {path}: {error.strerror or error}") from error
    if len(data) > MOST_BYTES_OF_JSON:
        raise BenchError(f"{path} has more than {MOST_BYTES_OF_JSON} bytes; {mend}")
    try:
        return json.loads(data.decode("utf-8-sig"), parse_constant=_no_number)
    except (ValueError, RecursionError) as error:
        reason = "its lists are nested too deeply" if isinstance(error, RecursionError) else error
        raise BenchError(f"{path} is damaged (not valid JSON: {reason}); {mend}") from error


def _no_number(text: str) -> None:
    raise ValueError(f"{text} is no number")


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _sync_folder(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
