"""What the records below a folder tell of how long runs will take, and what of a run is still to do."""

from __future__ import annotations

import contextlib
import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import torch
from safetensors import SafetensorError, safe_open

from bench.basics.errors import BenchError
from bench.basics.files import check_regular
from bench.contracts import TaskSpec
from bench.planning.alike import Shape
from bench.planning.durations import Duration, History, Made
from bench.planning.plan import PlannedRun
from bench.planning.values import ways_of
from bench.records.record import RunRecord, read_record, run_folders
from bench.running.environment import environment, resolve_device

MEASURED = "measured"
"""The source of what is in no record."""


def history_of(
    out: Path,
    dataset_hash: str,
    device: str,
    threads: int | None = None,
    records: Mapping[Path, RunRecord] | None = None,
    elsewhere: bool = False,
) -> History:
    """Of every finished run below ``out`` that worked on this dataset with such a device. Damaged ones are left out.

    threads: those of the runs to come; None for those of this process. records: by their folders, those that were read
    already. elsewhere: the device is that of other machines, so it is taken to be what most of the records name.
    """
    found: dict[Path, RunRecord] = {}
    for folder in run_folders(out):
        with contextlib.suppress(BenchError):
            found[folder] = (records or {}).get(folder) or read_record(folder)
    if elsewhere:
        named = Counter(str(one.environment.get("device")) for one in found.values())
        there = named.most_common(1)[0][0] if named else ""
    else:
        there = environment(resolve_device(device))["device"]
    history = History(dataset_hash, there, threads or torch.get_num_threads())
    for folder, record in found.items():
        with contextlib.suppress(BenchError):
            learn(history, record, folder, out / "artifacts")
    return history


def learn(history: History, record: RunRecord, folder: Path, artifacts: Path, measured: bool = False) -> None:
    """Add the record of a run to what is known. measured: it was made for that alone, and will be gone."""
    made = [replace(one, there=one.there and not measured) for one in _made(record, artifacts)]
    history.add(record, made, MEASURED if measured else str(folder), _has_curve(folder))


def duration(run: PlannedRun, specs: Mapping[str, TaskSpec], history: History, state: str | None = None) -> Duration:
    """Of what is still to do of a run. specs: SHA-256 of a task list -> what its tasks are like. state: that of
    :meth:`PlannedRun.status`, where it is known.
    """
    specs = {sha: spec for sha, spec in specs.items() if spec.way in ways_of(run.values)}
    state = run.status(list(specs)) if state is None else state
    if state in ("cached", "damaged"):
        return Duration()
    trained, todo = 0.0, list(specs)
    if state == "evaluate" and (record := run.record()) is not None:
        trained, have = 1.0, {one.manifest for one in record.evaluations}
        todo = [sha for sha in specs if sha not in have]
    if state == "resume":
        facts = _facts(run.folder / "weights.safetensors") or {}
        trained = facts.get("step", 0) / max(1, facts.get("total", 1))
    asked = [Shape(specs[sha].way, specs[sha].shot, specs[sha].query) for sha in todo]
    return history.duration(run.values, run.variant.family, run.variant.supervised, run.seed, asked, trained)


def _made(record: RunRecord, artifacts: Path) -> Iterator[Made]:
    """What a run took from the store; where the store is gone, what the record itself says of it."""
    unread: set[str] = set()
    for kind, key in dict(record.notes.get("artifacts", {})).items():
        group = "encoder" if kind.startswith("encoder") else "generator"
        facts = _facts(artifacts / f"{kind}-{str(key)[:12]}.safetensors")
        if facts is None:
            unread.add(group)
            continue
        epochs = facts.get("recipe", {}).get("epochs")
        grows = any(artifacts.glob(f"{kind}-*.training.safetensors"))
        yield Made(group, epochs, float(facts.get("seconds", 0.0)), grows)
    for group in unread:
        if group in record.timings:
            yield Made(group, record.config["budget"][f"{group}_epochs"], record.timings[group], there=False)


def _has_curve(folder: Path) -> bool:
    """Whether anything was trained; a run that lost its curve is taken for one in which it was."""
    try:
        return bool(pq.read_metadata(folder / "train.parquet").num_rows)
    except (OSError, pa.ArrowException):
        return True


def _facts(path: Path) -> dict[str, Any] | None:
    """The facts of a file of tensors, without the tensors; None where they cannot be read."""
    try:
        check_regular(path)
        with safe_open(path, framework="numpy") as file:
            found = json.loads((file.metadata() or {})["meta"])
    except (OSError, SafetensorError, ValueError, KeyError, BenchError):
        return None
    return found if isinstance(found, dict) else None
