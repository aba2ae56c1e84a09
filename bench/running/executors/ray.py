"""Runs as tasks of a Ray cluster.

A task is ``bench work PLAN --index K``, started beside a Ray worker (``ray_supervisor.py``); what it was handed over
are words and numbers. The command itself does not import Ray: a process beside it does (``ray_link.py`` and
``ray_driver.py``). What Ray says of a task is where it ended; what became of the run, its folder says.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Executor, Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ParamSpec, TypeVar, cast

from bench.basics.errors import BenchError
from bench.planning.plan_file import PlanFile, read_plan
from bench.records.record import read_record
from bench.running.executors import ray_supervisor
from bench.running.executors.processes import default_grace
from bench.running.executors.ray_link import Link
from bench.running.executors.ray_settings import cannot, checked, environment, needed, options, unset
from bench.running.executors.ray_turns import Turns

P = ParamSpec("P")
T = TypeVar("T")

AGAIN = 3.0  # seconds between two looks at a run that another process is at

MACHINES = 60.0  # seconds that no machine has what a run takes, after which it is given up

LEFT = 75
"""Exit code of ``bench work`` where another attempt would go on."""

STOPPED = (-9, -15, 128 + 1, 128 + 2, 128 + 15)
"""Exit codes of one that was ended from outside: its machine is being taken away, or its memory was too little."""


@dataclass(slots=True)
class Run:
    """One item that was submitted."""

    plan: PlanFile
    path: str
    index: int
    since: float
    """What its record says counts if it is not older than this; by the clock of the file system."""
    future: Future[Any] = field(repr=False)
    attempts: int = 0
    after: float = 0.0
    """It is looked at no sooner, by the monotonic clock."""


class RayExecutor(Executor):
    """``submit(do, plan file, index)``: each future ends with the status of its run, or with a BenchError on what
    became of its task. Runs that others are at, in whatever cluster, are waited for and not begun.
    """

    def __init__(self, settings: Mapping[str, Any], out: Path, told: Callable[[str], None]) -> None:
        """Connects, or starts a local cluster. BenchError where that fails, or could never carry out a run."""
        self._settings = checked(settings)
        needed(self._settings)
        self._told = told
        self._grace = default_grace()
        self._source = Path(ray_supervisor.__file__).read_text(encoding="utf-8")
        self._runs: dict[int, Run] = {}
        self._waiting: dict[int, None] = {}  # in their order
        self._handed: set[int] = set()
        self._plans: dict[str, tuple[PlanFile, float]] = {}
        self._turns = Turns(self._is_past)
        self._lock, self._stopping, self._end = threading.Lock(), threading.Event(), threading.Event()
        self._none_since: float | None = None
        self._link = Link(self._settings)
        try:
            if (why := cannot(self._settings, self._link.machines)) is not None:
                raise BenchError(why)
        except BaseException:
            self._link.end()
            raise
        self._say_where()
        self._thread = threading.Thread(target=self._follow, daemon=True, name="ray tasks")
        self._thread.start()

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Begin an item as soon as there is room. fn: not called, the task starts ``bench work``. args: (plan file,
        index).
        """
        path, index = cast(tuple[str, int], args)
        if path not in self._plans:
            plan = read_plan(Path(path))
            if plan.device.startswith("cuda") and not self._settings["gpus"]:
                raise BenchError(
                    f"--device {plan.device} with executor.gpus=0: no run would see a GPU; "
                    "give each one, executor.gpus=1, or a part of one, executor.gpus=0.25"
                )
            self._plans[path] = plan, Path(path).stat().st_mtime - 1.0
        plan, since = self._plans[path]
        if self._end.is_set():
            raise BenchError(f"{self._link.name} does not answer any more")
        future: Future[T] = Future()
        future.set_running_or_notify_cancel()
        with self._lock:
            number = len(self._runs)
            self._runs[number] = Run(plan, path, index, since, future)
            self._waiting[number] = None
        return future

    def standing(self) -> str:
        """How many runs are left, for a line now and then."""
        with self._lock:
            waiting, handed = len(self._waiting), len(self._handed)
        later = f", {waiting} wait for what they share or for another process" if waiting else ""
        return f"runs left: {waiting + handed}, in Ray's hands {handed}{later}"

    def cancel(self) -> None:
        """Begin nothing more, take back what is queued, and wait until what is running has saved what it has: no
        longer than it takes to end it by force.
        """
        self._stopping.set()
        with self._lock:
            handed = len(self._handed)
        if handed:
            self._told(f"{handed} run{'s' if handed > 1 else ''} in Ray's hands: told to save and to end")
        self._link.tell({"stop": True})
        end = time.monotonic() + self._grace + 10
        while self._handed and time.monotonic() < end and self._thread.is_alive():
            time.sleep(0.1)
        if self._handed:
            self._told(f"{len(self._handed)} of them gave no answer; 'bench status' says whether they have ended")

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """As in the standard library; with ``cancel_futures`` running tasks are asked to stop too."""
        try:
            if cancel_futures:
                self.cancel()
            elif wait:
                while self._waiting or self._handed:
                    time.sleep(0.05)
        finally:
            self._end.set()
            self._thread.join(5)
            self._link.end()

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self.shutdown(cancel_futures=kind is not None)

    def _say_where(self) -> None:
        machines = self._link.machines
        has = {kind: sum(one.get(kind, 0.0) for one in machines) for kind in ("CPU", "GPU")}
        several = f"{len(machines)} machines" if len(machines) > 1 else "1 machine"
        self._told(f"{self._link.name}: {several}, {has['CPU']:g} CPUs, {has['GPU']:g} GPUs")
        if has["GPU"] and not self._settings["gpus"]:
            self._told("executor.gpus=0: no run will use a GPU; give each one, executor.gpus=1, or a part of one")

    def _follow(self) -> None:
        """In a thread of its own, until nobody wants to know any more."""
        while not self._end.is_set():
            try:
                line = self._link.heard(0.3)
                while line is not None:
                    self._hear(line)
                    line = self._link.heard(0.0)
                if self._link.lost():
                    self._told(
                        f"the head of {self._link.name} does not answer any more; nothing is lost: what runs "
                        "goes on as long as its machine does, or is saved, and the same command goes on when the head "
                        "is there again"
                    )
                    self._give_up("the head of its Ray cluster was lost; the same command goes on where it was")
                elif not self._stopping.is_set():
                    self._begin()
                    self._look_for_machines()
            except Exception as error:  # a disk that is away for a moment, say: the next look will tell
                self._told(f"cannot follow the tasks for now: {error}")
                time.sleep(AGAIN)

    def _begin(self) -> None:
        """Hand over what may begin, and find out what others have done meanwhile."""
        from bench.running.working import state_of

        now = time.monotonic()
        self._turns.look()
        for number in list(self._waiting):
            run = self._runs[number]
            item = run.plan.items[run.index]
            if self._stopping.is_set():
                return
            if now < run.after or not self._turns.may_begin(number, item.shared):
                continue
            state = state_of(run.plan, run.index)
            if state == "done":
                self._over(number, lambda run=run: run.future.set_result("done"), well=True)  # type: ignore[misc]
                continue
            self._turns.begun(number, item.shared)
            if state == "claimed":
                run.after = now + AGAIN
                continue
            with self._lock:
                del self._waiting[number]
                self._handed.add(number)
            self._link.tell({"run": number, "options": options(self._settings), "task": self._task(run)})

    def _task(self, run: Run) -> list[Any]:
        words = [self._python(), "-P", "-m", "bench", "work", run.path, "--index", str(run.index)]
        if run.plan.device.startswith("cuda:"):
            words += ["--device", "cuda"]  # the only one that it sees
        return [self._source, words, unset(), environment(self._settings), self._grace]

    def _python(self) -> str:
        """Of the runs; empty for that of the worker. A path from here is made whole, since they stand elsewhere."""
        python = self._settings["python"] or ""
        return os.path.abspath(python) if os.sep in python and os.path.exists(python) else python

    def _hear(self, line: Mapping[str, Any]) -> None:
        if (number := line.get("ended", line.get("lost", line.get("cancelled")))) is None:
            return
        run = self._runs[number]
        if "ended" in line:
            self._ended(number, run, line["code"], line["said"])
        elif "cancelled" in line and self._stopping.is_set():
            self._over(number, lambda: run.future.set_result("interrupted"))
        else:
            why = line.get("why", "its task was cancelled by somebody else")
            times = f"{self._settings['retries'] + 1} times" if self._settings["retries"] else "once"
            self._fail(number, f"its machine or its Ray worker was lost {times}: {why}" if "lost" in line else why)

    def _ended(self, number: int, run: Run, code: int, said: str) -> None:
        from bench.running.working import state_of

        if state_of(run.plan, run.index) == "done":
            self._over(number, lambda: run.future.set_result("done"), well=True)
        elif code == LEFT or code in STOPPED:
            if self._stopping.is_set():
                self._over(number, lambda: run.future.set_result("interrupted"))
                return
            run.attempts += code != LEFT
            if run.attempts > self._settings["retries"]:
                how = "SIGKILL, which is often for lack of memory" if code == -9 else f"a signal (exit code {code})"
                self._fail(number, f"its process was ended by {how}, {run.attempts} times")
                return
            with self._lock:
                self._handed.discard(number)
                self._waiting[number] = None
                run.after = time.monotonic() + AGAIN
        elif (status := self._status(run)) is not None:
            self._over(number, lambda: run.future.set_result(status))
        else:
            item = run.plan.items[run.index]
            for prefix in ("error: ", f"[{run.index}] {item.name}, seed {item.seed}: ", "failed: "):
                said = said.removeprefix(prefix)
            self._fail(number, said or f"its task ended with exit code {code} and without a word")

    def _status(self, run: Run) -> str | None:
        """What the run itself said of how it ended, in this attempt; None where it did not come to that."""
        folder = run.plan.folder(run.index)
        try:
            new = (folder / "run.json").stat().st_mtime >= run.since
            status = read_record(folder).status
        except (BenchError, OSError):
            return None
        return status if new and status != "interrupted" else None

    def _is_past(self, number: int) -> bool:
        """Whether a run has got so far that it trains on what it shares: then it keeps checkpoints of its own."""
        run = self._runs[number]
        return any(run.plan.folder(run.index).glob("weights*.safetensors"))

    def _look_for_machines(self) -> None:
        """Give up what no machine can carry out any more; Ray would wait for one for ever."""
        why = cannot(self._settings, self._link.machines)
        if why is None or not (self._waiting or self._handed):
            self._none_since = None
            return
        now = time.monotonic()
        self._none_since = now if self._none_since is None else self._none_since
        if now - self._none_since > MACHINES:
            self._give_up(f"{why}; the same command goes on when there is one again")

    def _give_up(self, why: str) -> None:
        with self._lock:
            left = [*self._handed, *self._waiting]
        for number in left:
            self._fail(number, why)
        self._end.set()

    def _fail(self, number: int, why: str) -> None:
        error = BenchError(why)
        self._over(number, lambda: self._runs[number].future.set_exception(error))

    def _over(self, number: int, end: Callable[[], None], well: bool = False) -> None:
        with self._lock:
            self._handed.discard(number)
            self._waiting.pop(number, None)
        self._turns.ended(number, well)
        end()
