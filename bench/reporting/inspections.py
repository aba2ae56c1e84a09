"""The section "Synthetic tasks of the methods": measurements of ``bench inspect``, as plain text for every format."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from bench.leaderboard.columns import DASH
from bench.looking.inspection.records import Inspection, Space, read_inspections
from bench.reporting.csv import from_frame

HEADING = "Synthetic tasks of the methods"
REAL = "True classes (with labels)"

COLUMNS = (
    *("method", "seeds", "collisions %", "own class nearest %, pixels", "own class nearest %, embedding"),
    *("diversity, pixels", "diversity, embedding", "Fréchet, queries", "Fréchet, generator"),
)
CLUSTER_COLUMNS = ("cluster purity % (chance)", "cluster NMI (chance)")


@dataclass(frozen=True, slots=True)
class Section:
    """One table: measurements that compare with each other."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    lines: tuple[str, ...]
    """How to read each number, and with what it was measured."""
    methods: tuple[tuple[str, tuple[Inspection, ...]], ...]
    """Label -> training seeds, for the rows after the first."""
    picture: str = ""
    """File name of the picture of its tasks, if there is one."""


def load(outs: Path | Sequence[Path]) -> tuple[list[Inspection], list[str]]:
    """Every inspection below the folders, and a sentence for each damaged file."""
    return read_inspections(outs)


def sections(inspections: Sequence[Inspection]) -> tuple[Section, ...]:
    """A table for each dataset, shape and number of tasks, and embedding; a row for each method and budget."""
    tables: dict[tuple[Any, ...], list[Inspection]] = defaultdict(list)
    for one in inspections:
        shape = (one.way, one.shot, one.query, one.tasks, one.frechet.images)
        tables[one.dataset, one.dataset_hash, shape, one.ruler.iterations, one.ruler.key].append(one)
    found = (_section(tables[key]) for key in sorted(tables))
    return tuple(
        replace(one, picture=f"synthetic-tasks{'' if number == 1 else f'-{number}'}.png")
        for number, one in enumerate(found, 1)
    )


def csv(inspections: Sequence[Inspection]) -> str:
    """One line per inspection at full precision; shares are fractions."""
    frame = pd.json_normalize([asdict(one) for one in _ordered(inspections)], sep="_")
    return from_frame(frame, digits=None)


def _ordered(inspections: Sequence[Inspection]) -> list[Inspection]:
    return sorted(inspections, key=lambda one: (one.dataset, one.method, one.budget, one.seed, one.key))


def _section(inspections: Sequence[Inspection]) -> Section:
    rows: dict[tuple[str, str, str], list[Inspection]] = defaultdict(list)
    for one in _ordered(inspections):
        rows[one.method, one.title, one.budget].append(one)
    several = len({budget for _, _, budget in rows}) > 1
    methods = tuple(
        (title + (f" ({budget})" if several else ""), tuple(seeds)) for (_, title, budget), seeds in rows.items()
    )
    first = inspections[0]
    clustered = any(one.clusters is not None for one in inspections)
    real: tuple[str, ...] = (
        *(REAL, DASH, _percent(0.0), _percent(first.pixels.nearest_real), _percent(first.embedding.nearest_real)),
        *("1.00", "1.00", _distance(first.frechet.floor), DASH),
    )
    return Section(
        title=f"{first.dataset}: {first.tasks} synthetic tasks, {first.way}-way {first.shot}-shot, "
        f"{first.query} queries per class",
        columns=COLUMNS + (CLUSTER_COLUMNS if clustered else ()),
        rows=(
            real + (("100.00", "1.00") if clustered else ()),
            *(_row(label, seeds) + (_clusters(seeds) if clustered else ()) for label, seeds in methods),
        ),
        lines=_lines(inspections),
        methods=methods,
    )


def _row(label: str, seeds: Sequence[Inspection]) -> tuple[str, ...]:
    spaces: tuple[Callable[[Inspection], Space], ...] = (lambda one: one.pixels, lambda one: one.embedding)
    return (
        label,
        ", ".join(str(one.seed) for one in seeds),
        _collisions(seeds),
        *(_mean([space(one).nearest for one in seeds], _percent) for space in spaces),
        *(_mean([space(one).diversity for one in seeds], lambda value: f"{value:.2f}") for space in spaces),
        _mean([one.frechet.queries for one in seeds], _distance),
        _mean([one.frechet.generator for one in seeds], _distance),
    )


