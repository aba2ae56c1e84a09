"""Items of a plan file are carried out: each composed anew, its key compared, and run; none twice at once."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import FrameType

from bench.basics.claims import Claimed, read_claim
from bench.basics.errors import BenchError
from bench.basics.progress import Reporter, for_people
from bench.basics.signals import Stopped
from bench.contracts import Budget, ProgressCallback
from bench.datasets.prepare import default_cache
from bench.planning import catalogue, components
from bench.planning.composing import Asked, RunConfig, compose
from bench.planning.overrides import parse_overrides
from bench.planning.plan import planned_runs
from bench.planning.plan_file import Item, PlanFile, read_plan
from bench.planning.values import ways_of
from bench.records.record import RunRecord, Status, read_record
from bench.running.containment import contained
from bench.running.environment import resolve_device
from bench.running.executors.processes import ProcessPerTaskExecutor, WorkerDied, WorkerHung
from bench.running.executors.slurm_commands import end_of_job
from bench.running.inputs import open_dataset, seal_manifests
from bench.running.job import Job
from bench.running.precision import check_precision_of
from bench.running.run import execute_run, record_forced_end
from bench.running.session import threads_of
from bench.running.ways import asked_what_it_can, noted
from bench.tasks import manifest as manifests

SPARE = 60.0
"""Seconds that a worker wants to have left, beside what a run is expected to take, before it begins one."""


@dataclass(frozen=True, slots=True)
class Did:
    """What became of one item. status: that of its record; ``there`` where it was finished before, ``claimed`` where
    another process is at it, ``left`` where the time did not suffice to begin it.
    """

    index: int
    item: Item
    status: str
    reason: str | None = None

    @property
    def done(self) -> bool:
        """Whether its record is whole."""
        return self.status in ("done", "there")

    @property
    def later(self) -> bool:
        """Whether another attempt would go on."""
        return self.status in ("claimed", "left", "interrupted")


def job_of(plan: PlanFile, index: int, progress: ProgressCallback | None = None) -> Job:
    """What :func:`execute_run` needs to carry out an item, once everything about it has been checked here.

    BenchError where it would be another run than was planned: other code, data, settings or packages.
    """
    item = plan.items[index]
    device = resolve_device(plan.device)
    with contained():  # it imports and builds the classes of plugins
        config = _config(plan.asked(index))
    check_precision_of(device, config.values["precision"], ask_it=False)
    cache, out = Path(plan.cache), Path(plan.out)
    if not cache.is_dir():  # the plan comes from another machine
        cache = default_cache()
    dataset = open_dataset(config.values, cache, progress, plan.scratch)
    (run,) = planned_runs([config], dataset.content_hash, [item.seed], out)
    if run.key != item.key:
        why = "the images are others" if dataset.content_hash != plan.dataset_hash else "code or settings are others"
        raise BenchError(
            f"item {index} ({item.name}, seed {item.seed}) would be another run here than was planned, {why}: key "
            f"{run.key[:8]} instead of {item.key[:8]}; make the plan anew, or install here what it was made with"
        )
    paths = {out / one.file: one for one in plan.manifests if one.way in ways_of(run.values)}
    if not all(path.exists() for path in paths):
        seal_manifests(dataset, config.values, plan.shots, out, sorted({one.way for one in plan.manifests}))
    for path, one in paths.items():
        if not path.exists() or manifests.load(path).sha256 != one.sha256:
            raise BenchError(f"the sealed tasks {one.file} of the plan are not those that are drawn here")
    threads = plan.threads if plan.threads is not None else threads_of(1)
    return Job(
        replace(run, folder=plan.folder(index)),
        tuple(paths),
        cache,
        out / "artifacts",
        plan.device,
        threads,
        plan.time_limit,
        noted(run),
        plan.scratch,
    )


def _config(asked: Asked) -> RunConfig:
    variant = catalogue.variants().get(asked.method)
    if variant is None:
        (variant,) = catalogue.expand(asked.method, asked.dataset)  # says what is like it
    config = compose(
        variant,
        asked.dataset,
        asked.budget,
        parse_overrides(asked.overrides),
        ways=asked.ways,
        shots=asked.shots,
        data_dir=asked.data_dir,
    )
    method = components.build(config.values["method"], config.values)
    Budget(**config.values["budget"])
    return asked_what_it_can(config, method)


def state_of(plan: PlanFile, index: int) -> str:
    """``done``, ``claimed`` or ``open``, by what lies on the disk; a record that cannot be read is open."""
    folder = plan.folder(index)
    try:
        record = read_record(folder)
        if record.done and plan.wanted(index) <= {one.manifest for one in record.evaluations}:
            return "done"
    except BenchError:
        pass
    holder = read_claim(folder / ".claim")
    return "claimed" if holder is not None and holder.alive is not False else "open"


def work(
    plan: PlanFile,
    indices: Sequence[int],
    reporter: Reporter,
    most: int | None = None,
    until: float | None = None,
    at_least: int = 0,
    own_process: bool = True,
    clock: Callable[[], float] = time.time,
) -> list[Did]:
    """Carry out what is not done of these items, one after the other; KeyboardInterrupt passes through.

    An item that another process is at is passed over, and looked at again at the end. most: no more than so many are
    begun. until: by ``clock``, the time at which this process must have ended; nothing is begun for which it does not
    suffice. at_least: so many are begun all the same. own_process: each run in a process of its own, so that one that
    dies takes no other with it.
    """
    found: dict[int, Did] = {}
    begun = 0
    for round_ in range(2):
        for index in indices:
            item = plan.items[index]
            if index in found and found[index].status != "claimed":
                continue
            state = state_of(plan, index)
            if state == "done":
                found[index] = Did(index, item, "there" if index not in found else "done")
                continue
            if state == "claimed":
                found[index] = Did(index, item, "claimed", _by(plan, index))
                continue
            if most is not None and begun >= most:
                continue
            if until is not None and begun >= at_least and clock() + SPARE + (item.seconds or 0.0) > until:
                found[index] = Did(index, item, "left", _too_long(item, until - clock()))
                continue
            begun += 1
            reporter.begin(item.name)
            found[index] = _one(plan, index, reporter, own_process)
            reporter.say(f"[{index}] {item.name} seed {item.seed}: {_said(found[index])}")
        if round_ == 0 and not any(one.status == "claimed" for one in found.values()):
            break
    return [found[index] for index in indices if index in found]


def _said(did: Did) -> str:
    return did.status if did.reason is None else f"{did.status}: {did.reason}"


def _too_long(item: Item, left: float) -> str:
    takes = "how long it takes is not known" if item.seconds is None else f"it takes about {for_people(item.seconds)}"
    return f"{takes}, {for_people(SPARE)} are kept in hand, and {for_people(max(0.0, left))} are left"


def _by(plan: PlanFile, index: int) -> str:
    holder = read_claim(plan.folder(index) / ".claim")
    if holder is None:
        return "another process was at it"
    return f"{holder.host} is at it, heard of {for_people(holder.heartbeat_age)} ago"


def _one(plan: PlanFile, index: int, reporter: Reporter, own_process: bool) -> Did:
    item = plan.items[index]
    try:
        job = job_of(plan, index, reporter)
        if own_process:
            with ProcessPerTaskExecutor(1, job.time_limit) as pool:
                try:
                    record = pool.submit(_execute, job).result()
                except KeyboardInterrupt as error:
                    pool.stop(error.number if isinstance(error, Stopped) else signal.SIGINT)
                    pool.shutdown(wait=True, cancel_futures=True)
                    raise
        else:
            record = execute_run(job, reporter, wait=False)
    except Claimed as error:
        return Did(index, item, "claimed", str(error))
    except WorkerDied as error:
        status: Status = "timeout" if isinstance(error, WorkerHung) else "failed"
        told = record_forced_end(job.run, status, str(error))
        if told is not None and not told.done:
            return Did(index, item, told.status, told.reason)
        return Did(index, item, status, str(error))
    except BenchError as error:
        return Did(index, item, "failed", str(error))
    except Exception as error:  # in code of others, or of a disk: the other items are none of its business
        return Did(index, item, "failed", f"{type(error).__name__}: {error}")
    return Did(index, item, record.status, record.reason)


def do(path: str, index: int) -> str:
    """Carry out one item of the plan in this file, in this process; what executors are handed. Its status."""
    (did,) = work(read_plan(Path(path)), [index], Reporter(), own_process=False)
    return did.status


def _execute(job: Job) -> RunRecord:
    return execute_run(job, _silent, wait=False)


def _silent(*_: object) -> None:
    """Processes keep their progress in log.txt."""


@contextlib.contextmanager
def signals_of_schedulers() -> Iterator[None]:
    """SIGUSR1 and SIGUSR2, by which schedulers announce an end or a preemption, are taken for SIGTERM."""

    def hand_on(number: int, frame: FrameType | None) -> None:
        os.kill(os.getpid(), signal.SIGTERM)

    before = {}
    if threading.current_thread() is threading.main_thread():
        both = signal.SIGUSR1, signal.SIGUSR2
        # One that is ignored stays so: whoever started this process tells it in another way.
        before = {one: signal.signal(one, hand_on) for one in both if signal.getsignal(one) != signal.SIG_IGN}
    try:
        yield
    finally:
        for number, how in before.items():
            signal.signal(number, how)


def deadline() -> float | None:
    """When a SLURM job that this process is part of ends, as seconds since 1970; None outside of one, or unlimited."""
    return end_of_job()
