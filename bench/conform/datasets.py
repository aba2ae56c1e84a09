"""Whether a source of images is what :class:`bench.datasets.source.DatasetSource` says, and its splits are in order."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np

from bench.checks.finding import Finding
from bench.conform.guard import Guard
from bench.conform.subject import Subject
from bench.datasets.source import SPLITS, Dataset, DatasetSource
from bench.planning import components
from bench.planning.composing import dataset_values
from bench.planning.overrides import parse_overrides
from bench.running.inputs import open_dataset

READ = 16
"""Images that are read a second time."""


def examine(subject: Subject, guard: Guard) -> Iterator[Finding]:
    """The checks; the dataset is prepared where it is not yet. Raises what the source raises."""
    values = dataset_values(subject.name, parse_overrides(subject.overrides), subject.data_dir)
    source = components.build(values["dataset"], values)
    fault = None
    if not isinstance(source, DatasetSource):
        fault = f"{type(source).__name__} needs name, settings(), scan() and read(items); see bench/datasets/source.py"
    yield Finding("configuration", "its class can be imported and built, and is a source of images", fault)
    if fault is None:
        yield from guard.around("source", lambda: _source(source))
        yield from guard.around("splits", lambda: _prepared(open_dataset(values, subject.cache)))


def _source(source: DatasetSource) -> Iterator[Finding]:
    items = source.scan()
    fault = None
    if items != source.scan():
        fault = "scan() gives another list the second time; sort what the file system lists"
    yield Finding("scan", "scanned twice it lists the same", fault)
    names = [item.file_id for item in items]
    order = [SPLITS.index(item.split) if item.split in SPLITS else -1 for item in items]
    keys = [(SPLITS.index(item.split), item.class_name, item.file_id) for item in items if item.split in SPLITS]
    fault = None
    if -1 in order:
        wrong = items[order.index(-1)].split
        fault = f"split must be one of {', '.join(SPLITS)}, not {wrong!r}"
    elif len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        fault = f"two images are called {twice!r}; every file_id must be unique in the source"
    elif keys != sorted(keys):
        fault = "scan() must list images by split (train, val, test), class and file_id; sort them"
    yield Finding("items", "known splits, unique names, ordered by split, class, file", fault)
    some = items[:: max(1, len(items) // READ)][:READ]
    first, again = (list(source.read(some)) for _ in range(2))
    shapes = {one.shape for one in first if isinstance(one, np.ndarray)}
    fault = None
    if errors := [one for one in first if isinstance(one, Exception)]:
        fault = str(errors[0])
    elif len(first) != len(some):
        fault = f"read() gave {len(first)} images for {len(some)} items; it must give one for each, in their order"
    elif any(one.dtype != np.uint8 or one.ndim != 3 for one in first if isinstance(one, np.ndarray)) or len(shapes) > 1:
        fault = f"images must be uint8 [C, H, W] of one shape, not {first[0].dtype} {sorted(shapes)}"  # type: ignore[union-attr]
    yield Finding("images", "read() gives uint8 [C, H, W] of one shape, one for each item", fault)
    same = all(np.array_equal(one, other) for one, other in zip(first, again, strict=False))  # type: ignore[arg-type]
    fault = None if same else "read() gives other pixels the second time; decode without chance"
    yield Finding("stable", "read twice, the pixels are the same", fault)


def _prepared(dataset: Dataset) -> Iterator[Finding]:
    fault = None
    for (one, mine), (other, theirs) in itertools.combinations(dataset.splits.items(), 2):
        if both := set(mine.class_names) & set(theirs.class_names):
            fault = f"class {min(both)!r} is in {one} and in {other}; the classes of the splits must be disjoint"
    yield Finding("splits", "the classes of train, val and test are disjoint", fault)
    few = [name for name in ("train", "test") if len(dataset.splits[name].class_names) < 5]
    told = f"{' and '.join(few)} have fewer than 5 classes, so 5-way tasks cannot be made of them" if few else None
    yield Finding("classes", "enough classes for 5-way tasks", told=told)
    small = [
        name
        for name in ("train", "test")
        if len(counts := np.bincount(dataset.splits[name].class_ids)) and int(counts.min()) < 16
    ]
    told = (
        f"some classes of {' and '.join(small)} have fewer than 16 images and are in no 1-shot task" if small else None
    )
    yield Finding("sizes", "16 images a class, for one shot and 15 queries", told=told)
    yield Finding("warnings", "nothing that makes scores misleading", told="; ".join(dataset.warnings) or None)
