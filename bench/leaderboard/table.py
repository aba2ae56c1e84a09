"""The leaderboard: one table per dataset, split and query, its ways and shots side by side, every run accounted for.

Tasks of another number of classes have a table of their own where no row answered both.
"""

from __future__ import annotations

import hashlib
import itertools
import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pandas as pd

from bench.basics.errors import BenchError
from bench.leaderboard.board import Board, Preference, arrange
from bench.leaderboard.loading import Frames
from bench.leaderboard.made import Made, made
from bench.leaderboard.rows import GROUPS, Row, group_entries, row
from bench.leaderboard.score_table import EvaluationSet, ScoreTable, Shape, score_table

MOST_BYTES_OF_NAME = 160


@dataclass(frozen=True, slots=True)
class Table:
    """Rows that answered the same tasks: within one way and shot every number comes from one manifest."""

    dataset: str
    dataset_hash: str
    split: str
    query: int
    number: int
    """From 1; 2 and above where the same shapes were also evaluated on other tasks."""
    manifests: Mapping[Shape, EvaluationSet]
    """Ascending."""
    rows: tuple[Row, ...]
    slug: str = ""
    """For file names; no two tables of a leaderboard have the same, whatever the capitals."""
    left_out: tuple[str, ...] = ()
    """What images or classes runs of this table did without; sentences of their records, each once."""
    board: Board = field(default_factory=Board)
    """The same rows, ranked."""
    made: Made = field(default_factory=Made)

    @property
    def title(self) -> str:
        """For people."""
        other = f" (tasks {self.number})" if self.number > 1 else ""
        ways = " and ".join([*(f"{way}-" for way in self.ways[:-1]), f"{self.ways[-1]}-way"])
        return f"{self.dataset}: {ways}, {self.query} queries per class, meta-{self.split}{other}"

    @property
    def ways(self) -> tuple[int, ...]:
        """Ascending."""
        return tuple(dict.fromkeys(shape.way for shape in self.manifests))

    @property
    def columns(self) -> Mapping[Shape, str]:
        """Way and shot -> how they are called: by the shot alone where all tasks have as many classes."""
        several = len(self.ways) > 1
        return {shape: str(shape) if several else f"{shape.shot}-shot" for shape in self.manifests}

    @property
    def budgets(self) -> tuple[str, ...]:
        """Every budget of a row."""
        return tuple(sorted({row.budget for row in self.rows}))

    @property
    def seeds(self) -> tuple[int, ...]:
        """Every training seed of a row."""
        return tuple(sorted({seed for row in self.rows for seed in row.seeds}))


@dataclass(frozen=True, slots=True)
class Unfinished:
    """A run that is not in a table, and why."""

    dataset: str
    method: str
    budget: str
    seed: int
    status: str
    reason: str


@dataclass(frozen=True, slots=True)
class Leaderboard:
    """What a report shows."""

    tables: tuple[Table, ...]
    unfinished: tuple[Unfinished, ...]
    problems: tuple[str, ...]
    excluded: tuple[str, ...] = ()
    """Sentences that name the rows that were not wanted because of their side information."""


def build(frames: Frames, preference: Preference | None = None) -> Leaderboard:
    """The leaderboard of all finished runs. BenchError when there is none.

    ``preference``: which of a method's settings stands for it, see :func:`bench.leaderboard.board.arrange`.
    """
    if frames.finished.empty:
        counts = frames.runs["status"].value_counts().sort_index()
        told = ", ".join(f"{count} {status}" for status, count in counts.items())
        raise BenchError(f"no run is finished ({told or 'no runs'}); see the reason in run.json or run again")
    book = score_table(frames)
    tables: list[Table] = []
    for number, manifests in _tables(book):
        table = _table(book, number, manifests, frames.runs, preference)
        slug, taken = _slug(table), {other.slug.casefold() for other in tables}
        slugs = itertools.chain([slug], (f"{slug}-same-name-{count}" for count in itertools.count(2)))
        tables.append(replace(table, slug=next(one for one in slugs if one.casefold() not in taken)))
    return Leaderboard(tuple(tables), _unfinished(frames, tables), frames.problems)


