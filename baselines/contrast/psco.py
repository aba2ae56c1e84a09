"""PsCo: MoCo, and tasks whose shots are found in the queue."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from baselines.contrast.moco import MoCo
from baselines.contrast.networks import Networks
from baselines.contrast.objectives import LEAST_EPS, pseudo_shots, task_loss
from baselines.contrast.recipe import SHARED_VERSION, Objective
from bench.basics.errors import BenchError
from bench.basics.seeds import Seed
from bench.contracts import Context
from bench.datasets.images import UnlabelledImages
from bench.learners.embedding import EmbeddingClassifier

VERSION = SHARED_VERSION


@dataclass(frozen=True)
class PsCo(MoCo):
    """Pseudo-supervised contrast (Jang et al. 2023): every batch is a task too, each of its images a class.

    The shots of an image are the ``shots`` items of the queue of which an optimal transport between the teacher's batch
    and the queue (entropy ``eps``, ``rounds`` of Sinkhorn) carries most to it. The student is to find them among the
    shots of the whole batch; that loss, at ``task_temperature``, is added to MoCo's.

    At test by cosine: a query's prediction, and the mean of a class's projections.

    shots: null is 1 for drawings (images of one channel), else 4, as published for Omniglot and mini-ImageNet.
    """

    name: ClassVar[str] = "psco"

    shots: int | None = None
    task_temperature: float = 1.0
    eps: float = 0.05
    rounds: int = 3

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check_integers(rounds=1, **({} if self.shots is None else {"shots": 1}))
        self._check_positive("task_temperature")
        if not self.eps >= LEAST_EPS:
            raise BenchError(
                f"{self.name}: eps must be at least {LEAST_EPS}, or exponentials underflow, not {self.eps}"
            )

    def objective(self, networks: Networks, images: UnlabelledImages, context: Context, seed: Seed) -> Objective:
        """MoCo's, with the task."""
        shots, queue = self._shots(images.shape[0]), min(self.queue, len(images))
        if shots > queue:
            raise BenchError(f"{self.name}: a queue of {queue} has no {shots} shots; lower shots")
        return super().objective(networks, images, context, seed)

    def compared(self, student: Tensor, teacher: Tensor, queue: Tensor, channels: int) -> Tensor:
        """MoCo's loss and that of the task."""
        with torch.no_grad():
            support = queue[pseudo_shots(teacher, queue, self._shots(channels), self.eps, self.rounds)]
        contrast = super().compared(student, teacher, queue, channels)
        return contrast + task_loss(student, support, self.task_temperature)

    def learner(self, networks: Networks) -> EmbeddingClassifier:
        """How it answers; shares the tensors of ``networks``."""
        return EmbeddingClassifier(networks.projecting(), networks.predicting())

    def _shots(self, channels: int) -> int:
        return self.shots or (1 if channels == 1 else 4)
