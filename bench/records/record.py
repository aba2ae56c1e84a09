"""What a run leaves on disk, versioned and written atomically. Imports no torch.

<out>/<dataset>/<method>/<seed>-<key8>/
    run.json             everything about the run: config, status, environment, timings, results
    tasks.parquet        one row per evaluation task: manifest, shot, task, correct, total
    train.parquet        learning curves, long format: stage, step, name, value
    samples.npy          images of the run's generator, uint8 [n, C, H, W], where it has one
    weights.safetensors  the trained learner (the completed checkpoint)
    log.txt
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Literal, get_args

from bench.basics.errors import BenchError
from bench.basics.files import read_json, write_json

SCHEMA_VERSION = 1

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
    schema_version: int = SCHEMA_VERSION

    @property
    def done(self) -> bool:
        """Whether it finished; every other status says why not in ``reason``."""
        return self.status == "done"


def write_record(folder: Path, record: RunRecord) -> None:
    """Write ``run.json``: once when a run begins, as ``interrupted``, and last of all its files when it ends."""
    write_json(folder / "run.json", asdict(record))


def read_record(folder: Path) -> RunRecord:
    """Read ``run.json``. BenchError, naming the file, when it is damaged or of another schema."""
    path = folder / "run.json"
    value = read_json(path)
    try:
        version = value["schema_version"]
        if version != SCHEMA_VERSION:
            raise BenchError(f"{path} has schema version {version}, this program reads {SCHEMA_VERSION}")
        known = {f.name for f in fields(RunRecord)}
        kept = {name: item for name, item in value.items() if name in known}
        kept["method"] = MethodCard(**value["method"])
        kept["evaluations"] = tuple(Evaluation(**one) for one in value["evaluations"])
        if value["status"] not in get_args(Status):
            raise ValueError(f"unknown status {value['status']!r}")
        return RunRecord(**kept)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise BenchError(
            f"{path} is damaged ({type(error).__name__}: {error}); delete its folder and run again"
        ) from error


def run_folders(out: Path) -> Iterator[Path]:
    """Every folder below ``out`` that holds a record, in a fixed order."""
    for path in sorted(out.glob("*/*/*/run.json")):
        if not any(part.startswith(".") for part in path.relative_to(out).parts):
            yield path.parent
