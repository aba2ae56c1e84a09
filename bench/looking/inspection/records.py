"""What ``bench inspect`` leaves on disk, versioned and written atomically. Imports no torch.

<out>/<dataset>/<method>/<seed>-<key8>/inspect.json, beside the record of the run, if there is one.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from bench.basics.errors import BenchError
from bench.basics.files import read_json, write_json
from bench.basics.typed import typed
from bench.records.seal import FIELD as SEAL
from bench.records.seal import check_seal, sealed

SCHEMA_VERSION = 2
UNSEALED = 1
"""The schema of version 0.1, which had no seal. It is read."""

FILE = "inspect.json"
MOST = 2**53
ROUNDING = 1e-9
"""By how much a share that is computed may miss 0 or 1."""


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
    """Write ``inspect.json``, sealed, and return its path."""
    write_json(folder / FILE, sealed(asdict(replace(inspection, schema_version=SCHEMA_VERSION))))
    return folder / FILE


def read_inspection(path: Path) -> Inspection:
    """Read ``inspect.json``. BenchError, naming the file, when it is damaged, was edited, or is of another schema."""
    mend = "delete it and inspect again"
    if path.is_symlink():
        raise BenchError(f"{path} is a link, not a file; {mend}")
    try:
        return inspection_from(read_json(path, mend))
    except (ValueError, RecursionError) as error:
        raise BenchError(f"{path} is damaged ({error}); {mend}") from error


def inspection_from(value: Any) -> Inspection:
    """The inspection in a JSON document. ValueError says what is wrong with it."""
    if not isinstance(value, Mapping):
        raise ValueError("it is no mapping")
    json.dumps(value, ensure_ascii=False).encode()  # half a surrogate pair is no text that could be written
    version = value.get("schema_version")
    if version not in (UNSEALED, SCHEMA_VERSION) or isinstance(version, bool):
        raise ValueError(f"it has schema version {version}, this program reads {UNSEALED} and {SCHEMA_VERSION}")
    if version != UNSEALED:
        check_seal(value)
    found = typed(Inspection, {key: item for key, item in value.items() if key != SEAL}, ignore_unknown=True)
    if fault := _fault(found):
        raise ValueError(fault)
    return found


def _fault(one: Inspection) -> str | None:
    """What cannot be so although every value has the right type."""
    for part in (one, one.frechet, one.ruler, one.collisions):
        for field in fields(part) if part is not None else ():
            if isinstance(number := getattr(part, field.name), int) and not -MOST <= number <= MOST:
                return f"{field.name} is out of range"
    if one.tasks < 1 or one.way < 2 or min(one.shot, one.query, one.frechet.images) < 1 or one.seed < 0:
        return f"{one.tasks} tasks of {one.way} ways, {one.shot} shots and {one.query} queries cannot be"
    shares = {
        f"{name}.nearest": space.nearest for name, space in (("pixels", one.pixels), ("embedding", one.embedding))
    }
    shares |= {"pixels.nearest_real": one.pixels.nearest_real, "embedding.nearest_real": one.embedding.nearest_real}
    if one.collisions is not None:
        found = one.collisions
        if not 0 <= found.certain <= found.possible <= one.tasks or found.ambiguous < 0:
            return f"collisions are {found.certain} to {found.possible} of {one.tasks} tasks"
        shares["collisions.chance"] = found.chance
    if one.clusters is not None:
        for name in ("kept", "purity", "purity_chance", "information", "information_chance"):
            shares[f"clusters.{name}"] = getattr(one.clusters, name)
    for name, value in shares.items():
        if not -ROUNDING <= value <= 1 + ROUNDING:
            return f"{name} is {value}, which is no share"
    return None


def inspection_files(out: Path) -> Iterator[Path]:
    """Every ``inspect.json`` below ``out``, in a fixed order."""
    for path in sorted(out.glob(f"*/*/*/{FILE}")):
        if not any(part.startswith(".") for part in path.relative_to(out).parts):
            yield path


def read_inspections(outs: Path | Sequence[Path]) -> tuple[list[Inspection], list[str]]:
    """All below the folders, and a sentence for each damaged one."""
    found, problems = [], []
    for out in [outs] if isinstance(outs, Path) else outs:
        for path in inspection_files(out):
            try:
                found.append(read_inspection(path))
            except BenchError as error:
                problems.append(str(error).replace(f"{out}/", ""))
    return found, problems
