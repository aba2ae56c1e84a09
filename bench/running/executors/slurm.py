"""Runs as arrays of SLURM jobs, handed over by submitit.

What a job does is ``bench work`` (``slurm_task.py``). It is followed by the files of the runs and by ``squeue``
(``slurm_following.py``): submitit itself would ask ``sacct``, which not every cluster has. A job's name says
which items it does, ``bench-<plan>-<bundle>``: so the same command, or another, finds the jobs that are there already.
"""

from __future__ import annotations

import contextlib
import re
import shlex
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor, Future
from dataclasses import replace
from pathlib import Path
from typing import Any, ParamSpec, TypeVar, cast

from bench.basics.errors import BenchError
from bench.planning.plan_file import PlanFile, read_plan
from bench.running.executors import slurm_commands as commands
from bench.running.executors.slurm_commands import NoAnswer, in_one_line
from bench.running.executors.slurm_following import Followed, Following
from bench.running.executors.slurm_settings import checked, needed, parameters, seconds_of
from bench.running.executors.slurm_task import Bundle

P = ParamSpec("P")
T = TypeVar("T")

PAUSE = 1.0  # seconds without a submission after which what was collected is handed over

PAUSES = (2, 4, 8, 16)  # seconds before further attempts to hand over, where the controller is busy

BUSY = ("temporarily", "timed out", "try again", "unable to contact", "rate limit", "connection refused")
"""In sbatch's complaint: another attempt may succeed."""

NAME = re.compile(r"bench-([0-9a-f]{12})-([0-9]+)")


