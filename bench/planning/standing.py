"""How far the runs below a folder are, by their files alone: record, claim, log. Nothing is changed."""

from __future__ import annotations

import contextlib
import os
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from statistics import median
from typing import Any

from bench.basics.claims import read_claim
from bench.basics.errors import BenchError
from bench.basics.files import read_json
from bench.basics.holders import Holder
from bench.planning.plan_file import PlanFile, read_plan

STATES = (
    "running",
    "failed",
    "diverged",
    "out-of-memory",
    "damaged",
    "timeout",
    "interrupted",
    "skipped",
    "waiting",
    "done",
)
"""In the order in which they are shown."""

BAD = ("failed", "diverged", "out-of-memory", "damaged")
"""What another attempt would not mend by itself."""

LATER = ("waiting", "timeout", "interrupted")
"""What another attempt goes on with."""

_RUN = re.compile(r"([0-9]{1,19})-[0-9a-f]{8}")
_LEFT = re.compile(r"\b(?:(\d+) h )?(\d+) (s|min) left$")
_TAIL = 4096  # bytes of a log that hold its last line


@dataclass(frozen=True, slots=True)
class State:
    """One run. ``status``: one of ``STATES``."""

    status: str
    name: str
    seed: int
    folder: str
    """Below the folder of records."""
    said: str = ""
    """Why it is not done, in a sentence; of a running one the last line of its log, without the time."""
    holder: Holder | None = None
    seconds: float | None = None
    """It took; of what is not done, it is expected to take in all, or None."""
    left: float | None = None
    """Seconds that are expected to be left; None where nothing is known."""
    index: int | None = None
    """Of the plan that was named."""


@dataclass(frozen=True, slots=True)
class Standing:
    """All runs below ``out``. problems: a sentence for each file that cannot be read."""

    out: Path
    runs: tuple[State, ...]
    problems: tuple[str, ...] = ()

    def counts(self) -> dict[str, int]:
        """Status -> runs, in the order of ``STATES``; those there are none of are left out."""
        found = {status: sum(one.status == status for one in self.runs) for status in STATES}
        return {status: count for status, count in found.items() if count}

    def left(self) -> tuple[float | None, int, int]:
        """(seconds until all are done with as many at a time as now, how many at a time, runs of which nothing is
        known). None where nothing is known of any.
        """
        todo = [one for one in self.runs if one.status == "running" or one.status in LATER]
        known = [one.left for one in todo if one.left is not None]
        at_a_time = max(1, sum(one.status == "running" for one in todo))
        if not known:
            return (None if todo else 0.0), at_a_time, len(todo)
        return max(sum(known) / at_a_time, max(known)), at_a_time, len(todo) - len(known)


class Watcher:
    """Looks at the same folder again and again; records that have not changed since are not read again."""

    def __init__(self, out: Path | None, plan: Path | None) -> None:
        self._plan = plan
        self._named = None if plan is None else read_plan(plan)
        self.out = out if out is not None else Path(self._named.out if self._named is not None else "runs")
        self._records: dict[str, tuple[tuple[int, int], Any]] = {}
        self._plans: dict[str, tuple[int, PlanFile | BenchError]] = {}

    def look(self) -> Standing:
        """What is there now. BenchError where there is neither a folder nor a plan."""
        if self._named is None and not self.out.is_dir():
            raise BenchError(f"there is no folder {self.out}; name the one that 'bench run --out' was given with --out")
        problems: list[str] = []
        found = {}
        if self._named is not None:
            for index, item in enumerate(self._named.items):
                wanted = self._named.wanted(index)
                found[item.folder] = self._state(item.folder, item.name, item.seed, item.seconds, wanted, index)
        else:
            there = {path: (name, seed) for path, name, seed in _folders(self.out, problems)}
            for plan in self._kept(problems):
                for index, item in enumerate(plan.items):
                    if item.folder not in found:
                        wanted = plan.wanted(index)
                        found[item.folder] = self._state(item.folder, item.name, item.seed, item.seconds, wanted)
            for folder, (name, seed) in there.items():
                if folder not in found:
                    found[folder] = self._state(folder, name, seed, None, frozenset())
        return Standing(self.out, tuple(_expected(list(found.values()))), tuple(problems))

    def _kept(self, problems: list[str]) -> Iterator[PlanFile]:
        """The plans below the folder, as requests that were handed to an executor keep them; the newest first."""
        try:
            entries = [one for one in os.scandir(self.out / "plans") if re.fullmatch(r"[0-9a-f]{12}\.json", one.name)]
            entries.sort(key=lambda one: (-one.stat().st_mtime_ns, one.name))
        except OSError:
            return
        for one in entries:
            changed = one.stat().st_mtime_ns
            if self._plans.get(one.name, (None,))[0] != changed:
                try:
                    self._plans[one.name] = changed, read_plan(Path(one.path))
                except BenchError as error:
                    self._plans[one.name] = changed, error
            plan = self._plans[one.name][1]
            if isinstance(plan, BenchError):
                problems.append(str(plan))
            else:
                yield plan

    def _state(
        self,
        place: str,
        name: str,
        seed: int,
        expected: float | None,
        wanted: frozenset[str],
        index: int | None = None,
    ) -> State:
        """wanted: the SHA-256 of the task lists that it is to answer."""
        folder = f"{self.out}/{place}"
        plain = State("waiting", name, seed, place, seconds=expected, left=expected, index=index)
        holder = read_claim(Path(folder, ".claim")) if os.path.isdir(f"{folder}/.claim") else None
        if holder is not None and holder.alive is not False:
            said = _last_line(folder)
            return replace(plain, status="running", said=said, holder=holder, left=_of_running(said, holder, expected))
        try:
            record = self._record(folder)
        except BenchError as error:
            return replace(plain, status="damaged", said=str(error).replace(f"{self.out}/", ""), left=None)
        if record is None:
            if holder is not None:
                return replace(plain, status="interrupted", said=_gone(holder, folder), holder=holder)
            begun = os.path.exists(f"{folder}/log.txt")
            return replace(plain, said="it was begun, but left no record; it begins anew") if begun else plain
        status, reason, took, answered = record
        if status == "done":
            if wanted <= answered:
                return replace(plain, status="done", seconds=took, left=0.0)
            return replace(plain, said=f"trained; {len(wanted - answered)} lists of tasks are still to be answered")
        if status == "interrupted" and holder is not None:
            return replace(plain, status=status, said=_gone(holder, folder), holder=holder)
        return replace(plain, status=status, said=reason, left=expected if status in LATER else None)

    def _record(self, folder: str) -> tuple[str, str, float | None, frozenset[str]] | None:
        """(status, reason, seconds it took, task lists it answered); None where there is none. Not compared with its
        seal: that is what 'bench verify' is for, and would take longer than all else here.
        """
        path = f"{folder}/run.json"
        try:
            stat = os.stat(path)
        except OSError:
            return None
        stamp = stat.st_mtime_ns, stat.st_size
        if self._records.get(folder, (None,))[0] != stamp:
            self._records[folder] = stamp, _read(Path(path))
        found = self._records[folder][1]
        if isinstance(found, BenchError):
            raise found
        return found  # type: ignore[no-any-return]


