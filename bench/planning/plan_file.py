"""A plan as a file: runs as command lines and keys, for whoever carries them out, wherever that is.

An item is words, never a pickle: the worker composes the run anew from the same names and settings, and its key must
come out as it was planned. So a plan that was made with other code, other data or another package is noticed.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from bench.basics.errors import BenchError
from bench.basics.files import read_json, replacing
from bench.basics.keys import content_key
from bench.planning import components
from bench.planning.composing import Asked
from bench.planning.overrides import parse_overrides, setting_text, value_of
from bench.planning.plan import PlannedRun, Request
from bench.planning.values import ways_of

FORMAT = 1


@dataclass(frozen=True, slots=True)
class Item:
    """One run."""

    method: str
    """An exact name, as ``bench list methods`` has it."""
    overrides: tuple[str, ...]
    seed: int
    key: str
    name: str
    """Of its row: the method, and the settings that make it another row."""
    folder: str
    """Below ``out``."""
    seconds: float | None = None
    """It is expected to take so long; None where no record says that."""
    shared: tuple[str, ...] = ()
    """What it rests on that is trained once for several; equal words are one training."""
    ways: tuple[int, ...] = ()
    """Numbers of classes that it answers tasks of; fewer than the plan's where its learner cannot answer some."""


@dataclass(frozen=True, slots=True)
class Sealed:
    """A list of sealed tasks."""

    file: str
    """Below ``out``."""
    sha256: str
    way: int


@dataclass(frozen=True, slots=True)
class PlanFile:
    """Runs of one request: what they share, and each by itself."""

    dataset: str
    budget: str
    ways: tuple[int, ...]
    shots: tuple[int, ...]
    data_dir: str | None
    out: str
    """Folder of run records; absolute."""
    cache: str
    """Folder of prepared datasets; absolute."""
    device: str
    threads: int | None
    """Of each run; None is as many as the worker may use."""
    time_limit: float | None
    """Seconds."""
    dataset_hash: str
    manifests: tuple[Sealed, ...]
    items: tuple[Item, ...] = field(repr=False)
    scratch: str | None = None
    """A folder on a disk of the worker's own machine, for a copy of the dataset; may hold ``$TMPDIR``."""

    def command(self, index: int) -> str:
        """A line for a shell that does the same run, without this file."""
        one = self.items[index]
        words = ["bench", "run", "--methods", one.method, "--no-references", "--dataset", self.dataset]
        words += ["--budget", self.budget, "--seeds", str(one.seed)]
        words += ["--ways", ",".join(map(str, self.ways))] if self.ways else []
        words += ["--shots", ",".join(map(str, self.shots)), "--device", self.device, "--out", self.out]
        words += ["--data-dir", self.data_dir] if self.data_dir is not None else []
        words += ["--time-limit", f"{self.time_limit / 60:g}"] if self.time_limit is not None else []
        return shlex.join([*words, *one.overrides])

    def folder(self, index: int) -> Path:
        """Where the record of an item is, or will be."""
        return Path(self.out) / self.items[index].folder

    def wanted(self, index: int) -> frozenset[str]:
        """SHA-256 of the task lists that an item is to answer."""
        return frozenset(one.sha256 for one in self.manifests if one.way in self.items[index].ways)

    def asked(self, index: int) -> Asked:
        """What the configuration of an item is composed of."""
        one = self.items[index]
        return Asked(one.method, self.dataset, self.budget, one.overrides, self.ways, self.shots, self.data_dir)


def items_of(runs: Sequence[PlannedRun], out: Path, seconds: Sequence[float | None]) -> tuple[Item, ...]:
    """Runs as items, in their order. out: the folder that those of the runs lie below."""
    found = []
    for run, expected in zip(runs, seconds, strict=True):
        assert run.asked is not None
        shared = [
            content_key({"seed": run.seed, "artifact": components.artifact_settings(group, run.values)})[:12]
            for group in sorted(components.artifact_groups(run.values))
        ]
        place = run.folder.relative_to(out).as_posix()
        overrides = tuple(_from_anywhere(text, run) for text in run.asked.overrides)
        words = run.asked.method, overrides, run.seed, run.key, run.name
        found.append(Item(*words, place, expected, tuple(shared), tuple(ways_of(run.values))))
    return tuple(found)


def _from_anywhere(text: str, run: PlannedRun) -> str:
    """A setting that names a file of the user's, with its whole path: workers stand in other folders."""
    if text.lstrip("+").partition("=")[0] not in (*run.variant.own, "dataset.path", "dataset.splits"):
        return text
    (override,) = parse_overrides([text])
    value = value_of(override)
    if not isinstance(value, str) or Path(value).is_absolute() or not Path(value).exists():
        return text
    return setting_text(override.key, str(Path(value).absolute()))


def plan_for(
    request: Request,
    asked: Asked | None,
    runs: Sequence[PlannedRun],
    sealed: Sequence[Sealed],
    cache: Path,
    dataset_hash: str,
    seconds: Mapping[str, float | None] | None = None,
) -> PlanFile:
    """A plan of some runs of a request, in their order.

    asked: what any of the request's runs was composed of. seconds: key of a run -> how long it is expected to take.
    """
    assert asked is not None
    return PlanFile(
        dataset=asked.dataset,
        budget=asked.budget,
        ways=asked.ways,
        shots=asked.shots,
        data_dir=None if asked.data_dir is None else str(Path(asked.data_dir).absolute()),
        out=str(request.out.absolute()),
        cache=str(cache.absolute()),
        device=request.device,
        threads=None,
        time_limit=request.time_limit,
        dataset_hash=dataset_hash,
        manifests=tuple(sealed),
        items=items_of(runs, request.out, [(seconds or {}).get(run.key) for run in runs]),
        scratch=request.scratch,
    )


def write_plan(path: Path, plan: PlanFile) -> None:
    """Write it atomically, an item a line: such files are looked at with ``head`` and ``grep``."""
    shared = {one.name: getattr(plan, one.name) for one in fields(plan) if one.name not in ("items", "manifests")}
    shared["manifests"] = [asdict(one) for one in plan.manifests]
    rows = [{"index": index, **asdict(one), "command": plan.command(index)} for index, one in enumerate(plan.items)]
    seal = content_key({"shared": shared, "items": rows})
    facts = json.dumps({"format": FORMAT, "sha256": seal, **shared}, indent=1)[:-2]
    lines = ",\n".join("  " + json.dumps(row) for row in rows)
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as temporary:
        temporary.write_text(f'{facts},\n "items": [\n{lines}\n ]\n}}\n', encoding="utf-8")


def read_plan(path: Path) -> PlanFile:
    """BenchError for a file that is none, is damaged or was changed, or is of another version."""
    again = f"write it again with 'bench plan … --export {path.name}'"
    found = read_json(path, again)
    if not isinstance(found, dict) or not isinstance(found.get("items"), list):
        raise BenchError(f"{path} is no plan of runs; {again}")
    if found.pop("format", None) != FORMAT:
        raise BenchError(f"{path} is a plan of another version of bench; {again}")
    rows, seal = found.pop("items"), found.pop("sha256", None)
    if seal != content_key({"shared": found, "items": rows}):
        raise BenchError(f"{path} was changed after it was written; {again}")
    names = {one.name for one in fields(Item)}
    items = tuple(Item(**{key: _plain(value) for key, value in row.items() if key in names}) for row in rows)
    sealed = tuple(Sealed(**one) for one in found.pop("manifests"))
    return PlanFile(**{key: _plain(value) for key, value in found.items()}, manifests=sealed, items=items)


def _plain(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value
