"""Answer the sealed tasks of a finished run again from what it kept, and compare with its record, task by task."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bench.basics.errors import BenchError
from bench.basics.seeds import Seed
from bench.contracts import Budget, Context, Learner, Method, ProgressCallback, TaskSpec
from bench.datasets.source import Dataset
from bench.learners.embeddings import STAGE as EMBEDDING
from bench.planning import catalogue, components
from bench.records.record import RunRecord
from bench.records.scores import read_scores
from bench.running.environment import resolve_device
from bench.running.evaluate import evaluate
from bench.running.inputs import open_dataset
from bench.running.precision import check_precision_of, computing_in
from bench.running.ways import for_other_ways
from bench.tasks.manifest import draw
from bench.training.artifacts import Artifact, ArtifactStore
from bench.training.checkpoint import Checkpoint


class _KeptOnly(ArtifactStore):
    """Hands out what is there, and trains nothing."""

    def _obtain(
        self,
        kind: str,
        recipe: Mapping[str, Any],
        make: Callable[[Checkpoint], tuple[Mapping[str, Tensor], Mapping[str, Any]]],
        checkpoint_seconds: float,
    ) -> Artifact:
        if not (path := self.path(kind, recipe)).exists():
            raise BenchError(f"what it rests on is not kept: {path.name} is missing")
        return super()._obtain(kind, recipe, make, checkpoint_seconds)


def rescore(folder: Path, record: RunRecord, cache: Path, artifacts: Path, progress: ProgressCallback) -> list[str]:
    """One sentence for each evaluation that comes out otherwise; none where all agree.

    With the number of threads that the record names; on another processor a few queries may fall the other way.
    BenchError where the run cannot be scored again: its weights, its dataset, its code are not here.
    """
    check_trained_here(record)
    values = catalogue.of_today(record.config)
    torch.set_num_threads(int(record.environment.get("threads") or torch.get_num_threads()))
    device = resolve_device("cpu" if record.environment.get("device", "cpu") == "cpu" else "auto")
    check_precision_of(device, record.precision)
    dataset = open_dataset(values, cache, progress)
    if dataset.content_hash != record.dataset_hash:
        raise BenchError(f"the images of {dataset.name} here are not those of the record")
    with tempfile.TemporaryDirectory() as copies, computing_in(record.precision):
        for path in folder.glob("weights*.safetensors"):  # nothing of the run itself can be changed
            shutil.copy2(path, copies)
        learners = kept_learners(record, values, dataset, Path(copies), artifacts, device)
        table = read_scores(folder, record)
        return [
            said
            for one in record.evaluations
            if (said := _compared(record, one.manifest, table.to_pandas(), dataset, learners, device, progress))
        ]


def check_trained_here(record: RunRecord) -> None:
    """BenchError for what was scored by :func:`bench.score` and kept as a row: nobody else can answer for it."""
    if record.config.get("external"):
        raise BenchError(f"{record.method.name} was trained outside this harness, so only its scores are kept")


def kept_learners(
    record: RunRecord, values: Mapping[str, Any], dataset: Dataset, copies: Path, artifacts: Path, device: torch.device
) -> Callable[[int], Learner]:
    """Who answers tasks of so many classes. ``copies``: a folder with copies of the weights, of which nothing is needed
    later.
    """

    def refuse(stage: str, *_: object) -> None:
        if stage == EMBEDDING:  # by an encoder that is kept: no training
            return
        raise BenchError(f"its weights are not kept: it would have to train again ({stage})")

    budget = Budget(**values["budget"])
    context = Context(
        seed=Seed(record.seed),
        device=device,
        budget=budget,
        artifacts=_KeptOnly(artifacts, record.precision, **components.artifact_code(values)),
        checkpoint=Checkpoint(copies / "weights.safetensors", budget.checkpoint_seconds, record.key),
        progress=refuse,
    )
    split = dataset.splits["train"]
    images = split.labelled(device) if record.method.supervised else split.unlabelled(device)
    method: Method = components.build(values["method"], values)
    learner = method.fit(images, TaskSpec(**values["train"]), context)
    ways = sorted({one.way for one in record.evaluations})
    others = for_other_ways(method, images, {**values, "ways": ways}, context)
    return lambda way: others.get(way, learner)


def _compared(
    record: RunRecord,
    sha256: str,
    scores: Any,
    dataset: Dataset,
    learners: Callable[[int], Learner],
    device: torch.device,
    progress: ProgressCallback,
) -> str | None:
    one = next(one for one in record.evaluations if one.manifest == sha256)
    spec, seed = TaskSpec(one.way, one.shot, one.query), int(record.config.get("evaluation_seed", 0))
    tasks = draw(dataset, one.split, spec, one.tasks, seed)
    if tasks.sha256 != sha256:
        raise BenchError(f"the tasks drawn here are not those of manifest {sha256[:12]}")
    learner = learners(one.way)
    correct, _ = evaluate(learner, dataset.splits[one.split].labelled(device), tasks, device, progress=progress)
    kept = scores[scores["manifest"] == sha256].sort_values("task")["correct"].to_numpy()
    apart = np.abs(correct - kept)
    if not apart.any():
        return None
    total = one.way * one.query
    return (
        f"{spec}: {int((apart > 0).sum())} of {len(kept)} tasks come out otherwise, by up to {int(apart.max())} of "
        f"{total} queries; the accuracy is {100 * correct.mean() / total:.2f}, in the record {100 * one.accuracy:.2f}"
    )
