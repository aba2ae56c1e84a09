"""Prototypical networks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from bench.backbones import EmbeddingBackbone, ImageShape, Normalise, Params, RunningStatistics, batch_statistics
from bench.basics.errors import BenchError
from bench.contracts import Context, Tasks, TaskSampler, TaskSpec
from bench.learners.adaptation import labels_of
from bench.learners.meta_training import check_training, chunk_size, image_shape, initial_params, meta_train


@dataclass(frozen=True, slots=True)
class ProtoNet:
    """ProtoNets (Snell et al. 2017): a class is the mean of its embedded support images, a score minus the
    distance.

    Meta-batch, learning rate and distance as Khodadadeh et al. 2020, Table 6 and the authors' programs.

    distance: squared Euclidean, as its ``mean`` over the feature's dimensions (the authors) or its ``sum``
    (Snell et al.). batch_stats: ``inductive``, as Snell et al. and the ProtoNets of Hsu et al. 2019: in
    training all images of a meta-batch, support and query of all its tasks, are one batch; at test the
    running statistics normalise. ``transductive``: the support images of a task are one batch and its query
    images another, in training and at test. momentum: of the running statistics, running <- (1 - momentum)
    running + momentum batch.
    """

    backbone: EmbeddingBackbone
    meta_lr: float = 0.001
    meta_batch: int = 4
    distance: Literal["mean", "sum"] = "mean"
    batch_stats: Literal["inductive", "transductive"] = "inductive"
    momentum: float = 0.1

    def __post_init__(self) -> None:
        check_training("learner", self.meta_lr, self.meta_batch)
        if self.distance not in ("mean", "sum"):
            raise BenchError(f"learner.distance must be 'mean' or 'sum', not {self.distance!r}")
        if self.batch_stats not in ("inductive", "transductive"):
            raise BenchError(f"learner.batch_stats must be 'inductive' or 'transductive', not {self.batch_stats!r}")
        if not 0 < self.momentum <= 1:
            raise BenchError(f"learner.momentum must be above 0 and at most 1, not {self.momentum}")

    def fit(self, sampler: TaskSampler, spec: TaskSpec, context: Context) -> ProtoNetLearner:
        """Train the embedding. Raises Diverged when the loss becomes non-finite."""
        shape = image_shape(sampler, spec, context)
        learner = self.untrained(shape, spec, context)
        running = RunningStatistics(learner.buffers, self.momentum, training=True)

        def gradient(tasks: Tasks) -> tuple[Tensor, Params]:
            return self.gradient(learner.params, tasks, running)

        meta_train(
            gradient,
            learner.params,
            learner.buffers,
            sampler,
            spec,
            context,
            self.meta_batch,
            self.meta_lr,
            lambda: learner,
        )
        return learner

    def gradient(self, params: Mapping[str, Tensor], tasks: Tasks, running: RunningStatistics) -> tuple[Tensor, Params]:
        """Mean query cross-entropy and its gradient; the running statistics follow where they are used."""
        with torch.enable_grad():
            leaves = {name: value.detach().requires_grad_() for name, value in params.items()}
            query = tasks.query.flatten(1, 2)
            if self.batch_stats == "inductive":
                scores = _as_one_batch(self.backbone, leaves, tasks.support, query, running, self.distance)
            else:
                scores = _per_task(self.backbone, leaves, tasks.support, query, self.distance)
            target = labels_of(tasks.query).repeat(len(query))
            loss = F.cross_entropy(scores.flatten(0, 1), target)
            grads = torch.autograd.grad(loss, list(leaves.values()))
        return loss.detach(), dict(zip(leaves, grads, strict=True))

    def untrained(self, image_shape: ImageShape, spec: TaskSpec, context: Context) -> ProtoNetLearner:
        """The random initialisation that :meth:`fit` starts from."""
        params = initial_params(self.backbone, image_shape, None, context)
        buffers = {}
        if self.batch_stats == "inductive":
            buffers = {name: value.to(context.device) for name, value in self.backbone.buffers(image_shape).items()}
        # Four: the last size at which the maps stay in the cache.
        at_once = chunk_size(4, image_shape, context.device)
        transductive = self.batch_stats == "transductive"
        return ProtoNetLearner(self.backbone, params, buffers, self.distance, transductive, at_once)


@dataclass(slots=True)
class ProtoNetLearner:
    """A trained embedding. ``buffers`` are its running statistics, empty where it is transductive.

    ``tasks_at_once``: how many tasks are embedded in one pass; :meth:`predict` splits longer batches itself.
    """

    backbone: EmbeddingBackbone
    params: Params
    buffers: Params
    distance: Literal["mean", "sum"]
    transductive: bool
    tasks_at_once: int

    @torch.no_grad()
    def predict(self, support: Tensor, query: Tensor) -> Tensor:
        """support [T, N, K, C, H, W], query [T, M, C, H, W] -> minus squared distances [T, M, N]."""
        scores = []
        at_once = self.tasks_at_once
        for s, q in zip(torch.split(support, at_once), torch.split(query, at_once), strict=True):
            if self.transductive:
                scores.append(_per_task(self.backbone, self.params, s, q, self.distance))
            else:
                images = torch.cat([s.flatten(1, 2), q], dim=1)
                features = self.backbone.embed(self.params, self.buffers, images.flatten(0, 1))
                features = features.reshape(*images.shape[:2], -1)
                scores.append(_scores(features, s.shape[1], s.shape[2], self.distance))
        return torch.cat(scores)

    def state(self) -> dict[str, Tensor]:
        """The trained tensors by name, running statistics included."""
        return {**self.params, **self.buffers}


def _as_one_batch(
    backbone: EmbeddingBackbone,
    params: Mapping[str, Tensor],
    support: Tensor,
    query: Tensor,
    normalise: Normalise,
    distance: str,
) -> Tensor:
    """All images of all tasks through one network as one batch."""
    images = torch.cat([support.flatten(1, 2), query], dim=1)
    once = {name: value.unsqueeze(0) for name, value in params.items()}
    features = backbone.forward(once, images.flatten(0, 1).unsqueeze(0), normalise)[0]
    return _scores(features.reshape(*images.shape[:2], -1), support.shape[1], support.shape[2], distance)


def _per_task(
    backbone: EmbeddingBackbone, params: Mapping[str, Tensor], support: Tensor, query: Tensor, distance: str
) -> Tensor:
    """The support images of a task are one batch, its query images another: one network a task, side by
    side.
    """
    tasks, way, shot = support.shape[:3]
    same = {name: value.expand(tasks, *value.shape) for name, value in params.items()}
    embedded = [backbone.forward(same, part, batch_statistics) for part in (support.flatten(1, 2), query)]
    return _scores(torch.cat(embedded, dim=1), way, shot, distance)


def _scores(features: Tensor, way: int, shot: int, distance: str) -> Tensor:
    """Features [T, N*K + M, D], support first -> minus squared distances to the prototypes [T, M, N]."""
    tasks, _, dim = features.shape
    prototypes = features[:, : way * shot].reshape(tasks, way, shot, dim).mean(2)
    squared = (features[:, way * shot :, None] - prototypes[:, None]).square()
    distances = squared.mean(-1) if distance == "mean" else squared.sum(-1)
    return -distances
