"""AAL: random labels for random images, and augmentation."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from bench.basics.errors import BenchError
from bench.contracts import Context, Learner, MetaLearner, Tasks, TaskSpec
from bench.datasets.images import UnlabelledImages
from bench.tasks.draw import distinct
from methods.augmentation import Augmentation


@dataclass(frozen=True)
class Aal(Augmentation):
    """Assume, augment and learn (Antoniou & Storkey 2019).

    *Assume*: the support is N·K distinct random images with random labels, K of each; with K > 1 images that have
    nothing to do with each other share a label. *Augment*: the queries of a class are augmented copies of its own
    support images, each as often as the others (query j of image j mod K), under the same label. *Learn*: a
    meta-learner solves such tasks.

    With K = 1 the tasks are those of UMTRA; with K > 1 UMTRA has one image and its copies in a class, AAL has K
    unrelated images.

    The authors train MAML++ and ProtoNets, with more kinds of augmentation than one; here the learners and the
    augmentations are those of every other method (:class:`methods.augmentation.Augmentation`), so that what is
    compared is how tasks are made.
    """

    learner: MetaLearner

    def fit(self, images: UnlabelledImages, spec: TaskSpec, context: Context) -> Learner:
        """Meta-train on tasks of randomly labelled images."""
        return self.learner.fit(self.sampler(images, context), spec, context)

    def sampler(self, images: UnlabelledImages, context: Context) -> AalSampler:
        """The task sampler over ``images``."""
        return AalSampler(self, images)


@dataclass(frozen=True)
class AalSampler:
    """A :class:`bench.contracts.TaskSampler`. T tasks, N way, K shot, Q queries of a class."""

    recipe: Aal
    images: UnlabelledImages

    @property
    def capturable(self) -> bool:
        """Whether sampling launches the same kernels whatever it draws: see ``meta_train``."""
        return self.images.resident and self.recipe.capturable(self.images.shape)

    def sample(self, n: int, spec: TaskSpec, rng: torch.Generator) -> Tasks:
        """``n`` tasks: one gather and one augmentation for all of them."""
        needed = spec.way * spec.shot
        if len(self.images) < needed:
            raise BenchError(
                f"aal: {len(self.images)} images are too few for {spec.way}-way {spec.shot}-shot tasks of {needed}"
            )
        # A random order of random images is a random labelling: the class is the axis.
        chosen = distinct(n, needed, len(self.images), rng).view(n, spec.way, spec.shot)
        support = self.images.take(chosen)  # [T, N, K, C, H, W]
        of_query = torch.arange(spec.query, device=support.device) % spec.shot
        query = support[:, :, of_query]  # [T, N, Q, C, H, W]
        return Tasks(support, self.recipe.augmented(query.flatten(0, 2), rng).view(query.shape))
