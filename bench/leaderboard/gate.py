"""The regression gate: are methods still as accurate as a recorded baseline, judged task by task?

A baseline is one Parquet file. Columns: dataset, method, budget, manifest (SHA-256), shot, seed, task,
correct, total, margin (accuracy points); one row per task. The schema's metadata holds, under
``bench.baseline``, a JSON object: format_version, margin (the default it was written with), and synthetic_tasks,
measures of the methods' synthetic tasks (see :mod:`bench.leaderboard.drift`).
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from bench.basics.errors import BenchError, did_you_mean
from bench.basics.files import replacing
from bench.leaderboard import drift
from bench.leaderboard.loading import Frames
from bench.leaderboard.score_table import Entry, ScoreTable
from bench.leaderboard.statistics import Difference, Scores, paired_difference
from bench.looking.inspection.records import Inspection

FORMAT_VERSION = 1
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

Verdict = Literal["OK", "WORSE", "CHANGED", "MISSING", "NEW"]


@dataclass(frozen=True, slots=True)
class GateRow:
    """The verdict on one method, budget and manifest, or on a measure of its synthetic tasks."""

    verdict: Verdict
    dataset: str
    method: str
    budget: str
    shot: int | None
    """None for a measure of synthetic tasks, as the empty ``manifest``."""
    manifest: str
    margin: float
    """Accuracy points; points of the measure."""
    reason: str = ""
    """Why it is MISSING; which settings, where there are several."""
    baseline: float | None = None
    """Mean accuracy in [0, 1]."""
    current: float | None = None
    drop: Difference | None = None
    """Baseline minus current."""
    measure: str = "accuracy"


def write_baseline(
    frames: Frames,
    path: Path,
    margin: float = DEFAULT_MARGIN,
    margins: Mapping[str, float] | None = None,
    synthetic: Sequence[drift.Expected] = (),
) -> None:
    """Record the finished runs of ``frames``. ``margins``: accuracy points for single methods, by exact name.

    ``synthetic``: measures of the methods' synthetic tasks, to be kept beside the accuracies.

    Raises BenchError when there is none, for a negative margin, an unknown method in ``margins``, and where
    one method and budget has runs of different settings or of different versions of a dataset.
    """
    book = ScoreTable(frames)
    if not book.entries:
        raise BenchError("no run is finished, so there is no baseline to write")
    names = [(entry.dataset, entry.method, entry.budget) for entry in book.entries]
    for name in names:
        if names.count(name) > 1:
            raise BenchError(
                f"{name[1]} with budget {name[2]} has runs of different settings or data on {name[0]}; "
                "a baseline needs one of them: delete the others or write it from another folder"
            )
    given = {"the default": margin, **(margins or {})}
    for method, value in given.items():
        if not (math.isfinite(value) and value >= 0):
            raise BenchError(f"the margin of {method} must be at least 0 accuracy points, not {value}")
    for method in margins or {}:
        if method not in {name[1] for name in names}:
            hint = did_you_mean(method, {name[1] for name in names})
            raise BenchError(f"a margin is given for {method!r}, which has no finished run.{hint}")
    runs = frames.finished[["run", "dataset", "method", "budget", "seed"]]
    rows = frames.scores.assign(manifest=frames.scores["manifest"].astype(str)).merge(runs, on="run")
    rows["margin"] = rows["method"].map(margins or {}).astype(float).fillna(float(margin))
    rows = rows[SCHEMA.names].sort_values([*KEY, "seed", "task"], kind="stable")
    facts = {
        "format_version": FORMAT_VERSION,
        "margin": float(margin),
        "synthetic_tasks": [asdict(one) for one in synthetic],
    }
    meta = {METADATA_KEY: json.dumps(facts).encode()}
    if path.exists() and not _is_baseline(path):
        raise BenchError(f"{path} is there already and is no baseline; delete it, or give another file")
    table = pa.Table.from_pandas(rows, schema=SCHEMA, preserve_index=False).replace_schema_metadata(meta)
    with replacing(path) as temporary:
        pq.write_table(table, temporary, compression="zstd")


def _is_baseline(path: Path) -> bool:
    """Whether a file may be replaced by a new baseline: of any version, also a damaged one with a whole footer."""
    try:
        return METADATA_KEY in (pq.read_schema(path).metadata or {})
    except (OSError, ValueError, pa.ArrowException):
        return False


def read_baseline(path: Path) -> tuple[pd.DataFrame, list[drift.Expected]]:
    """The rows of a baseline and its measures of synthetic tasks. BenchError, in one sentence, for a damaged file."""
    try:
        with pq.ParquetFile(path) as file:
            table = file.read(use_threads=False)
        meta = json.loads((table.schema.metadata or {})[METADATA_KEY])
        version = meta["format_version"]
        written = meta.get("synthetic_tasks", meta.get("inventions", ()))  # the name until version 0.1
        synthetic = [drift.Expected(**one | {"seeds": tuple(one["seeds"])}) for one in written]
        rows: pd.DataFrame = table.select(SCHEMA.names).cast(SCHEMA).to_pandas()
    except FileNotFoundError as error:
        raise BenchError(f"there is no baseline {path}; write one from finished runs first") from error
    except (OSError, ValueError, KeyError, TypeError, pa.ArrowException) as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:120]
        raise BenchError(
            f"baseline {path} is damaged or not a baseline ({reason}); restore it or write it anew"
        ) from error
    if version != FORMAT_VERSION:
        raise BenchError(
            f"baseline {path} has format version {version}, this program reads {FORMAT_VERSION}; write it anew"
        )
    fault = _fault(rows)
    if fault:
        raise BenchError(f"baseline {path} is damaged ({fault}); restore it or write it anew")
    return rows, synthetic


def _fault(rows: pd.DataFrame) -> str | None:
    if rows.empty:
        return "it is empty"
    if rows.isna().any().any():
        return "a value is missing"
    if ((rows["correct"] < 0) | (rows["correct"] > rows["total"]) | (rows["total"] < 1)).any():
        return "a task has fewer than 0 or more than all of its queries correct"
    if not (np.isfinite(rows["margin"]).all() and (rows["margin"] >= 0).all()):
        return "a margin is negative or not a number"
    if rows.duplicated([*KEY, "seed", "task"]).any():
        return "a task appears twice"
    if (rows.groupby(KEY)[["margin", "shot"]].nunique() > 1).any().any():
        return "one method has two margins or shots on one manifest"
    tasks = rows.groupby([*KEY, "seed"])["task"].agg(["min", "max", "size"])
    if ((tasks["min"] != 0) | (tasks["max"] != tasks["size"] - 1)).any():
        return "its tasks are not numbered from 0"
    if (tasks["size"].groupby("manifest").nunique() > 1).any():
        return "one manifest has different numbers of tasks"
    return None


def check(
    frames: Frames,
    baseline: Path,
    margin: float | None = None,
    inspections: Sequence[Inspection] = (),
    seeds: Sequence[int] | None = None,
) -> list[GateRow]:
    """Judge the finished runs of ``frames``, and ``inspections`` of their synthetic tasks, against a baseline.

    ``margin`` in accuracy points replaces the baseline's own. ``seeds``: judge the runs with these training seeds
    instead of those that the baseline was recorded with.

    WORSE: the lower end of the 95 % interval of the drop (baseline minus current, paired by task, averaged
    over seeds, see :func:`bench.leaderboard.statistics.paired_difference`) lies above the margin. A true drop
    of exactly the margin then fails in at most about 1 of 40 rows. Where both sides have at least two seeds
    the interval includes the spread between seeds; with two or three it is wide, and only a large drop is
    certain. With one seed it cannot include it, and a mere change of random numbers may look WORSE: choose a
    margin above the spread between seeds.
    CHANGED: a measure of a method's synthetic tasks is further from its recorded value than its margin, on either side.
    MISSING: a seed, run, manifest or inspection of the baseline is not there or not done.
    NEW: not in the baseline; for information only.
    """
    if margin is not None and not (math.isfinite(margin) and margin >= 0):
        raise BenchError(f"the margin must be at least 0 accuracy points, not {margin}")
    recorded, synthetic = read_baseline(baseline)
    book = ScoreTable(frames)
    rows: list[GateRow] = []
    seen: set[tuple[str, ...]] = set()
    for values, group in recorded.groupby(KEY, sort=True):
        key = tuple(map(str, values))
        seen.add(key)
        rows += _judge(key, group, frames, book, margin, seeds)
    for entry in book.entries:
        for manifest in sorted(book.answered(entry)):
            if (entry.dataset, entry.method, entry.budget, manifest) not in seen:
                found = book.scores(entry, manifest)
                assert found is not None
                rows.append(
                    GateRow(
                        verdict="NEW",
                        dataset=entry.dataset,
                        method=entry.method,
                        budget=entry.budget,
                        shot=book.manifests[manifest].shot,
                        manifest=manifest,
                        margin=DEFAULT_MARGIN if margin is None else margin,
                        reason=entry.variant,
                        current=float(found[1].mean()),
                    )
                )
    rows.sort(key=lambda r: (r.dataset, r.method, r.budget, r.shot or 0, r.manifest, r.verdict, r.reason))
    measured = drift.measured(inspections)
    return rows + [_judge_synthetic(one, measured, seeds) for one in synthetic]


def failed(rows: Sequence[GateRow]) -> bool:
    """Whether a build must fail: anything WORSE, CHANGED or MISSING."""
    return any(row.verdict in ("WORSE", "CHANGED", "MISSING") for row in rows)


def _judge_synthetic(
    one: drift.Expected, found: Mapping[drift.Key, Mapping[int, float]], seeds: Sequence[int] | None
) -> GateRow:
    values, wanted = found.get(one.key, {}), one.seeds if seeds is None else tuple(seeds)
    absent = [seed for seed in wanted if seed not in values]
    current = None
    verdict: Verdict = "MISSING"
    reason = f"not inspected with seed {', '.join(map(str, absent))}; 'bench inspect' does that"
    if not absent:
        current = sum(values[seed] for seed in wanted) / len(wanted)
        verdict, reason = ("CHANGED" if 100 * abs(current - one.value) > one.margin else "OK"), ""
    return GateRow(
        verdict,
        one.dataset,
        one.method,
        one.budget,
        None,
        "",
        one.margin,
        reason,
        one.value,
        current,
        measure=one.measure,
    )


def _judge(
    key: tuple[str, ...],
    group: pd.DataFrame,
    frames: Frames,
    book: ScoreTable,
    margin: float | None,
    wanted: Sequence[int] | None,
) -> list[GateRow]:
    dataset, method, budget, manifest = key
    seeds, before = _matrix(group)
    allowed = float(group["margin"].iloc[0]) if margin is None else margin
    shot = int(group["shot"].iloc[0])

    def row(verdict: Verdict, reason: str, current: float | None = None, drop: Difference | None = None) -> GateRow:
        return GateRow(
            verdict,
            dataset,
            method,
            budget,
            shot,
            manifest,
            allowed,
            reason,
            float(before.mean()),
            current,
            drop,
        )

    entries = [e for e in book.entries if (e.dataset, e.method, e.budget) == (dataset, method, budget)]
    answers = [(entry, found) for entry in entries if (found := book.scores(entry, manifest)) is not None]
    if not answers:
        return [row("MISSING", _why_absent(key, entries, frames))]
    rows = []
    for entry, (have, after) in answers:
        absent = sorted(set(seeds if wanted is None else wanted) - set(have))
        if wanted is not None:
            after = after[[number for number, seed in enumerate(have) if seed in wanted]]
        if absent:
            rows.append(row("MISSING", _why_seeds(key, absent, frames, entry)))
        elif after.shape[1] != before.shape[1]:
            rows.append(row("MISSING", f"answered {after.shape[1]} tasks, the baseline holds {before.shape[1]}"))
        else:
            drop = paired_difference(before, after)
            # With a single task there is no interval; the drop itself must do.
            low = drop.mean if math.isnan(drop.low) else drop.low
            verdict: Verdict = "WORSE" if 100 * low > allowed else "OK"
            rows.append(row(verdict, entry.variant, float(after.mean()), drop))
    return rows


def _matrix(group: pd.DataFrame) -> tuple[tuple[int, ...], Scores]:
    wide = group.assign(accuracy=group["correct"] / group["total"]).pivot(
        index="seed", columns="task", values="accuracy"
    )
    return tuple(int(seed) for seed in wide.index), wide.to_numpy(dtype=np.float64)


def _why_absent(key: tuple[str, ...], entries: Sequence[Entry], frames: Frames) -> str:
    dataset, method, budget, manifest = key
    if entries:
        return f"trained, but not evaluated on manifest {manifest[:12]}"
    runs = frames.runs
    mine = runs[(runs["dataset"] == dataset) & (runs["method"] == method) & (runs["budget"] == budget)]
    if mine.empty:
        return "no run"
    return "; ".join(f"seed {one.seed}: {one.status}, {one.reason}" for one in mine.sort_values("seed").itertuples())


def _why_seeds(key: tuple[str, ...], absent: Sequence[int], frames: Frames, entry: Entry) -> str:
    runs = frames.runs
    mine = runs[(runs["dataset"] == key[0]) & (runs["method"] == key[1]) & (runs["budget"] == key[2])]
    told = []
    for seed in absent:
        rest = mine[(mine["seed"] == seed) & (mine["status"] != "done")]
        if not rest.empty:
            told.append(f"seed {seed}: {rest.iloc[-1]['status']}, {rest.iloc[-1]['reason']}")
        elif seed in entry.seeds:
            told.append(f"seed {seed}: not evaluated on manifest {key[3][:12]}")
        else:
            told.append(f"seed {seed}: no run")
    return "; ".join(told)
