"""``tasks.parquet`` of a finished run, checked against its record."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from bench.basics.errors import BenchError
from bench.basics.files import check_regular, read_json, write_json
from bench.records.record import SCHEMA_VERSION, RunRecord, read_record
from bench.records.seal import sealed

_SCHEMA = pa.schema([("manifest", pa.string()), *((name, pa.int32()) for name in ("shot", "task", "correct", "total"))])


def scores_digest(table: pa.Table) -> str:
    """SHA-256 of per-task scores (manifest, shot, task, correct, total), in whatever order and file they are kept."""
    ordered = table.select(_SCHEMA.names).cast(_SCHEMA).sort_by([("manifest", "ascending"), ("task", "ascending")])
    digest = hashlib.sha256(repr(ordered.num_rows).encode())
    for name in _SCHEMA.names:
        column = ordered[name]
        digest.update(
            "\n".join(column.to_pylist()).encode() if name == "manifest" else column.to_numpy().astype("<i4").tobytes()
        )
    return digest.hexdigest()


def read_scores(folder: Path, record: RunRecord) -> pa.Table:
    """The tasks that ``record`` names: manifest, shot, task, correct, total.

    BenchError, naming the file, when it is missing, damaged, or does not hold what ``record`` says.
    """
    path = folder / "tasks.parquet"
    try:
        check_regular(path)
        with pq.ParquetFile(path) as file:
            table = file.read(use_threads=False).select(_SCHEMA.names).cast(_SCHEMA)
    except FileNotFoundError as error:
        raise BenchError(f"{path} is missing; delete its folder and run again") from error
    except PermissionError as error:
        raise BenchError(f"cannot read {path}: {error.strerror or error}") from error
    except (OSError, ValueError, KeyError, pa.ArrowException) as error:
        reason = " ".join(str(error).split())[:120]
        raise BenchError(f"{path} is damaged ({reason}); delete its folder and run again") from error
    # A kill between the two files of a record leaves rows here that run.json does not name yet.
    named = pa.array([one.manifest for one in record.evaluations], pa.string())
    if not table["manifest"].null_count:
        table = table.filter(pc.is_in(table["manifest"], named))
    fault = _fault(table, record)
    if fault is None and record.scores and scores_digest(table) != record.scores:
        fault = "it does not hold the scores that run.json was sealed with"
    if fault:
        raise BenchError(f"{path} is damaged ({fault}); delete its folder and run again")
    return table


def _fault(table: pa.Table, record: RunRecord) -> str | None:
    """Why the scores cannot be those of the record, or None."""
    if any(table[name].null_count for name in table.column_names):
        return "a value is missing"
    manifest = table["manifest"].to_numpy()
    task, correct, total = (table[name].to_numpy() for name in ("task", "correct", "total"))
    if (total < 1).any() or (correct < 0).any() or (correct > total).any():
        return "a task has fewer than 0 or more than all of its queries correct"
    for one in record.evaluations:
        rows = manifest == one.manifest
        if not np.array_equal(np.sort(task[rows]), np.arange(one.tasks)):
            return f"it does not hold tasks 0 to {one.tasks - 1} of manifest {one.manifest[:12]} once each"
        if (table["shot"].to_numpy()[rows] != one.shot).any():
            return f"manifest {one.manifest[:12]} is of {one.shot} shots in run.json"
        mean = float((correct[rows] / total[rows]).mean())
        if abs(mean - one.accuracy) > 1e-4:
            return f"its mean accuracy is {mean:.4f}, in run.json {one.accuracy:.4f}"
    return None


def seal_folder(folder: Path, target: Path, change: Callable[[Mapping[str, Any]], Mapping[str, Any]] = dict) -> None:
    """Write the checked record of ``folder`` to ``target``, sealed: ``change`` may take out what is no result.

    This is also how a record of version 0.1 gets its seal. BenchError where record or scores are damaged.
    """
    record = read_record(folder)
    scores = scores_digest(read_scores(folder, record)) if record.evaluations else ""
    document = {**read_json(folder / "run.json"), "schema_version": SCHEMA_VERSION, "scores": scores}
    write_json(target / "run.json", sealed(change(document)))
