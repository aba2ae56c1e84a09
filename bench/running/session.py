"""Executing a request: datasets opened, tasks sealed, every run executed, no failure hiding another."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from bench.basics.cpus import cpus_of_job, limited_by_quota, usable_cpus
from bench.basics.errors import BenchError
from bench.basics.keys import content_key
from bench.basics.progress import Reporter
from bench.basics.signals import number_of, telling, until_done
from bench.contracts import Budget
from bench.planning import components
from bench.planning.composing import RunConfig
from bench.planning.opening import understood
from bench.planning.plan import PlannedRun, Request, planned_runs, run_configs
from bench.planning.values import ways_of
from bench.records.aside import set_aside
from bench.records.record import RunRecord, Status
from bench.running.containment import contained, has_outside_code
from bench.running.environment import resolve_device
from bench.running.executors import executor
from bench.running.executors.processes import ProcessPerTaskExecutor, WorkerDied, WorkerHung
from bench.running.inputs import open_dataset, seal_manifests
from bench.running.job import Job, append_log
from bench.running.left_behind import left_behind
from bench.running.placement import Gpu, placement
from bench.running.precision import check_precision_of
from bench.running.run import execute_run, record_forced_end
from bench.running.watching import finished
from bench.running.ways import answered, asked_what_it_can, noted, unanswered
from bench.running.whole import follow


@dataclass(frozen=True, slots=True)
class Outcome:
    """How one run of a request ended."""

    run: PlannedRun
    status: str
    reason: str | None
    record: RunRecord | None
    cached: bool = False


@dataclass(frozen=True, slots=True)
class Session:
    """A request made concrete: its runs and the task lists they answer."""

    runs: tuple[PlannedRun, ...]
    manifests: dict[Path, str]
    """File -> SHA-256."""
    jobs: tuple[Job, ...]
    dataset_hash: str = ""


def prepare(request: Request, cache: Path, reporter: Reporter, workers: int = 1) -> Session:
    """Check everything that can be checked before training: names, values, classes, device, data, output folder.

    Stopped, from any interrupt.
    """
    try:
        return _prepare(request, cache, reporter, workers)
    except KeyboardInterrupt as error:
        raise telling(error, "no run has begun, what was prepared is kept") from error


def _prepare(request: Request, cache: Path, reporter: Reporter, workers: int) -> Session:
    with reporter.during("reading the configurations"), until_done():
        configs = checked(request)
    first = configs[0]
    threads = threads_of(workers)
    device = str(resolve_device(request.device, here=not request.elsewhere))
    if request.elsewhere:
        device = "other machines" if request.device == "auto" else f"{device} of other machines"
    reporter.say(understood(configs, request.seeds, device, threads or torch.get_num_threads()))
    with reporter.during(f"opening dataset {first.dataset_name}"):
        dataset = open_dataset(first.values, cache, reporter)
    for warning in dataset.warnings:
        reporter.say(f"warning: {warning}")
    with reporter.during("drawing the evaluation tasks"):
        sealed = seal_manifests(dataset, first.values, first.values["shots"], request.out, answered(configs))
    manifests = {path: manifest.sha256 for path, manifest in sealed.items()}
    runs = planned_runs(configs, dataset.content_hash, request.seeds, request.out, request.rerun)
    for told in unanswered(configs):
        reporter.say(told)
    jobs = tuple(
        Job(
            run,
            tuple(path for path, manifest in sealed.items() if manifest.spec.way in ways_of(run.values)),
            cache,
            request.out / "artifacts",
            request.device,
            threads,
            request.time_limit,
            noted(run),
            request.scratch,
        )
        for run in runs
    )
    return Session(tuple(runs), manifests, jobs, dataset.content_hash)


def threads_of(workers: int) -> int | None:
    """Of each run; None is as many as the library takes by itself, which follows the affinity, but no quota."""
    if workers > 1:
        return max(1, usable_cpus() // workers)
    given = limited_by_quota() or cpus_of_job() is not None  # $OMP_NUM_THREADS may be that of a login shell
    return min(torch.get_num_threads(), usable_cpus()) if given else None


def checked(request: Request) -> list[RunConfig]:
    """The configurations of a request, each of whose components accepts its settings. BenchError otherwise."""
    device = resolve_device(request.device, here=not request.elsewhere)
    with contained():  # it imports and builds the classes of plugins
        configs = _checked(request)
    if not (request.elsewhere and request.device == "auto"):  # each machine finds out for itself
        for one in configs:
            check_precision_of(device, one.values["precision"], ask_it=False)
    return configs


def _checked(request: Request) -> list[RunConfig]:
    configs = run_configs(request)
    if request.out.exists() and not request.out.is_dir():
        raise BenchError(f"--out {request.out} is a file; give a folder")
    found = []
    for one in configs:
        method = components.build(one.values["method"], one.values)
        Budget(**one.values["budget"])
        found.append(asked_what_it_can(one, method))
    return found


def execute(session: Session, reporter: Reporter, workers: int = 1, per_gpu: int | None = None) -> list[Outcome]:
    """Execute the runs; the outcomes come in the order of ``session.runs``. Stopped, from any interrupt, tells what
    became of them.

    Runs with code from outside the project always have a process of their own: what they change there changes no other.
    per_gpu: of several workers, how many at a time on one GPU; None is as many as its memory has room for.
    """
    outcomes: dict[int, Outcome] = {}
    begun: set[int] = set()
    try:
        _execute(session, reporter, workers, per_gpu, outcomes, begun)
    except KeyboardInterrupt as error:
        how = {index: one.status for index, one in outcomes.items()}
        raise telling(error, left_behind(session.runs, how, begun)) from error
    return [outcomes[index] for index in sorted(outcomes)]


def _execute(
    session: Session,
    reporter: Reporter,
    workers: int,
    per_gpu: int | None,
    outcomes: dict[int, Outcome],
    begun: set[int],
) -> None:
    """The numbers of the runs whose turn came are put into ``begun``, how each ended into ``outcomes``."""
    pending: dict[Future[RunRecord], int] = {}
    labels = _labels(session.runs)
    limit = session.jobs[0].time_limit if session.jobs else None

    turns = order(session.runs, workers)
    with reporter.during("reading the records that are there"):
        whole = follow(session.jobs, session.dataset_hash, turns, workers)
    if left := whole.left():
        reporter.say(f"all runs: {left}")
    places = placement(session.jobs[0].device, per_gpu) if workers > 1 and session.jobs else None
    if places is not None:
        reporter.say(f"{workers} workers, {places.describe()}")

    def ended(future: Future[RunRecord], index: int) -> None:
        run = session.runs[index]
        outcomes[index] = _outcome(run, future)
        whole.ended(index, outcomes[index].record)
        reporter.say(f"{labels[index]}: {describe(outcomes[index])}")

    with (
        executor(workers, limit=limit, placement=places, again=_alone_then) as pool,
        executor(1, own_process=True, limit=limit) as alone,
    ):
        try:
            for index in turns:
                begun.add(index)
                job = session.jobs[index]
                if job.run.anew:
                    try:
                        job = _begun_anew(job)
                    except BenchError as error:
                        outcomes[index] = Outcome(job.run, "failed", str(error), None)
                        reporter.say(f"{labels[index]}: {error}")
                        continue
                state = job.run.status([session.manifests[path] for path in job.manifests])
                if state == "cached":
                    outcomes[index] = Outcome(job.run, "done", None, job.run.record(), cached=True)
                    reporter.say(f"{labels[index]}: there already")
                elif state == "damaged":
                    outcomes[index] = _damaged(job.run)
                    reporter.say(f"{labels[index]}: {outcomes[index].reason}")
                elif workers > 1:
                    if places is not None and job.device.startswith("cuda:"):
                        job = replace(job, device="cuda")  # the only one that its process sees
                    pending[pool.submit(execute_run, job, _silent)] = index
                else:
                    reporter.begin(labels[index])
                    reporter.whole = whole.of_run(index)
                    if has_outside_code(job.run.values):
                        future = alone.submit(execute_run, job, _silent)
                        for _ in finished({future: index}, session.runs, labels, reporter, whole):
                            ended(future, index)
                    else:
                        ended(pool.submit(execute_run, job, reporter), index)
            for future in finished(pending, session.runs, labels, reporter, whole):
                ended(future, pending[future])
        except KeyboardInterrupt as error:
            _stop([pool, alone], number_of(error), reporter)
            raise


def _begun_anew(job: Job) -> Job:
    """The same with nothing there of it any more; the record says what lies beside it."""
    kept = set_aside(job.run.folder)
    notes = job.notes if kept is None else {**job.notes, "rerun": f"the record before is {kept.name}"}
    return replace(job, run=replace(job.run, anew=False), notes=notes)


def _labels(runs: Sequence[PlannedRun]) -> list[str]:
    return [f"run {number} of {len(runs)}, {run.name} seed {run.seed}" for number, run in enumerate(runs, start=1)]


def _stop(executors: Sequence[Executor], number: int, reporter: Reporter) -> None:
    """Ask the processes of runs to end, and wait for it; after another interrupt no longer."""
    asked = [one for one in executors if isinstance(one, ProcessPerTaskExecutor)]
    for one in asked:
        one.stop(number)
    reporter.begin("")
    with reporter.during("stopping; Ctrl-C again does not wait until runs have saved what they have"):
        try:
            for one in asked:
                one.shutdown(wait=True, cancel_futures=True)
        except KeyboardInterrupt:
            for one in asked:
                one.end()
            for one in asked:
                one.shutdown(wait=True, cancel_futures=True)


def order(runs: Sequence[PlannedRun], workers: int) -> list[int]:
    """The numbers of the runs as they are begun. Side by side: first one of each that share an artifact, so that the
    others do not wait for its training.
    """
    if workers == 1:
        return list(range(len(runs)))
    seen: Counter[str] = Counter()
    turn = []
    for run in runs:
        groups = components.artifact_groups(run.values)
        shared = [components.artifact_settings(group, run.values) for group in groups]
        key = content_key({"seed": run.seed, "artifacts": shared})
        turn.append(seen[key] if shared else 0)
        seen[key] += 1
    return sorted(range(len(runs)), key=lambda index: turn[index])


def describe(outcome: Outcome) -> str:
    """One line for people."""
    if outcome.status != "done" or outcome.record is None:
        return f"{outcome.status}: {outcome.reason}"
    scores = ", ".join(
        f"{100 * one.accuracy:.2f}{f' ± {100 * one.ci95:.2f}' if one.tasks > 1 else ''} ({one.way}-way {one.shot}-shot)"
        for one in outcome.record.evaluations
    )
    return f"{scores} in {outcome.record.timings.get('total', 0):.0f} s"


def _alone_then(record: RunRecord, gpu: Gpu, arguments: tuple[Any, ...]) -> tuple[Any, ...] | None:
    """A run that found too little memory beside others gets a second chance with the GPU to itself."""
    job: Job = arguments[0]
    if record.status != "out-of-memory":
        return None
    said = f"ran out of memory beside other runs on GPU {gpu.index}; tried once more, alone there"
    append_log(job.run.folder, said)
    return replace(job, notes={**job.notes, "second_try": said}), *arguments[1:]


def _silent(*_: object) -> None:
    """Worker processes keep their progress in log.txt."""


def _damaged(run: PlannedRun) -> Outcome:
    try:
        run.record()
    except BenchError as error:
        return Outcome(run, "failed", str(error), None)
    return Outcome(run, "failed", "its record is damaged", None)


def _outcome(run: PlannedRun, future: Future[RunRecord]) -> Outcome:
    try:
        found = future.result()
    except WorkerDied as error:
        status: Status = "timeout" if isinstance(error, WorkerHung) else "failed"
        record = record_forced_end(run, status, str(error))
        if record is not None and not record.done:  # what the process itself said before it ended is the better reason
            return Outcome(run, record.status, record.reason, record)
        return Outcome(run, status, str(error), None)
    except Exception as error:
        reason = str(error) or type(error).__name__
        return Outcome(
            run, "failed", reason if isinstance(error, BenchError) else f"{type(error).__name__}: {reason}", None
        )
    return Outcome(run, found.status, found.reason, found)
