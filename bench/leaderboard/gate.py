"""The regression gate: are methods still as accurate as a recorded baseline, judged task by task?

The file is that of :mod:`bench.leaderboard.baseline`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd

from bench.basics.errors import BenchError
from bench.leaderboard import drift, margins
from bench.leaderboard.baseline import DEFAULT_MARGIN, KEY, Baseline, read_baseline
from bench.leaderboard.loading import Frames
from bench.leaderboard.score_table import Entry, ScoreTable
from bench.leaderboard.statistics import Difference, Scores, paired_difference
from bench.looking.inspection.records import Inspection

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
    """Mean accuracy in [0, 1]: of its honest re-runs, where it has them."""
    current: float | None = None
    drop: Difference | None = None
    """Baseline minus current."""
    measure: str = "accuracy"
    way: int | None = None
    """None likewise, and where neither the runs nor the baseline tell it."""


def check(
    frames: Frames,
    baseline: Path | Baseline,
    margin: float | None = None,
    inspections: Sequence[Inspection] = (),
    seeds: Sequence[int] | None = None,
) -> list[GateRow]:
    """Judge the finished runs of ``frames``, and ``inspections`` of their synthetic tasks, against a baseline.

    ``margin`` in accuracy points replaces the baseline's own. ``seeds``: judge the runs with these training seeds
    instead of those that the baseline was recorded with.

    WORSE, where the baseline has honest re-runs of the method and no ``margin`` is given: the mean over the seeds lies
    further below that of the re-runs than trainings of unchanged code come apart by chance
    (:func:`bench.leaderboard.margins.allowed`), and more than the baseline's margin.
    WORSE, elsewhere: the lower end of the 95 % interval of the drop (baseline minus current, paired by task, averaged
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
    recorded = read_baseline(baseline) if isinstance(baseline, Path) else baseline
    book = ScoreTable(frames)
    rows: list[GateRow] = []
    seen: set[tuple[str, ...]] = set()
    for values, group in recorded.rows.groupby(KEY, sort=True):
        key = tuple(map(str, values))
        seen.add(key)
        rows += _judge(key, group, frames, book, margin, seeds, recorded)
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
                        way=book.manifests[manifest].way,
                    )
                )
    rows.sort(key=lambda r: (r.dataset, r.method, r.budget, r.way or 0, r.shot or 0, r.manifest, r.verdict, r.reason))
    measured = drift.measured(inspections)
    return rows + [_judge_synthetic(one, measured, seeds) for one in recorded.synthetic]


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
        verdict, reason = ("OK" if 100 * abs(current - one.value) <= one.margin else "CHANGED"), ""
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
    recorded: Baseline,
) -> list[GateRow]:
    dataset, method, budget, manifest = key
    way = book.manifests[manifest].way if manifest in book.manifests else recorded.ways.get(manifest)
    seeds, before = _matrix(group)
    allowed = float(group["margin"].iloc[0]) if margin is None else margin
    again = recorded.reruns.get((dataset, method, budget, manifest)) if margin is None else None
    honest = float(before.mean()) if again is None else float(np.mean(again.accuracies))
    least = allowed

    def of_reruns(again: margins.Reruns, trained: int) -> float:
        return max(least, 100 * margins.allowed(again.accuracies, trained, recorded.judged))

    if again is not None:
        allowed = of_reruns(again, len(seeds if wanted is None else set(wanted)))
    shot = int(group["shot"].iloc[0])

    def row(verdict: Verdict, reason: str, current: float | None = None, drop: Difference | None = None) -> GateRow:
        return GateRow(
            verdict, dataset, method, budget, shot, manifest, allowed, reason, honest, current, drop, way=way
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
            if again is not None:
                allowed = of_reruns(again, len(after))
                drop = margins.drop(again.accuracies, after.mean(axis=1).tolist(), after.shape[1])
                low = drop.mean
            else:
                drop = paired_difference(before, after)
                # With a single task there is no interval; the drop itself must do.
                low = drop.mean if drop.low is None else drop.low
            verdict: Verdict = "OK" if 100 * low <= allowed else "WORSE"
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
