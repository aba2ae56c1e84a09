"""What tasks leave out: classes with too few images take no part, and that must not go unsaid."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from bench.basics.errors import BenchError
from bench.contracts import TaskSpec
from bench.datasets.faults import printable
from bench.datasets.source import Dataset, Split
from bench.tasks import attributes as of_attributes

SHOWN = 5
"""Classes named in one sentence."""


def left_out(dataset: Dataset, split: str, spec: TaskSpec) -> list[str]:
    """A sentence if tasks of ``spec`` leave classes of ``split`` out; of attributes, if they leave out problems.

    It holds for evaluation (:func:`bench.tasks.manifest.draw`) and, with the spec of meta-training and the split
    ``train``, for the sampler over labels (:class:`bench.tasks.labelled.LabelledSampler`). BenchError for an unknown
    split.
    """
    if split not in dataset.splits:
        raise BenchError(f"dataset {dataset.name} has no split {split!r}, only {', '.join(dataset.splits)}")
    part, needed = dataset.splits[split], spec.shot + spec.query
    what = f"{spec.shot}-shot tasks of {dataset.name}/{split}, which take {needed} images a class,"
    if part.attributes is not None:
        return _problems_left_out(part, needed, what)
    sizes = _sizes(part)
    small = np.flatnonzero(sizes < needed)
    if not len(small):
        return []
    smallest_first = small[np.argsort(sizes[small], kind="stable")]
    named = ", ".join(f"{printable(part.class_names[one])} ({sizes[one]})" for one in smallest_first[:SHOWN])
    more = f" and {len(small) - SHOWN} more" if len(small) > SHOWN else ""
    return [f"{what} leave out {len(small)} of {len(sizes)} classes, which have fewer: {named}{more}"]


def uneven_shots(dataset: Dataset, split: str, specs: Sequence[TaskSpec]) -> list[str]:
    """A sentence if the tasks of ``specs`` are not over the same classes, so that their scores do not compare."""
    if split not in dataset.splits or dataset.splits[split].attributes is not None:
        return []
    sizes = _sizes(dataset.splits[split])
    taken = {spec.shot: int((sizes >= spec.shot + spec.query).sum()) for spec in specs}
    if len(set(taken.values())) < 2:
        return []
    counts = ", ".join(f"{count} classes with {shot} shots" for shot, count in sorted(taken.items()))
    return [
        f"the tasks of {dataset.name}/{split} are over {counts}, so scores of different shots are not over the same "
        "classes; a smaller query=… or more images would make them so"
    ]


def _problems_left_out(part: Split, needed: int, what: str) -> list[str]:
    assert part.attributes is not None
    every = _count(part, 0)
    taken = _count(part, needed)
    if taken == every:
        return []
    return [
        f"{what} leave out {every - taken} of the {every} problems over attributes that have "
        f"{of_attributes.LEAST_IMAGES} images in both classes"
    ]


def _count(part: Split, needed: int) -> int:
    assert part.attributes is not None
    try:
        return len(of_attributes.problems(part.attributes, needed))
    except BenchError:  # none at all
        return 0


def _sizes(part: Split) -> NDArray[np.int64]:
    """Images of every class, int64 [C]."""
    return np.bincount(part.class_ids, minlength=len(part.class_names)).astype(np.int64)
