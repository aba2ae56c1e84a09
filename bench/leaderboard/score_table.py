"""Who answered which tasks with which training seeds: the view of the frames that statistics are computed
from.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

import numpy as np
import pandas as pd

from bench.basics.side import ordered
from bench.leaderboard.loading import COST_COLUMNS, ROW, Frames
from bench.leaderboard.statistics import Scores


class Shape(NamedTuple):
    """What tasks of one column of a table have in common; ascending by the way, then by the shot."""

    way: int
    shot: int

    def __str__(self) -> str:
        return f"{self.way}-way {self.shot}-shot"


@dataclass(frozen=True, slots=True)
class EvaluationSet:
    """The tasks of one manifest, by their shape."""

    manifest: str
    dataset: str
    dataset_hash: str
    split: str
    way: int
    shot: int
    query: int
    tasks: int

    @property
    def shape(self) -> Shape:
        """Way and shot."""
        return Shape(self.way, self.shot)


@dataclass(frozen=True, slots=True, eq=False)
class Entry:
    """One method with one budget on one dataset: a row of a leaderboard, trained once per seed."""

    dataset: str
    dataset_hash: str
    method: str
    budget: str
    variant: str
    seeds: tuple[int, ...]
    runs: tuple[int, ...]
    """Run numbers, in the order of ``seeds``."""
    facts: Mapping[str, Any]
    """What the frames know of it besides, taken over its runs."""


class ScoreTable:
    """Entries, manifests and score matrices of :class:`Frames`."""

    def __init__(self, frames: Frames) -> None:
        finished = frames.finished.sort_values([*ROW, "seed"], kind="stable")
        self.entries = tuple(_entries(finished))
        self._scores = frames.task_scores()
        self._answered: dict[int, set[str]] = {}
        for run, manifest in self._scores:
            self._answered.setdefault(run, set()).add(manifest)
        where = finished.set_index("run")[["dataset", "dataset_hash"]]
        sets = frames.evaluations.join(where, on="run").drop(columns="run").drop_duplicates("manifest")
        self.manifests: dict[str, EvaluationSet] = {}
        for one in sets.sort_values(["shot", "manifest"]).to_dict("records"):
            self.manifests[str(one["manifest"])] = EvaluationSet(**{str(name): x for name, x in one.items()})

    def scores(self, entry: Entry, manifest: str) -> tuple[tuple[int, ...], Scores] | None:
        """Seeds and their scores [S, T] on a manifest; None when no run of the entry answered it."""
        found = [
            (seed, (run, manifest)) for seed, run in zip(entry.seeds, entry.runs) if (run, manifest) in self._scores
        ]
        if not found:
            return None
        return tuple(seed for seed, _ in found), np.stack([self._scores[key] for _, key in found])

    def answered(self, entry: Entry) -> set[str]:
        """The manifests that at least one run of the entry answered."""
        return set().union(*(self._answered.get(run, ()) for run in entry.runs))


def score_table(frames: Frames) -> ScoreTable:
    """The table of these frames; of the same frames it is made once, as a report asks for it a dozen times."""
    if (found := _made.get(frames)) is None:
        found = _made[frames] = ScoreTable(frames)
    return found


_made: WeakKeyDictionary[Frames, ScoreTable] = WeakKeyDictionary()


def _entries(finished: pd.DataFrame) -> Iterator[Entry]:
    """finished: sorted by row and seed. Plain lists, for there may be as many rows as runs."""
    columns = {str(name): finished[name].tolist() for name in finished.columns}
    keys = list(zip(*(map(str, columns[name]) for name in ROW)))
    start = 0
    while start < len(keys):
        end = next((at for at in range(start, len(keys)) if keys[at] != keys[start]), len(keys))
        group = {name: values[start:end] for name, values in columns.items()}
        yield _entry(dict(zip(ROW, keys[start])), group)
        start = end


def _entry(key: Mapping[str, str], runs: Mapping[str, list[Any]]) -> Entry:
    transductive = [bool(value) for value in runs["transductive"] if not pd.isna(value)]
    return Entry(
        **key,
        seeds=tuple(int(seed) for seed in runs["seed"]),
        runs=tuple(int(run) for run in runs["run"]),
        facts={
            "title": str(runs["title"][0]),
            "group": str(runs["group"][0]),
            "cite": str(runs["cite"][0]),
            "config": runs["config"][0],
            "supervised": any(runs["supervised"]),
            "transductive": any(transductive) if transductive else None,
            "outside_data": any(runs["outside_data"]),
            "side": ordered(word for words in runs["side"] for word in words),
            "train_seconds": _mean(runs["train_seconds"], skipna=True),
            # One run of unknown cost makes the mean unknown.
            **{name: _mean(runs[name], skipna=False) for name in COST_COLUMNS},
            "peak_memory_mib": max(
                (one for one in map(float, runs["peak_memory_mib"]) if one == one), default=math.nan
            ),
            "left_out": left_out(runs["notes"]),
            "unanswered": unanswered(runs["notes"]),
        },
    )


def _mean(values: list[float], skipna: bool) -> float:
    return float(values[0]) if len(values) == 1 else float(pd.Series(values, dtype=float).mean(skipna=skipna))


def unanswered(notes: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """``20-way`` -> why a method was not asked such tasks, as its runs note it."""
    found = [told for one in notes if isinstance(told := one.get("unanswered"), Mapping)]
    return {str(way): why for told in found for way, why in told.items() if isinstance(why, str)}


def left_out(notes: Iterable[Mapping[str, Any]]) -> tuple[str, ...]:
    """The sentences in the notes of runs on what classes or images they did without, each once."""
    found = [sentences for one in notes if isinstance(sentences := one.get("left_out"), list | tuple)]
    return tuple(dict.fromkeys(one for sentences in found for one in sentences if isinstance(one, str)))