def _slug(table: Table) -> str:
    """What the files of a table may be called: letters, digits and marks that no system and no page takes for more."""
    name = "".join(c if c.isalnum() or c in "-_." else "-" for c in table.dataset)
    split = "".join(c if c.isalnum() or c in "-_" else "-" for c in table.split)
    if len(name.encode()) + len(split.encode()) > MOST_BYTES_OF_NAME:
        digest = hashlib.sha256(f"{table.dataset}/{table.split}".encode("utf-8", "surrogatepass")).hexdigest()
        name, split = name[: MOST_BYTES_OF_NAME // 8], digest[:16]
    other = f"-{table.number}" if table.number > 1 else ""
    ways = "-".join(f"{way}way" for way in table.ways)
    return f"{name}-{ways}-{table.query}query-{split}{other}"


_Sets = dict[Shape, EvaluationSet]
"""What stands in one table."""


def _tables(book: ScoreTable) -> list[tuple[int, _Sets]]:
    """Put manifests into tables: never two for one way and shot, and those answered together stay together."""
    answered_by: dict[str, set[int]] = defaultdict(set)
    for number, entry in enumerate(book.entries):
        for manifest in book.answered(entry):
            answered_by[manifest].add(number)
    kinds: dict[tuple[str, ...], dict[tuple[int, int], list[EvaluationSet]]] = defaultdict(lambda: defaultdict(list))
    for one in book.manifests.values():
        kinds[one.dataset, one.dataset_hash, one.split][one.query, one.way].append(one)
    found: list[tuple[tuple[Any, ...], _Sets]] = []
    for kind, shapes in kinds.items():
        by_query: dict[int, list[_Sets]] = defaultdict(list)
        for (query, _), sets in sorted(shapes.items()):
            by_query[query] = _side_by_side(by_query[query], _of_one_way(sets, answered_by), answered_by)
        found += [((*kind, _ways(table), query), table) for query, tables in by_query.items() for table in tables]
    found.sort(key=lambda one: one[0])
    numbers: dict[tuple[Any, ...], int] = defaultdict(int)
    numbered = []
    for shape, table in found:
        visible = (shape[0], *shape[2:])  # two versions of a dataset have one title but never one table
        numbers[visible] += 1
        numbered.append((numbers[visible], table))
    return numbered


def _ways(table: _Sets) -> tuple[int, ...]:
    return tuple(sorted({shape.way for shape in table}))


def _of_one_way(sets: Sequence[EvaluationSet], answered_by: Mapping[str, set[int]]) -> list[_Sets]:
    """Tables of manifests that differ in their shots, or in their tasks."""
    tables: list[_Sets] = []
    for one in sorted(sets, key=lambda s: (s.shot, -len(answered_by[s.manifest]), s.manifest)):
        free = [table for table in tables if one.shape not in table]
        if free:
            shared = [len(answered_by[one.manifest] & _answering(table, answered_by)) for table in free]
            free[shared.index(max(shared))][one.shape] = one
        else:
            tables.append({one.shape: one})
    return tables


def _side_by_side(tables: list[_Sets], more: list[_Sets], answered_by: Mapping[str, set[int]]) -> list[_Sets]:
    """Tables of another way join those with which they have most rows in common; without any they stay apart."""
    apart, found = [], list(tables)
    for one in more:
        way = _ways(one)[0]
        shared = [
            0 if way in _ways(table) else len(_answering(one, answered_by) & _answering(table, answered_by))
            for table in found
        ]
        if max(shared, default=0):
            number = shared.index(max(shared))
            found[number] = {**found[number], **one}
        else:
            apart.append(one)
    return found + apart


def _answering(table: _Sets, answered_by: Mapping[str, set[int]]) -> set[int]:
    """The numbers of the entries that answered any of its manifests."""
    return set().union(*(answered_by[one.manifest] for one in table.values()))


def _table(book: ScoreTable, number: int, manifests: _Sets, runs: pd.DataFrame, preference: Preference | None) -> Table:
    first = next(iter(manifests.values()))
    answering = {one.manifest for one in manifests.values()}
    entries = [entry for entry in book.entries if book.answered(entry) & answering]
    rows = [row(book, alike, length, manifests) for (_, _, length), alike in group_entries(entries).items()]
    ordered = tuple(sorted(rows, key=lambda one: _order(one, tuple(manifests))))
    shown = [run for one in rows for run in one.runs]
    return Table(
        dataset=first.dataset,
        dataset_hash=first.dataset_hash,
        split=first.split,
        query=first.query,
        number=number,
        manifests=dict(manifests),
        rows=ordered,
        left_out=tuple(dict.fromkeys(sentence for entry in entries for sentence in entry.facts["left_out"])),
        board=arrange(ordered, tuple(manifests), preference),
        made=made(runs[runs["run"].isin(shown)]),
    )


def _order(one: Row, shapes: Sequence[Shape]) -> tuple[Any, ...]:
    names = list(GROUPS)
    group = names.index(one.group) if one.group in names else len(names)
    means = [-one.scores[shape].estimate.mean if shape in one.scores else math.inf for shape in shapes]
    return (group, one.group, means, one.method, one.variant, one.trained.iterations, one.trained.epochs)


def _unfinished(frames: Frames, tables: Sequence[Table]) -> tuple[Unfinished, ...]:
    """Every run that no table shows, those too that are finished."""
    shown = {run for table in tables for row in table.rows for run in row.runs}
    rest = frames.runs[~frames.runs["run"].isin(shown)]
    rest = rest.assign(
        reason=rest["reason"].where(
            rest["status"] != "done",
            "it has no score that a table shows, or another run of this seed and training counts",
        )
    )
    rest = rest.sort_values(["dataset", "method", "budget", "seed", "status", "folder"], kind="stable")
    rest = rest[["dataset", "method", "budget", "seed", "status", "reason"]]
    return tuple(Unfinished(*values) for values in rest.itertuples(index=False, name=None))
