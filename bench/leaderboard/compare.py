"""Two methods on the same tasks."""

from __future__ import annotations

from dataclasses import dataclass

from bench.basics.errors import BenchError, did_you_mean
from bench.leaderboard.loading import Frames
from bench.leaderboard.score_table import Entry, EvaluationSet, ScoreTable
from bench.leaderboard.statistics import Difference, paired_difference


@dataclass(frozen=True, slots=True)
class Comparison:
    """``a`` minus ``b`` on one manifest; accuracies in [0, 1]."""

    a: str
    b: str
    budget: tuple[str, str]
    evaluation: EvaluationSet
    mean: tuple[float, float]
    seeds: tuple[tuple[int, ...], tuple[int, ...]]
    difference: Difference


def compare(a: str, b: str, frames: Frames) -> list[Comparison]:
    """The paired difference of two methods on every manifest that both answered, ordered by dataset and shot.

    ``a`` and ``b`` are exact method names, or ``name@budget``. Without a budget, runs of equal budget are
    compared. P-values are two-sided and not corrected: this is one planned comparison, not a search for the
    best. Raises BenchError for an unknown name, and where no task was answered by both.
    """
    if a == b:
        raise BenchError(f"{a} is compared with itself; name two methods, or METHOD@BUDGET twice")
    book = ScoreTable(frames)
    found = []
    (lefts, left_named), (rights, right_named) = _select(book, a), _select(book, b)
    budgets_named = left_named or right_named
    for left in lefts:
        for right in rights:
            same_data = (left.dataset, left.dataset_hash) == (right.dataset, right.dataset_hash)
            if left is right or not same_data or (not budgets_named and left.budget != right.budget):
                continue
            for manifest, one in book.manifests.items():
                ours, theirs = book.scores(left, manifest), book.scores(right, manifest)
                if ours is not None and theirs is not None:
                    found.append(
                        Comparison(
                            a=_name(left),
                            b=_name(right),
                            budget=(left.budget, right.budget),
                            evaluation=one,
                            mean=(float(ours[1].mean()), float(theirs[1].mean())),
                            seeds=(ours[0], theirs[0]),
                            difference=paired_difference(ours[1], theirs[1]),
                        )
                    )
    if not found:
        raise BenchError(
            f"{a} and {b} have no tasks in common: give both the same dataset, shots, queries and number of "
            "tasks, and the same budget (or name budgets as method@budget)"
        )
    return sorted(
        found,
        key=lambda c: (
            c.evaluation.dataset,
            c.evaluation.way,
            c.evaluation.shot,
            c.evaluation.manifest,
            c.budget,
            c.a,
            c.b,
        ),
    )


def _name(entry: Entry) -> str:
    return f"{entry.method} [{entry.variant}]" if entry.variant else entry.method


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
