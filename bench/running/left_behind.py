"""What an interrupted request leaves behind, in words: what is done, what goes on where, what is still to come."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence

from bench.basics.errors import BenchError
from bench.planning.plan import PlannedRun
from bench.records.record import RunRecord

NAMED = 3
"""Of runs that were stopped, so many are named."""


def left_behind(runs: Sequence[PlannedRun], ended: Mapping[int, str], begun: Collection[int]) -> str:
    """``3 of 8 runs done, stopped: umtra-maml seed 0 (goes on), 4 to come``; part of a sentence.

    ended: number of a run -> the status with which it ended. begun: the numbers of those whose turn came; their
    records are of now.
    """
    done = unfinished = kept = 0
    stopped: dict[str, list[str]] = defaultdict(list)
    for index, run in enumerate(runs):
        record = _record(run)
        if index in ended:
            done += ended[index] == "done"
            unfinished += ended[index] not in ("done", "interrupted")
        elif record is not None and record.done and not (run.anew and index not in begun):
            done += 1
        elif record is not None and run.anew and index not in begun:
            kept += 1
        if index in begun and record is not None and record.status == "interrupted":
            stopped[_again(record)].append(f"{run.name} seed {run.seed}")
    left = len(runs) - done - unfinished - kept - sum(map(len, stopped.values()))
    said = [f"{done} of {len(runs)} runs done"]
    said += [f"{unfinished} did not finish"] if unfinished else []
    said += [f"stopped: {_listed(names)} ({again})" for again, names in sorted(stopped.items())]
    said += [f"{left} to come"] if left else []
    said += [f"{kept} with the old record"] if kept else []
    return ", ".join(said)


def _record(run: PlannedRun) -> RunRecord | None:
    try:
        return run.record()
    except BenchError:
        return None


def _again(record: RunRecord) -> str:
    """What becomes of a stopped run when it is run again; one that was ended by force could not say it."""
    return str(record.notes.get("resuming") or "ended by force")


def _listed(names: Sequence[str]) -> str:
    more = len(names) - NAMED
    shown = [*names[:NAMED], *([f"{more} more"] if more > 0 else [])]
    *first, last = shown
    return f"{', '.join(first)} and {last}" if first else last
