"""That a large file is still what it was, without reading gigabytes at every start.

A file is hashed in full once; then a seal beside it remembers what the operating system said of it: device, inode,
size, and the times of the last change of its content and of its entry. As long as all of that is the same, the file
counts as verified; whatever writes to it, replaces it, copies it or restores it changes one of them, and it is hashed
again. The seal holds its own checksum, so a damaged seal counts as none.

What this cannot see: a disk that returns other bytes than were written, and a person who sets the clock back or writes
to the disk beneath the file system. Delete the seals to have everything hashed again.
"""

from __future__ import annotations

import contextlib
import glob
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bench.basics.errors import BenchError
from bench.basics.files import read_json, write_json
from bench.basics.keys import content_key

SETTLED_SECONDS = 2.0
"""A file that changed less than so long ago is not sealed yet: the clock of some file systems is that coarse."""

LEFT_BEHIND_SECONDS = 3600.0
"""Nobody writes a small file for so long."""


def facts_of(file: Path) -> dict[str, int]:
    """What the operating system says of ``file``; to be asked for before it is hashed."""
    info = file.stat()
    return {
        "device": info.st_dev,
        "inode": info.st_ino,
        "bytes": info.st_size,
        "content_changed_ns": info.st_mtime_ns,
        "entry_changed_ns": info.st_ctime_ns,
    }


def is_sealed(file: Path, seal: Any, content: Mapping[str, str]) -> bool:
    """Whether ``seal`` says that ``file``, as it is now, was verified to be ``content``."""
    return bool(isinstance(seal, dict) and seal == _seal(facts_of(file), content))


def read_seal(path: Path) -> Any:
    """What stands in the file of a seal; None where there is none, or a damaged one."""
    with contextlib.suppress(BenchError):
        return read_json(path) if path.is_file() else None
    return None


def seal_of(file: Path, before: Mapping[str, int], content: Mapping[str, str]) -> dict[str, Any] | None:
    """The seal of a file that was found to be ``content``; None if it changed since ``before``, or just before that."""
    if facts_of(file) != before:
        return None
    latest = max(before["content_changed_ns"], before["entry_changed_ns"])
    if time.time_ns() - latest < SETTLED_SECONDS * 1e9:
        return None
    return _seal(before, content)


def sweep(path: Path) -> None:
    """Delete the temporary files that killed writers of ``path`` left; one that is younger may be written right now."""
    for left in path.parent.glob(f".{glob.escape(path.name)}.*.tmp"):
        with contextlib.suppress(OSError):
            if time.time() - left.stat().st_mtime > LEFT_BEHIND_SECONDS:
                left.unlink()


def write_seal(path: Path, seal: Mapping[str, Any] | None) -> None:
    """Keep it if that can be done: in a folder that may only be read, files are hashed every time."""
    if seal is not None:
        sweep(path)
        with contextlib.suppress(BenchError):
            write_json(path, seal)


def _seal(facts: Mapping[str, int], content: Mapping[str, str]) -> dict[str, Any]:
    said = {"file": dict(facts), "content": dict(content)}
    return {**said, "checksum": content_key(said)}
