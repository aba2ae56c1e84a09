"""The file of the regression gate: what methods answered when it was recorded, and by how much they may differ.

One Parquet file. Columns: dataset, method, budget, manifest (SHA-256), shot, seed, task, correct, total, margin
(accuracy points); one row per task. The schema's metadata holds, under ``bench.baseline``, a JSON object:
format_version, margin (the default it was written with), synthetic_tasks (measures of the methods' synthetic tasks, see
:mod:`bench.leaderboard.drift`), reruns (accuracies of honest trainings with other seeds, see
:mod:`bench.leaderboard.margins`; where a method has them, its margin is only the least that it is allowed), ways
(manifest -> way, where there are several) and digest, the SHA-256 of the rows and of the rest of that object.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from bench.basics.errors import BenchError
from bench.basics.files import check_regular, replacing
from bench.basics.keys import content_key
from bench.basics.typed import fitting
from bench.leaderboard import drift, margins
from bench.leaderboard.loading import Frames
from bench.leaderboard.score_table import ScoreTable

FORMAT_VERSION = 3
READ = (1, 2, FORMAT_VERSION)
"""2 had no re-runs."""
UNSEALED = 1
"""The format of version 0.1, which had no digest. It is read, with a warning."""

METADATA_KEY = b"bench.baseline"
DEFAULT_MARGIN = 1.0
"""Accuracy points."""

SCHEMA = pa.schema(
    [
        *((name, pa.string()) for name in ("dataset", "method", "budget", "manifest")),
        *((name, pa.int64()) for name in ("shot", "seed", "task", "correct", "total")),
        ("margin", pa.float64()),
    ]
)
KEY = ["dataset", "method", "budget", "manifest"]
ORDER = [*KEY, "seed", "task"]


@dataclass(frozen=True, eq=False)
class Baseline:
    """A baseline file that was read and checked."""

    rows: pd.DataFrame
    """The columns of SCHEMA."""
    synthetic: tuple[drift.Expected, ...] = ()
    ways: Mapping[str, int] = field(default_factory=dict)
    """Manifest -> way, of a baseline of several ways."""
    problems: tuple[str, ...] = ()
    """What does not keep it from being used; one sentence each."""
    reruns: Mapping[margins.Key, margins.Reruns] = field(default_factory=dict)

    @property
    def judged(self) -> int:
        """How many things it judges by the spread of re-runs."""
        return len(self.reruns) + len(self.synthetic)

    @property
    def holds(self) -> dict[tuple[str, str, str, str], str]:
        """Everything that it judges -> what people call it: rows, and measures of synthetic tasks."""
        found = {
            (str(dataset), str(method), str(budget), "accuracy"): f"{method} on {dataset}, budget {budget}"
            for dataset, method, budget in self.rows[KEY[:3]].drop_duplicates().itertuples(index=False, name=None)
        }
        return found | {one.key: f"{one.measure} of {one.method} on {one.dataset}" for one in self.synthetic}


def write_baseline(
    frames: Frames,
    path: Path,
    margin: float = DEFAULT_MARGIN,
    synthetic: Sequence[drift.Expected] = (),
    reruns: Sequence[margins.Reruns] = (),
) -> None:
    """Record the finished runs of ``frames``. ``margin``: accuracy points that any method may lose.

    ``synthetic``: measures of the methods' synthetic tasks, to be kept beside the accuracies. ``reruns``: accuracies of
    honest re-runs; those of what ``frames`` has no run of are left aside.

    Raises BenchError when no run is finished, where a run is not finished or damaged (its method would leave the gate
    unseen), for a negative margin, and where one method and budget has runs of different settings or of different
    versions of a dataset.
    """
    book = ScoreTable(frames)
    if not book.entries:
        raise BenchError("no run is finished, so there is no baseline to write")
    _all_finished(frames)
    names = [(entry.dataset, entry.method, entry.budget) for entry in book.entries]
    for name in names:
        if names.count(name) > 1:
            raise BenchError(
                f"{name[1]} with budget {name[2]} has runs of different settings or data on {name[0]}; "
                "a baseline needs one of them: delete the others or write it from another folder"
            )
    if not (math.isfinite(margin) and margin >= 0):
        raise BenchError(f"the margin must be at least 0 accuracy points, not {margin}")
    runs = frames.finished[["run", "dataset", "method", "budget", "seed"]]
    rows = frames.scores.assign(manifest=frames.scores["manifest"].astype(str)).merge(runs, on="run")
    rows["margin"] = float(margin)
    facts: dict[str, Any] = {"margin": float(margin), "synthetic_tasks": [asdict(one) for one in synthetic]}
    answered = set(rows[KEY].drop_duplicates().itertuples(index=False, name=None))
    facts["reruns"] = [asdict(one) for one in sorted(reruns, key=lambda one: one.key) if one.key in answered]
    ways = {name: one.way for name, one in sorted(book.manifests.items())}
    write_rows(path, rows, facts | ({"ways": ways} if len(set(ways.values())) > 1 else {}))


def write_rows(path: Path, rows: pd.DataFrame, facts: Mapping[str, Any]) -> None:
    """Write a baseline of these rows (the columns of SCHEMA, in any order) and ``facts``, with its digest.

    BenchError where something else lies at ``path``.
    """
    if path.exists() and not _is_baseline(path):
        raise BenchError(f"{path} is there already and is no baseline; delete it, or give another file")
    rows = rows[SCHEMA.names].sort_values(ORDER, kind="stable")
    told = {**facts, "format_version": FORMAT_VERSION}
    meta = {METADATA_KEY: json.dumps({**told, "digest": _digest(rows, told)}, allow_nan=False).encode()}
    table = pa.Table.from_pandas(rows, schema=SCHEMA, preserve_index=False).replace_schema_metadata(meta)
    with replacing(path) as temporary:
        pq.write_table(table, temporary, compression="zstd")


def read_baseline(path: Path) -> Baseline:
    """The rows of a baseline and its measures of synthetic tasks. BenchError, in one sentence, for a damaged file."""
    try:
        check_regular(path)
        with pq.ParquetFile(path) as file:
            table = file.read(use_threads=False)
        meta = json.loads((table.schema.metadata or {})[METADATA_KEY], parse_constant=_no_number)
        version = meta["format_version"]
        if version in READ:
            rows: pd.DataFrame = table.select(SCHEMA.names).cast(SCHEMA).to_pandas()
            written = meta.get("synthetic_tasks", meta.get("inventions", ()))  # the name until version 0.1
            synthetic = fitting(tuple[drift.Expected, ...], written, "synthetic_tasks")
            ways = fitting(dict[str, int], meta.get("ways", {}), "ways")
            again = fitting(tuple[margins.Reruns, ...], meta.get("reruns", ()), "reruns")
            fault = _fault(rows, synthetic) or _fault_of_reruns(rows, again)
    except FileNotFoundError as error:
        raise BenchError(f"there is no baseline {path}; write one from finished runs first") from error
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError, pa.ArrowException) as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:120]
        raise BenchError(
            f"baseline {path} is damaged or not a baseline ({reason}); restore it or write it anew"
        ) from error
    if version not in READ:
        known = ", ".join(map(str, READ))
        raise BenchError(f"baseline {path} has format version {version}, this program reads {known}; write it anew")
    problems = []
    if version == UNSEALED:
        problems.append(
            f"baseline {path} is of version 0.1, which had no digest, so an edit goes unseen; write it anew"
        )
    elif fault is None and meta.get("digest") != _digest(rows, {k: v for k, v in meta.items() if k != "digest"}):
        fault = "it was changed after it was written: its rows or margins do not match its digest"
    if fault:
        raise BenchError(f"baseline {path} is damaged ({fault}); restore it or write it anew")
    return Baseline(rows, synthetic, ways, tuple(problems), {one.key: one for one in again})


def missing(old: Baseline, new: Baseline) -> list[str]:
    """What ``old`` judges and ``new`` does not; a phrase each."""
    return [words for key, words in old.holds.items() if key not in new.holds]


def _digest(rows: pd.DataFrame, facts: Mapping[str, Any]) -> str:
    """SHA-256 of rows, in whatever order and file they are kept, and of the facts that are beside them."""
    ordered = rows[SCHEMA.names].sort_values(ORDER, kind="stable")
    found = hashlib.sha256(content_key(facts).encode())
    for one in SCHEMA:
        column = ordered[one.name]
        if pa.types.is_string(one.type):
            found.update(json.dumps(column.tolist()).encode())
        else:
            found.update(column.to_numpy("<f8" if pa.types.is_floating(one.type) else "<i8").tobytes())
    return found.hexdigest()


def _all_finished(frames: Frames) -> None:
    """BenchError for a run without scores: leaving it out would take its method out of the gate without a word."""
    if frames.problems:
        raise BenchError(f"a baseline is written from whole runs only: {frames.problems[0]}")
    what = ["dataset", "method", "budget", "seed"]
    there = set(frames.finished[what].itertuples(index=False, name=None))
    for run in frames.runs.sort_values([*what, "folder"], kind="stable").to_dict("records"):
        if run["status"] not in ("done", "superseded") and tuple(run[name] for name in what) not in there:
            raise BenchError(
                f"{run['method']} with seed {run['seed']} on {run['dataset']} is not finished ({run['status']}: "
                f"{run['reason']}), and a baseline without it would not judge it; run it again, or delete "
                f"{run['folder']}"
            )


def _is_baseline(path: Path) -> bool:
    """Whether a file may be replaced by a new baseline: of any version, also a damaged one with a whole footer."""
    try:
        check_regular(path)
        return METADATA_KEY in (pq.read_schema(path).metadata or {})
    except (OSError, ValueError, pa.ArrowException):
        return False


def _no_number(text: str) -> None:
    raise ValueError(f"{text} is no number")


def _fault(rows: pd.DataFrame, synthetic: Iterable[drift.Expected]) -> str | None:
    if rows.empty:
        return "it is empty"
    if rows.isna().any().any():
        return "a value is missing"
    if ((rows["correct"] < 0) | (rows["correct"] > rows["total"]) | (rows["total"] < 1)).any():
        return "a task has fewer than 0 or more than all of its queries correct"
    if not (np.isfinite(rows["margin"]).all() and (rows["margin"] >= 0).all()):
        return "a margin is negative or not a number"
    if rows.duplicated(ORDER).any():
        return "a task appears twice"
    if (rows.groupby(KEY)[["margin", "shot"]].nunique() > 1).any().any():
        return "one method has two margins or shots on one manifest"
    tasks = rows.groupby([*KEY, "seed"])["task"].agg(["min", "max", "size"])
    if ((tasks["min"] != 0) | (tasks["max"] != tasks["size"] - 1)).any():
        return "its tasks are not numbered from 0"
    if (tasks["size"].groupby("manifest").nunique() > 1).any():
        return "one manifest has different numbers of tasks"
    for one in synthetic:
        if one.margin < 0 or not one.seeds:
            return f"{one.measure} of {one.method} has a negative margin or no seed"
    return None


def _fault_of_reruns(rows: pd.DataFrame, reruns: Sequence[margins.Reruns]) -> str | None:
    judged = set(rows[KEY].drop_duplicates().itertuples(index=False, name=None))
    if len({one.key for one in reruns}) < len(reruns):
        return "a method has its re-runs twice"
    for one in reruns:
        if one.key not in judged or len(one.accuracies) < margins.LEAST_SEEDS:
            return f"there are re-runs of {one.method}, but no row of it or fewer than {margins.LEAST_SEEDS}"
        if len(one.seeds) != len(one.accuracies) or not all(0 <= value <= 1 for value in one.accuracies):
            return f"a re-run of {one.method} has no seed or no accuracy between 0 and 1"
    return None
