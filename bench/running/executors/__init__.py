"""Where runs are executed. Every executor is a ``concurrent.futures.Executor``."""

from __future__ import annotations

from concurrent.futures import Executor

from bench.running.executors.inline import InlineExecutor
from bench.running.executors.processes import Again, ProcessPerTaskExecutor
from bench.running.placement import Placement


def executor(
    workers: int,
    own_process: bool = False,
    limit: float | None = None,
    placement: Placement | None = None,
    again: Again | None = None,
) -> Executor:
    """One worker: in this process. More, or ``own_process``: so many processes at a time, a fresh one for every run.

    limit: seconds after which a process that does not end by itself is ended, with a grace. placement, again: see
    :class:`ProcessPerTaskExecutor`; for processes only.
    """
    if workers > 1 or own_process:
        return ProcessPerTaskExecutor(max(workers, 1), limit, placement=placement, again=again)
    return InlineExecutor()