def _read(path: Path) -> Any:
    mend = "delete its folder and run again"
    try:
        value = read_json(path, mend)
        status, reason = str(value["status"]), " ".join(str(value.get("reason") or "").split())
        took = value.get("timings", {}).get("total")
        answered = frozenset(str(one["manifest"]) for one in value.get("evaluations", ()))
    except BenchError as error:
        return error
    except (TypeError, KeyError, AttributeError):
        return BenchError(f"{path} is damaged (it is no record); {mend}")
    if status not in STATES[1:] or status in ("waiting", "damaged"):
        return BenchError(f"{path} is damaged (its status is {status[:40]!r}); {mend}")
    return status, reason, float(took) if isinstance(took, int | float) else None, answered


def _folders(out: Path, problems: list[str]) -> Iterator[tuple[str, str, int]]:
    """(DATASET/METHOD/SEED-KEY, method, seed) of every run below a folder; three levels are listed, nothing opened."""

    def inside(path: str) -> list[os.DirEntry[str]]:
        try:
            with os.scandir(path) as entries:
                return sorted((one for one in entries if not one.name.startswith(".")), key=lambda one: one.name)
        except NotADirectoryError:
            return []
        except OSError as error:
            problems.append(f"cannot read {path}: {error.strerror or error}")
            return []

    for dataset in inside(str(out)):
        for method in inside(dataset.path) if dataset.is_dir() else ():
            for run in inside(method.path) if method.is_dir() else ():
                if found := _RUN.fullmatch(run.name):
                    yield f"{dataset.name}/{method.name}/{run.name}", method.name, int(found[1])


def _last_line(folder: str) -> str:
    """Of log.txt, without its time; empty where there is none yet."""
    try:
        with open(f"{folder}/log.txt", "rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - _TAIL))
            lines = file.read(_TAIL).decode("utf-8", "replace").splitlines()
    except OSError:
        return ""
    said = lines[-1].partition(" ")[2] if lines else ""
    return "" if said.startswith("start ") else said


def _gone(holder: Holder, folder: str) -> str:
    where = f"its process on {holder.host or 'a host without a name'} (since {holder.since}) is gone"
    kept = any(one.startswith("weights") and one.endswith(".safetensors") for one in _names(folder))
    return f"{where}; the same command {'goes on at its checkpoint' if kept else 'begins it anew'}"


def _names(folder: str) -> list[str]:
    try:
        return os.listdir(folder)
    except OSError:
        return []


def _of_running(said: str, holder: Holder, expected: float | None) -> float | None:
    """Seconds left: what the run itself says of its stage, or what the plan expected less what is behind it, whichever
    is more.
    """
    told = [_seconds(found) for found in [_LEFT.search(said)] if found is not None]
    if expected is not None:
        with contextlib.suppress(ValueError):
            told.append(max(0.0, expected - (time.time() - datetime.fromisoformat(holder.since).timestamp())))
    return max(told, default=None)


def _seconds(found: re.Match[str]) -> float:
    hours, number, unit = found.groups()
    return 3600.0 * int(hours or 0) + int(number) * (60.0 if unit == "min" else 1.0)


def _expected(runs: Sequence[State]) -> list[State]:
    """With what like runs took that are done, where no plan says it: the same row, another seed."""
    took: dict[str, list[float]] = {}
    for one in runs:
        if one.status == "done" and one.seconds is not None:
            took.setdefault(os.path.dirname(one.folder), []).append(one.seconds)
    like: Mapping[str, float] = {place: median(seconds) for place, seconds in took.items()}
    return [
        replace(one, seconds=found, left=found if one.holder is None else _of_running(one.said, one.holder, found))
        if one.seconds is None
        and (one.status == "running" or one.status in LATER)
        and (found := like.get(os.path.dirname(one.folder))) is not None
        else one
        for one in runs
    ]
