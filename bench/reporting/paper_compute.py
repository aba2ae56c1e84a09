"""What the runs of a report took, on which machines, and what more seeds would take, for the appendix of a paper."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from bench.basics.progress import for_people
from bench.leaderboard.columns import images as counted
from bench.leaderboard.columns import memory
from bench.leaderboard.loading import Frames
from bench.leaderboard.reproduction import commands
from bench.leaderboard.rows import Cost
from bench.leaderboard.table import Leaderboard, Table
from bench.planning.catalogue import Variant
from bench.records.record import RunRecord
from bench.records.spent import in_all, spent, three_seeds
from bench.reporting.bibliography import Said

NAN = float("nan")


@dataclass(frozen=True, slots=True)
class Machine:
    """Where runs were made: what they agree in, and how many they are."""

    runs: int
    device: str
    cores: str
    threads: str
    platform: str
    bench: str
    commit: str
    python: str
    torch: str
    numpy: str
    precision: str

    @property
    def words(self) -> str:
        """``70 runs on cpu (2 cores, 1 thread a run; Linux…) in float32 with bench 0.1.0, …``."""
        place = [f"{self.cores} cores" if self.cores else "", f"{self.threads} threads a run" if self.threads else ""]
        told = [", ".join(part for part in place if part), self.platform]
        where = f" ({'; '.join(part for part in told if part)})" if any(told) else ""
        versions = [("bench", self.bench), ("commit", self.commit), ("Python", self.python), ("torch", self.torch)]
        named = ", ".join(f"{name} {value}" for name, value in (*versions, ("NumPy", self.numpy)) if value)
        runs = f"{self.runs} run{'s' * (self.runs != 1)} on {self.device or 'a device that is not on record'}{where}"
        commit = "" if self.commit else "; the commit is not on record"
        return f"{runs} in {self.precision}, with {named or 'unknown versions'}{commit}"


@dataclass(frozen=True, slots=True)
class MoreSeeds:
    """Rows of one table that were trained with one seed, and what two more would take."""

    rows: int
    of: int
    seconds: float | None
    """By the clock on the wall, one run after the other; None where a record does not say."""
    commands: tuple[str, ...]


def machines(records: Sequence[RunRecord]) -> list[Machine]:
    """Each that a run names, those with most runs first."""
    found: dict[tuple[str, ...], int] = {}
    for one in records:
        told = {name: str(value) for name, value in one.environment.items() if value is not None}
        told["platform"] = told.get("platform", "").partition("-")[0]  # builds of a kernel are no other machine
        names = ("device", "cpus", "threads", "platform", "bench", "commit", "python", "torch", "numpy")
        key = (*(told.get(name, "") for name in names), one.precision)
        found[key] = found.get(key, 0) + 1
    return [Machine(runs, *key) for key, runs in sorted(found.items(), key=lambda one: (-one[1], one[0]))]


def spending(records: Sequence[RunRecord]) -> Iterator[Said]:
    """Hours, images and memory of all runs, finished or not; what records do not say is said to be missing."""
    known = [found for one in records if (found := spent(one)) is not None]
    if known:
        without = f"; {len(records) - len(known)} runs do not say it" if len(known) < len(records) else ""
        yield Said(
            f"All {len(records)} runs together, unfinished and superseded ones included, took {hours(in_all(known))} "
            "by the clock on the wall, training and answering, generators and encoders that several share counted "
            f"once{without}"
        )
    for name, what in (("cpu_seconds", "processor"), ("gpu_seconds", "GPU")):
        if told := [seconds for one in records if (seconds := _cost(one, name)) is not None]:
            yield Said(
                f"{_of(told, records)} record {what} time of their training: {hours(sum(told))}, what several share "
                "counted for each"
            )
    if records and not any(_cost(one, name) is not None for one in records for name in ("cpu_seconds", "gpu_seconds")):
        yield Said("No run records processor or GPU time")
    if told := [images for one in records if (images := _cost(one, "images")) is not None]:
        after = sum("counted" in one.notes["cost"] for one in records if _cost(one, "images") is not None)
        later = f" (of {after} afterwards, from their configurations)" if after else ""
        total = counted(Cost(sum(told), NAN, NAN, NAN))
        yield Said(
            f"{_of(told, records)} record the images that went through networks in training{later}: {total}, counted "
            "likewise"
        )
    peaks = [one.peak_memory_mib for one in records if one.peak_memory_mib is not None]
    if peaks:
        yield Said(f"The largest run took {memory(max(peaks))} of memory")


def hours(seconds: float) -> str:
    """``12.5 hours``; minutes below one hour."""
    return f"{seconds / 3600:,.1f} hours" if seconds >= 3600 else for_people(seconds)


def _of(told: Sequence[float], records: Sequence[RunRecord]) -> str:
    return f"All {len(records)} runs" if len(told) == len(records) else f"{len(told)} of {len(records)} runs"


def _cost(record: RunRecord, name: str) -> float | None:
    noted = record.notes.get("cost")
    value = noted.get(name) if isinstance(noted, Mapping) else None
    right = isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < float("inf")
    return float(value) if right else None  # type: ignore[arg-type]


def more_seeds(
    table: Table, frames: Frames, records: Mapping[int, RunRecord], known: Mapping[str, Variant]
) -> MoreSeeds | None:
    """Of rows that stand on the board, without references; None where each has two seeds or more."""
    rows = list({id(line.row): line.row for line in table.board.lines() if line.kind != "variant"}.values())
    rows = [
        row
        for row in rows
        if row.trained.text != "nothing is trained" and "external" not in records[row.runs[0]].config
    ]
    single = [row for row in rows if len(row.seeds) == 1]
    if not single:
        return None
    lines = commands(_only(table, single), frames, known)
    return MoreSeeds(
        len(single), len(rows), three_seeds(records[row.runs[0]] for row in single), tuple(map(_three, lines))
    )


def _only(table: Table, rows: Sequence[object]) -> Table:
    return replace(table, rows=tuple(row for row in table.rows if any(row is one for one in rows)))


_ONE_SEED = re.compile(r"( --shots [\d,]+ --seeds )(\d+)(?= )")


def _three(line: str) -> str:
    return _ONE_SEED.sub(lambda found: f"{found[1]}{found[2]}-{int(found[2]) + 2}", line, count=1)


def recommendation(table: Table, found: MoreSeeds) -> Said:
    """That more than one seed is recommended, and what three take."""
    took = (
        "how long that takes is not on record"
        if found.seconds is None
        else f"by their records that takes about {for_people(found.seconds)} on such a machine, one run after the other"
    )
    which = "All" if found.rows == found.of else f"{found.rows} of {found.of}"
    return Said(
        f"{which} trained rows of {table.title} were trained with one seed; more than one is recommended: two more "
        f"for each make three, and {took}"
    )


def unfinished(leaderboard: Leaderboard) -> list[Said]:
    """Every run that is in no table."""
    return [
        Said(
            f"{one.dataset}, {one.method}, {one.budget}, seed {one.seed}: {one.status}"
            + (f", {one.reason.rstrip('.')}" if one.reason else "")
        )
        for one in leaderboard.unfinished
    ] + [Said(text.rstrip(".")) for text in (*leaderboard.excluded, *leaderboard.problems)]
