"""MoCo: find what a slow teacher saw, among what it saw before."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from baselines.contrast.networks import Networks
from baselines.contrast.objectives import info_nce
from baselines.contrast.recipe import SHARED_VERSION, Contrast, Objective
from baselines.contrast.teacher import Queue, follow
from bench.basics.errors import BenchError
from bench.basics.seeds import Seed
from bench.contracts import Context
from bench.datasets.images import UnlabelledImages
from bench.learners.prototypes import unit

VERSION = SHARED_VERSION


@dataclass(frozen=True)
class MoCo(Contrast):
    """A teacher embeds a weak view of every image; a student is to find that among what the teacher said before.

    He et al. 2020, §3 (algorithm 1), with the training of :class:`baselines.contrast.recipe.Contrast` and, as there, a
    predictor behind the student's projector. The student sees a strong view. Where ``views`` have a weak form, that is
    the teacher's; else both see the same kind of view.

    queue: how many of the teacher's last embeddings it remembers, no more than there are images. momentum: of the
    teacher, whose parameters are the exponential average of the student's.
    """

    name: ClassVar[str] = "moco"
    predicts: ClassVar[bool] = True

    queue: int = 16384
    momentum: float = 0.99

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check_integers(queue=1)
        if self.queue < self.batch:
            raise BenchError(
                f"{self.name}: a queue of {self.queue} has no room for a batch of {self.batch}; lengthen queue"
            )
        if not 0 <= self.momentum <= 1:
            raise BenchError(f"{self.name}: momentum must be from 0 to 1, not {self.momentum}")

    def objective(self, networks: Networks, images: UnlabelledImages, context: Context, seed: Seed) -> Objective:
        """Contrast of the student's predictions with the teacher's projections and the queue."""
        followed = networks.followed()
        teacher = {name: value.clone() for name, value in followed.items()}
        queue = self._queue(images, context, seed)
        weak = getattr(self.views, "weak", None)
        for_teacher = self.views if weak is None else weak()

        def loss(rng: torch.Generator, leaves: Mapping[str, Tensor], batch: Tensor) -> Tensor:
            student = unit(networks.student(leaves, self.views(batch, rng)))
            target = unit(networks.teacher(teacher, for_teacher(batch, rng)))
            queue.given.copy_(target)
            return self.compared(student, target, queue.items, images.shape[0])

        def after(rng: torch.Generator) -> None:
            follow(teacher.values(), followed.values(), self.momentum)
            queue.push()

        kept = {"queue.items": queue.items, "queue.next": queue.next}
        return Objective(loss, after, kept | {f"teacher.{name}": value for name, value in teacher.items()})

    def compared(self, student: Tensor, teacher: Tensor, queue: Tensor, channels: int) -> Tensor:
        """The loss of student and teacher [B, d] before a queue [Q, d], all of unit length."""
        return info_nce(student, teacher, queue, self.temperature)

    def _queue(self, images: UnlabelledImages, context: Context, seed: Seed) -> Queue:
        size = min(self.queue, len(images))
        if size < self.queue:
            context.note(queue=size)
            why = f"the queue is {size} long, not {self.queue}, as meta-train has no more images"
            context.progress(f"{self.name}: {why}", 0, 0, {})
        return Queue.of(size, self.batch, self.projection, seed.at("queue"), images.device)
