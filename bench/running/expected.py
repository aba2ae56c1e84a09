"""How long the runs of a plan are expected to take, in words."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.basics.progress import for_people
from bench.planning.durations import Duration, schedule
from bench.planning.plan import PlannedRun
from bench.running.estimate import MEASURED


@dataclass(frozen=True)
class Expected:
    """durations: of what is to do, run by run. order: the numbers of the runs in the order in which they begin."""

    runs: Sequence[PlannedRun]
    durations: Sequence[Duration]
    order: Sequence[int]
    workers: int

    def minutes(self) -> list[str]:
        """Of each run, what it shares counted where it is trained: ``12``, ``0.4``, ``0``, or ``unknown``."""
        return ["unknown" if one is None else _minutes(one) for one in self.seconds()]

    def seconds(self) -> list[float | None]:
        """The same as numbers; None where nothing is known."""
        works, _ = schedule([self.durations[index] for index in self.order], self.workers)
        found = dict(zip(self.order, works))
        return [found[index] if one.known else None for index, one in enumerate(self.durations)]

    def total(self) -> float:
        """Seconds of all of them, side by side; those that nothing is known of count as nothing."""
        _, seconds = schedule([one for index in self.order if (one := self.durations[index]).known], self.workers)
        return seconds

    def in_all(self, out: Path) -> Iterator[str]:
        """How long all of them take, from what that was concluded, and of which runs nothing is known."""
        known = [one for one in self.durations if one.known and one != Duration()]
        unknown = [run.name for run, one in zip(self.runs, self.durations) if not one.known]
        if known:
            seconds = self.total()
            many = f"{self.workers} workers" if self.workers > 1 else "one worker"
            said = f"about {for_people(seconds)} in all with {many}"
            yield f"{said}{', without those that nothing is known of' if unknown else ''} ({self._sources(known, out)})"
        if unknown:
            names = ", ".join(dict.fromkeys(unknown))
            yield f"no record to go by for {len(unknown)} of {len(self.runs)} runs; --estimate measures: {names}"

    def _sources(self, known: Sequence[Duration], out: Path) -> str:
        measured = sum(MEASURED in one.sources for one in known)
        records = len({source for one in known for source in one.sources} - {MEASURED})
        several = "s" if records != 1 else ""
        told = [f"{len(known) - measured} of {len(self.runs)} runs estimated from {records} record{several} in {out}"]
        told += [f"{measured} of {len(self.runs)} from a few steps measured now"]
        return ", ".join(text for text, count in zip(told, (len(known) - measured, measured)) if count)


def _minutes(seconds: float) -> str:
    minutes = seconds / 60
    if minutes < 0.05:
        return "<0.1" if seconds else "0"
    return f"{minutes:.1f}" if minutes < 9.95 else f"{minutes:.0f}"
