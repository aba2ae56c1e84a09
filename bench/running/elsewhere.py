"""A request whose runs are carried out elsewhere: written down as a plan, handed to an executor, followed by its files.

What an executor says of a run is not believed: what became of it is what its folder says.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Executor, Future, wait
from dataclasses import fields, replace
from pathlib import Path

from bench.basics.errors import BenchError
from bench.basics.keys import content_key
from bench.basics.progress import Reporter
from bench.planning.plan import PlannedRun, Request
from bench.planning.plan_file import Item, PlanFile, Sealed, plan_for, read_plan, write_plan
from bench.records.aside import set_aside
from bench.records.record import RunRecord
from bench.running.session import Outcome, Session, describe, order
from bench.running.working import do
from bench.tasks import manifest as manifests


def plan_of(
    request: Request, session: Session, seconds: Mapping[str, float] | None = None, everything: bool = False
) -> PlanFile:
    """What a session is about to do, as a plan: first those that train what others share.

    seconds: key of a run -> how long it is expected to take. everything: also the runs that are done.
    """
    turns = order(session.runs, workers=2)
    runs = [session.runs[index] for index in turns if everything or not _is_done(session, index)]
    sealed = [
        Sealed(path.relative_to(request.out).as_posix(), sha, manifests.load(path).spec.way)
        for path, sha in session.manifests.items()
    ]
    asked = session.runs[0].asked
    return plan_for(request, asked, runs, sealed, session.jobs[0].cache, session.dataset_hash, seconds)


def keep_plan(out: Path, plan: PlanFile) -> Path:
    """Write it below ``out``, under a name that says what is in it: jobs under way may be reading such a file."""
    facts = {**{one.name: getattr(plan, one.name) for one in fields(plan)}, "items": [one.key for one in plan.items]}
    path = out / "plans" / f"{content_key({name: str(value) for name, value in facts.items()})[:12]}.json"
    write_plan(path.absolute(), plan)
    return path.absolute()


@contextlib.contextmanager
def planned(out: Path, plan: PlanFile) -> Iterator[Path]:
    """:func:`keep_plan` while it is handed over: nothing stays where that is refused, unless it was there before."""
    before = {*(out / "plans").glob("*.json")}
    path = keep_plan(out, plan)
    try:
        yield path
    except BenchError:
        if out / "plans" / path.name not in before:
            path.unlink(missing_ok=True)
        raise


def begun_anew(session: Session) -> Session:
    """The same with nothing there any more of what is to be run again; what was there lies beside it."""
    for run in session.runs:
        if run.anew:
            set_aside(run.folder)
    runs = tuple(replace(run, anew=False) for run in session.runs)
    jobs = tuple(replace(job, run=run) for job, run in zip(session.jobs, runs, strict=True))
    return replace(session, runs=runs, jobs=jobs)


def hand_over(plan: Path, executor: Executor) -> dict[Future[str], Item]:
    """Every item of a plan, given to an executor. BenchError where its scheduler does not take them."""
    found = {executor.submit(do, str(plan), index): item for index, item in enumerate(read_plan(plan).items)}
    flush = getattr(executor, "flush", None)  # of one that collects what it is given
    if flush is not None:
        flush()
    return found


def execute_elsewhere(
    session: Session,
    handed: Mapping[Future[str], Item],
    reporter: Reporter,
    following: Callable[[], str] | None = None,
) -> list[Outcome]:
    """Wait until each item that :func:`hand_over` gave has ended; the outcomes come in the order of the runs.

    KeyboardInterrupt passes through; what becomes of the jobs then is for who called this to say. following: one line
    on how far all of it is, asked now and then.
    """
    place = {run.key: number for number, run in enumerate(session.runs)}
    outcomes: dict[int, Outcome] = {}
    for number, run in enumerate(session.runs):
        if _is_done(session, number):
            outcomes[number] = Outcome(run, "done", None, run.record(), cached=True)
    pending = {future: place[item.key] for future, item in handed.items()}
    waiting, said = set(pending), time.monotonic()
    while waiting:
        done, waiting = wait(waiting, timeout=2.0, return_when=FIRST_COMPLETED)
        for future in done:
            number = pending[future]
            outcomes[number] = _outcome(session.runs[number], future)
            label = (
                f"[{len(outcomes)}/{len(session.runs)}] {session.runs[number].name} seed {session.runs[number].seed}"
            )
            reporter.say(f"{label}: {describe(outcomes[number])}")
        if following is not None and waiting and reporter.live:
            reporter(following(), len(outcomes), len(session.runs), {})
        elif following is not None and waiting and time.monotonic() - said > reporter.seconds:
            said = time.monotonic()
            reporter.say(f"  {following()}")
    return [outcomes[number] for number in sorted(outcomes)]


def _is_done(session: Session, number: int) -> bool:
    job = session.jobs[number]
    return job.run.status([session.manifests[path] for path in job.manifests]) == "cached"


def _outcome(run: PlannedRun, future: Future[str]) -> Outcome:
    """By the record; what the executor says counts where there is none, or none that says how the run ended."""
    try:
        record: RunRecord | None = run.record()
    except BenchError as error:
        return Outcome(run, "failed", str(error), None)
    if record is not None and record.done:
        return Outcome(run, "done", None, record)
    if (failure := future.exception()) is not None:
        return Outcome(run, "failed" if record is None else record.status, str(failure), record)
    if record is None:
        return Outcome(run, "failed", f"its job ended as {future.result()!r} and left no record", None)
    return Outcome(run, record.status, record.reason, record)
