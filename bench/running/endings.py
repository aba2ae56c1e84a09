"""How a run ends: every way becomes a status, and a reason in one sentence."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch

from bench.basics.errors import BenchError, Diverged
from bench.basics.signals import Stopped
from bench.records.record import Status
from bench.training.artifacts import ArtifactStore

UNFINISHED = "still running, or ended by force; run again, from its last checkpoint if it kept one"
"""Of the record that is there from the beginning: what kill -9 or a power cut leaves."""


OUT_OF_MEMORY = ("can't allocate memory", "CUDA error: out of memory", "STATUS_ALLOC_FAILED")
"""How PyTorch on a CPU, CUDA outside PyTorch's own allocator, and CUDA's libraries say so."""


class TimeLimit(Exception):
    """The run used up the time it was given."""


@dataclass(frozen=True, slots=True)
class Ending:
    """``unexpected``: an error that nobody foresaw, whose traceback belongs into the log. notes: for the record."""

    status: Status
    reason: str
    unexpected: bool = False
    notes: Mapping[str, str] = field(default_factory=dict)


GOES_ON, FROM_ARTIFACTS, STARTS_ANEW = "goes on", "goes on from the artifact store", "starts anew"
"""What a run that was stopped does when it is run again: ``notes.resuming`` of its record."""

_AGAIN = {
    GOES_ON: "run again to go on",
    FROM_ARTIFACTS: "run again to go on from what is in the artifact store; there is no checkpoint besides",
    STARTS_ANEW: "there is no checkpoint of it, so it starts anew when run again",
}


NOTHING_LOST = 5.0
"""Seconds of training that nobody misses."""


def resuming(folder: Path, store: ArtifactStore, seconds: float) -> str:
    """What the run in ``folder`` would do if it were run again now. seconds: of its training outside the store."""
    if any(folder.glob("weights*.safetensors")):
        return GOES_ON
    if store.making is not None:
        return GOES_ON if store.making.exists() else STARTS_ANEW
    if seconds < NOTHING_LOST:
        return GOES_ON
    return FROM_ARTIFACTS if store.used else STARTS_ANEW


def ending(error: BaseException, limit: float | None, again: str, device: torch.device | str) -> Ending:
    """What became of a run that raised ``error``.

    limit: seconds it was given. again: as of :func:`resuming`.
    """
    notes = {"resuming": again}
    if isinstance(error, KeyboardInterrupt):
        by = error.by if isinstance(error, Stopped) else "the user"
        return Ending("interrupted", f"stopped by {by}; {_AGAIN[again]}", notes=notes)
    if isinstance(error, TimeLimit):
        return Ending("timeout", f"stopped after {limit:g} s; {_AGAIN[again]}", notes=notes)
    if isinstance(error, Diverged):
        return Ending("diverged", str(error))
    if isinstance(error, BenchError):
        return Ending("failed", str(error))
    first = (str(error).splitlines() or [""])[0]
    if out_of_memory(error):
        return Ending("out-of-memory", f"{device}: {first or type(error).__name__}", unexpected=True)
    if isinstance(error, SystemExit):
        return Ending("failed", f"its code ended the process, sys.exit({error.code!r}) (traceback in log.txt)", True)
    return Ending("failed", f"{type(error).__name__}: {first} (traceback in log.txt)", unexpected=True)


def out_of_memory(error: BaseException) -> bool:
    """Of the machine or of a GPU."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and any(sign in str(error) for sign in OUT_OF_MEMORY)
