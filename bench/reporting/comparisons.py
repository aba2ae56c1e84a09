"""What ``bench compare`` found, for programs and for pages. For the terminal: :mod:`bench.reporting.terminal`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pandas as pd

from bench.leaderboard.columns import ONE_SEED, between, p_value, percent, points
from bench.leaderboard.compare import Comparison
from bench.reporting.csv import from_frame, without_noise
from bench.reporting.markdown import escape

ROUNDED = 12
"""Digits behind the point; further ones depend on the machine."""

HOLM = "p, Holm"

Named = tuple[str, str]
"""A method's exact name and its budget."""


def letters(comparisons: Sequence[Comparison]) -> dict[Named, str]:
    """A short name for every row, in the order in which they come: A to Z, then R27, R28."""
    rows: dict[Named, str] = {}
    for one in comparisons:
        for name in named(one):
            rows.setdefault(name, chr(ord("A") + len(rows)) if len(rows) < 26 else f"R{len(rows) + 1}")
    return rows


def named(one: Comparison) -> tuple[Named, Named]:
    """Both of its rows."""
    return (one.a, one.budget[0]), (one.b, one.budget[1])


def legend(comparisons: Sequence[Comparison]) -> list[tuple[str, str]]:
    """Short name -> what it stands for: exact name, what was trained, budget, training seeds."""
    told: dict[Named, str] = {}
    seeds: dict[Named, set[int]] = {}
    for one in comparisons:
        for name, trained, some in zip(named(one), one.trained, one.seeds):
            seeds.setdefault(name, set()).update(some)
            told[name] = (
                f"{name[0]}: {trained.text} (budget {name[1]}; seeds {', '.join(map(str, sorted(seeds[name])))})"
            )
    return [(letter, told[name]) for name, letter in letters(comparisons).items()]


def by_tasks(comparisons: Sequence[Comparison]) -> list[tuple[str, list[Comparison]]]:
    """A title and the comparisons of every list of tasks: ``omniglot 5-way 1-shot, 1000 tasks``."""
    found: dict[str, list[Comparison]] = {}
    for one in comparisons:
        found.setdefault(one.evaluation.manifest, []).append(one)
    titles = [_title(some[0]) for some in found.values()]
    several = [f" (list {manifest[:8]})" if titles.count(title) > 1 else "" for title, manifest in zip(titles, found)]
    return [(title + other, some) for title, other, some in zip(titles, several, found.values())]


def _title(one: Comparison) -> str:
    where = one.evaluation
    split = "" if where.split == "test" else f", meta-{where.split}"
    return f"{where.dataset} {where.way}-way {where.shot}-shot, {one.difference.tasks} tasks{split}"


def headings(comparisons: Sequence[Comparison]) -> tuple[str, ...]:
    """Of :func:`cells`."""
    corrected = any(one.p_holm is not None for one in comparisons)
    return ("pair", "accuracy, %", "points", "95 % interval", "p", *((HOLM,) if corrected else ()))


def cells(one: Comparison, comparisons: Sequence[Comparison]) -> list[str]:
    """A row: the difference in accuracy points, marked where it covers the draw of tasks only."""
    short = letters(comparisons)
    found = one.difference
    shown = [
        " − ".join(short[name] for name in named(one)),
        " − ".join(percent(mean) for mean in one.mean),
        points(found.mean) + ("" if found.covers_seeds else f" {ONE_SEED}"),
        between(found),
        p_value(found.p),
        *((p_value(one.p_holm),) if HOLM in headings(comparisons) else ()),
    ]
    return shown


def notes(comparisons: Sequence[Comparison]) -> list[str]:
    """How to read it, as far as it applies."""
    told = []
    if any(one.difference.covers_seeds for one in comparisons):
        told.append("Intervals cover tasks and seeds: other tasks, other trainings.")
    if not all(one.difference.covers_seeds for one in comparisons):
        told.append(
            f"{ONE_SEED} One of the two was trained once: interval and p cover the draw of tasks only. They judge "
            "these trained models, not the methods."
        )
    if any(one.p_holm is not None for one in comparisons):
        told.append(f"{HOLM}: corrected for all comparisons on the same tasks; plain p is of a single planned one.")
    return told


def as_records(comparisons: Sequence[Comparison]) -> list[dict[str, Any]]:
    """Plain values; accuracies and differences are fractions, None is unknown."""
    return [_record(one) for one in comparisons]


def _record(one: Comparison) -> dict[str, Any]:
    where, found = one.evaluation, one.difference
    sides: dict[str, Any] = {}
    for n, side in enumerate("ab"):
        sides[side] = (one.a, one.b)[n]
        sides[f"{side}_budget"] = one.budget[n]
        sides[f"{side}_trained"] = one.trained[n].text
        sides[f"{side}_seeds"] = len(one.seeds[n])
        sides[f"{side}_accuracy"] = round(one.mean[n], ROUNDED)
    return {
        **{name: getattr(where, name) for name in ("dataset", "dataset_hash", "split", "way", "shot", "query")},
        "tasks": found.tasks,
        "manifest": where.manifest,
        **sides,
        "difference": without_noise(found.mean),
        "low": without_noise(found.low),
        "high": without_noise(found.high),
        "p": found.p,
        "p_holm": one.p_holm,
        "covers_seeds": found.covers_seeds,
    }


def as_json(comparisons: Sequence[Comparison]) -> str:
    """A list of objects."""
    return json.dumps(as_records(comparisons), indent=2) + "\n"


def as_csv(comparisons: Sequence[Comparison]) -> str:
    """A line a comparison, under the same names."""
    return from_frame(pd.DataFrame(as_records(comparisons)))


def as_markdown(comparisons: Sequence[Comparison]) -> str:
    """A table for each list of tasks."""
    lines = [f"- {letter}: {escape(told)}" for letter, told in legend(comparisons)]
    titles = headings(comparisons)
    for title, some in by_tasks(comparisons):
        lines += ["", f"**{escape(title)}**", "", f"| {' | '.join(titles)} |", f"|{' --- |' * len(titles)}"]
        lines += [f"| {' | '.join(escape(cell) for cell in cells(one, comparisons))} |" for one in some]
    return "\n".join([*lines, "", *(f"- {escape(note)}" for note in notes(comparisons)), ""])
