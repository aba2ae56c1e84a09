"""``--executor`` and ``--export``: a request handed to other machines, or written down for them."""

from __future__ import annotations

import contextlib
import shlex
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, cast

from bench.basics.errors import BenchError, did_you_mean

if TYPE_CHECKING:
    from bench.basics.progress import Reporter
    from bench.planning.plan import Request
    from bench.running.executors.slurm import SlurmExecutor
    from bench.running.outlook import Outlook
    from bench.running.session import Outcome, Session

    Elsewhere = Callable[[Request, Session, Reporter], list[Outcome]]


def placed(executor: str | None, texts: Sequence[str], workers: int, detach: bool) -> Elsewhere | None:
    """What carries the runs out; None is this machine, as ``--workers`` says. BenchError for what cannot be."""
    from bench.planning import catalogue
    from bench.planning.executor_settings import executor_settings
    from bench.running.executors import ELSEWHERE

    if executor is None:
        if texts:
            raise BenchError(f"{texts[0]!r} is a setting of an executor; say which, for example --executor slurm")
        if detach:
            raise BenchError("--detach goes with --executor slurm; say that too")
        return None
    if executor not in (known := catalogue.options("executor")):
        raise BenchError(f"--executor {executor!r} is none of {', '.join(known)}.{did_you_mean(executor, known)}")
    settings = executor_settings(executor, texts)
    if executor not in ELSEWHERE:
        if executor == "inline" and workers > 1:
            raise BenchError(f"--executor inline is one run at a time, not --workers {workers}; leave one of them out")
        if detach:
            raise BenchError(f"--detach goes with --executor slurm, not with {executor}")
        return None
    if workers > 1:
        raise BenchError(
            f"--workers is of this machine; with --executor {executor}, executor.* says how many at a time"
        )
    if detach and executor != "slurm":
        raise BenchError(f"--detach goes with --executor slurm, not with {executor}")
    if executor == "slurm":
        from bench.running.executors.slurm_settings import checked, needed

        checked(settings)
        needed()
    if executor == "ray":
        from bench.running.executors import ray_settings

        ray_settings.needed(ray_settings.checked(settings))

    def carry_out(request: Request, ready: Session, reporter: Reporter) -> list[Outcome]:
        from bench.running.elsewhere import begun_anew, execute_elsewhere, hand_over, plan_of, planned
        from bench.running.executors import executor_elsewhere

        if request.rerun:
            raise BenchError(
                f"--rerun begins runs anew on this machine only, not with --executor {executor}: leave --executor out, "
                "or remove the folders of the runs, which 'bench plan' names"
            )
        ready = begun_anew(ready)
        plan = plan_of(request, ready)
        if not plan.items:
            return execute_elsewhere(ready, {}, reporter)
        with executor_elsewhere(executor, settings, request.out.absolute(), reporter.say) as pool:
            try:
                with planned(request.out, plan) as path:
                    handed = hand_over(path, pool)
                if detach:
                    _detached(cast("SlurmExecutor", pool), request.out)
                return execute_elsewhere(ready, handed, reporter, getattr(pool, "standing", None))
            except KeyboardInterrupt as error:
                if executor == "slurm":
                    _left_or_cancelled(cast("SlurmExecutor", pool), request.out, reporter, error)
                raise

    return carry_out


def _detached(pool: SlurmExecutor, out: Path) -> None:
    """Leave at once, and say what to type next."""
    import typer

    from bench.cli.asking import say

    folder, jobs = shlex.quote(str(out)), pool.jobs
    pool.shutdown(wait=False)
    say(f"the runs are in SLURM's hands ({_named(jobs)}), and nobody waits for them here. What to type next:")
    say(f"  bench status --out {folder}: how far they are; the same command without --detach follows them")
    say(f"  bench report --runs {folder} --out reports: the leaderboard of what is done")
    say(f"  scancel {' '.join(jobs)}: ends them; what is running is saved first")
    raise typer.Exit(0)


def _left_or_cancelled(pool: SlurmExecutor, out: Path, reporter: Reporter, error: KeyboardInterrupt) -> None:
    """After Ctrl-C: what becomes of the jobs. They are left alone unless somebody at a terminal says otherwise."""
    from bench.basics.signals import Stopped

    jobs = pool.jobs
    if not jobs:
        return
    asked = not isinstance(error, Stopped) or error.number == signal.SIGINT
    if asked and sys.stdin.isatty() and sys.stderr.isatty():
        with contextlib.suppress(KeyboardInterrupt), reporter.aside():
            sys.stderr.write(f"{_named(jobs)} is under way: cancel the jobs (c), or leave them running (l, Enter)? ")
            sys.stderr.flush()
            if sys.stdin.readline().strip().lower() in ("c", "cancel"):
                pool.cancel()
                reporter.say(f"cancelled {_named(jobs)}; what was running is saved, and the same command goes on")
                return
    reporter.say(
        f"{_named(jobs)} goes on without this command. The same command follows it again; 'bench status --out "
        f"{shlex.quote(str(out))}' says how far it is; 'scancel {' '.join(jobs)}' ends it, and what is running is saved"
    )


def _named(jobs: Sequence[str]) -> str:
    return f"SLURM job {', '.join(jobs)}"


def exported(outlook: Outlook, path: Path) -> str:
    """Write the runs of a request that are not done to a file; what to type next."""
    from bench.planning.plan_file import write_plan

    plan = outlook.plan()
    if not plan.items:
        return f"all {len(outlook.runs)} runs are done, so no plan was written to {path}"
    write_plan(path, plan)
    file, count = shlex.quote(str(path)), len(plan.items)
    several = f"s (--index 0 to {count - 1})" if count > 1 else ""
    return f"wrote {count} run{several} to {path}; 'bench work {file}' does them, 'bench status --plan {file}' follows"
