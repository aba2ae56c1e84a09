"""CACTUs: classes out of the clusters of an embedding."""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.cluster import KMeans
from threadpoolctl import threadpool_limits
from torch import Tensor

from bench.basics.errors import BenchError, did_you_mean
from bench.basics.seeds import Seed
from bench.contracts import Context, EncoderRecipe, Learner, MetaLearner, TaskSpec
from bench.datasets.images import UnlabelledImages
from bench.learners import lloyd
from bench.learners.clustering import algorithm
from bench.learners.embeddings import embed_all
from bench.tasks.labelled import LabelledSampler
from bench.training.checkpoint import Checkpoint
from bench.training.rehearsal import is_rehearsal
from bench.training.work import Cost, hold, include, so_far

VERSION = 1
"""Raised whenever the same settings would make other partitions."""

PARTITIONS = ("kmeans", "hyperplanes", "random")
NOBODY = -1  # the label of an image that is in no class of a partition

Labels = NDArray[np.int64]


@dataclass(frozen=True)
class Cactus:
    """Clustering to automatically construct tasks (Hsu et al. 2019, §2.2 and the authors' code).

    All images are embedded, and the embedding is divided into clusters, ``partitions`` times. A task takes one
    partition at random, N of its clusters and K + Q images of each; clusters with too few images are never drawn.

    partition: ``kmeans`` clusters by k-means++ into ``clusters``; the first partition sees the embedding as it is,
    every other one with each dimension scaled by a weight of its own from U(0, 1). It starts 10 times and keeps the
    best where there is one partition, else once. A k-means in which not more than ``least_kept`` of the clusters
    have ``members`` images is repeated, up to ``max_retries`` times.
    ``hyperplanes`` and ``random`` are the controls of §4.3. hyperplanes: cells of ceil(log2 N) random planes, at
    least N of them with ``members`` images, N the way of the tasks, from a pool of ``planes`` planes that have at
    least 10 * ``members`` images on either side; images within ``margin`` of a plane are in no cell. random: every
    image has one of ``clusters`` labels, uniformly.

    Needs embeddings that are finite: Diverged otherwise.
    """

    encoder: EncoderRecipe
    learner: MetaLearner
    partition: str = "kmeans"
    clusters: int = 500
    partitions: int = 100
    members: int = 6
    least_kept: float = 0.75
    max_retries: int = 20
    planes: int = 1000
    margin: float = 0.0

    def __post_init__(self) -> None:
        if self.partition not in PARTITIONS:
            hint = did_you_mean(self.partition, PARTITIONS)
            raise BenchError(f"cactus: partition must be one of {', '.join(PARTITIONS)}, not {self.partition!r}.{hint}")
        for name, least in (("clusters", 2), ("partitions", 1), ("members", 1), ("max_retries", 0), ("planes", 1)):
            if getattr(self, name) < least:
                raise BenchError(f"cactus: {name} must be at least {least}, not {getattr(self, name)}")
        if not 0 <= self.least_kept < 1 or not self.margin >= 0:
            raise BenchError("cactus: least_kept must be at least 0 and below 1, and margin 0 or more")

    def fit(self, images: UnlabelledImages, spec: TaskSpec, context: Context) -> Learner:
        """Meta-train on tasks of clusters."""
        return self.learner.fit(self._sampler(images, context, spec.way), spec, context)

    def sampler(self, images: UnlabelledImages, context: Context) -> LabelledSampler:
        """The sampler over the clusters, for tasks of any way up to 20."""
        return self._sampler(images, context, 20)

    def clusterings(self, images: UnlabelledImages, spec: TaskSpec, context: Context) -> Tensor:
        """The partitions for tasks of ``spec``: int64 [partitions, n], -1 for images in no cluster."""
        return torch.from_numpy(self.labels(images, context, spec.way))

    def _sampler(self, images: UnlabelledImages, context: Context, way: int) -> LabelledSampler:
        return LabelledSampler.of(images.pixels, torch.from_numpy(self.labels(images, context, way)), images.device)

    def labels(self, images: UnlabelledImages, context: Context, way: int) -> Labels:
        """The partitions: int64 [partitions, n], -1 for images in no cluster; kept in the artifact store."""
        if self.partition != "hyperplanes" and self.clusters > len(images):
            raise BenchError(
                f"cactus: {len(images)} images cannot make {self.clusters} clusters; lower method.clusters"
            )
        if self.partition == "random":
            draws = context.seed.at("partitions").numpy()
            return draws.integers(self.clusters, size=(self.partitions, len(images)), dtype=np.int64)
        everything = torch.arange(len(images), device=images.device)
        encoder = self.encoder.obtain(images, context)
        embedded = embed_all(encoder, images, everything, images.device, context.progress)
        embedding: NDArray[np.float32] = embedded.float().cpu().numpy()
        recipe: dict[str, Any] = {
            "partition": self.partition,
            "version": VERSION,
            "embedding": hashlib.sha256(embedding.tobytes()).hexdigest(),
            "partitions": self.partitions,
            "members": self.members,
            "seed": context.seed.at("partitions").value(),
        }
        if self.partition == "kmeans":
            recipe |= {"clusters": self.clusters, "least_kept": self.least_kept, "max_retries": self.max_retries}
            recipe |= algorithm(images.device)
        else:
            recipe |= {"planes": self.planes, "margin": self.margin, "way": way}

        def make(checkpoint: Checkpoint) -> tuple[Mapping[str, Tensor], Mapping[str, Any]]:
            began = time.monotonic()
            if self.partition == "kmeans":
                found, before = self._kmeans(embedding, context, checkpoint)
            else:
                found, before = self._hyperplanes(embedding, context, way), 0.0
            hold(images.device, time.monotonic() - began)
            return {"labels": torch.from_numpy(found)}, {"seconds": before + time.monotonic() - began}

        artifact = context.artifacts.get("encoder-partitions", recipe, make, context.budget.checkpoint_seconds)
        kept: Labels = artifact.tensors["labels"].numpy()
        return kept

    def _kmeans(self, embedding: NDArray[np.float32], context: Context, checkpoint: Checkpoint) -> tuple[Labels, float]:
        """The partitions, and the seconds that those from the checkpoint took."""
        found = np.empty((self.partitions, len(embedding)), dtype=np.int64)
        tensors, meta = checkpoint.load() or ({}, {"partitions": 0, "seconds": 0.0})
        start, before, began = meta["partitions"], float(meta["seconds"]), time.monotonic()
        if start:
            include(Cost.told(meta))
        found[:start] = tensors["labels"].numpy() if start else 0
        for number in range(start, self.partitions):
            seed = context.seed.at("partitions", number)
            scale = np.ones(embedding.shape[1]) if number == 0 else seed.at("scale").numpy().random(embedding.shape[1])
            found[number] = self._large_clusters(embedding * scale.astype(np.float32), seed, context.device)
            late = checkpoint.due()
            try:
                context.progress("k-means", number + 1, self.partitions, {})
            except BaseException:  # a time limit or an interrupt: what is done is whole, and is kept
                late = True
                raise
            finally:
                if late:
                    labels = torch.from_numpy(found[: number + 1])
                    seconds = before + time.monotonic() - began
                    done = {"partitions": number + 1, "seconds": seconds, **so_far().facts()}
                    checkpoint.save({"labels": labels}, done)
        return found, before

    def _large_clusters(self, embedding: NDArray[np.float32], seed: Seed, device: torch.device) -> Labels:
        if is_rehearsal():  # no image goes through a network here: any clusters do
            return np.arange(len(embedding)) % self.clusters
        kept, restarts = 0.0, 10 if self.partitions == 1 else 1
        for attempt in range(self.max_retries + 1):
            number = seed.at("k-means", attempt).value()
            if device.type == "cuda":
                points, rng = torch.from_numpy(embedding).to(device), torch.Generator(device).manual_seed(number)
                found = lloyd.kmeans(points, self.clusters, rng, restarts=restarts, max_iter=3000)
                labels: Labels = found.labels.cpu().numpy()
            else:
                kmeans = KMeans(self.clusters, n_init=restarts, max_iter=3000, random_state=number % 2**32)
                with threadpool_limits(1):  # several threads add up in no fixed order
                    labels = kmeans.fit(embedding).labels_.astype(np.int64)
            kept = float((np.bincount(labels, minlength=self.clusters) >= self.members).mean())
            if kept > self.least_kept:
                return labels
        raise BenchError(
            f"cactus: in {self.max_retries + 1} runs of k-means never more than {100 * self.least_kept:g} % of the "
            f"{self.clusters} clusters had {self.members} images (last: {100 * kept:.0f} %); lower method.clusters or "
            "method.least_kept"
        )

    def _hyperplanes(self, embedding: NDArray[np.float32], context: Context, way: int) -> Labels:
        """Signed sides of random planes (Hsu et al. 2019, §4.3): +1, -1, or 0 for images too near to a plane."""
        rng = context.seed.at("partitions", "planes").numpy()
        sides = np.zeros((self.planes, len(embedding)), dtype=np.int8)
        dim, found, tried = embedding.shape[1], 0, 0
        # The authors' points are U(-0.8, 0.8) for codes of about that range; here, within the data's own.
        low, high = np.quantile(embedding, [0.1, 0.9], axis=0)
        while found < self.planes:
            if (tried := tried + 1) > 100 * self.planes:
                raise BenchError(
                    f"cactus: {found} of {self.planes} random planes leave {10 * self.members} images on either side; "
                    "lower method.planes, method.margin or method.members"
                )
            normal = rng.uniform(-1, 1, dim)
            signed = embedding @ (normal / np.linalg.norm(normal)).astype(np.float32)
            signed -= float(rng.uniform(low, high) @ (normal / np.linalg.norm(normal)))
            side = np.where(np.abs(signed) <= self.margin, 0, np.sign(signed)).astype(np.int8)
            if min((side > 0).sum(), (side < 0).sum()) >= 10 * self.members:
                sides[found] = side
                found += 1
        planes, labels = math.ceil(math.log2(way)), np.full((self.partitions, len(embedding)), NOBODY, dtype=np.int64)
        made, tried = 0, 0
        while made < self.partitions:
            if (tried := tried + 1) > 100 * self.partitions:
                raise BenchError(
                    f"cactus: cells of {planes} random planes hardly ever leave {way} with {self.members} images; "
                    "lower train.way or method.members"
                )
            chosen = sides[rng.choice(self.planes, size=planes, replace=False)]
            cell = (chosen > 0).astype(np.int64).T @ (1 << np.arange(planes))
            cell[(chosen == 0).any(axis=0)] = NOBODY
            sizes = np.bincount(cell[cell >= 0], minlength=2**planes)
            if (sizes >= self.members).sum() >= way:
                labels[made] = cell
                made += 1
                context.progress("hyperplanes", made, self.partitions, {})
        return labels
