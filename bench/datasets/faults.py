"""Whose fault it is: what keeps a file from being read says nothing about what is in the file.

Imports no torch, so that a process that decodes starts at once.
"""

from __future__ import annotations

import errno
import os
from pathlib import Path

from bench.basics.errors import BenchError

# These say that a path leads nowhere, or that its bytes are not what was expected there.
_OF_THE_FILE = {errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.EINVAL, errno.ELOOP}


class Unfinished(BenchError):
    """Something outside the data ended the work: what is done is kept, and the same command goes on from there."""


def no_fault_of_the_data(error: BaseException | None) -> str | None:
    """What kept a file from being read, where that was not its content: rights, memory, too many open files.

    None where the content may be at fault, or the file is missing. What an error was raised ``from`` is looked at too.
    """
    while error is not None:
        if isinstance(error, PermissionError):
            return f"{_named(error)}may not be read by this user (permission denied)"
        if isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno == errno.ENOMEM):
            return "there is not enough memory"
        if isinstance(error, OSError) and error.errno is not None and error.errno not in _OF_THE_FILE:
            return f"{_named(error)}cannot be read ({error.strerror or error})"
        error = error.__cause__
    return None


def shown(name: str | os.PathLike[str]) -> str:
    """A name for messages, its bytes that are not UTF-8 escaped: ``caf\\xe9``."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def printable(name: str) -> str:
    """A name out of somebody's data for messages: no control characters, which a terminal would obey."""
    return "".join(one if one.isprintable() else one.encode("unicode_escape", "replace").decode() for one in name)


def is_utf8(name: str) -> bool:
    """Whether a name can be written to any file; names on disk are bytes, and may be anything."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def check_utf8(path: Path) -> Path:
    """``path`` itself; BenchError, which shows it escaped, where it is not UTF-8."""
    if not is_utf8(str(path)):
        raise BenchError(f"the name of {shown(path)} is not UTF-8, so no record can hold it; rename it")
    return path


def exists(path: Path) -> bool:
    """Whether something is there; BenchError where that cannot be told."""
    try:
        return path.exists()
    except OSError as error:
        raise BenchError(f"cannot read {shown(path)}: {error.strerror or error}") from error


def _named(error: OSError) -> str:
    return f"{shown(error.filename)} " if isinstance(error.filename, str | os.PathLike) else "it "
