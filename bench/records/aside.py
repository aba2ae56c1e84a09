"""Records of runs that were trained anew on purpose: each is kept beside the new one, in ``0-1a2b3c4d.1`` and so on."""

from __future__ import annotations

import re
from pathlib import Path

from bench.basics.claims import Claim, Claimed
from bench.basics.errors import BenchError
from bench.records.record import folder_name


def set_aside(folder: Path) -> Path | None:
    """Make room for a run to begin anew: where its folder lies now; None where there was none.

    BenchError where another process is at work on it, or the folder cannot be renamed.
    """
    if not folder.exists():
        return None
    kept = folder.with_name(f"{folder.name}.{1 + max(map(number, folder.parent.glob(f'{folder.name}*')))}")
    try:
        with Claim.take(folder / ".claim", wait=False) as claim:
            folder.rename(kept)
            claim.path = kept / ".claim"
    except Claimed as error:
        raise BenchError(f"{error}; wait for it, or stop it") from error
    except OSError as error:
        raise BenchError(f"cannot keep {folder} aside: {error.strerror or error}") from error
    return kept


def number(folder: Path) -> int:
    """How many of its run had been kept aside before this one; 0 of the run's own folder."""
    return int(found[1]) if (found := re.search(r"-[0-9a-f]{8}\.([1-9][0-9]{0,8})$", folder.name)) else 0


def belongs(folder: Path, seed: int, key: str) -> bool:
    """Whether it is the folder of that run, or of an earlier record of it."""
    earlier = f".{count}" if (count := number(folder)) else ""
    return folder.name == f"{folder_name(seed, key)}{earlier}"
