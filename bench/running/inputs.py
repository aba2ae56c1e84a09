"""What a run works on: the prepared dataset, the images a method may see, and the sealed evaluation tasks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from bench.basics.errors import BenchError
from bench.contracts import ProgressCallback, TaskSpec
from bench.datasets.images import LabelledImages, UnlabelledImages
from bench.datasets.prepare import load as load_dataset
from bench.datasets.scratch import local_folder
from bench.datasets.source import Dataset
from bench.planning import code, components
from bench.planning.plan import PlannedRun
from bench.planning.values import ways_of
from bench.tasks import manifest as manifests
from bench.tasks.manifest import Manifest


def seal_manifests(
    dataset: Dataset, values: Mapping[str, Any], shots: Sequence[int], out: Path, ways: Sequence[int] = ()
) -> dict[Path, Manifest]:
    """The evaluation tasks of a request, one manifest for every way and shot: drawn, and kept as files below ``out``.

    ways: by default those of ``values``. A file that is there already must hold exactly the tasks that would be drawn
    now. BenchError, and no file, where the dataset has not enough for some of them.
    """
    found = {}
    for drawn in draw_manifests(dataset, values, shots, ways or ways_of(values)):
        path = out / file_of(dataset, drawn)
        if path.exists():
            if manifests.load(path).sha256 != drawn.sha256:
                raise BenchError(f"{path} is not the task list its name says; delete it and run again")
        else:
            drawn.save(path, dataset)
        found[path] = drawn
    return found


def file_of(dataset: Dataset, drawn: Manifest) -> str:
    """Where a manifest is kept below the folder of records."""
    spec = drawn.spec
    return f"manifests/{dataset.name}-{drawn.split}-{spec.way}way-{spec.shot}shot-{drawn.sha256[:12]}.parquet"


def draw_manifests(
    dataset: Dataset, values: Mapping[str, Any], shots: Sequence[int], ways: Sequence[int]
) -> list[Manifest]:
    """The same without files, the shots of the smallest way first."""
    tasks, seed = values["budget"]["evaluation_tasks"], values["evaluation_seed"]
    specs = [TaskSpec(way, shot, values["query"]) for way in ways for shot in shots]
    return [manifests.draw(dataset, values["split"], spec, tasks, seed) for spec in specs]


def open_dataset(
    values: Mapping[str, Any], cache: Path, progress: ProgressCallback | None = None, scratch: str | None = None
) -> Dataset:
    """The dataset of a configuration, prepared if need be; opened from a copy below ``scratch`` where that is given."""
    place = None if scratch is None else local_folder(scratch)
    source = components.build(values["dataset"], values)
    return load_dataset(source, cache, progress, code.of_module(str(values["dataset"]["_target_"])), place)


def training_images(run: PlannedRun, dataset: Dataset, device: torch.device) -> UnlabelledImages | LabelledImages:
    """The meta-train split as this method may see it: only supervised methods get labels."""
    split = dataset.splits["train"]
    return split.labelled(device) if run.variant.supervised else split.unlabelled(device)
