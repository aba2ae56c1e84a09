"""Synthetic tasks as the gate sees them: measures of ``bench inspect`` that must stay near recorded values.

Accuracy after a short training hardly tells one task sampler from another; its tasks do. A measure may not
move to either side: synthetic tasks that are easier than they were are as wrong as harder ones.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

from bench.looking.inspection.records import Inspection

DEFAULT_MARGIN = 3.0
"""Points: hundredths of a share, or of a ratio to true classes."""

Key = tuple[str, str, str, str]
"""Dataset, method, budget, measure."""

# In pixels: the embedding that inspections measure in too is trained, so another machine's rounding moves it.
MEASURES: Mapping[str, Callable[[Inspection], float | None]] = {
    "own class nearest": lambda one: one.pixels.nearest,
    "diversity": lambda one: one.pixels.diversity,
    "clusters and classes, shared information": lambda one: one.clusters.information if one.clusters else None,
}


@dataclass(frozen=True, slots=True)
class Expected:
    """A measure of the synthetic tasks of one method, and how far from there it may be."""

    dataset: str
    method: str
    budget: str
    measure: str
    value: float
    """Mean over training seeds, of honest re-runs where there are some; a share or a ratio."""
    margin: float
    """Points, to either side."""
    seeds: tuple[int, ...]

    @property
    def key(self) -> Key:
        """What it is the expectation of."""
        return self.dataset, self.method, self.budget, self.measure


def expected(inspections: Sequence[Inspection], margin: float = DEFAULT_MARGIN) -> list[Expected]:
    """Record what ``inspections`` measured, with one margin in points."""
    found = []
    for key, values in measured(inspections).items():
        found.append(Expected(*key, sum(values.values()) / len(values), margin, tuple(sorted(values))))
    return found


def measured(inspections: Sequence[Inspection]) -> dict[Key, dict[int, float]]:
    """Key -> training seed -> value, in a fixed order."""
    found = sorted(_values(inspections), key=lambda one: one[:2])
    return {key: {seed: value for _, seed, value in group} for key, group in groupby(found, key=lambda one: one[0])}


def _values(inspections: Sequence[Inspection]) -> Iterator[tuple[Key, int, float]]:
    for one in inspections:
        for name, measure in MEASURES.items():
            value = measure(one)
            if value is not None:
                yield (one.dataset, one.method, one.budget, name), one.seed, value
