"""What ``bench inspect`` leaves on disk, versioned and written atomically. Imports no torch.

<out>/<dataset>/<method>/<seed>-<key8>/inspect.json, beside the record of the run, if there is one.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from bench.basics.errors import BenchError
from bench.basics.files import read_json, write_json

SCHEMA_VERSION = 1
FILE = "inspect.json"


@dataclass(frozen=True, slots=True)
class Collisions:
    """In how many of the tasks two classes began with images of one true class.

    An image that is in several true classes, pixel for pixel, makes the number uncertain.
    """

    certain: int
    """Tasks that collide in any case."""
    possible: int
    """Tasks that may; the same number where there is no such image."""
    ambiguous: int
    """Classes of all tasks that began with such an image."""
    chance: float
    """The exact probability, in [0, 1], for N different images drawn uniformly."""


@dataclass(frozen=True, slots=True)
class Space:
    """What was measured with Euclidean distances in one space (pixels, or the embedding)."""

    nearest: float
    """Share of the query images, in [0, 1], whose nearest class mean of the support is that of their own class."""
    nearest_ci95: float
    """1.96 standard errors over tasks."""
    nearest_real: float
    """The same for tasks of true classes."""
    diversity: float | None
    """Mean distance between two query images of a class, over the same for true classes; None for one query."""


@dataclass(frozen=True, slots=True)
class Frechet:
    """Fréchet distances to ``images`` real images, in the embedding; each with as many images on the other side."""

    images: int
    queries: float
    """Of the synthetic query images."""
    generator: float | None
    """Of images of the generator's prior; None where there is no generator."""
    floor: float
    """Of other real images."""


@dataclass(frozen=True, slots=True)
class Clusters:
    """How the clusters that a method takes for classes agree with the true classes; means over its clusterings."""

    clusterings: int
    clusters: float
    """Clusters that have an image."""
    kept: float
    """Share of the images, in [0, 1], that are in a cluster; the rest counts nowhere below."""
    purity: float
    """Share of the images, in [0, 1], that are of the commonest true class of their cluster."""
    purity_chance: float
    """The same for the true classes in random order: many small clusters are pure by chance alone."""
    information: float
    """Normalised mutual information of clusters and classes, in [0, 1]."""
    information_chance: float
    """The same for the true classes in random order."""


@dataclass(frozen=True, slots=True)
class Ruler:
    """The supervised embedding that was measured in."""

    key: str
    """SHA-256 of everything that it depends on."""
    learner: str
    backbone: str
    dim: int
    way: int
    shot: int
    meta_batch: int
    iterations: int
    seed: int

    def __str__(self) -> str:
        shape = f"{self.way}-way {self.shot}-shot task"
        tasks = f"one {shape}" if self.meta_batch == 1 else f"{self.meta_batch} {shape}s"
        return (
            f"{self.learner} on {self.backbone} ({self.dim} dimensions), trained by the harness with the labels of the "
            f"meta-train classes for {self.iterations} meta-iterations of {tasks} each, seed {self.seed}"
        )


@dataclass(frozen=True, slots=True)
class Inspection:
    """``inspect.json``: the synthetic tasks of one method with one training seed."""

    key: str
    """SHA-256 of everything that these numbers depend on."""
    method: str
    title: str
    dataset: str
    dataset_hash: str
    budget: str
    seed: int
    tasks: int
    way: int
    shot: int
    query: int
    collisions: Collisions | None
    no_collisions: str | None
    """Why the share of collisions is not defined, or None when it is."""
    pixels: Space
    embedding: Space
    frechet: Frechet
    ruler: Ruler
    clusters: Clusters | None = None
    """None for a method that makes no clusters."""
    schema_version: int = SCHEMA_VERSION


def write_inspection(folder: Path, inspection: Inspection) -> Path:
    """Write ``inspect.json`` and return its path."""
    write_json(folder / FILE, asdict(inspection))
    return folder / FILE


def read_inspection(path: Path) -> Inspection:
    """Read ``inspect.json``. BenchError, naming the file, when it is damaged or of another schema."""
    value = read_json(path)
    try:
        if value["schema_version"] != SCHEMA_VERSION:
            raise BenchError(
                f"{path} has schema version {value['schema_version']}, this program reads {SCHEMA_VERSION}; "
                "delete it and inspect again"
            )
        parts: dict[str, Any] = {"pixels": Space, "embedding": Space, "frechet": Frechet, "ruler": Ruler}
        if value["collisions"] is not None:
            parts["collisions"] = Collisions
        if value.get("clusters") is not None:
            parts["clusters"] = Clusters
        known = {field.name for field in fields(Inspection)}
        whole = {name: item for name, item in value.items() if name in known}
        return Inspection(**whole | {name: part(**value[name]) for name, part in parts.items()})
    except (KeyError, TypeError, AttributeError) as error:
        reason = f"{type(error).__name__}: {error}"
        raise BenchError(f"{path} is damaged ({reason}); delete it and inspect again") from error


def inspection_files(out: Path) -> Iterator[Path]:
    """Every ``inspect.json`` below ``out``, in a fixed order."""
    for path in sorted(out.glob(f"*/*/*/{FILE}")):
        if not any(part.startswith(".") for part in path.relative_to(out).parts):
            yield path


def read_inspections(out: Path) -> list[Inspection]:
    """All below ``out``. BenchError for a damaged one."""
    return [read_inspection(path) for path in inspection_files(out)]
