"""What is to be checked, and the miniature that it is checked on."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bench.basics.errors import BenchError, did_you_mean
from bench.datasets.source import Dataset, Split
from bench.planning import catalogue, components, composing
from bench.planning.catalogue import Variant
from bench.planning.composing import RunConfig
from bench.planning.overrides import parse_overrides

GROUPS = ("method", "generator", "encoder", "learner", "backbone", "views", "dataset")

CLASSES = 60
PER_CLASS = 20
"""Of each split of the miniature, at most."""

SHORT = ("budget.meta_iterations=4", "backbone.filters=8", "learner.eval_steps=3", "method.clusters=30")
"""What makes a training a matter of seconds; a setting that a user gives, or a name fixes, comes first."""


@dataclass(frozen=True, slots=True)
class Subject:
    """A method, or with another group a component of it. Plain data: it travels to another process.

    overrides: settings, as the user typed them.
    """

    group: str
    name: str
    dataset: str
    overrides: tuple[str, ...] = ()
    data_dir: str | None = None
    cache: Path = Path()
    """Where prepared datasets are."""

    @property
    def title(self) -> str:
        """``umtra-maml``, or ``encoder acai``."""
        return self.name if self.group == "method" else f"{self.group} {self.name}"


def configured(subject: Subject) -> RunConfig:
    """Its settings, at a miniature's length. BenchError where they cannot be composed."""
    given = parse_overrides(subject.overrides)
    if subject.group == "method":
        variant = next(iter(catalogue.expand([subject.name], subject.dataset)))
    else:
        catalogue.raw(subject.group, subject.name)
        variant = _host(subject.group, subject.name)
    taken = {one.key for one in given} | {text.partition("=")[0] for text in variant.overrides}
    short = [one for one in parse_overrides(SHORT) if one.key not in taken]
    composing.check_overrides(given, [variant], subject.dataset, "smoke")
    return composing.compose(variant, subject.dataset, "smoke", [*given, *short], data_dir=subject.data_dir)


def _host(group: str, name: str) -> Variant:
    """Some method that uses the group, with that option of it."""
    for variant in catalogue.variants().values():
        free = tuple(text for text in variant.overrides if text.partition("=")[0].partition(".")[0] != group)
        others = [key for key in variant.own if not key.startswith(f"{group}.")]
        if others or not _may_use(variant, group):
            continue
        return dataclasses.replace(variant, overrides=(*free, f"{group}={name}"))
    raise BenchError(f"no method that is installed uses a {group}")


def _may_use(variant: Variant, group: str) -> bool:
    """Directly, or through a component that it names or, where it names none, through the first there is."""
    node = catalogue.raw("method", variant.family)
    named = dict(text.split("=", 1) for text in variant.overrides if "." not in text.partition("=")[0])
    seen, waiting = set(), list(node.get("uses") or ())
    while waiting:
        one = waiting.pop()
        if one == group:
            return True
        if one not in seen and one in named:
            seen.add(one)
            waiting += catalogue.raw(one, named[one]).get("uses") or ()
    return False


@dataclass(frozen=True, slots=True)
class Miniature:
    """A few classes of each split; and the same images with their meta-train labels dealt out anew."""

    dataset: Dataset
    relabelled: Dataset
    other: Dataset
    """Other images for meta-train, where there are some, of as many classes."""


def miniature(dataset: Dataset) -> Miniature:
    """At most :data:`CLASSES` classes of each split. Other images are the second half of meta-train's classes."""
    train = dataset.splits["train"]
    half = min(CLASSES, len(train.class_names) // 2) or len(train.class_names)
    splits = {name: _part(split, range(min(CLASSES, len(split.class_names)))) for name, split in dataset.splits.items()}
    first = _part(train, range(half))
    other = _part(train, range(len(train.class_names) - half, len(train.class_names)))
    dealt = np.random.default_rng(0).permutation(first.class_ids)

    def with_train(split: Split) -> Dataset:
        return dataclasses.replace(dataset, splits={**splits, "train": split})

    relabelled = dataclasses.replace(first, class_ids=dealt)
    return Miniature(with_train(first), with_train(relabelled), with_train(other))


def _part(split: Split, classes: range) -> Split:
    """Some classes, :data:`PER_CLASS` images of each, in memory."""
    most = PER_CLASS if split.attributes is None else CLASSES * PER_CLASS
    of_class = [np.flatnonzero(split.class_ids == one)[:most] for one in classes]
    rows = np.concatenate(of_class) if of_class else np.empty(0, dtype=np.int64)
    rows.sort()
    attributes = split.attributes
    if attributes is not None:
        attributes = dataclasses.replace(attributes, values=attributes.values[rows])
    return Split(
        split.dataset,
        split.name,
        np.ascontiguousarray(split.pixels[rows]),
        split.class_ids[rows] - classes.start,
        split.class_names[classes.start : classes.stop],
        tuple(split.image_ids[row] for row in rows),
        attributes=attributes,
    )


def built(group: str, config: RunConfig) -> Any:
    """The object that stands for a group in the configuration."""
    return components.build(config.values[group], config.values)


def chosen(group: str, names: Sequence[str], dataset: str, given: Sequence[str]) -> tuple[list[str], list[str]]:
    """(names that can be checked, sentences for those that need something of the user's own); none is all.

    BenchError for an unknown group or name.
    """
    keys = {one.key for one in parse_overrides(given)}
    if group == "method":
        found = catalogue.expand(names, dataset) if names else list(catalogue.variants().values())
        needs = {one.name: one.own for one in found}
    elif group not in GROUPS:
        raise BenchError(
            f"there are no checks of group {group!r}, only of {', '.join(GROUPS)}.{did_you_mean(group, GROUPS)}"
        )
    else:
        needs = {}
        for name in names or catalogue.options(group):
            own = catalogue.raw(group, name).get("own")
            needs[name] = (f"{group}.{own}",) if own else ()
    able = [name for name, own in needs.items() if keys.issuperset(own)]
    lacking = {name: own for name, own in needs.items() if not keys.issuperset(own)}
    return able, [f"{name} needs {' and '.join(f'{key}=…' for key in own)}" for name, own in lacking.items()]
