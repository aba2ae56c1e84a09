"""Two methods or more on the same tasks."""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from bench.basics.errors import BenchError, did_you_mean
from bench.leaderboard.loading import Frames
from bench.leaderboard.rows import group_entries
from bench.leaderboard.score_table import Entry, EvaluationSet, ScoreTable, score_table
from bench.leaderboard.statistics import Difference, Scores, holm, paired_difference
from bench.leaderboard.trained import Trained


@dataclass(frozen=True, slots=True)
class Comparison:
    """``a`` minus ``b`` on one manifest; accuracies in [0, 1]."""

    a: str
    b: str
    budget: tuple[str, str]
    """As records name it, for METHOD@BUDGET."""
    trained: tuple[Trained, Trained]
    evaluation: EvaluationSet
    mean: tuple[float, float]
    seeds: tuple[tuple[int, ...], tuple[int, ...]]
    difference: Difference
    p_holm: float | None = None
    """Corrected (Holm) for all comparisons on these tasks; None where there is one, or no test."""


def compare(a: str, b: str, frames: Frames) -> list[Comparison]:
    """The paired difference of two methods on every manifest that both answered, ordered by dataset, way and shot.

    ``a`` and ``b`` are exact method names, or ``name@budget``. Without a budget, runs are compared that were trained
    equally long: equal meta-iterations, and equal epochs of what both train. P-values are two-sided and, of a
    single comparison, not corrected: it was planned, and is no search for the best. Raises BenchError for an unknown
    name, and where no task was answered by both.
    """
    found, _ = compare_several([a, b], frames)
    return found


def compare_several(
    names: Sequence[str], frames: Frames, every_pair: bool = False
) -> tuple[list[Comparison], tuple[str, ...]]:
    """As :func:`compare`: the first of ``names`` with each of the others, or every two. And a sentence for each two
    that cannot be compared; BenchError where none can.
    """
    _check(names)
    book = score_table(frames)
    sides = {name: _sides(book, name) for name in names}
    pairs = itertools.combinations(names, 2) if every_pair else ((names[0], other) for other in names[1:])
    found, problems = [], []
    for a, b in pairs:
        some = list(_compare(book, sides[a], sides[b]))
        found += some
        if not some:
            problems.append(_nothing(book, a, b, sides[a][0], sides[b][0]))
    if not found:
        raise BenchError(problems[0])
    found.sort(key=lambda one: _place(one.evaluation))
    return _corrected(found), tuple(problems)


def _check(names: Sequence[str]) -> None:
    if len(names) < 2:
        raise BenchError("a comparison takes two methods or more")
    for name in names:
        if names.count(name) > 1:
            raise BenchError(f"{name} is compared with itself; name two methods, or METHOD@BUDGET twice")


@dataclass(frozen=True, slots=True, eq=False)
class _Side:
    """Runs of one method and length: a row."""

    entries: tuple[Entry, ...]
    trained: Trained

    @property
    def name(self) -> str:
        entry = self.entries[0]
        return f"{entry.method} [{entry.variant}]" if entry.variant else entry.method

    @property
    def data(self) -> tuple[str, str]:
        return self.entries[0].dataset, self.entries[0].dataset_hash

    def scores(self, book: ScoreTable, manifest: str) -> tuple[tuple[int, ...], Scores] | None:
        """As of ScoreTable. Of two runs of one seed the first entry's counts, as in a row of the leaderboard."""
        taken: set[int] = set()
        found: dict[int, Scores] = {}
        for entry in self.entries:
            seeds, values = book.scores(entry, manifest) or ((), ())
            found |= {seed: value for seed, value in zip(seeds, values) if seed not in taken}
            taken |= set(entry.seeds)
        return (tuple(sorted(found)), np.stack([found[seed] for seed in sorted(found)])) if found else None


def _sides(book: ScoreTable, text: str) -> tuple[list[_Side], bool]:
    """What was asked for as rows, and whether a budget is named."""
    entries, named = _select(book, text)
    by_data: dict[tuple[str, str], list[Entry]] = defaultdict(list)
    for entry in entries:
        by_data[entry.dataset, entry.dataset_hash].append(entry)
    groups = [one for some in by_data.values() for one in group_entries(some).items()]
    return [_Side(tuple(alike), length) for (_, _, length), alike in groups], named


