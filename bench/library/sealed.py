"""The sealed tasks of a dataset as tensors. Labels of queries are not handed out: :func:`bench.score` knows them."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, overload

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bench.basics.errors import BenchError
from bench.contracts import TaskSpec
from bench.datasets.images import LabelledImages, UnlabelledImages
from bench.datasets.prepare import default_cache
from bench.datasets.source import Dataset
from bench.planning.composing import dataset_values
from bench.planning.overrides import parse_overrides
from bench.running.environment import resolve_device
from bench.running.evaluate import ShuffledTasks, pixels_of
from bench.running.inputs import open_dataset
from bench.tasks.images import TaskImages, images_of
from bench.tasks.manifest import Manifest, draw


@dataclass(frozen=True, slots=True, eq=False)
class Task:
    """One task, float32 in [0, 1]. The label of a query is its class's place on the first axis of ``support``."""

    support: Tensor
    """[N, K, C, H, W]: K images of each of N classes."""
    query: Tensor
    """[M, C, H, W], M = N * Q: queries of all classes, shuffled as in every run."""
    number: int
    """From 0."""


class SealedTasks(Sequence[Task]):
    """What every method answers: ``len(tasks)``, ``tasks[3]``, ``for task in tasks``; made by :func:`sealed_tasks`.

    Tensors are made anew each time, so that nothing done to them changes a task.
    """

    def __init__(
        self, dataset: Dataset, manifest: Manifest, device: torch.device, source: Mapping[str, Any] | None = None
    ) -> None:
        self._manifest, self._device = manifest, device
        self.source = source or {}
        """The configuration of the dataset: its class and settings."""
        self._dataset = dataset
        self._images = dataset.splits[manifest.split].labelled(device)
        self._shuffled = ShuffledTasks(pixels_of(self._images, device), manifest, device)

    @property
    def manifest(self) -> str:
        """SHA-256 of the list of tasks: scores with the same one are of the same tasks."""
        return self._manifest.sha256

    @property
    def dataset(self) -> str:
        """Its name."""
        return self._manifest.dataset

    @property
    def content_hash(self) -> str:
        """SHA-256 of every pixel, and of the split, class and name of every image of the dataset."""
        return self._manifest.content_hash

    @cached_property
    def images(self) -> TaskImages:
        """Of the images that the tasks name: ``pixels`` (their SHA-256), ``preprocessing`` step by step."""
        return images_of(self._dataset, self.split, self._manifest.indices)

    @property
    def card(self) -> Mapping[str, Any]:
        """Of the dataset: its licence, whom to cite, what it is."""
        return self.source.get("card") or {}

    @property
    def split(self) -> str:
        """``test``, ``val`` or ``train``: which classes the tasks are of."""
        return self._manifest.split

    @property
    def spec(self) -> TaskSpec:
        """Its ``way``, ``shot`` and ``query``, the queries of one class."""
        return self._manifest.spec

    @property
    def evaluation_seed(self) -> int:
        """What the tasks were drawn with."""
        return self._manifest.seed

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(C, H, W)."""
        return self._images.shape

    @property
    def device(self) -> torch.device:
        """Where the tensors are."""
        return self._device

    def __len__(self) -> int:
        return self._manifest.tasks

    @overload
    def __getitem__(self, number: int) -> Task: ...

    @overload
    def __getitem__(self, number: slice) -> tuple[Task, ...]: ...

    def __getitem__(self, number: int | slice) -> Task | tuple[Task, ...]:
        if isinstance(number, slice):
            return tuple(self[one] for one in range(*number.indices(len(self))))
        place = number + len(self) if number < 0 else number
        if not 0 <= place < len(self):
            raise IndexError(f"there are tasks 0 to {len(self) - 1}, and no task {number}")
        support, query = self.batch(place, place + 1)
        return Task(support[0], query[0], place)

    def __iter__(self) -> Iterator[Task]:
        return (self[number] for number in range(len(self)))

    def __repr__(self) -> str:
        return f"{len(self)} tasks of {self.dataset}/{self.split}, {self.spec}, manifest {self.manifest[:12]}"

    def batch(self, first: int, last: int) -> tuple[Tensor, Tensor]:
        """Tasks ``first`` to ``last`` - 1 at once: support [T, N, K, C, H, W], query [T, M, C, H, W]."""
        support, query, _ = self._shuffled.at(slice(first, last))
        return support, query


def sealed_tasks(
    dataset: str = "glyphs",
    way: int = 5,
    shot: int = 1,
    query: int = 15,
    split: str = "test",
    tasks: int = 1000,
    evaluation_seed: int = 0,
    data_dir: str | Path | None = None,
    device: str | torch.device = "cpu",
    overrides: Sequence[str] = (),
) -> SealedTasks:
    """The tasks that ``bench run`` asks of every method, as ``bench.tasks("omniglot", way=5, shot=1)``.

    dataset: a name from ``bench list datasets``; prepared first if need be. query: queries per class. data_dir: folder
    with the raw data, by default ``$BENCH_DATA``. overrides: settings of the dataset as on the command line,
    ``["dataset.size=84"]``. BenchError, in one sentence, for what there is not: a name, a folder, enough classes.
    """
    if not isinstance(dataset, str):
        raise BenchError(f"bench.tasks takes the name of a dataset, such as 'omniglot', not {type(dataset).__name__}")
    spec = TaskSpec(way, shot, query)
    for name, value in (("tasks", tasks), ("evaluation_seed", evaluation_seed)):
        if not isinstance(value, int) or isinstance(value, bool) or value < 0:
            raise BenchError(f"{name} must be a whole number of at least 0, not {value!r}")
    values = dataset_values(dataset, parse_overrides(overrides), raw_data(data_dir))
    place = resolve_device(str(device))
    opened = open_dataset(values, default_cache())
    return SealedTasks(opened, draw(opened, split, spec, tasks, evaluation_seed), place, values["dataset"])


def unlabelled(
    dataset: str = "glyphs",
    data_dir: str | Path | None = None,
    device: str | torch.device = "cpu",
    overrides: Sequence[str] = (),
) -> UnlabelledImages:
    """What a method is handed to learn from: the meta-train images of a dataset, shuffled, without labels.

    ``.pixels`` is uint8 [n, C, H, W]; ``.take(index)`` gives float32 [*index.shape, C, H, W] in [0, 1]. Arguments and
    errors as of :func:`sealed_tasks`.
    """
    if not isinstance(dataset, str):
        raise BenchError(f"bench.unlabelled takes the name of a dataset, not {type(dataset).__name__}")
    values = dataset_values(dataset, parse_overrides(overrides), raw_data(data_dir))
    place = resolve_device(str(device))
    return open_dataset(values, default_cache()).splits["train"].unlabelled(place)


def raw_data(data_dir: str | Path | None) -> Path | None:
    """The folder with raw data, by default ``$BENCH_DATA``. BenchError where there is no such folder."""
    chosen = data_dir if data_dir is not None else os.environ.get("BENCH_DATA") or None
    if chosen is not None and not Path(chosen).is_dir():
        raise BenchError(f"data_dir {str(chosen)!r} (or $BENCH_DATA) is not a folder")
    return Path(chosen) if chosen is not None else None


def behind(tasks: SealedTasks) -> tuple[LabelledImages, Manifest]:
    """What the harness scores with; not for those who answer."""
    return tasks._images, tasks._manifest


def count_correct(tasks: SealedTasks, labels: Tensor) -> NDArray[np.int32]:
    """Answers int64 [T, M] to the shuffled queries -> how many are correct, [T]."""
    correct = (labels.to(tasks.device) == tasks._shuffled.labels).sum(1, dtype=torch.int32)
    return correct.cpu().numpy()


def true_labels(tasks: SealedTasks) -> Tensor:
    """int64 [T, M]: for those who ask for labels by name."""
    return tasks._shuffled.labels
