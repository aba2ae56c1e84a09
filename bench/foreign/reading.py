"""Files of the user's: only regular ones, of a size that can be read, and known by the SHA-256 of their content."""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from functools import cache
from io import BufferedReader
from pathlib import Path

MOST_BYTES = 16 * 2**30


def user_path(text: str) -> Path:
    """A path as the user wrote it, with ``~`` put in full where there is such a home."""
    path = Path(text)
    try:
        return path.expanduser()
    except RuntimeError:
        return path


def open_regular(path: Path) -> BufferedReader:
    """A file, or what a link leads to, opened to be read; OSError for anything else and for more than MOST_BYTES.

    Reading from a pipe would wait for ever, and reading from a device may never end.
    """
    try:
        # Without waiting for somebody to write to a pipe.
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
    except ValueError as error:  # a zero byte
        raise OSError(errno.EINVAL, "no file can have this name", str(path)) from error
    facts = os.fstat(descriptor)
    problem = None
    if not stat.S_ISREG(facts.st_mode):
        problem = errno.EINVAL, "it is no file"
    elif facts.st_size > MOST_BYTES:
        problem = errno.EFBIG, f"it has more than {MOST_BYTES >> 30} GiB"
    if problem:
        os.close(descriptor)
        raise OSError(*problem, str(path))
    return open(descriptor, "rb")


def sha256(path: Path) -> str:
    """SHA-256 (hex) of a file's content. OSError as :func:`open_regular`."""
    with open_regular(path) as file:
        facts = os.fstat(file.fileno())
    return _sha256(path.absolute(), facts.st_ino, facts.st_mtime_ns, facts.st_size)


@cache
def _sha256(path: Path, *_: int) -> str:
    with open_regular(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
