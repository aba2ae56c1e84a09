"""The ceiling: the same meta-learner on real tasks with the true labels of the meta-train classes."""

from __future__ import annotations

from dataclasses import dataclass

from bench.basics.errors import BenchError
from bench.contracts import Context, Learner, MetaLearner, TaskSampler, TaskSpec
from bench.datasets.images import LabelledImages
from bench.tasks.attributes import true_tasks


@dataclass(frozen=True)
class Supervised:
    """Supervised meta-learning: MAML (Finn et al. 2017) or ProtoNets (Snell et al. 2017) on labelled tasks.

    Tasks have the same shape, and training the same budget, as those of the unsupervised methods, so that the
    difference between them is what the labels are worth.
    """

    learner: MetaLearner

    def sampler(self, images: LabelledImages, context: Context) -> TaskSampler:
        """Tasks drawn uniformly from the true classes, or attributes."""
        if not isinstance(images, LabelledImages):
            raise BenchError(f"supervised takes labelled images, not {type(images).__name__}")
        return true_tasks(images)

    def fit(self, images: LabelledImages, spec: TaskSpec, context: Context) -> Learner:
        """Meta-train on tasks of the labelled ``images``."""
        return self.learner.fit(self.sampler(images, context), spec, context)
