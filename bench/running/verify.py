"""Whether everything below a folder of runs is whole: records, scores, weights, artifacts, task lists, pictures."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pyarrow as pa

from bench.basics.errors import BenchError
from bench.basics.keys import content_key
from bench.contracts import ProgressCallback
from bench.records.arrays import read_curve, read_images
from bench.records.aside import belongs
from bench.records.record import UNSEALED, RunRecord, folder_name, read_record, run_folders, strays
from bench.records.scores import read_scores, seal_folder
from bench.running.containment import contained
from bench.running.rescore import rescore
from bench.tasks import manifest
from bench.training.checkpoint import load_tensors

Kind = Literal["record", "file", "artifact", "task list", "other"]


@dataclass(frozen=True, slots=True)
class Finding:
    """What was found of one thing. ``said`` is empty where it is whole."""

    kind: Kind
    path: Path
    state: Literal["whole", "unsealed", "damaged", "not rescored", "otherwise"]
    said: str = ""


_OTHER_FILES: dict[str, Callable[[Path], object]] = {
    "train.parquet": read_curve,
    "samples.npy": lambda path: read_images(path, 4, "its images are left out"),
    "synthetic.npy": lambda path: read_images(path, 5, "delete it and inspect again"),
    "invented.npy": lambda path: read_images(path, 5, "delete it and inspect again"),
}


def verify(
    out: Path, cache: Path, progress: ProgressCallback, *, again: bool = False, seal: bool = False
) -> Iterator[Finding]:
    """Walk a folder of runs. BenchError where there is no such folder.

    seal: give records of version 0.1, which have no seal, one if they are whole. again: also answer the sealed tasks
    again from the kept weights, see :func:`bench.running.rescore.rescore`.
    """
    if not out.is_dir():
        raise BenchError(f"there is no folder {out}")
    for folder in run_folders(out):
        yield from _of_run(folder, out, cache, progress, again, seal)
    for path in sorted((out / "artifacts").glob("*.safetensors")):
        yield _checked("artifact", path, lambda path=path: _check_artifact(path))  # type: ignore[misc]
    for path in sorted((out / "manifests").glob("*.parquet")):
        yield _checked("task list", path, lambda path=path: manifest.load(path))  # type: ignore[misc]
    for said in strays(out):
        yield Finding("other", out, "damaged", said)


def _of_run(
    folder: Path, out: Path, cache: Path, progress: ProgressCallback, again: bool, seal: bool
) -> Iterator[Finding]:
    found: list[RunRecord] = []

    def record() -> None:
        one = read_record(folder)
        if not belongs(folder, one.seed, one.key):
            name = folder_name(one.seed, one.key)
            raise BenchError(f"{folder} holds the record of another run, {name}; move it away and run again")
        if one.done:
            read_scores(folder, one)
        if one.schema_version == UNSEALED and seal:
            seal_folder(folder, folder)
            one = read_record(folder)
        found.append(one)

    checked = _checked("record", folder, record)
    if found and found[0].schema_version == UNSEALED:
        checked = Finding("record", folder, "unsealed", f"{folder} was written by version 0.1, which sealed nothing")
    yield checked
    for path in sorted(folder.glob("*.safetensors")):
        owner = found[0].key if found and path.name == "weights.safetensors" else ""
        yield _checked("file", path, lambda path=path, owner=owner: load_tensors(path, owner))  # type: ignore[misc]
    for name, read in _OTHER_FILES.items():
        if (path := folder / name).exists():
            yield _checked("file", path, lambda path=path, read=read: read(path))  # type: ignore[misc]
    if again and found and found[0].done:
        yield _again(folder, found[0], out, cache, progress)


def _again(folder: Path, record: RunRecord, out: Path, cache: Path, progress: ProgressCallback) -> Finding:
    try:
        with contained():
            said = rescore(folder, record, cache, out / "artifacts", progress)
    except Exception as error:  # foreign code, or a dataset that is not here: others can still be scored
        return Finding("record", folder, "not rescored", f"{folder}: {error}")
    return Finding("record", folder, "otherwise" if said else "whole", f"{folder}: {'; '.join(said)}" if said else "")


def _checked(
    kind: Literal["record", "file", "artifact", "task list"], path: Path, read: Callable[[], object]
) -> Finding:
    try:
        read()
    except BenchError as error:
        return Finding(kind, path, "damaged", str(error))
    except (OSError, ValueError, EOFError, pa.ArrowException) as error:
        return Finding(kind, path, "damaged", f"{path} is damaged ({' '.join(str(error).split())[:120]})")
    return Finding(kind, path, "whole")


def _check_artifact(path: Path) -> None:
    _, meta = load_tensors(path)
    finished = ".partial" not in path.name and ".training" not in path.name
    if finished and "recipe" in meta and content_key(meta["recipe"])[:12] not in path.name:
        raise BenchError(f"{path} was made by another recipe than its name says; delete it and run again")
