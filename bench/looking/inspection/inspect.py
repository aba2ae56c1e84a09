"""Measures the synthetic tasks of methods, with labels that stay inside the harness."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bench.basics.errors import BenchError
from bench.basics.keys import content_key
from bench.basics.precision import FLOAT32
from bench.basics.progress import Reporter
from bench.basics.seeds import Seed
from bench.contracts import Budget, ClusteringMethod, Context, Generator, ProgressCallback, Tasks, TaskSampler, TaskSpec
from bench.datasets.images import LabelledImages
from bench.datasets.source import Dataset
from bench.looking.inspection import example
from bench.looking.inspection.embedding import SupervisedEmbedding, supervised_embedding
from bench.looking.inspection.measures import agreement, frechet_distance, nearest_own, spread
from bench.looking.inspection.origins import CollisionCount, Origins
from bench.looking.inspection.records import (
    FILE,
    SCHEMA_VERSION,
    Clusters,
    Frechet,
    Inspection,
    Space,
    read_inspection,
    write_inspection,
)
from bench.looking.subject import TaskSource, look, plan, sampling_configs
from bench.planning.plan import PlannedRun, Request
from bench.running.environment import resolve_device
from bench.running.inputs import open_dataset
from bench.running.precision import check_precision_of, computing_in
from bench.tasks.labelled import LabelledSampler
from bench.training.artifacts import ArtifactStore
from bench.training.checkpoint import Checkpoint

VERSION = 2
"""Raised whenever the same sampler would give other numbers."""

MOST_IMAGES = 10_000  # on each side of a Fréchet distance
CHUNK_BYTES = 24 * 2**20  # of the images of the tasks that are measured at a time

Vectors = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Result:
    """How one inspection ended: with a file, or for a reason."""

    run: PlannedRun
    path: Path | None
    inspection: Inspection | None
    reason: str | None = None


def inspect(request: Request, tasks: int, cache: Path, reporter: Reporter) -> list[Result]:
    """Inspect every method and seed of ``request``; those whose numbers are there already are read.

    One that fails stops no other. A method that makes no tasks is skipped, with a word on the reporter, unless all
    do (BenchError).
    """
    configs, others = sampling_configs(request)
    for name in others:
        reporter.say(f"{name} makes no synthetic tasks: skipped")
    device = resolve_device(request.device)
    for one in configs:
        check_precision_of(device, one.values["precision"])
    dataset = open_dataset(configs[0].values, cache, reporter)
    if dataset.splits["train"].attributes is not None:
        raise BenchError(
            f"inspect measures against true classes, and the tasks of dataset {dataset.name!r} are made of attributes"
        )
    runs = plan(configs, dataset, request)
    reporter.begin(dataset.name)
    with computing_in(FLOAT32):  # what all are measured against
        yardstick = Yardstick.of(dataset, runs[0], tasks, device, request.out / "artifacts", reporter)
    results = []
    for number, run in enumerate(runs, 1):
        reporter.begin(run.name)
        try:
            with computing_in(run.values["precision"]):
                result = _inspect_one(run, dataset, yardstick, device, request.out, reporter)
        except BenchError as error:
            result = Result(run, None, None, str(error))
        results.append(result)
        reporter.say(f"[{number}/{len(runs)}] {run.name} seed {run.seed}: {result.reason or result.path}")
    return results


def _inspect_one(
    run: PlannedRun, dataset: Dataset, yardstick: Yardstick, device: torch.device, out: Path, reporter: Reporter
) -> Result:
    facts: dict[str, object] = {
        "version": VERSION,
        "run": run.key,
        "tasks": yardstick.tasks,
        "ruler": yardstick.embedding.ruler.key,
    }
    path = run.folder / FILE
    earlier = read_inspection(path) if path.exists() or path.is_symlink() else None
    # Version 0.1 measured the tasks of the settings, whatever the method trains on.
    usual = earlier is not None and earlier.key == content_key(facts) and earlier.schema_version == SCHEMA_VERSION
    if usual and example.file_of(run.folder) is not None:
        return Result(run, path, earlier)
    subject = look(run, dataset, device, out, reporter)
    source = _with_its_shape(subject.source())
    if not source.asked:
        reporter.say(
            f"{run.name} trains in a loop of its own and asks for no tasks, so tasks that are made as its batches are, "
            f"{source.spec.way}-way {source.spec.shot}-shot, are measured"
        )
    if source.spec != subject.spec:
        facts["spec"] = asdict(source.spec)
        reporter.say(
            f"{run.name} trains on {source.spec.way}-way {source.spec.shot}-shot tasks with {source.spec.query} "
            "queries per class, so these are measured"
        )
    key = content_key(facts)
    known = earlier if earlier is not None and (earlier.key, earlier.schema_version) == (key, SCHEMA_VERSION) else None
    if known is not None:
        _keep_example(run, source)
        return Result(run, path, known)
    clusters = None
    if isinstance(subject.method, ClusteringMethod):
        split = dataset.splits["train"]
        clusters = cluster_agreement(subject.clusterings().numpy(), split.class_ids[split.unlabelled_order()])
    inspection = yardstick.inspect(source, key, dataset.content_hash, reporter, clusters)
    _keep_example(run, source)  # after the measuring, which refuses what is no picture
    return Result(run, write_inspection(run.folder, inspection), inspection)


def _with_its_shape(source: TaskSource) -> TaskSource:
    """With the shape of the tasks that it makes, whatever it is asked for."""
    one = source.sampler.sample(1, source.spec, source.rng("inspect shape"))
    way, shot = one.support.shape[1:3]
    return replace(source, spec=TaskSpec(way, shot, one.query.shape[2]))


def _keep_example(run: PlannedRun, source: TaskSource) -> None:
    example.write_example(run.folder, source.sampler.sample(1, source.spec, source.rng("inspect example")))


def cluster_agreement(labels: NDArray[np.int64], classes: NDArray[np.int64]) -> Clusters:
    """Clusterings [P, n], -1 for no cluster, against the true classes [n] of the same images."""
    rng = Seed(0).at("inspect clusters").numpy()
    found, chance = [], []
    for row in labels:
        inside = row >= 0
        mine, true = row[inside], classes[inside]
        if not len(mine):
            raise BenchError("a clustering has no image in any cluster")
        found.append((len(np.unique(mine)), inside.mean(), *agreement(mine, true)))
        chance.append(agreement(mine, rng.permutation(true)))
    clusters, kept, purity, information = np.mean(found, axis=0).tolist()
    purity_chance, information_chance = np.mean(chance, axis=0).tolist()
    return Clusters(len(labels), clusters, kept, purity, purity_chance, information, information_chance)


@dataclass
class Measured:
    """Sums over tasks of one sampler. Spaces are ``pixels`` and ``embedding``."""

    nearest: dict[str, list[Tensor]] = field(default_factory=lambda: {"pixels": [], "embedding": []})
    spread: dict[str, list[Tensor]] = field(default_factory=lambda: {"pixels": [], "embedding": []})
    features: list[Vectors] = field(default_factory=list)

    def add(self, space: str, support: Tensor, query: Tensor) -> None:
        """Vectors [T, N, K, D] and [T, N, Q, D]."""
        self.nearest[space].append(nearest_own(support, query).cpu())
        if query.shape[2] > 1:
            self.spread[space].append(spread(query).cpu())

    def share(self, space: str) -> tuple[float, float]:
        """Mean and 1.96 standard errors over tasks."""
        every = torch.cat(self.nearest[space])
        return float(every.mean()), float(1.96 * every.std(correction=0) / len(every) ** 0.5)

    def distance(self, space: str) -> float | None:
        """Mean distance within a class; None with one query a class."""
        return float(torch.cat(self.spread[space]).mean()) if self.spread[space] else None


@dataclass
class Yardstick:
    """What synthetic tasks are measured against: the labelled meta-train split and its embedding."""

    images: LabelledImages
    embedding: SupervisedEmbedding
    tasks: int
    origins: Origins
    _real: dict[TaskSpec, Measured] = field(default_factory=dict)
    _halves: dict[int, tuple[Vectors, Vectors]] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        dataset: Dataset,
        run: PlannedRun,
        tasks: int,
        device: torch.device,
        artifacts: Path,
        progress: ProgressCallback,
    ) -> Yardstick:
        """For the dataset and budget of ``run``; the embedding is trained if it is not in the store."""
        images = dataset.splits["train"].labelled(device)
        budget = Budget(**run.values["budget"])
        checkpoint = Checkpoint(artifacts / "unused")  # the store gives every training its own
        context = Context(Seed(0), device, budget, ArtifactStore(artifacts), checkpoint, progress)
        backbone = run.values["dataset"].get("recommend", {}).get("backbone", "conv4")
        embedding = supervised_embedding(images, dataset.name, dataset.content_hash, backbone, context)
        return cls(images, embedding, tasks, Origins(images))

    def inspect(
        self,
        source: TaskSource,
        key: str,
        dataset_hash: str,
        progress: ProgressCallback,
        clusters: Clusters | None = None,
    ) -> Inspection:
        """Every number for one method and seed; ``clusters`` as found by :func:`cluster_agreement`."""
        run, spec = source.run, source.spec
        count = min(len(self.images) // 2, self.tasks * spec.way * spec.query, MOST_IMAGES)
        if count < 2:
            raise BenchError(f"{len(self.images)} images are too few to inspect the tasks of {run.name}")
        collisions = CollisionCount()

        def look(tasks: Tasks) -> None:
            collisions.add(self.origins.of(tasks.support))

        made = self._measure(
            source.sampler, spec, lambda chunk: source.rng("inspect", chunk), count, progress, "measuring", look
        )
        counts, no_counts = collisions.result(self.origins.sizes, spec.way)
        real = self._real_tasks(spec, progress)
        half, other = self._real_halves(count)
        generated = None
        if source.generator is not None:
            generated = self._generated(source.generator, count, source.rng("inspect prior"))
        return Inspection(
            key=key,
            method=run.name,
            title=run.title,
            dataset=run.dataset,
            dataset_hash=dataset_hash,
            budget=run.budget,
            seed=run.seed,
            tasks=self.tasks,
            way=spec.way,
            shot=spec.shot,
            query=spec.query,
            collisions=counts,
            no_collisions=no_counts,
            pixels=_space(made, real, "pixels"),
            embedding=_space(made, real, "embedding"),
            frechet=Frechet(
                images=count,
                queries=frechet_distance(np.concatenate(made.features), half),
                generator=None if generated is None else frechet_distance(generated, half),
                floor=frechet_distance(other, half),
            ),
            ruler=self.embedding.ruler,
            clusters=clusters,
        )

    def _measure(
        self,
        sampler: TaskSampler,
        spec: TaskSpec,
        rng: Callable[[int], torch.Generator],
        keep: int,
        progress: ProgressCallback,
        stage: str,
        look: Callable[[Tasks], None] = lambda _: None,
    ) -> Measured:
        """Measure ``self.tasks`` tasks, a chunk at a time; the features of the first ``keep`` queries are kept."""
        found, kept, reported = Measured(), 0, 0.0
        for chunk, done, count in _chunks(self.tasks, spec, self.images.shape):
            tasks = sampler.sample(count, spec, rng(chunk))
            if not bool(tasks.query.isfinite().all() & tasks.support.isfinite().all()):
                raise BenchError("it makes images with pixels that are no finite numbers")
            look(tasks)
            found.add("pixels", tasks.support.flatten(3), tasks.query.flatten(3))
            support, query = self.embedding.encode(tasks.support), self.embedding.encode(tasks.query)
            found.add("embedding", support, query)
            if kept < keep:
                found.features.append(query.flatten(0, 2)[: keep - kept].cpu().numpy())
                kept += len(found.features[-1])
            if time.monotonic() - reported >= 0.5 or done == self.tasks:
                reported = time.monotonic()
                progress(stage, done, self.tasks, {})
        return found

    def _real_tasks(self, spec: TaskSpec, progress: ProgressCallback) -> Measured:
        """The same number of tasks of true classes; measured once for a shape of tasks."""
        if spec not in self._real:
            seed, device = Seed(0).at("inspect real"), self.images.device
            self._real[spec] = self._measure(
                LabelledSampler(self.images),
                spec,
                lambda chunk: seed.at(chunk).generator(device),
                0,
                progress,
                "measuring true classes",
            )
        return self._real[spec]

    def _real_halves(self, count: int) -> tuple[Vectors, Vectors]:
        """Features of twice ``count`` different real images."""
        if count not in self._halves:
            order = Seed(0).at("inspect halves").numpy().permutation(len(self.images))[: 2 * count]
            index = torch.from_numpy(order).to(self.images.device)
            vectors = self._encoded(self.images.take(part) for part in torch.split(index, self._batch))
            self._halves[count] = vectors[:count], vectors[count:]
        return self._halves[count]

    def _generated(self, generator: Generator, count: int, rng: torch.Generator) -> Vectors:
        """Features of ``count`` images of the prior."""
        z = generator.sample_prior(count, rng)
        return self._encoded(generator.decode(part) for part in torch.split(z, self._batch))

    @property
    def _batch(self) -> int:
        """Images at a time."""
        return max(1, CHUNK_BYTES // (4 * int(np.prod(self.images.shape))))

    def _encoded(self, batches: Iterator[Tensor]) -> Vectors:
        return np.concatenate([self.embedding.encode(batch).cpu().numpy() for batch in batches])


def _space(made: Measured, real: Measured, name: str) -> Space:
    share, interval = made.share(name)
    within, within_real = made.distance(name), real.distance(name)
    ratio = None if within is None or not within_real else within / within_real
    return Space(share, interval, real.share(name)[0], ratio)


def _chunks(tasks: int, spec: TaskSpec, shape: Sequence[int]) -> Iterator[tuple[int, int, int]]:
    """(number of the chunk, tasks done after it, tasks in it); the sizes depend on nothing but the shapes."""
    size = 4 * spec.way * (spec.shot + spec.query) * int(np.prod(shape))
    most = max(1, min(128, CHUNK_BYTES // size))
    for chunk, start in enumerate(range(0, tasks, most)):
        done = min(tasks, start + most)
        yield chunk, done, done - start
