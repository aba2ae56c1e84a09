"""The words for side information: what a result rests on beside unlabelled images of the dataset's meta-train classes.

The vocabulary is closed, so that rows can be told apart, and left out, by it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple


class Side(NamedTuple):
    """A word: the letter that stands for it in narrow places, and what it says."""

    mark: str
    meaning: str


OUTSIDE_DATA = "outside-data"
OUTSIDE_LABELS = "outside-labels"
TRANSDUCTION = "transduction"
UNDECLARED = "undeclared"

SIDE: dict[str, Side] = {
    OUTSIDE_DATA: Side("O", "something in it was trained on images from outside the dataset"),
    OUTSIDE_LABELS: Side("L", "something in it was trained with labels of images from outside the dataset"),
    "labels-for-selection": Side("S", "labelled classes chose among its settings, lengths or checkpoints"),
    "class-size-prior": Side("C", "a setting was chosen knowing how many images a class has, or how many classes"),
    "rotations-as-classes": Side("R", "turned images count as images of other classes"),
    TRANSDUCTION: Side("T", "answers may depend on the other queries of a task"),
    UNDECLARED: Side("?", "what else it used is not known: its method is not installed, and its record is older"),
}
"""In the order in which they are told. The last is no declaration: a record from before there was one may leave open
what its method used."""

DERIVED = {
    OUTSIDE_DATA: "outside_data: true",
    OUTSIDE_LABELS: "outside_labels: true on the component, or group: transfer",
}
"""Words that something else says already, and what says it: a card does not say them twice."""

ON_RECORD = frozenset({OUTSIDE_DATA, OUTSIDE_LABELS, TRANSDUCTION})
"""What every record tells by itself, also one from before side information was declared."""


def ordered(words: Iterable[str]) -> tuple[str, ...]:
    """Each once, in the order of :data:`SIDE`; words of a later version come last."""
    known = list(SIDE)
    return tuple(sorted(set(words), key=lambda word: (known.index(word) if word in known else len(known), word)))


def legend(words: Iterable[str]) -> list[tuple[str, str]]:
    """(word, what it says) of those that occur."""
    return [(word, SIDE[word].meaning) for word in ordered(words) if word in SIDE]


def marks(words: Iterable[str]) -> str:
    """``R T``: the letters of words; a word without one stands for itself."""
    return " ".join(SIDE[word].mark if word in SIDE else word for word in ordered(words))
