"""What a run leaves on disk, versioned and written atomically. Imports no torch.

<out>/<dataset>/<method>/<seed>-<key8>/
    run.json             everything about the run: config, status, environment, timings, results
    tasks.parquet        one row per evaluation task: manifest, shot, task, correct, total
    train.parquet        learning curves, long format: stage, step, name, value
    samples.npy          images of the run's generator, uint8 [n, C, H, W], where it has one
    weights.safetensors  the trained learner (the completed checkpoint)
    log.txt
    .claim/              while a process is at work on it: who that is, see :mod:`bench.basics.claims`
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from bench.basics.errors import BenchError
from bench.basics.files import Replacing, read_json, replacing, write_json
from bench.basics.precision import FLOAT32, UNDECLARED
from bench.basics.typed import typed
from bench.records.seal import FIELD, check_seal, plain, sealed

SCHEMA_VERSION = 2
UNSEALED = 1
"""The schema of version 0.1, which had no seal. Its records are read; ``bench verify --seal`` seals them."""

RUN_DEPTH = 3  # DATASET/METHOD/SEED

Status = Literal["done", "failed", "diverged", "out-of-memory", "timeout", "interrupted", "skipped"]


@dataclass(frozen=True, slots=True)
class MethodCard:
    """What a leaderboard must know of a method to place it fairly."""

    name: str
    """The exact name, e.g. ``lasium-ro-vae-maml``."""
    family: str
    title: str
    """As a paper would print it, e.g. ``LASIUM-RO-VAE-MAML``."""
    group: str
    """``unsupervised``, ``floor`` (chance, pixels, scratch), ``ceiling`` (supervised) or ``transfer`` (with labels of
    images from outside the dataset)."""
    supervised: bool
    """Whether it was trained with labels of the meta-train classes."""
    transductive: bool | None = None
    """Declared by the learner; None when no learner came out."""
    outside_data: bool = False
    """Whether anything in it was trained on images from outside the dataset."""
    cite: str = ""
    side: tuple[str, ...] | None = None
    """What else it used, in words of :data:`bench.basics.side.SIDE`; None in a record from before that was declared."""


@dataclass(frozen=True, slots=True)
class Evaluation:
    """The score on one manifest. accuracy in [0, 1]; ci95 = 1.96 * sd / sqrt(tasks), population sd, as papers print."""

    manifest: str
    """SHA-256 of the manifest."""
    split: str
    way: int
    shot: int
    query: int
    tasks: int
    accuracy: float
    ci95: float
    seconds: float


@dataclass(frozen=True, slots=True)
class RunRecord:
    """``run.json``."""

    key: str
    """SHA-256 of everything that can change the trained learner."""
    status: Status
    reason: str | None
    """Why it is not ``done``, in one sentence; None when it is."""
    method: MethodCard
    dataset: str
    dataset_hash: str
    seed: int
    budget: str
    config: Mapping[str, Any]
    """The resolved configuration."""
    evaluations: tuple[Evaluation, ...] = ()
    timings: Mapping[str, float] = field(default_factory=dict)
    """Seconds: ``generator`` and ``encoder`` (training time of shared artifacts), ``fit``, ``evaluate``, ``total``."""
    peak_memory_mib: float | None = None
    notes: Mapping[str, Any] = field(default_factory=dict)
    environment: Mapping[str, Any] = field(default_factory=dict)
    created: str = ""
    """ISO 8601, UTC."""
    scores: str = ""
    """SHA-256 of the per-task scores, see :func:`bench.records.scores.scores_digest`; empty where there are none."""
    schema_version: int = SCHEMA_VERSION

    @property
    def done(self) -> bool:
        """Whether it finished; every other status says why not in ``reason``."""
        return self.status == "done"

    @property
    def precision(self) -> str:
        """``float32`` or ``tf32``; ``undeclared`` of a record from before there was the choice, made on a GPU."""
        earlier = FLOAT32 if self.environment.get("device", "cpu") == "cpu" else UNDECLARED
        return str(self.config.get("precision", earlier))


def write_record(folder: Path, record: RunRecord, how: Replacing = replacing) -> None:
    """Write ``run.json``, sealed: when a run begins, as ``interrupted``, and last of all its files when it ends."""
    write_json(folder / "run.json", sealed(plain(asdict(record))), how)


def read_record(folder: Path) -> RunRecord:
    """Read ``run.json``. BenchError, naming the file, when it is damaged, was edited, or is of another schema."""
    path = folder / "run.json"
    value = read_json(path, "delete its folder and run again")
    try:
        return record_from(value)
    except (ValueError, RecursionError) as error:
        raise BenchError(f"{path} is damaged ({error}); delete its folder and run again") from error


def record_from(value: Any) -> RunRecord:
    """The record in a JSON document. ValueError says what is wrong with it."""
    if not isinstance(value, Mapping):
        raise ValueError("it is no mapping")
    json.dumps(value, ensure_ascii=False).encode()  # a ValueError for half a surrogate pair, which is no text
    version = value.get("schema_version")
    if version not in (UNSEALED, SCHEMA_VERSION) or isinstance(version, bool):
        raise ValueError(f"it has schema version {version}, this program reads {UNSEALED} and {SCHEMA_VERSION}")
    if version != UNSEALED:
        check_seal(value)
    # A later version may have more fields; the seal covers them too.
    record = typed(RunRecord, {key: item for key, item in value.items() if key != FIELD}, ignore_unknown=True)
    if fault := _fault(record):
        raise ValueError(fault)
    return record


def _fault(record: RunRecord) -> str | None:
    """What cannot be so although every value has the right type."""
    for name in ("key", "dataset_hash"):
        if not re.fullmatch(r"[0-9a-f]{64}", text := getattr(record, name)) and (record.done or text):
            return f"{name} is no SHA-256: {text[:80]!r}"
    if record.done and not record.evaluations:
        return "it is done, but has no evaluation"
    if record.done and record.schema_version != UNSEALED and not record.scores:
        return "it is done, but does not say what its scores are"
    if not 0 <= record.seed < 2**63:
        return f"seed is {record.seed}"
    for one in record.evaluations:
        if not (0 <= one.accuracy <= 1 and one.ci95 >= 0 and one.seconds >= 0):
            return f"an accuracy or interval is out of range: {one.accuracy} ± {one.ci95}"
        if one.way < 2 or min(one.shot, one.query, one.tasks) < 1:
            return f"an evaluation has {one.tasks} tasks of {one.way} ways, {one.shot} shots, {one.query} queries"
    return None


def folder_name(seed: int, key: str) -> str:
    """What the folder of a run is called: ``0-1a2b3c4d``."""
    return f"{seed}-{key[:8]}"


def run_folders(out: Path) -> Iterator[Path]:
    """Every folder below ``out`` that holds a record, in a fixed order."""
    for path in sorted(out.glob("*/*/*/run.json")):
        if not any(part.startswith(".") for part in path.relative_to(out).parts):
            yield path.parent


_OF_A_RUN = ("tasks.parquet", "log.txt", "weights.safetensors")


def strays(out: Path) -> list[str]:
    """A sentence for what looks like a run below ``out`` but is read by nobody: no result is passed over in silence."""
    found, deeper = [], []

    def cannot(error: OSError) -> None:
        found.append(f"cannot read {error.filename}: {error.strerror or error}")

    for folder, folders, files in os.walk(out, onerror=cannot):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        depth = len(Path(folder).relative_to(out).parts)
        if depth != RUN_DEPTH:
            if "run.json" in files:
                deeper.append(folder)
        elif "run.json" not in files and any(name in files for name in _OF_A_RUN):
            found.append(f"{folder} has no run.json, so nobody knows what it holds; run it again, or delete the folder")
    if deeper:
        some = f"{len(deeper)} records lie" if len(deeper) > 1 else "a record lies"
        found.append(
            f"{some} elsewhere than DATASET/METHOD/SEED below {out}, the first in {deeper[0]}; name the folder that "
            "such folders are in"
        )
    return found