def _compare(book: ScoreTable, a: tuple[list[_Side], bool], b: tuple[list[_Side], bool]) -> Iterable[Comparison]:
    for left, right in itertools.product(a[0], b[0]):
        shared = {id(entry) for entry in left.entries} & {id(entry) for entry in right.entries}
        equally = a[1] or b[1] or equally_trained(left, right)
        if shared or left.data != right.data or not equally:
            continue
        for manifest, one in book.manifests.items():
            ours, theirs = left.scores(book, manifest), right.scores(book, manifest)
            if ours is not None and theirs is not None:
                yield Comparison(
                    a=left.name,
                    b=right.name,
                    budget=(left.entries[0].budget, right.entries[0].budget),
                    trained=(left.trained, right.trained),
                    evaluation=one,
                    mean=(float(ours[1].mean()), float(theirs[1].mean())),
                    seeds=(ours[0], theirs[0]),
                    difference=paired_difference(ours[1], theirs[1]),
                )


def equally_trained(a: _Side, b: _Side) -> bool:
    """Whether what both train was trained equally long; by the budgets' names where configurations do not say."""
    if Trained(0) in (a.trained, b.trained):  # what trains nothing is as it is at any length
        return True
    if a.trained.budget or b.trained.budget:
        return bool({entry.budget for entry in a.entries} & {entry.budget for entry in b.entries})
    if a.trained.iterations != b.trained.iterations and a.trained.iterations and b.trained.iterations:
        return False
    theirs = dict(b.trained.epochs)
    return all(theirs.get(title, epochs) == epochs for title, epochs in a.trained.epochs)


def _nothing(book: ScoreTable, a: str, b: str, left: Sequence[_Side], right: Sequence[_Side]) -> str:
    for one, other in itertools.product(left, right):
        both = (one.scores(book, manifest) is not None for manifest in book.manifests)
        theirs = (other.scores(book, manifest) is not None for manifest in book.manifests)
        if one.data == other.data and any(x and y for x, y in zip(both, theirs)):
            return (
                f"{a} and {b} answered the same tasks, but none of their runs were trained equally long "
                f"({one.trained.text}; {other.trained.text}); name budgets as METHOD@BUDGET to compare them anyway"
            )
    pairs = [(one.data, other.data) for one, other in itertools.product(left, right)]
    apart = [(one, other) for one, other in pairs if one[0] == other[0] and one[1] != other[1]]
    if apart and not any(one == other for one, other in pairs):
        (name, content), (_, other_content) = apart[0]
        return (
            f"{a} and {b} were scored on other images of {name}, content {content[:12]} and {other_content[:12]}, so "
            "not on the same tasks; prepare the images alike, by the same settings from the same raw files, and run "
            "one again"
        )
    return (
        f"{a} and {b} have no tasks in common: give both the same dataset, shots, queries and number of tasks, and the "
        "same budget (or name budgets as METHOD@BUDGET)"
    )


def _place(one: EvaluationSet) -> tuple[object, ...]:
    return one.dataset, one.split, one.way, one.shot, one.manifest


def _corrected(found: Sequence[Comparison]) -> list[Comparison]:
    """With p-values corrected for all comparisons on the same tasks, where these are several."""
    corrected = []
    for _, group in itertools.groupby(found, key=lambda one: one.evaluation.manifest):
        some = list(group)
        p = [one.difference.p for one in some]
        if len(some) > 1 and None not in p:
            some = [replace(one, p_holm=value) for one, value in zip(some, holm([x for x in p if x is not None]))]
        corrected += some
    return corrected


def _select(book: ScoreTable, text: str) -> tuple[list[Entry], bool]:
    """Entries of ``method`` or ``method@budget``, and whether a budget is named. Names may hold ``@`` themselves."""
    if whole := [entry for entry in book.entries if entry.method == text]:
        return whole, False
    parts = text.split("@")
    splits = [("@".join(parts[:i]), "@".join(parts[i:])) for i in range(1, len(parts))]
    for method, budget in splits:
        if chosen := [entry for entry in book.entries if (entry.method, entry.budget) == (method, budget)]:
            return chosen, True
    for method, budget in splits:
        if budgets := {entry.budget for entry in book.entries if entry.method == method}:
            raise BenchError(
                f"{method} has finished runs with the budgets {', '.join(sorted(budgets))}, not {budget!r}"
            )
    known = {entry.method for entry in book.entries}
    hint = did_you_mean(text, known) or did_you_mean(parts[0].lower(), known)
    raise BenchError(f"no finished run of method {text!r}.{hint}")
