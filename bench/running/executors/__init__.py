"""Where runs are executed. Every executor is a ``concurrent.futures.Executor``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import Executor
from pathlib import Path
from typing import Any

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


ELSEWHERE = ("slurm", "ray")
"""Executors that start ``bench work`` on other machines; they are handed :func:`bench.running.working.do`."""


def executor_elsewhere(name: str, settings: Mapping[str, Any], out: Path, told: Callable[[str], None]) -> Executor:
    """One of ``ELSEWHERE``. BenchError where what it needs is not installed, or its scheduler is not there.

    settings: as of ``configs/executor/``. out: the folder of run records, in which it keeps its own logs. told: says a
    line to the user.
    """
    if name == "slurm":
        from bench.running.executors.slurm import SlurmExecutor

        return SlurmExecutor(settings, out, told)
    from bench.running.executors.ray import RayExecutor

    return RayExecutor(settings, out, told)
