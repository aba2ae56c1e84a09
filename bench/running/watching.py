"""Runs in processes of their own, followed from outside by the last lines of their logs."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from typing import NamedTuple

from bench.basics.progress import Reporter, of_all_runs
from bench.planning.plan import PlannedRun
from bench.records.record import RunRecord
from bench.running.whole import Whole

LOOK = 1.0
"""Seconds after which is looked at what runs do."""


class _Stage(NamedTuple):
    name: str
    done: int
    total: int


def finished(
    pending: Mapping[Future[RunRecord], int],
    runs: Sequence[PlannedRun],
    labels: Sequence[str],
    reporter: Reporter,
    whole: Whole,
) -> Iterator[Future[RunRecord]]:
    """Futures as they finish; meanwhile a bar moves, or now and then the last log line of each that is running is
    printed.

    pending: future -> number of its run. labels: of all runs, by number.
    """
    waiting, begun, ended = set(pending), set[Future[RunRecord]](), 0
    told = time.monotonic()
    while waiting:
        done, waiting = wait(waiting, timeout=LOOK, return_when=FIRST_COMPLETED)
        yield from done
        ended += len(done)
        running = {pending[one]: one for one in sorted(waiting, key=lambda one: pending[one]) if one.running()}
        for index, future in running.items():
            if future not in begun:
                begun.add(future)
                reporter.say(f"{labels[index]}: begun")
        lines = {index: _last_line(runs[index]) for index in running}
        for index, line in lines.items():
            whole.read(index, line)
        if reporter.live:
            _show(lines, runs, labels, (ended, len(pending)), reporter, whole)
        elif time.monotonic() - told >= reporter.seconds:
            told = time.monotonic()
            for index, line in lines.items():
                if line:
                    reporter.say(f"  {labels[index]}: {line.partition(' ')[2]}")
            if left := of_all_runs(whole.left()):
                reporter.say(f"  {left}")


def _last_line(run: PlannedRun) -> str:
    try:
        return (run.folder / "log.txt").read_text(encoding="utf-8").splitlines()[-1]
    except (OSError, IndexError):
        return ""


def _show(
    lines: Mapping[int, str],
    runs: Sequence[PlannedRun],
    labels: Sequence[str],
    counted: tuple[int, int],
    reporter: Reporter,
    whole: Whole,
) -> None:
    """On the bar: how far the run is, of several how many are done and what the others do."""
    stages = {index: _stage(line) for index, line in lines.items()}
    reporter.whole = lambda *_: whole.left()
    if counted[1] == 1:
        for index, stage in stages.items():
            reporter.name = labels[index]
            reporter(*stage, {})
        return
    reporter.name = ""
    doing = ", ".join(f"{runs[index].name} {stage.name}".strip() for index, stage in stages.items())
    reporter(f"runs: {doing}" if doing else "runs", *counted, {})


def _stage(line: str) -> _Stage:
    found = re.match(r"\S+ (.+?) (\d+)/(\d+)(?: |$)", line)
    return _Stage(found[1], int(found[2]), int(found[3])) if found else _Stage("begins", 0, 0)
