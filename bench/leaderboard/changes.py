"""What changed between two boards: every row of either is new, gone, or held against itself on the same sealed tasks.

A row is the same when dataset, method, variant and what was trained agree. No row is left out: the counts add up.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np

from bench.leaderboard.board import significant
from bench.leaderboard.loading import Frames, settings_of
from bench.leaderboard.rows import Row, Score
from bench.leaderboard.score_table import EvaluationSet
from bench.leaderboard.statistics import Difference, holm, paired_difference
from bench.leaderboard.table import Leaderboard
from bench.leaderboard.trainings import LENGTHS

Verdict = Literal["better", "worse", "mixed", "new", "gone", "not comparable", "tied", "unchanged"]
"""``tied``: not significantly different; ``unchanged``: every answer is as it was; ``mixed``, of rows: better in one
column, worse in another."""

ORDER: tuple[Verdict, ...] = ("better", "worse", "mixed", "new", "gone", "not comparable", "tied", "unchanged")
"""What a reader looks for first."""

_COUNTED = frozenset(f"budget.{key}" for _, key, _ in LENGTHS)
"""Settings that :class:`bench.leaderboard.trained.Trained` tells, as far as they matter."""


@dataclass(frozen=True, slots=True)
class ColumnChange:
    """One row on one list of tasks. Accuracies in [0, 1]; None on the side that has none."""

    tasks: EvaluationSet
    verdict: Verdict
    before: float | None
    now: float | None
    seeds: tuple[tuple[int, ...], tuple[int, ...]]
    """Before, now."""
    difference: Difference | None = None
    """Now minus before, also of other settings where the tasks are the same; None where tasks or images are others."""
    p_holm: float | None = None
    """Corrected for all comparisons that end in ``better``, ``worse`` or ``tied``."""
    reason: str = ""
    """Why it is not comparable, or which seeds came or went."""


@dataclass(frozen=True, slots=True)
class RowChange:
    """One row of either board."""

    dataset: str
    method: str
    title: str
    trained: str
    columns: tuple[ColumnChange, ...]
    reason: str = ""
    """Of a new or gone row: what else there is of that method."""

    @property
    def verdict(self) -> Verdict:
        """Of all its columns; those that are on one side only count where there are no others."""
        found = {column.verdict for column in self.columns}
        if {"better", "worse"} <= found:
            return "mixed"
        order: tuple[Verdict, ...] = ("better", "worse", "tied", "unchanged", "not comparable", "new", "gone")
        return next(verdict for verdict in order if verdict in found)


@dataclass(frozen=True, slots=True)
class Lead:
    """The leader without labels on one list of tasks."""

    tasks: EvaluationSet
    before: str
    """Name and accuracy in percent; empty where nobody was asked these tasks."""
    now: str


@dataclass(frozen=True, slots=True)
class Side:
    """What a board rests on."""

    rows: int
    runs: int
    """In its tables."""
    apart: int
    """Runs that are in no table."""
    versions: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Changes:
    """Every row of both boards, what a reader looks for first at the top."""

    rows: tuple[RowChange, ...]
    leads: tuple[Lead, ...]
    before: Side
    now: Side

    @property
    def counts(self) -> Mapping[Verdict, int]:
        """How many rows of each verdict; their sum is the number of rows of either board."""
        found = Counter(row.verdict for row in self.rows)
        return {verdict: found[verdict] for verdict in ORDER}

    @property
    def compared(self) -> int:
        """How many comparisons p-values are corrected for."""
        return sum(column.p_holm is not None for row in self.rows for column in row.columns)


@dataclass(frozen=True, slots=True, eq=False)
class _Held:
    """A row of one side, with its scores of all tables."""

    dataset: str
    content: str
    row: Row
    settings: Mapping[str, str]
    scores: dict[str, tuple[EvaluationSet, Score]] = field(default_factory=dict)


def changes(before: tuple[Frames, Leaderboard], now: tuple[Frames, Leaderboard]) -> Changes:
    """Hold the rows of two leaderboards against each other."""
    earlier, later = _rows(*before), _rows(*now)
    rows = []
    for old, new in _pairs(earlier, later):
        one = new or old
        assert one is not None
        columns = tuple(_columns(old, new))
        rows.append(RowChange(one.dataset, one.row.method, one.row.label, one.row.trained.text, columns))
    rows = [replace(row, reason=_besides(row, earlier, later)) for row in _corrected(rows)]
    rows.sort(key=lambda row: (ORDER.index(row.verdict), row.dataset, row.title, row.trained))
    return Changes(tuple(rows), tuple(_leads(before[1], now[1])), _side(*before, earlier), _side(*now, later))


def _rows(frames: Frames, board: Leaderboard) -> list[_Held]:
    configs = dict(zip(frames.runs["run"], frames.runs["config"]))
    found: dict[tuple[object, ...], _Held] = {}
    for table in board.tables:
        for row in table.rows:
            key = (table.dataset, table.dataset_hash, row.method, row.variant, row.trained)
            if key not in found:
                told = settings_of(configs[row.runs[0]])
                settings = {name: json.dumps(told[name], default=str) for name in sorted(set(told) - _COUNTED)}
                found[key] = _Held(table.dataset, table.dataset_hash, row, settings)
            found[key].scores.update(
                {table.manifests[shape].manifest: (table.manifests[shape], one) for shape, one in row.scores.items()}
            )
    return list(found.values())


def _pairs(before: Sequence[_Held], now: Sequence[_Held]) -> Iterator[tuple[_Held | None, _Held | None]]:
    """Both sides of every row. What a variant is called depends on what stands beside it: settings tell it again."""

    def named(one: _Held) -> tuple[object, ...]:
        return one.dataset, one.row.method, one.row.variant, one.row.trained

    same: tuple[Callable[[_Held], object], ...] = (
        lambda one: (*named(one), one.content, tuple(one.settings.items())),
        lambda one: (one.dataset, one.row.method, one.row.trained, one.content, tuple(one.settings.items())),
        lambda one: (*named(one), one.content),
        named,
    )
    old, new = list(before), list(now)
    for key in same:
        waiting: dict[object, list[_Held]] = defaultdict(list)
        for one in old:
            waiting[key(one)].append(one)
        left = []
        for one in new:
            if found := waiting.get(key(one)):
                yield found.pop(0), one
            else:
                left.append(one)
        old, new = [one for some in waiting.values() for one in some], left
    yield from ((None, one) for one in new)
    yield from ((one, None) for one in old)


def _columns(old: _Held | None, new: _Held | None) -> Iterator[ColumnChange]:
    earlier, later = (dict[str, tuple[EvaluationSet, Score]]() if one is None else one.scores for one in (old, new))
    manifests = sorted({**earlier, **later}, key=lambda one: _place({**earlier, **later}[one][0]))
    shapes_now = {(tasks.split, tasks.shape): tasks for tasks, _ in later.values()}
    shapes_before = {(tasks.split, tasks.shape): tasks for tasks, _ in earlier.values()}
    for manifest in manifests:
        (tasks, a), (_, b) = earlier.get(manifest, (None, None)), later.get(manifest, (None, None))
        tasks = tasks or later[manifest][0]
        one = ColumnChange(
            tasks=tasks,
            verdict="gone" if b is None else "new",
            before=None if a is None else a.estimate.mean,
            now=None if b is None else b.estimate.mean,
            seeds=(() if a is None else a.seeds, () if b is None else b.seeds),
        )
        if a is not None and b is not None:
            assert old is not None
            assert new is not None
            yield _compared(one, a, b, old, new)
            continue
        there = (shapes_now if b is None else shapes_before).get((tasks.split, tasks.shape))
        if old is None or new is None:
            yield one
        elif old.content != new.content:
            yield replace(one, verdict="not comparable", reason=_other_images(old, new))
        elif there is not None:
            pair = (tasks, there) if b is None else (there, tasks)
            yield replace(one, verdict="not comparable", reason=_other_tasks(*pair))
        else:
            yield replace(one, reason="not asked now" if b is None else "not asked before")


def _compared(one: ColumnChange, a: Score, b: Score, old: _Held, new: _Held) -> ColumnChange:
    found = paired_difference(b.values, a.values)
    seeds = "" if a.seeds == b.seeds else f"training seeds {_told(a.seeds)} before, {_told(b.seeds)} now"
    names = [name for name in {**old.settings, **new.settings} if old.settings.get(name) != new.settings.get(name)]
    if names:
        told = "; ".join(
            f"{name} {old.settings.get(name, 'none')}, now {new.settings.get(name, 'none')}" for name in names
        )
        reason = ". ".join(part for part in (f"other settings: {told}", seeds) if part)
        return replace(one, verdict="not comparable", difference=found, reason=reason)
    if np.array_equal(a.values, b.values) and not seeds:
        return replace(one, verdict="unchanged", difference=found)
    return replace(one, verdict="tied", difference=found, reason=seeds)


def _corrected(rows: Sequence[RowChange]) -> list[RowChange]:
    """With verdicts by p-values that are corrected for all that was compared."""
    p = [
        column.difference.p
        for row in rows
        for column in row.columns
        if column.verdict == "tied" and column.difference is not None and column.difference.p is not None
    ]
    corrected = iter(holm(p))

    def judged(column: ColumnChange) -> ColumnChange:
        found = column.difference
        if column.verdict != "tied" or found is None or found.p is None:
            return column
        p_holm = next(corrected)
        verdict: Verdict = "tied" if not significant(p_holm) else "better" if found.mean > 0 else "worse"
        return replace(column, verdict=verdict, p_holm=p_holm)

    return [replace(row, columns=tuple(judged(column) for column in row.columns)) for row in rows]


def _besides(row: RowChange, before: Sequence[_Held], now: Sequence[_Held]) -> str:
    """What the other board has of a method whose row is new or gone."""
    if row.verdict not in ("new", "gone"):
        return ""
    others = before if row.verdict == "new" else now
    when = "before" if row.verdict == "new" else "now"
    found = [one for one in others if (one.dataset, one.row.method) == (row.dataset, row.method)]
    lengths = sorted({one.row.trained.text for one in found if one.row.trained.text != row.trained})
    if lengths:
        return f"{when} there is one trained for {'; for '.join(lengths)}"
    return f"{when} there is one of other settings" if found else ""


def _other_images(old: _Held, new: _Held) -> str:
    return f"other images or classes: the dataset's content was {old.content[:8]}, now {new.content[:8]}"


def _other_tasks(before: EvaluationSet, now: EvaluationSet) -> str:
    for name, words in (("tasks", "tasks"), ("query", "queries per class")):
        was, is_ = getattr(before, name), getattr(now, name)
        if was != is_:
            return f"other tasks: {was} {words} before, {is_} now"
    return f"other tasks: list {before.manifest[:8]} before, {now.manifest[:8]} now"


def _leads(before: Leaderboard, now: Leaderboard) -> Iterator[Lead]:
    earlier, later = _leaders(before), _leaders(now)
    for manifest, (tasks, told) in later.items():
        yield Lead(tasks, earlier.get(manifest, (tasks, ""))[1], told)


def _leaders(board: Leaderboard) -> dict[str, tuple[EvaluationSet, str]]:
    found = {}
    for table in board.tables:
        for shape, tasks in table.manifests.items():
            leading = table.board.leader(shape)
            if leading is not None:
                tier, line = leading
                mean = 100 * line.row.scores[shape].estimate.mean
                found[tasks.manifest] = tasks, f"{line.row.label} ({tier.title}), {mean:.2f}"
    return found


def _side(frames: Frames, board: Leaderboard, rows: Sequence[_Held]) -> Side:
    versions = tuple(dict.fromkeys(version for table in board.tables for version in table.made.versions))
    apart = len(board.unfinished)
    return Side(len(rows), len(frames.runs) - apart, apart, versions)


def _place(one: EvaluationSet) -> tuple[object, ...]:
    return one.split != "test", one.split, one.way, one.shot, one.query, one.manifest


def _told(seeds: Sequence[int]) -> str:
    return ", ".join(map(str, seeds))
