"""The report as tidy CSV: accuracies and differences are fractions, not percent, with ten digits; one type a column."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pandas as pd

from bench.leaderboard.board import Line, Verdict
from bench.leaderboard.loading import Frames
from bench.leaderboard.rows import GROUPS, Row
from bench.leaderboard.score_table import Shape
from bench.leaderboard.statistics import Difference
from bench.leaderboard.table import Leaderboard, Table
from bench.leaderboard.trained import FACETS
from bench.reporting.foreign import visible

WHOLE = "Int64"
NUMBER = "Float64"
TRUTH = "boolean"
TEXT = "string"

SCORE_FIELDS: dict[str, str] = {
    **dict.fromkeys(("table", "dataset", "dataset_hash", "split"), TEXT),
    **dict.fromkeys(("way", "shot", "query"), WHOLE),
    "manifest": TEXT,
    "tasks": WHOLE,
    "section": TEXT,
    "tier": WHOLE,
    "kind": TEXT,
    "rank": WHOLE,
    "standing": TEXT,
    **dict.fromkeys(("folded_below", "method", "name", "title", "variant", "group", *FACETS, "budget"), TEXT),
    **dict.fromkeys(("meta_iterations", "generator_epochs", "encoder_epochs"), WHOLE),
    **dict.fromkeys(("supervised", "transductive", "outside_data"), TRUTH),
    **dict.fromkeys(("side", "cite"), TEXT),
    "seeds": WHOLE,
    "seed_list": TEXT,
    **dict.fromkeys(("accuracy", "task_ci95", "seed_sd", "total_ci95"), NUMBER),
    **dict.fromkeys(("gap", "gap_low", "gap_high", "p", "p_holm"), NUMBER),
    "covers_seeds": TRUTH,
    **dict.fromkeys(("gain", "gain_low", "gain_high", "gain_p", "gain_p_holm"), NUMBER),
    "below_floor": TRUTH,
    **dict.fromkeys(("overall", "overall_low", "overall_high", "overall_p", "overall_p_holm"), NUMBER),
    "shorter": WHOLE,
    **dict.fromkeys(("over_shorter", "over_shorter_low", "over_shorter_high"), NUMBER),
    **dict.fromkeys(("over_shorter_p", "over_shorter_p_holm"), NUMBER),
    "images": WHOLE,
    **dict.fromkeys(("cpu_seconds", "gpu_seconds", "wall_seconds", "peak_memory_mib"), NUMBER),
    **dict.fromkeys(("version", "torch", "device", "created_first", "created_last"), TEXT),
    "published_table": TEXT,
    **dict.fromkeys(("published_accuracy", "published_ci95"), NUMBER),
    "settings": TEXT,
}
"""Column of ``leaderboard.csv`` -> its type in pandas. After them comes ``set.NAME`` for every setting of the run that
a row changed. A blank is a value that there is not.