def _clusters(seeds: Sequence[Inspection]) -> tuple[str, str]:
    """Purity and normalised mutual information, mean over seeds, and in brackets what chance gives."""
    found = [one.clusters for one in seeds if one.clusters is not None]
    if len(found) < len(seeds):
        return DASH, DASH
    chance = (
        float(np.mean([one.purity_chance for one in found])),
        float(np.mean([one.information_chance for one in found])),
    )
    purity = _mean([one.purity for one in found], _percent)
    information = _mean([one.information for one in found], lambda value: f"{value:.3f}")
    return f"{purity} ({_percent(chance[0])})", f"{information} ({chance[1]:.3f})"


def _collisions(seeds: Sequence[Inspection]) -> str:
    """Tasks of all seeds together, and Wilson's 95 % interval, which is also right near 0."""
    from scipy.stats import binomtest  # takes a second to import, which a run and most reports need not wait for

    found = [one.collisions for one in seeds if one.collisions is not None]
    if len(found) < len(seeds):
        return DASH
    tasks = sum(one.tasks for one in seeds)
    certain, possible = sum(one.certain for one in found), sum(one.possible for one in found)
    low, high = (
        binomtest(count, tasks).proportion_ci(method="wilson")[end] for end, count in enumerate((certain, possible))
    )
    share = _percent(certain / tasks) + (f"–{_percent(possible / tasks)}" if possible > certain else "")
    return f"{share} ({_percent(low)} to {_percent(high)})"


def _mean(values: Sequence[float | None], text: Callable[[float], str]) -> str:
    """The mean over seeds, and their standard deviation where there are several; a dash where one is missing."""
    known = [value for value in values if value is not None]
    if not known or len(known) < len(values):
        return DASH
    spread = f" ± {text(float(np.std(known, ddof=1)))}" if len(known) > 1 else ""
    return text(float(np.mean(known))) + spread


def _lines(inspections: Sequence[Inspection]) -> tuple[str, ...]:
    first = inspections[0]
    chance = {one.collisions.chance for one in inspections if one.collisions is not None}
    uniform = f" {first.way} images drawn uniformly collide in {_percent(max(chance))} % of tasks." if chance else ""
    reasons: dict[str, list[str]] = defaultdict(list)
    for one in _ordered(inspections):
        if one.no_collisions is not None and one.title not in reasons[one.no_collisions]:
            reasons[one.no_collisions].append(one.title)
    unclear = sum(one.collisions.ambiguous for one in inspections if one.collisions is not None)
    copies = (
        f" {unclear} of the classes began with an image that is in several true classes, pixel for pixel; a range "
        "counts the tasks that collide in any case and those that may."
        if unclear
        else ""
    )
    return (
        "Collisions: the share of tasks in which two classes began with real images of one true class, so that one "
        "label stands for another. In brackets the 95 % interval over tasks (Wilson)." + uniform + copies,
        *(f"No share of collisions ({reason}): {', '.join(titles)}." for reason, titles in reasons.items()),
        f"Own class nearest: the share of query images that lie nearer to the mean of their own class's support than "
        f"to that of any of the other {first.way - 1}; guessing gives {_percent(1 / first.way)}.",
        "Diversity: the mean distance between two query images of one class, over the same for true classes. Below 1 "
        "the images of a class are more alike than real ones.",
        f"Fréchet distance (the formula of Heusel et al. 2017, in the embedding named below, so comparable within this "
        f"table only): between {first.frechet.images} real images and as many query images, or images of the "
        f"generator's prior. In the row of true classes: between two halves of the real images, the least to hope for.",
        *_cluster_lines(inspections),
        f"Embedding: {first.ruler}. Methods never see it, nor any label.",
        "± between seeds is a standard deviation over training seeds.",
    )


def _cluster_lines(inspections: Sequence[Inspection]) -> tuple[str, ...]:
    found = {one.title: one.clusters for one in _ordered(inspections) if one.clusters is not None}
    if not found:
        return ()
    told = "; ".join(
        f"{title}: {one.clusterings} clustering{'s' * (one.clusterings > 1)} of {one.clusters:.0f} clusters with "
        f"{_percent(one.kept)} % of the images"
        for title, one in found.items()
    )
    return (
        "Clusters against true classes: purity is the share of images that are of the commonest class of their "
        "cluster, NMI the mutual information over the mean of the entropies. In brackets what the same clusters give "
        f"for classes in random order. {told}.",
    )


def _percent(share: float) -> str:
    return f"{100 * share:.2f}"


def _distance(value: float) -> str:
    return f"{value:.3g}"
