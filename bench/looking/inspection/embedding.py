"""The space that synthetic images are measured in: ProtoNets that the harness trains with labels.

Trained once for a dataset and length, kept in the artifact store. No method ever sees it.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace

import torch
from torch import Tensor

from bench.backbones import Conv4
from bench.basics.errors import BenchError, Diverged
from bench.basics.keys import content_key
from bench.basics.seeds import Seed
from bench.contracts import Context, ProgressCallback, TaskSpec
from bench.datasets.images import LabelledImages
from bench.learners.protonet import ProtoNet, ProtoNetLearner
from bench.looking.inspection.records import Ruler
from bench.planning import catalogue, components
from bench.tasks.labelled import LabelledSampler
from bench.training.checkpoint import Checkpoint

VERSION = 1
"""Raised whenever the same settings would train another embedding."""

SEED = 0
MOST_ITERATIONS = 1000
SPEC = TaskSpec(way=20, shot=1, query=5)  # 20-way as the supervised ProtoNets of Hsu et al. 2019
CHUNK = 256  # images embedded at a time


@dataclass(frozen=True, slots=True)
class SupervisedEmbedding:
    """Images -> vectors. Running statistics normalise, so a vector does not depend on the images beside it."""

    learner: ProtoNetLearner
    ruler: Ruler

    @torch.no_grad()
    def encode(self, images: Tensor) -> Tensor:
        """[..., C, H, W] in [0, 1] -> [..., dim], float32."""
        flat = images.flatten(0, -4)
        parts = [
            self.learner.backbone.embed(self.learner.params, self.learner.buffers, part)
            for part in torch.split(flat, CHUNK)
        ]
        return torch.cat(parts).view(*images.shape[:-3], -1)


def supervised_embedding(
    images: LabelledImages, dataset: str, dataset_hash: str, backbone_name: str, context: Context
) -> SupervisedEmbedding:
    """The embedding of ``images``, the labelled meta-train split, trained or from the store of ``context``.

    backbone_name: an option of configs/backbone, with the settings of its file. Meta-iterations are those of the
    budget, at most 1000. Fewer ways than 20 where there are fewer classes with enough images.
    """
    backbone = components.build(catalogue.raw("backbone", backbone_name), {})
    if not isinstance(backbone, Conv4):
        raise BenchError(f"the supervised embedding needs a Conv4, but backbone {backbone_name!r} is none")
    enough = int((torch.bincount(images.class_ids) >= SPEC.shot + SPEC.query).sum())
    spec = replace(SPEC, way=max(2, min(SPEC.way, enough)))
    learner = ProtoNet(backbone, meta_batch=1)
    budget = replace(
        context.budget, meta_iterations=min(MOST_ITERATIONS, context.budget.meta_iterations), validate_every=0
    )
    recipe = {
        "embedding": "protonet",
        "version": VERSION,
        "learner": asdict(learner),
        "learner_version": components.code_version("bench.learners.protonet.ProtoNet"),
        "spec": asdict(spec),
        "dataset": dataset_hash,
        "iterations": budget.meta_iterations,
        "seed": SEED,
    }
    seed = Seed(SEED).at("inspect embedding")

    def make(checkpoint: Checkpoint) -> tuple[dict[str, Tensor], dict[str, object]]:
        own = replace(
            context, seed=seed, budget=budget, checkpoint=checkpoint, monitor=None, progress=_renamed(context)
        )
        try:
            trained = learner.fit(LabelledSampler(images), spec, own)
        except Diverged as error:
            raise BenchError(f"the supervised embedding of {dataset} diverged: {error}") from error
        return trained.state(), {"dataset": dataset}

    artifact = context.artifacts.get("embedding", recipe, make, budget.checkpoint_seconds)
    found = learner.untrained(images.shape, spec, replace(context, seed=seed))
    for tensors in (found.params, found.buffers):
        for name, tensor in tensors.items():
            tensor.copy_(artifact.tensors[name])
    ruler = Ruler(
        key=content_key(recipe),
        learner="ProtoNets",
        backbone=backbone_name,
        dim=backbone.dim(images.shape),
        way=spec.way,
        shot=spec.shot,
        meta_batch=learner.meta_batch,
        iterations=budget.meta_iterations,
        seed=SEED,
    )
    return SupervisedEmbedding(found, ruler)


def _renamed(context: Context) -> ProgressCallback:
    """Its training is not to be taken for a method's."""
    return lambda _, done, total, metrics: context.progress("supervised embedding", done, total, metrics)
