"""The rows of a table: one method, trained for one length, with its scores on every column."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from bench.basics.precision import FLOAT32
from bench.leaderboard.published import Published, published
from bench.leaderboard.score_table import Entry, EvaluationSet, ScoreTable, Shape
from bench.leaderboard.statistics import Estimate, Scores, estimate
from bench.leaderboard.trained import Trained, facets, own_settings, trained
from bench.planning.values import setting

GROUPS = {"unsupervised": "Unsupervised", "floor": "Floors", "ceiling": "Ceilings", "transfer": "Transfer"}
"""Groups in the order in which tables show them; they are never ranked against each other."""


@dataclass(frozen=True, slots=True)
class Score:
    """One row at one way and shot."""

    estimate: Estimate
    seeds: tuple[int, ...]
    values: Scores = field(repr=False, compare=False)
    """[S, T]: the accuracy of every training seed on every task."""
    published: tuple[Published, ...] = ()


@dataclass(frozen=True, slots=True)
class Cost:
    """What the training of a row took, everything that it rests on included: means over its seeds, NaN when unknown."""

    images: float
    """Images through networks."""
    cpu_seconds: float
    gpu_seconds: float
    seconds: float
    """By the clock on the wall: a machine with other work makes it longer."""


@dataclass(frozen=True, slots=True)
class Row:
    """One method, trained for one length."""

    method: str
    """Exact, with the settings that were changed."""
    title: str
    group: str
    budget: str
    """As its first run names it; lengths of stages that it does not have may stand in it."""
    variant: str
    """Empty unless runs of one name and budget were trained with different settings, which it then lists."""
    seeds: tuple[int, ...]
    supervised: bool
    transductive: bool | None
    outside_data: bool
    side: tuple[str, ...]
    """What it used beside unlabelled images of the dataset: words of :data:`bench.basics.side.SIDE`."""
    cite: str
    cost: Cost
    peak_memory_mib: float
    """Largest over seeds; NaN when unknown."""
    runs: tuple[int, ...]
    scores: Mapping[Shape, Score]
    name: str
    """The title without the settings that were changed."""
    settings: Mapping[str, str]
    """Those that were changed."""
    has: frozenset[str]
    """Every setting that it has, changed or not: those of its method, and its components by their names."""
    trained: Trained
    facets: Mapping[str, str]
    """Component -> its title, of those that it has."""
    precision: str = FLOAT32
    """In which it was computed: a word of :mod:`bench.basics.precision`."""
    gaps: Mapping[int, str] = field(default_factory=dict)
    """Ways of the table of which it answered no tasks, and why not."""
    validation_tasks: int = 0
    """On how many each point of its curve of validation accuracy rests; 0 when unknown."""

    @property
    def family(self) -> str:
        """The exact name without changed settings: rows of one family and length stand together."""
        return self.method.partition(",")[0]

    @property
    def computed_anyhow(self) -> str:
        """The exact name, in whichever precision."""
        return self.method.replace(f",precision={self.precision}", "")

    @property
    def label(self) -> str:
        """The title, with what tells it apart from another row of that title."""
        return f"{self.title} [{self.variant}]" if self.variant else self.title


def group_entries(entries: Sequence[Entry]) -> dict[tuple[str, str, Trained], list[Entry]]:
    """Entries that are one row: their budgets differ in lengths of stages that they do not have."""
    found: dict[tuple[str, str, Trained], list[Entry]] = {}
    for entry in entries:
        length = trained(entry.facts["config"], str(entry.facts["group"]), entry.budget)
        found.setdefault((entry.method, entry.variant, length), []).append(entry)
    return found


def row(book: ScoreTable, alike: Sequence[Entry], length: Trained, manifests: Mapping[Shape, EvaluationSet]) -> Row:
    """The row of ``alike``, as :func:`group_entries` has them. Of two runs of one seed the first entry's counts."""
    entry, facts = alike[0], alike[0].facts
    runs: dict[int, int] = {}
    for one in alike:
        runs = {**dict(zip(one.seeds, one.runs)), **runs}
    scores = {}
    for shape, tasks in manifests.items():
        found: dict[int, Any] = {}
        for one in alike:
            seeds, values = book.scores(one, tasks.manifest) or ((), ())
            counts = set(one.runs) & set(runs.values())
            found |= {seed: value for seed, value in zip(seeds, values) if runs[seed] in counts and seed not in found}
        if found:
            values = np.stack([found[seed] for seed in sorted(found)])
            scores[shape] = Score(estimate(values), tuple(sorted(found)), values, _published(entry, tasks))
    name, settings = own_settings(entry.method, str(facts["title"]), facts["config"])
    answered = {shape.way for shape in scores}
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
        cost=_cost(alike),
        peak_memory_mib=max(float(one.facts["peak_memory_mib"]) for one in alike),
        runs=tuple(runs[seed] for seed in sorted(runs)),
        scores=scores,
        name=name,
        settings=settings,
        has=frozenset({*_names(setting(facts["config"], "method")), *facts["config"]}),
        trained=length,
        facets=facets(facts["config"]),
        precision=str(facts["config"].get("precision", FLOAT32)),
        gaps={way: _why_not(entry, way) for way in {shape.way for shape in manifests} if way not in answered},
        validation_tasks=tasks if isinstance(tasks := setting(facts["config"], "budget.validation_tasks"), int) else 0,
    )


def _names(settings: Any) -> Iterable[str]:
    """A record may say anything where settings should stand."""
    return settings if isinstance(settings, Mapping) else ()


def _cost(alike: Sequence[Entry]) -> Cost:
    """Means over all seeds; unknown where it is of any."""

    def mean(fact: str) -> float:
        known = [(float(one.facts.get(fact, math.nan)), len(one.seeds)) for one in alike]
        found = sum(value * seeds for value, seeds in known) / sum(seeds for _, seeds in known)
        return math.nan if math.isnan(found) else found  # one object, which equals itself

    return Cost(mean("images"), mean("cpu_seconds"), mean("gpu_seconds"), mean("train_seconds"))


def _published(entry: Entry, one: EvaluationSet) -> tuple[Published, ...]:
    if one.split != "test":
        return ()
    config = entry.facts["config"]
    return published(one.dataset, entry.method, config, way=one.way, shot=one.shot, query=one.query)


def _why_not(entry: Entry, way: int) -> str:
    trained_on = setting(entry.facts["config"], "train.way")
    unknown = "not asked" if trained_on is None else f"trained on {trained_on}-way tasks, and not asked these"
    return str(entry.facts["unanswered"].get(f"{way}-way", unknown))