kind: ``ranked``; ``reference`` (floors, ceilings, transfer; training from scratch in each tier too); ``variant``,
folded below the row ``folded_below`` and held against it. tier: meta-iterations of the section; rows without meta-
training stand in each. gap: to the highest of the tier, of a reference outside them to that of the board.
covers_seeds: whether the gap, or the accuracy where there is no gap, has the spread between training seeds in its
interval. p_holm: corrected for all pairs of the tier. overall: to the highest of the board, over_shorter: over the
same method in the tier ``shorter``; both corrected for all pairs of the board.
"""
RUN_FIELDS: dict[str, str] = {
    **dict.fromkeys(("dataset", "method", "budget", "variant"), TEXT),
    "seed": WHOLE,
    **dict.fromkeys(("status", "reason", "folder", "created", "version", "torch", "device"), TEXT),
    **dict.fromkeys(("threads", "images"), WHOLE),
    **dict.fromkeys(("cpu_seconds", "gpu_seconds", "wall_seconds"), NUMBER),
}
PUBLISHED_FIELDS: dict[str, str] = {
    "table": TEXT,
    **dict.fromkeys(("way", "shot"), WHOLE),
    **dict.fromkeys(("method", "name", "label", "source", "place", "quoted_by"), TEXT),
    **dict.fromkeys(("accuracy", "ci95", "ours", "ours_minus_published"), NUMBER),
    "caveat": TEXT,
}
DIGITS = "%.10g"
"""What further digits say depends on the machine and on the versions of its libraries."""
DECIMALS = 12
_FORMULAS = tuple("=+-@\uff1d\uff0b\uff0d\uff20")


def scores(leaderboard: Leaderboard, frames: Frames) -> str:
    """One line per line of a board and column, see :data:`SCORE_FIELDS`."""
    return from_frame(score_frame(leaderboard, frames))


def score_frame(leaderboard: Leaderboard, frames: Frames) -> pd.DataFrame:
    """The same as a frame, with all digits."""
    runs = frames.runs.set_index("run")[["environment", "created"]].to_dict("index")
    lines = [line for table in leaderboard.tables for line in _table(table, runs)]
    names = list(dict.fromkeys(name for line in lines for name in line["changed"]))
    frame = _typed([{**line, **line["changed"]} for line in lines], SCORE_FIELDS)
    for name in sorted(names):
        frame[name] = _best_type([line["changed"].get(name) for line in lines])
    return frame


def runs(frames: Frames) -> str:
    """One line per run of any status, with its reason."""
    ordered = frames.runs.sort_values(["dataset", "method", "budget", "variant", "seed", "folder"], kind="stable")
    lines = []
    for line in ordered.rename(columns={"train_seconds": "wall_seconds"}).to_dict("records"):
        environment = line["environment"]
        told = {"version": "bench", "torch": "torch", "device": "device"}
        found = {name: _text(environment.get(key)) for name, key in told.items()}
        lines.append({**line, **found, "threads": _whole(environment.get("threads"))})
    return from_frame(_typed(lines, RUN_FIELDS))


def published(leaderboard: Leaderboard) -> str:
    """One line for each printed number beside ours; empty where there is none."""
    lines = [
        {
            "table": table.slug,
            "way": shape.way,
            "shot": shape.shot,
            "method": row.method,
            "name": table.board.name(row),
            "label": one.label,
            "source": one.source,
            "place": one.table,
            "quoted_by": one.quoted_by or None,
            "accuracy": one.accuracy,
            "ci95": one.ci95,
            "ours": score.estimate.mean,
            "ours_minus_published": without_noise(score.estimate.mean - one.accuracy),
            "caveat": one.caveat or None,
        }
        for table in leaderboard.tables
        for row in table.rows
        for shape, score in row.scores.items()
        for one in score.published
    ]
    return from_frame(_typed(lines, PUBLISHED_FIELDS)) if lines else ""


def without_noise(difference: float | None) -> float | None:
    """A difference near 0 has its first digits from the last ones of what it is between."""
    return None if difference is None else round(difference, DECIMALS)


def from_frame(frame: pd.DataFrame, digits: str | None = DIGITS) -> str:
    """A table as CSV. Texts that a spreadsheet would take for formulas begin with an apostrophe."""
    shown = {
        _cell(name): pd.Series([_cell(value) for value in column], dtype=column.dtype, index=column.index)
        if pd.api.types.is_object_dtype(column.dtype) or pd.api.types.is_string_dtype(column.dtype)
        else column
        for name, column in frame.items()
    }
    return str(pd.DataFrame(shown).to_csv(index=False, float_format=digits, lineterminator="\n"))


def _cell(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    shown = visible(value)
    return f"'{shown}" if shown.lstrip()[:1] in _FORMULAS or shown.startswith(("\t", "\n")) else shown


def _typed(lines: Sequence[Mapping[str, Any]], fields: Mapping[str, str]) -> pd.DataFrame:
    return pd.DataFrame(
        {
            name: pd.Series([None if _unknown(line.get(name)) else line.get(name) for line in lines], dtype=kind)
            for name, kind in fields.items()
        }
    )


def _unknown(value: Any) -> bool:
    return value is None or value is pd.NA or (isinstance(value, float) and math.isnan(value))


def _best_type(texts: Sequence[str | None]) -> pd.Series:
    """Whole numbers or numbers where every text is one."""
    for kind, read in ((WHOLE, int), (NUMBER, float)):
        try:
            return pd.Series([None if text is None else read(text) for text in texts], dtype=kind)
        except (ValueError, OverflowError):
            continue
    return pd.Series(texts, dtype=TEXT)


def _table(table: Table, runs: Mapping[int, Any]) -> Iterator[dict[str, Any]]:
    for tier in table.board.tiers:
        for line in tier.lines:
            yield from _lines(table, line, None, {"section": tier.title, "tier": tier.iterations}, runs)
    for line in table.board.references:
        yield from _lines(table, line, None, {"section": GROUPS.get(line.row.group, line.row.group)}, runs)


def _lines(
    table: Table, line: Line, below: Row | None, where: Mapping[str, Any], runs: Mapping[int, Any]
) -> Iterator[dict[str, Any]]:
    for shape in (shape for shape in table.manifests if shape in line.verdicts):
        yield {
            **_of_row(table, line.row, runs),
            **_of_score(table, line, shape),
            **where,
            "kind": line.kind,
            "folded_below": None if below is None else below.method,
        }
    for variant in line.folded:
        yield from _lines(table, variant, line.row, where, runs)


def _of_row(table: Table, row: Row, runs: Mapping[int, Any]) -> dict[str, Any]:
    epochs = dict(row.trained.epochs)
    environments = [runs[run]["environment"] for run in row.runs]
    created = sorted(str(runs[run]["created"]) for run in row.runs)
    return {
        "table": table.slug,
        "dataset": table.dataset,
        "dataset_hash": table.dataset_hash,
        "split": table.split,
        "query": table.query,
        "method": row.method,
        "name": table.board.name(row),
        "title": row.title,
        "variant": row.variant or None,
        "group": row.group,
        **row.facets,
        "budget": row.budget.partition(",")[0],
        "meta_iterations": None if row.trained.budget else row.trained.iterations,
        "generator_epochs": epochs.get(row.facets.get("generator", "")),
        "encoder_epochs": epochs.get(row.facets.get("encoder", "")),
        "supervised": row.supervised,
        "transductive": row.transductive,
        "outside_data": row.outside_data,
        "side": " ".join(row.side) or None,
        "cite": row.cite or None,
        "images": None if math.isnan(row.cost.images) else round(row.cost.images),
        "cpu_seconds": row.cost.cpu_seconds,
        "gpu_seconds": row.cost.gpu_seconds,
        "wall_seconds": row.cost.seconds,
        "peak_memory_mib": row.peak_memory_mib,
        **{name: _each(environments, key) for name, key in (("version", "bench"), ("torch", "torch"))},
        "device": _each(environments, "device"),
        "created_first": created[0],
        "created_last": created[-1],
        "settings": json.dumps(dict(row.settings), ensure_ascii=False),
        "changed": {f"set.{name}": value for name, value in row.settings.items()},
    }


def _of_score(table: Table, line: Line, shape: Shape) -> dict[str, Any]:
    score, verdict, one = line.row.scores[shape], line.verdicts[shape], table.manifests[shape]
    found = score.estimate
    first = score.published[0] if score.published else None  # matches.csv has a paper's main table first
    longer, longer_p = line.over_shorter.get(shape, (None, None))
    return {
        "way": shape.way,
        "shot": shape.shot,
        "manifest": one.manifest,
        "tasks": one.tasks,
        "rank": verdict.rank,
        "standing": verdict.standing,
        "seeds": len(score.seeds),
        "seed_list": " ".join(map(str, score.seeds)),
        "accuracy": found.mean,
        "task_ci95": found.task_ci95,
        "seed_sd": found.seed_sd,
        "total_ci95": found.total_ci95,
        **_difference("gap", verdict.gap, p="p"),
        "p_holm": None if line.kind == "variant" else verdict.gap_p,
        "covers_seeds": _covers_seeds(verdict, found.seeds),
        **_difference("gain", verdict.gain),
        "gain_p_holm": verdict.gain_p,
        "below_floor": verdict.below_floor,
        **_difference("overall", verdict.overall),
        "overall_p_holm": verdict.overall_p,
        "shorter": None if line.shorter is None else line.shorter.trained.iterations,
        **_difference("over_shorter", longer),
        "over_shorter_p_holm": longer_p,
        "published_table": None if first is None else first.provenance,
        "published_accuracy": None if first is None else first.accuracy,
        "published_ci95": None if first is None else first.ci95,
    }


def _covers_seeds(verdict: Verdict, seeds: int) -> bool:
    return seeds > 1 if verdict.gap is None else verdict.gap.covers_seeds


def _difference(name: str, found: Difference | None, p: str = "") -> dict[str, float | None]:
    if found is None:
        return {}
    return {
        name: without_noise(found.mean),
        f"{name}_low": without_noise(found.low),
        f"{name}_high": without_noise(found.high),
        p or f"{name}_p": found.p,
    }


def _each(environments: Sequence[Mapping[str, Any]], key: str) -> str | None:
    return ", ".join(sorted({str(one[key]) for one in environments if one.get(key)})) or None


def _text(value: Any) -> str | None:
    return None if value is None else str(value)


def _whole(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None
