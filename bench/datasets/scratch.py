"""A prepared dataset copied to a disk of the host itself, once for all runs there, so that none reads over a network.

<scratch>/<name>-<key12>/    as in the cache, but for the seals, which are of a file and not of its content
"""

from __future__ import annotations

import contextlib
import glob
import os
import shutil
from pathlib import Path

from bench.basics.claims import Claim, beside
from bench.basics.errors import BenchError
from bench.basics.files import replacing_folder
from bench.basics.holders import host
from bench.contracts import ProgressCallback
from bench.datasets.opening import open_prepared
from bench.datasets.source import Dataset


def local_folder(text: str) -> Path:
    """``executor.scratch`` as a path of this machine. BenchError where it is none."""
    path = Path(os.path.expandvars(os.path.expanduser(text)))
    if "$" in str(path):
        raise BenchError(f"executor.scratch={text}: there is no such variable on {host() or 'this machine'}")
    if not path.is_absolute():
        raise BenchError(f"executor.scratch={text} must be a whole path, such as /local or '$TMPDIR'")
    return path


def open_copy(
    name: str, key: str, folder: Path, scratch: Path, progress: ProgressCallback | None = None
) -> Dataset | None:
    """The copy of ``folder`` that is there already; None where there is none, or none that is whole."""
    copy = scratch / folder.name
    if not copy.is_dir():
        return None
    with contextlib.suppress(BenchError):  # what tidies up old files may have been there
        return open_prepared(name, key, copy, progress)
    return None


def copied(name: str, key: str, folder: Path, scratch: Path, progress: ProgressCallback | None = None) -> Dataset:
    """The dataset of the prepared ``folder``, opened from its copy, which is made if need be.

    It is digest-checked as every prepared dataset is. BenchError where ``scratch`` cannot be written to.
    """
    copy = scratch / folder.name
    try:
        with Claim.take(beside(copy)):
            if (found := open_copy(name, key, folder, scratch, progress)) is not None:
                return found
            for left in scratch.glob(f".{glob.escape(folder.name)}.*.tmp"):
                shutil.rmtree(left, ignore_errors=True)
            if progress is not None:
                progress(f"copy {name} to {scratch}", 0, 0, {})
            with replacing_folder(copy) as temporary:
                for file in sorted(folder.iterdir()):
                    if file.is_file() and not file.name.startswith(".") and not file.name.endswith(".seal.json"):
                        shutil.copyfile(file, temporary / file.name)
    except (OSError, BenchError) as error:
        reason = error if isinstance(error, BenchError) else f"{scratch}: {error.strerror or error}"
        raise BenchError(
            f"cannot copy the prepared dataset {name!r} to executor.scratch ({reason}); name another folder, or leave "
            "it out"
        ) from error
    return open_prepared(name, key, copy, progress)
