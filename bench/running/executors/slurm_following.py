"""Runs in SLURM's hands: each is over when its record says so, or when its task has ended without one."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.basics.errors import BenchError
from bench.planning.plan_file import PlanFile
from bench.records.record import read_record
from bench.running.executors.slurm_commands import USUAL, NoAnswer, Task, tasks

SILENCE = 3600.0  # seconds that squeue may fail before the jobs are given up

RARELY = 6  # of so many looks at the queue, one is at the files of runs whose tasks wait: others may have done them

NOISE = ("submitit ", "srun: error: ", "slurmstepd", 'Try "')
"""Beginnings of lines of a job's log that say nothing of why it ended."""

SURE = 2  # looks at the queue in which a task must be over, or away: one that is requeued is so for a moment


@dataclass(slots=True)
class Followed:
    """A run, and the task that is to do it."""

    plan: PlanFile
    index: int
    name: str
    """Of the job."""
    task: str
    """``12_3``, or ``12`` of a job that is no array."""
    since: float
    """What its record says counts if it is not older than this; by the clock of the file system."""
    ended: int = 0
    """Looks in which the task was over, or not there."""
    last: Task | None = field(default=None, repr=False)


class Following:
    """``add`` runs, and ``look`` now and then: their futures end."""

    def __init__(self, logs: Path, told: Callable[[str], None], silence: float = SILENCE) -> None:
        self._logs, self._told, self._silence = logs, told, silence
        self._pending: dict[Future[Any], Followed] = {}
        self._lock = threading.Lock()
        self._looks = 0
        self._silent_since: float | None = None
        self._reasons: set[str] = set()

    def add(self, future: Future[Any], followed: Followed) -> None:
        """Follow a run."""
        with self._lock:
            self._pending[future] = followed

    def pending(self) -> dict[Future[Any], Followed]:
        """What is not over."""
        with self._lock:
            return dict(self._pending)

    def standing(self) -> str:
        """``runs left: 5, tasks: 5, of which 2 run``."""
        pending = self.pending().values()
        tasks = {one.task: one.last for one in pending}
        run = sum(task is not None and task.running for task in tasks.values())
        return f"runs left: {len(pending)}, tasks: {len(tasks)}, of which {run} run"

    def look(self) -> None:
        """At the queue, in one call for all, and at the files of runs that may have ended."""
        pending = self.pending()
        if not pending:
            return
        self._looks += 1
        try:
            seen: Mapping[str, Task] | None = tasks(sorted({one.name for one in pending.values()}))
            self._silent_since = None
        except NoAnswer as error:
            seen = None
            self._no_answer(error)
        if seen is not None:
            self._say_why_they_wait(seen, pending)
        for future, one in pending.items():
            if seen is not None:
                task = seen.get(one.task)
                one.last = task or one.last
                one.ended = one.ended + 1 if task is None or task.over else 0
            if one.ended or (one.last is not None and one.last.running) or self._looks % RARELY == 0:
                self._end(future, one)

    def _end(self, future: Future[Any], one: Followed) -> None:
        """End a future if its run has ended."""
        from bench.running.working import state_of

        state = state_of(one.plan, one.index)
        given_up = self._silent_since is not None and time.monotonic() - self._silent_since > self._silence
        if state == "done":
            self._over(future, lambda: future.set_result("done"))
        elif given_up:
            self._over(future, lambda: future.set_exception(BenchError(_not_heard(one.task, self._silence))))
        elif one.ended >= SURE and state != "claimed":  # whoever has it, in another job or elsewhere, is waited for
            status = self._status(one)
            if status is not None:
                self._over(future, lambda: future.set_result(status))
            else:
                error = BenchError(self.what_became_of(one))
                self._over(future, lambda: future.set_exception(error))

    def _over(self, future: Future[Any], end: Callable[[], None]) -> None:
        with self._lock:
            del self._pending[future]
        end()

    def _status(self, one: Followed) -> str | None:
        """What the run itself said of how it ended, in this job; None where it did not come to that."""
        folder = one.plan.folder(one.index)
        try:
            record = read_record(folder)
            new = (folder / "run.json").stat().st_mtime >= one.since
        except (BenchError, OSError):
            return None
        return record.status if new and record.status != "interrupted" else None

    def what_became_of(self, one: Followed) -> str:
        """A sentence on a task that ended without the record of its run: what happened, and what to type."""
        job, task = f"its SLURM job {one.task}", one.last
        log = self._logs / f"{one.task}_0_log.out"
        again = f"the same command goes on where it was; the job's log is {log}"
        if task is None or not task.over:
            if task is not None and task.running:
                return f"{job} is not in the queue any more{_last_line(log)}; {again}"
            return f"{job} was cancelled before it began; the same command hands it over again"
        match task.state:
            case "TIMEOUT" | "DEADLINE":
                return f"{job} came to the end of its time; give it more, executor.time=…; {again}"
            case "OUT_OF_MEMORY":
                return f"{job} needed more memory than it had; give it more, executor.memory=…; {again}"
            case "CANCELLED":
                return f"{job} was cancelled; {again}"
            case "NODE_FAIL" | "BOOT_FAIL" | "PREEMPTED" | "REVOKED":
                return f"{job} lost its place ({task.state}, {task.node or 'no node'}); {again}"
        return f"{job} ended ({task.state}) without a word of the run{_last_line(log)}; {again}"

    def _no_answer(self, error: NoAnswer) -> None:
        if self._silent_since is None:
            self._silent_since = time.monotonic()
            self._told(f"SLURM does not answer ({error}); asking again, the jobs go on meanwhile")

    def _say_why_they_wait(self, seen: Mapping[str, Task], pending: Mapping[Future[Any], Followed]) -> None:
        mine = {one.task for one in pending.values()}
        for task in seen.values():
            if task.id in mine and task.state == "PENDING" and task.reason not in (*USUAL, *self._reasons):
                self._reasons.add(task.reason)
                self._told(f"job {task.id} waits, and SLURM gives as the reason: {task.reason}")


def _not_heard(task: str, seconds: float) -> str:
    return (
        f"SLURM has not answered for {seconds / 60:.0f} min; its job {task} may go on: "
        "the same command follows it when SLURM is there again"
    )


def _last_line(log: Path) -> str:
    """What a job said last, for a sentence."""
    try:
        lines = [line.strip() for line in log.read_text(encoding="utf-8", errors="replace").splitlines()]
    except OSError:
        return ""
    said = [line for line in lines if line and not line.startswith(NOISE)]
    return f": {said[-1][:300]}" if said else ""
