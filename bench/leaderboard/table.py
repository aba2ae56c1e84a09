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
from typing import Any, Literal

from bench.basics.errors import BenchError
from bench.leaderboard.loading import Frames
from bench.leaderboard.published import Published, published
from bench.leaderboard.score_table import Entry, EvaluationSet, ScoreTable, Shape
from bench.leaderboard.statistics import Difference, Estimate, Scores, estimate, holm, paired_difference
from bench.planning.values import setting

GROUPS = {"unsupervised": "Unsupervised", "floor": "Floors", "ceiling": "Ceilings", "transfer": "Transfer"}
"""Groups in the order in which tables show them; they are never ranked against each other."""

SIGNIFICANCE = 0.05
MOST_BYTES_OF_NAME = 160

Standing = Literal["best", "tied", "behind", "alone", "untested"]
"""``tied``: not significantly different from the best (Holm-corrected p >= 0.05); ``alone``: nobody to
compare with; ``untested``: behind on a single task, which no test can judge.
"""


@dataclass(frozen=True, slots=True)
class Score:
    """One row at one way and shot."""

    estimate: Estimate
    seeds: tuple[int, ...]
    standing: Standing
    behind: Difference | None = None
    """The best of the same group and budget minus this row; None for the best."""
    p_holm: float | None = None
    """None for the best, and where the difference has no p-value."""
    published: tuple[Published, ...] = ()


@dataclass(frozen=True, slots=True)
class Row:
    """One method with one budget."""

    method: str
    title: str
    group: str
    budget: str
    variant: str
    seeds: tuple[int, ...]
    supervised: bool
    transductive: bool | None
    outside_data: bool
    side: tuple[str, ...]
    """What it used beside unlabelled images of the dataset: words of :data:`bench.basics.side.SIDE`."""
    cite: str
    train_seconds: float
    """Mean over seeds: generator, encoder and meta-training; NaN when unknown."""
    peak_memory_mib: float
    """Largest over seeds; NaN when unknown."""
    runs: tuple[int, ...]
    scores: Mapping[Shape, Score]
    gaps: Mapping[int, str] = field(default_factory=dict)
    """Ways of the table of which it answered no tasks, and why not."""

    @property
    def label(self) -> str:
        """The title, with what tells it apart from another row of that title."""
        return f"{self.title} [{self.variant}]" if self.variant else self.title


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


def build(frames: Frames) -> Leaderboard:
    """The leaderboard of all finished runs. BenchError when there is none."""
    if frames.finished.empty:
        counts = frames.runs["status"].value_counts().sort_index()
        told = ", ".join(f"{count} {status}" for status, count in counts.items())
        raise BenchError(f"no run is finished ({told or 'no runs'}); see the reason in run.json or run again")
    book = ScoreTable(frames)
    tables: list[Table] = []
    for number, manifests in _tables(book):
        table = _table(book, number, manifests)
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


def _table(book: ScoreTable, number: int, manifests: _Sets) -> Table:
    first = next(iter(manifests.values()))
    scores: dict[Shape, dict[Entry, Score]] = {}
    for shape, one in manifests.items():
        answers = {entry: found for entry in book.entries if (found := book.scores(entry, one.manifest)) is not None}
        scores[shape] = _column(answers, one)
    entries = [entry for entry in book.entries if any(entry in column for column in scores.values())]
    rows = [
        _row(entry, {shape: column[entry] for shape, column in scores.items() if entry in column}, _ways(manifests))
        for entry in entries
    ]
    return Table(
        dataset=first.dataset,
        dataset_hash=first.dataset_hash,
        split=first.split,
        query=first.query,
        number=number,
        manifests=dict(manifests),
        rows=tuple(sorted(rows, key=lambda row: _order(row, tuple(manifests)))),
        left_out=tuple(dict.fromkeys(sentence for entry in entries for sentence in entry.facts["left_out"])),
    )


def _column(answers: Mapping[Entry, tuple[tuple[int, ...], Scores]], one: EvaluationSet) -> dict[Entry, Score]:
    """Estimates of one column, and how each compares with the best of its group and budget."""
    estimates = {entry: estimate(scores) for entry, (_, scores) in answers.items()}
    blocks: dict[tuple[str, str], list[Entry]] = defaultdict(list)
    for entry in answers:
        blocks[entry.facts["group"], entry.budget].append(entry)
    column: dict[Entry, Score] = {}
    for block in blocks.values():
        best = max(block, key=lambda entry: estimates[entry].mean)
        others = [entry for entry in block if entry is not best]
        behind = [paired_difference(answers[best][1], answers[entry][1]) for entry in others]
        judged = [difference.p for difference in behind if difference.p is not None]
        corrected = holm(judged) if len(judged) == len(behind) else [None] * len(behind)
        for entry, difference, p in [(best, None, None), *zip(others, behind, corrected)]:
            standing: Standing
            if difference is None:
                standing = "best" if others else "alone"
            elif p is None:
                standing = "untested"
            else:
                standing = "behind" if p < SIGNIFICANCE else "tied"
            column[entry] = Score(
                estimate=estimates[entry],
                seeds=answers[entry][0],
                standing=standing,
                behind=difference,
                p_holm=p,
                published=_published(entry, one),
            )
    return column


def _published(entry: Entry, one: EvaluationSet) -> tuple[Published, ...]:
    if one.split != "test":
        return ()
    config = entry.facts["config"]
    return published(one.dataset, entry.method, config, way=one.way, shot=one.shot, query=one.query)


def _row(entry: Entry, scores: Mapping[Shape, Score], ways: Sequence[int]) -> Row:
    facts = entry.facts
    return Row(
        method=entry.method,
        title=facts["title"],
        group=facts["group"],
        budget=entry.budget,
        variant=entry.variant,
        seeds=tuple(sorted({seed for score in scores.values() for seed in score.seeds})),
        supervised=facts["supervised"],
        transductive=facts["transductive"],
        outside_data=facts["outside_data"],
        side=facts["side"],
        cite=facts["cite"],
        train_seconds=facts["train_seconds"],
        peak_memory_mib=facts["peak_memory_mib"],
        runs=entry.runs,
        scores=scores,
        gaps={way: _why_not(entry, way) for way in ways if way not in {shape.way for shape in scores}},
    )


def _why_not(entry: Entry, way: int) -> str:
    trained = setting(entry.facts["config"], "train.way")
    unknown = "not asked" if trained is None else f"trained on {trained}-way tasks, and not asked these"
    return str(entry.facts["unanswered"].get(f"{way}-way", unknown))


def _order(row: Row, shapes: Sequence[Shape]) -> tuple[Any, ...]:
    names = list(GROUPS)
    group = names.index(row.group) if row.group in names else len(names)
    means = [-row.scores[shape].estimate.mean if shape in row.scores else math.inf for shape in shapes]
    return (group, row.group, row.budget, means, row.method, row.variant)


def _unfinished(frames: Frames, tables: Sequence[Table]) -> tuple[Unfinished, ...]:
    """Every run that no table shows, those too that are finished."""
    shown = {run for table in tables for row in table.rows for run in row.runs}
    rest = frames.runs[~frames.runs["run"].isin(shown)]
    rest = rest.assign(reason=rest["reason"].where(rest["status"] != "done", "it has no score that a table shows"))
    rest = rest.sort_values(["dataset", "method", "budget", "seed", "status", "folder"], kind="stable")
    rest = rest[["dataset", "method", "budget", "seed", "status", "reason"]]
    return tuple(Unfinished(*values) for values in rest.itertuples(index=False, name=None))
