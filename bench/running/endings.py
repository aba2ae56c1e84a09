"""How a run ends: every way becomes a status, and a reason in one sentence."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from bench.basics.errors import BenchError, Diverged
from bench.basics.signals import Stopped
from bench.records.record import Status

UNFINISHED = "still running, or ended by force; run again to go on"
"""Of the record that is there from the beginning: what kill -9 or a power cut leaves."""


OUT_OF_MEMORY = ("can't allocate memory", "CUDA error: out of memory", "STATUS_ALLOC_FAILED")
"""How PyTorch on a CPU, CUDA outside PyTorch's own allocator, and CUDA's libraries say so."""


class TimeLimit(Exception):
    """The run used up the time it was given."""


@dataclass(frozen=True, slots=True)
class Ending:
    """``unexpected``: an error that nobody foresaw, whose traceback belongs into the log."""

    status: Status
    reason: str
    unexpected: bool = False


def ending(error: BaseException, limit: float | None, goes_on: bool, device: torch.device | str) -> Ending:
    """What became of a run that raised ``error``.

    limit: seconds it was given. goes_on: whether it left a checkpoint, so that running it again goes on from there.
    """
    again = "run again to go on" if goes_on else "it keeps no checkpoint, so running it again begins anew"
    if isinstance(error, KeyboardInterrupt):
        by = error.by if isinstance(error, Stopped) else "the user"
        return Ending("interrupted", f"stopped by {by}; run again to go on")
    if isinstance(error, TimeLimit):
        return Ending("timeout", f"stopped after {limit:g} s; {again}")
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
