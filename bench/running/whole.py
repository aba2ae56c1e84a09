"""How long a whole request will take from now on: by records, corrected by what is seen while it runs."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from bench.basics.progress import for_people
from bench.contracts import TaskSpec
from bench.planning.durations import Duration, History, schedule
from bench.planning.plan import PlannedRun
from bench.records.record import RunRecord
from bench.running.estimate import duration, history_of, learn
from bench.running.job import Job
from bench.tasks import manifest as manifests

FIT, EVALUATE = "meta-train", "evaluate"
DERIVED = ("k-means", "hyperplanes")
PASSING = ("prepare", "check", "download", "waiting", "embed")  # stages that are no part of their own

TRUST = 20.0  # seconds for which the records count against what is seen
STEADY = 3.0  # seconds after which the pace of a stage tells more than the records


@dataclass(slots=True)
class _Seen:
    """Where a run is: its stage, when that began and with how much done, and what was seen of it last."""

    stage: str = ""
    began: float = 0.0
    before: int = 0
    done: int = 0
    total: int = 0
    at: float = 0.0
    lists: int = 0
    """Task lists that are answered."""

    @property
    def left(self) -> float | None:
        """Seconds that the stage will go on, at its pace; None while that says little."""
        if self.done <= self.before or self.at - self.began < STEADY:
            return None
        return (self.at - self.began) / (self.done - self.before) * (self.total - self.done)


def follow(jobs: Sequence[Job], dataset_hash: str, order: Sequence[int], workers: int = 1) -> Whole:
    """A request that is about to be executed: what it is told comes from the records in its folder."""
    if not jobs:
        return Whole((), {}, History(dataset_hash, ""), ())
    first = jobs[0]
    paths = dict.fromkeys(path for job in jobs for path in job.manifests)
    specs = {sealed.sha256: sealed.spec for sealed in map(manifests.load, paths)}
    history = history_of(first.artifacts.parent, dataset_hash, first.device, first.threads)
    return Whole([job.run for job in jobs], specs, history, order, workers)


class Whole:
    """Follows the runs of a request, by their numbers, and says how long they will take.

    order: the numbers in the order in which the runs are begun. specs: SHA-256 of a task list -> what its tasks are.
    """

    def __init__(
        self,
        runs: Sequence[PlannedRun],
        specs: Mapping[str, TaskSpec],
        history: History,
        order: Sequence[int],
        workers: int = 1,
    ) -> None:
        self._runs, self._specs, self._history, self._workers = runs, specs, history, workers
        self._todo = {index: duration(runs[index], specs, history) for index in order}
        self._new = {index for index in order if runs[index].status(list(specs)) in ("new", "anew")}
        self._running: dict[int, _Seen] = {}
        self._trained: dict[str, float] = {}
        """Shared trainings that are finished: key -> seconds that they were expected to take."""
        self._spent, self._told = 0.0, 0.0

    def of_run(self, index: int) -> Callable[[str, int, int], str]:
        """What takes the progress of a run, and says :meth:`left`."""

        def saw(stage: str, done: int, total: int) -> str:
            self.saw(index, stage, done, total)
            return self.left()

        return saw

    def saw(self, index: int, stage: str = "", done: int = 0, total: int = 0, at: float | None = None) -> None:
        """A run is on its way, with ``done`` of ``total`` of a stage."""
        seen, at = self._running.setdefault(index, _Seen()), time.monotonic() if at is None else at
        if not total or stage.startswith(PASSING):
            return
        if stage != seen.stage or done < seen.done:
            again = stage == seen.stage == EVALUATE
            self._running[index] = _Seen(stage, at, done, done, total, at, seen.lists + again)
            if stage in (FIT, EVALUATE) and index in self._todo:
                self._have_trained(self._todo[index])
        elif done != seen.done:
            seen.done, seen.total, seen.at = done, total, at

    def _have_trained(self, one: Duration) -> None:
        self._trained |= {part.key: max(part.seconds or 0.0, self._trained.get(part.key, 0.0)) for part in one.shared}

    def read(self, index: int, line: str) -> None:
        """The same, from a line of the run's log."""
        found = re.match(r"(\S+) (.+?) (\d+)/(\d+)(?: |$)", line)
        try:
            written = datetime.fromisoformat(found[1]) if found else None
        except ValueError:
            written = None
        if found is None or written is None or written.tzinfo is None:
            self.saw(index)
            return
        ago = max(0.0, (datetime.now(UTC) - written).total_seconds())
        self.saw(index, found[2], int(found[3]), int(found[4]), time.monotonic() - ago)

    def ended(self, index: int, record: RunRecord | None) -> None:
        """A run ended. What it took corrects what is said of the others, or lets it be said."""
        expected = self._todo.pop(index, None)
        self._running.pop(index, None)
        if record is None or not record.done or expected is None or index not in self._new:
            return
        self._have_trained(expected)
        if expected.known:
            self._told += (expected.fit or 0.0) + sum(one or 0.0 for one in expected.evaluate)
            self._spent += record.timings.get("fit", 0.0) + record.timings.get("evaluate", 0.0)
        folder = self._runs[index].folder
        learn(self._history, record, folder, folder.parents[2] / "artifacts")
        for other, one in self._todo.items():
            if not one.known:
                self._todo[other] = duration(self._runs[other], self._specs, self._history)

    def left(self) -> str:
        """``about 1 h 5 min``, ``more than 10 min`` where something is unknown; empty where nothing can be said."""
        factor = (self._spent + TRUST) / (self._told + TRUST)
        order = [*self._running, *(index for index in self._todo if index not in self._running)]
        trained = {key: factor * seconds for key, seconds in self._trained.items()}
        remaining = [self._remaining(index, factor, trained) for index in order if index in self._todo]
        _, seconds = schedule(remaining, self._workers, trained)
        complete = all(one.known for one in remaining)
        if seconds < 1 or not (complete or any(one.sources for one in remaining)):
            return ""
        return f"{'about' if complete else 'more than'} {for_people(seconds)}"

    def _remaining(self, index: int, factor: float, trained: dict[str, float]) -> Duration:
        """What is to do of a run. How far it is with what it shares is put into ``trained``, for the others too."""
        whole, seen = self._todo[index], self._running.get(index)
        scaled = replace(
            whole,
            shared=tuple(replace(one, seconds=_times(one.seconds, factor)) for one in whole.shared),
            fit=_times(whole.fit, factor),
            evaluate=tuple(_times(one, factor) for one in whole.evaluate),
            validate=factor * whole.validate,
        )
        if seen is None or not seen.total:
            return scaled
        still = 1.0 - seen.done / seen.total
        since = max(0.0, time.monotonic() - seen.at)

        def going_on(told: float | None) -> float | None:
            left = seen.left if seen.left is not None else _times(told, still)
            return None if left is None else max(0.0, left - since)

        if seen.stage == FIT:
            fit = going_on(scaled.fit)
            # The pace that was seen has the looks at validation tasks in it.
            validate = 0.0 if seen.left is not None else still * scaled.validate
            return replace(scaled, shared=(), fit=fit, validate=validate, rest=0.0)
        if seen.stage == EVALUATE:
            lists = scaled.evaluate[seen.lists :]
            answering = (going_on(lists[0]), *lists[1:]) if lists else ()
            return Duration(evaluate=answering, sources=scaled.sources)
        if not scaled.shared:
            return scaled
        at = len(scaled.shared) - 1 if seen.stage in DERIVED else 0
        part, left = scaled.shared[at], going_on(scaled.shared[at].seconds)
        if part.seconds is not None and left is not None:
            trained[part.key] = part.seconds - left
        parts = [*scaled.shared[:at], replace(part, seconds=left if part.seconds is None else part.seconds)]
        trained |= {one.key: one.seconds or 0.0 for one in parts[:at]}
        return replace(scaled, shared=(*parts, *scaled.shared[at + 1 :]), rest=0.0)


def _times(seconds: float | None, factor: float) -> float | None:
    return None if seconds is None else factor * seconds
