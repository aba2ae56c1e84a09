"""Executing a request: datasets opened, tasks sealed, every run executed, no failure hiding another."""

from __future__ import annotations

import os
import signal
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass
from pathlib import Path

from bench.basics.errors import BenchError
from bench.basics.keys import content_key
from bench.basics.progress import Reporter
from bench.basics.signals import Stopped
from bench.contracts import Budget, TaskSpec
from bench.planning import components
from bench.planning.composing import RunConfig
from bench.planning.plan import PlannedRun, Request, planned_runs, run_configs
from bench.records.record import RunRecord, Status
from bench.running.containment import contained, has_outside_code
from bench.running.environment import resolve_device
from bench.running.executors import executor
from bench.running.executors.processes import ProcessPerTaskExecutor, WorkerDied, WorkerHung
from bench.running.inputs import open_dataset, seal_manifests
from bench.running.job import Job
from bench.running.run import execute_run, record_forced_end


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


def prepare(request: Request, cache: Path, reporter: Reporter, workers: int = 1) -> Session:
    """Check everything that can be checked before training: names, values, classes, device, data, output folder."""
    configs = checked(request)
    first = configs[0]
    dataset = open_dataset(first.values, cache, reporter)
    for warning in dataset.warnings:
        reporter.say(f"warning: {warning}")
    sealed = seal_manifests(dataset, first.values, first.values["shots"], request.out)
    manifests = {path: manifest.sha256 for path, manifest in sealed.items()}
    runs = planned_runs(configs, dataset.content_hash, request.seeds, request.out)
    threads = max(1, (os.cpu_count() or 1) // workers) if workers > 1 else None
    jobs = tuple(
        Job(
            run,
            tuple(manifests),
            cache,
            request.out / "artifacts",
            request.device,
            threads,
            request.time_limit,
        )
        for run in runs
    )
    return Session(tuple(runs), manifests, jobs)


def checked(request: Request) -> list[RunConfig]:
    """The configurations of a request, each of whose components accepts its settings. BenchError otherwise."""
    resolve_device(request.device)
    with contained():  # it imports and builds the classes of plugins
        return _checked(request)


def _checked(request: Request) -> list[RunConfig]:
    configs = run_configs(request)
    if request.out.exists() and not request.out.is_dir():
        raise BenchError(f"--out {request.out} is a file; give a folder")
    for one in configs:
        method = components.build(one.values["method"], one.values)
        Budget(**one.values["budget"])
        trained, asked = TaskSpec(**one.values["train"]).way, one.values["way"]
        if trained < asked and getattr(getattr(method, "learner", None), "fixed_way", False):
            fixed = any(text.startswith("train.way=") for text in one.variant.overrides)
            mend = "choose another method" if fixed else f"give train.way={asked}"
            raise BenchError(
                f"{one.method_name} trains on {trained}-way tasks, so that it cannot answer way={asked}; {mend}"
            )
    return configs


def execute(session: Session, reporter: Reporter, workers: int = 1) -> list[Outcome]:
    """Execute the runs; the outcomes come in the order of ``session.runs``. KeyboardInterrupt passes through.

    Runs with code from outside the project always have a process of their own: what they change there changes no other.
    """
    wanted = list(session.manifests.values())
    outcomes: dict[int, Outcome] = {}
    pending: dict[Future[RunRecord], int] = {}
    limit = session.jobs[0].time_limit if session.jobs else None

    def ended(future: Future[RunRecord], index: int) -> None:
        run = session.runs[index]
        outcomes[index] = _outcome(run, future)
        reporter.say(f"{_label(session, index)}: {describe(outcomes[index])}")

    with executor(workers, limit=limit) as pool, executor(1, own_process=True, limit=limit) as alone:
        try:
            for index in _order(session.runs) if workers > 1 else range(len(session.runs)):
                job = session.jobs[index]
                state = job.run.status(wanted)
                if state == "cached":
                    outcomes[index] = Outcome(job.run, "done", None, job.run.record(), cached=True)
                    reporter.say(f"{_label(session, index)}: there already")
                elif state == "damaged":
                    outcomes[index] = _damaged(job.run)
                    reporter.say(f"{_label(session, index)}: {outcomes[index].reason}")
                elif workers > 1:
                    pending[pool.submit(execute_run, job, _silent)] = index
                else:
                    reporter.begin(job.run.name)
                    if has_outside_code(job.run.values):
                        future = alone.submit(execute_run, job, _silent)
                        for _ in _finished({future: index}, session.runs, reporter):
                            ended(future, index)
                    else:
                        ended(pool.submit(execute_run, job, reporter), index)
            for future in _finished(pending, session.runs, reporter):
                ended(future, pending[future])
        except KeyboardInterrupt as error:
            for one in (pool, alone):
                if isinstance(one, ProcessPerTaskExecutor):
                    one.stop(error.number if isinstance(error, Stopped) else signal.SIGINT)
                one.shutdown(wait=True, cancel_futures=True)
            raise
    return [outcomes[index] for index in sorted(outcomes)]


def _label(session: Session, index: int) -> str:
    run = session.runs[index]
    return f"[{index + 1}/{len(session.jobs)}] {run.name} seed {run.seed}"


def _finished(
    pending: Mapping[Future[RunRecord], int], runs: Sequence[PlannedRun], reporter: Reporter
) -> Iterator[Future[RunRecord]]:
    """Futures as they finish; meanwhile, now and then, the last log line of each that is running."""
    waiting = set(pending)
    while waiting:
        done, waiting = wait(waiting, timeout=reporter.seconds, return_when=FIRST_COMPLETED)
        yield from done
        if not done:
            for future in sorted(waiting, key=lambda one: pending[one]):
                log = runs[pending[future]].folder / "log.txt"
                if future.running() and log.exists():
                    line = (log.read_text(encoding="utf-8").splitlines() or [""])[-1]
                    reporter.say(f"  {runs[pending[future]].name}: {line.partition(' ')[2]}")


def _order(runs: Sequence[PlannedRun]) -> list[int]:
    """Runs side by side: first one of each that share an artifact, so that the others do not wait for its training."""
    seen: Counter[str] = Counter()
    turn = []
    for run in runs:
        shared = [
            components.component_settings(run.values[group], run.values)
            for group in components.artifact_groups(run.values)
        ]
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
