"""UMTRA: classes out of single images and their augmentations."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from bench.basics.errors import BenchError
from bench.contracts import Context, Learner, MetaLearner, Tasks, TaskSpec
from bench.datasets.images import UnlabelledImages
from bench.tasks.draw import distinct
from methods.augmentation import Augmentation


@dataclass(frozen=True)
class Umtra(Augmentation):
    """Unsupervised meta-learning for few-shot classification (Khodadadeh et al. 2019, Algorithm 1).

    N distinct random images are the N classes of a task, on the bet that no two share a true class. The
    images, untouched, are the support; the query is Q augmented copies of each. With K > 1 the further K - 1
    support images are augmented copies too, since there is one original only.

    The settings of the augmentation are explained in :class:`methods.augmentation.Augmentation`.
    """

    learner: MetaLearner

    def fit(self, images: UnlabelledImages, spec: TaskSpec, context: Context) -> Learner:
        """Meta-train on tasks of augmented images."""
        return self.learner.fit(self.sampler(images, context), spec, context)

    def sampler(self, images: UnlabelledImages, context: Context) -> UmtraSampler:
        """The task sampler over ``images``."""
        return UmtraSampler(self, images)


@dataclass(frozen=True)
class UmtraSampler:
    """A :class:`bench.contracts.TaskSampler`. T tasks, N way, S = K + Q - 1 augmented copies of an image."""

    recipe: Umtra
    images: UnlabelledImages

    @property
    def capturable(self) -> bool:
        """Whether sampling launches the same kernels whatever it draws: see ``meta_train``."""
        return self.images.resident and self.recipe.capturable(self.images.shape)

    def sample(self, n: int, spec: TaskSpec, rng: torch.Generator) -> Tasks:
        """``n`` tasks: one gather and one augmentation for all of them."""
        if len(self.images) < spec.way:
            raise BenchError(f"umtra: {len(self.images)} images are too few for {spec.way}-way tasks")
        originals = self.images.take(distinct(n, spec.way, len(self.images), rng))[:, :, None]  # [T, N, 1, C, H, W]
        copies = originals.expand(-1, -1, spec.shot + spec.query - 1, -1, -1, -1)  # [T, N, S, C, H, W]
        copies = self.recipe.augmented(copies.flatten(0, 2), rng).view(copies.shape)
        support = torch.cat([originals, copies[:, :, : spec.shot - 1]], dim=2)
        return Tasks(support, copies[:, :, spec.shot - 1 :].contiguous())