class SlurmExecutor(Executor):
    """``submit(do, plan file, index)`` is collected, and handed over as one array by :meth:`flush`, or when submissions
    pause; then each future ends with the status of its run, or with a BenchError on what became of its job.

    Runs that jobs of this user in the queue will do, for the same ``out``, are followed and not handed over again.
    """

    def __init__(self, settings: Mapping[str, Any], out: Path, told: Callable[[str], None]) -> None:
        self._settings = checked(settings)
        needed()
        if "%" in str(out):
            raise BenchError(f"--out {out}: SLURM takes the % in it for a job's number; choose another folder")
        self._out, self._logs, self._told = out, out / "slurm", told
        self._collected: list[tuple[str, int, Future[Any]]] = []
        self._following = Following(self._logs, told)
        self._submitted: set[str] = set()
        self._lock, self._flushing = threading.Lock(), threading.RLock()
        self._end, self._newest = threading.Event(), 0.0
        self._thread: threading.Thread | None = None

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Collect an item. fn: not called, the job starts ``bench work``. args: (plan file, index)."""
        plan, index = cast(tuple[str, int], args)
        future: Future[T] = Future()
        future.set_running_or_notify_cancel()
        with self._lock:
            self._collected.append((plan, index, future))
            self._newest = time.monotonic()
            if self._thread is None:
                self._thread = threading.Thread(target=self._follow, daemon=True, name="slurm")
                self._thread.start()
        return future

    def flush(self) -> None:
        """Hand over what was collected. BenchError, in sbatch's words, where SLURM does not take it."""
        with self._flushing:
            with self._lock:
                collected, self._collected = self._collected, []
            try:
                for path in dict.fromkeys(plan for plan, _, _ in collected):
                    mine = [(index, future) for plan, index, future in collected if plan == path]
                    self._hand_over(read_plan(Path(path)), mine)
            except Exception as error:
                followed = self._following.pending()
                for _, _, future in collected:
                    if future not in followed and not future.done():
                        future.set_exception(error)
                raise

    @property
    def jobs(self) -> list[str]:
        """The numbers of the jobs in which runs are followed."""
        return sorted({one.task.partition("_")[0] for one in self._following.pending().values()}, key=int)

    def standing(self) -> str:
        """How many runs are left, and what their tasks do; for a line now and then."""
        return self._following.standing()

    def cancel(self) -> None:
        """End every task that is followed; what is running saves a checkpoint. BenchError where SLURM refuses."""
        self._cancel({one.task for one in self._following.pending().values()})

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """As in the standard library; with ``cancel_futures`` the jobs are ended, and not waited for."""
        if cancel_futures:
            self.cancel()
        elif wait:
            while self._collected or self._following.pending():
                time.sleep(0.05)
            with contextlib.suppress(BenchError):
                self._cancel_what_is_not_needed()
        self._end.set()

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        # After Ctrl-C or an error the jobs go on, and nobody waits here for them.
        self.shutdown(wait=kind is None)

    def _hand_over(self, plan: PlanFile, items: Sequence[tuple[int, Future[Any]]]) -> None:
        from bench.running.elsewhere import planned

        there = self._there()
        new = [(index, future) for index, future in items if plan.items[index].key not in there]
        for index, future in items:
            if (followed := there.get(plan.items[index].key)) is not None:
                self._following.add(future, replace(followed))
        if len(new) < len(items):
            count = len(items) - len(new)
            what = "1 run is" if count == 1 else f"{count} runs are"
            self._told(f"{what} in jobs that SLURM has already: {', '.join(self.jobs)}")
        if not new:
            return
        size = min(self._settings["bundle"], len(new))
        count = -(-len(new) // size)
        if count > (most := commands.largest_array()):
            raise BenchError(
                f"{len(new)} runs are {count} tasks, and an array of this cluster has at most {most}: "
                f"put several runs into each, executor.bundle={-(-len(new) // most)}"
            )
        part = replace(plan, items=tuple(plan.items[index] for index, _ in new))
        with planned(self._out, part) as path:
            since, name = path.stat().st_mtime - 1.0, f"bench-{path.stem}-{size}"
            seconds, requeues = seconds_of(self._settings), self._settings["requeue"]
            ids = self._sbatch(name, [Bundle(str(path), number, size, seconds, requeues) for number in range(count)])
        self._submitted |= set(ids)
        for number, (_, future) in enumerate(new):
            self._following.add(future, Followed(part, number, name, ids[number // size], since))
        tasks = f"{count} task{'s' if count > 1 else ''} of {size} run{'s' if size > 1 else ''}"
        self._told(
            f"handed over to SLURM as job {ids[0].partition('_')[0]}: {tasks}, "
            f"{min(count, self._settings['parallel'])} at a time; logs in {self._logs}"
        )

    def _there(self) -> dict[str, Followed]:
        """Key of a run -> the task, queued or running, that will do it."""
        found: dict[str, Followed] = {}
        plans: dict[Path, tuple[PlanFile, float]] = {}
        try:
            tasks = commands.tasks()
        except NoAnswer as error:
            raise BenchError(f"SLURM does not answer here: {error}") from error
        for task in tasks.values():
            name = NAME.fullmatch(task.name)
            if name is None or task.over:
                continue
            path = self._out / "plans" / f"{name[1]}.json"
            if path not in plans:
                try:
                    plans[path] = read_plan(path), path.stat().st_mtime - 1.0
                except (BenchError, OSError):  # a job for another folder of records
                    continue
            plan, since = plans[path]
            size, number = int(name[2]), int(task.id.partition("_")[2] or "0")
            for index in range(number * size, min((number + 1) * size, len(plan.items))):
                found[plan.items[index].key] = Followed(plan, index, task.name, task.id, since)
        return found

    def _sbatch(self, name: str, bundles: Sequence[Bundle]) -> list[str]:
        """The id of the task that each becomes."""
        import submitit
        from submitit.core.utils import FailedJobError, FailedSubmissionError

        # -P, here and where else an interpreter is started: what users keep in their folder stands in for nothing.
        python = f"{shlex.quote(self._settings['python'] or sys.executable)} -P"
        for pause in (*PAUSES, None):
            try:
                self._logs.mkdir(parents=True, exist_ok=True)
                slurm = submitit.SlurmExecutor(self._logs, max_num_timeout=self._settings["requeue"], python=python)
                slurm.update_parameters(job_name=name, **parameters(self._settings))
                with slurm.batch():
                    jobs = [slurm.submit(one) for one in bundles]
                return [job.job_id for job in jobs]
            except FailedJobError as error:
                told = in_one_line(str(error)) or "no reason is given"
                if pause is None or not any(one in told.lower() for one in BUSY):
                    raise BenchError(f"sbatch does not take the jobs: {told}; asked for {self._asked_for()}") from error
                self._told(f"sbatch does not take the jobs for now: {told}; trying again in {pause} s")
                time.sleep(pause)
            except FailedSubmissionError as error:
                raise BenchError(f"what sbatch printed is not understood: {in_one_line(str(error))}") from error
            except OSError as error:
                raise BenchError(f"cannot write to {self._logs}: {error.strerror or error}") from error
        raise AssertionError("the last attempt returns or raises")

    def _asked_for(self) -> str:
        """What a task was to have, as it is typed."""
        names = ("partition", "account", "qos", "time", "memory", "cpus", "gpus")
        given = {name: self._settings[name] for name in names if self._settings[name] is not None}
        return ", ".join(f"executor.{name}={value}" for name, value in given.items())

    def _follow(self) -> None:
        """In a thread of its own, until nobody wants to know any more."""
        last = 0.0
        while not self._end.wait(0.05):
            now = time.monotonic()
            if self._collected and now - self._newest > PAUSE:
                with contextlib.suppress(Exception):  # the futures have it
                    self.flush()
            if now - last >= self._settings["poll"]:
                try:
                    self._following.look()
                except Exception as error:  # a disk that is away for a moment, say: the next look will tell
                    self._told(f"cannot follow the jobs for now: {error}")
                last = time.monotonic()

    def _cancel_what_is_not_needed(self) -> None:
        """Tasks of ours that still wait, though all they would do is done: they would find nothing to do."""
        with contextlib.suppress(NoAnswer):
            waiting = {id_ for id_, one in commands.tasks().items() if one.state == "PENDING"}
            self._cancel(waiting & self._submitted)

    def _cancel(self, tasks: set[str]) -> None:
        ids = sorted(tasks)
        try:
            for start in range(0, len(ids), 500):
                commands.answer("scancel", *ids[start : start + 500])
        except NoAnswer as error:
            raise BenchError(f"scancel fails: {error}") from error
