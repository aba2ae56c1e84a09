"""Where runs are executed. Every executor is a ``concurrent.futures.Executor``."""

from __future__ import annotations

from concurrent.futures import Executor

from bench.running.executors.inline import InlineExecutor
from bench.running.executors.processes import ProcessPerTaskExecutor


def executor(workers: int) -> Executor:
    """One worker: in this process. More: that many processes at a time, a fresh one for every run."""
    return InlineExecutor() if workers <= 1 else ProcessPerTaskExecutor(workers)
