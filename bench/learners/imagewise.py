"""Training an embedding on single images and their views, one batch of images a step; no tasks needed.

What :mod:`bench.learners.meta_training` is for learners of tasks, this is for methods that tell images or clusters of
images apart: their seeds, their optimiser, their loop, and the embedding that comes out.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from bench.backbones import EmbeddingBackbone, ImageShape, Params, RunningStatistics
from bench.basics.errors import BenchError
from bench.basics.seeds import Seed
from bench.contracts import Context, Learner, Monitor
from bench.datasets.images import UnlabelledImages
from bench.training.checkpoint import Checkpoint
from bench.training.loop import EpochBatches, train
from bench.training.optimizers import give_gradients, set_rate
from bench.training.steps import Step

AT_ONCE = {"cpu": 64, "cuda": 4096}
"""28x28 images embedded at a time; larger images fewer."""


@dataclass(frozen=True, slots=True)
class ConvEncoder:
    """A :class:`bench.contracts.Encoder`: a backbone with its running statistics, features flattened. No gradient."""

    backbone: EmbeddingBackbone
    params: Params
    buffers: Params
    image_shape: ImageShape

    @property
    def dim(self) -> int:
        """Length of an embedding."""
        return self.backbone.dim(self.image_shape)

    @torch.no_grad()
    def encode(self, x: Tensor) -> Tensor:
        """Images [B, C, H, W] in [0, 1] -> features [B, dim]."""
        at_once = max(1, AT_ONCE.get(x.device.type, 64) * 28 * 28 // (x.shape[2] * x.shape[3]))
        return torch.cat([self.backbone.embed(self.params, self.buffers, part) for part in torch.split(x, at_once)])

    def state(self) -> dict[str, Tensor]:
        """The trained tensors by name, running statistics included."""
        return {**self.params, **self.buffers}


@dataclass(slots=True)
class Embedding:
    """An embedding in training: a backbone's parameters and running statistics, trained in place.

    momentum: of the running statistics, running <- (1 - momentum) running + momentum batch.
    """

    backbone: EmbeddingBackbone
    params: Params
    buffers: Params
    image_shape: ImageShape
    momentum: float = 0.1

    @classmethod
    def initial(
        cls, backbone: EmbeddingBackbone, image_shape: ImageShape, seed: Seed, device: torch.device
    ) -> Embedding:
        """Random weights drawn on the CPU from ``seed``, so that they do not depend on the device. They do not ask for
        a gradient by themselves; :meth:`ImageTraining.train` hands ``loss`` copies that do.
        """
        params = {name: value.to(device) for name, value in backbone.init(seed.generator(), image_shape, None).items()}
        buffers = {name: value.to(device) for name, value in backbone.buffers(image_shape).items()}
        return cls(backbone, params, buffers, image_shape)

    @property
    def dim(self) -> int:
        """Length of a feature."""
        return self.backbone.dim(self.image_shape)

    def features(self, params: Mapping[str, Tensor], images: Tensor) -> Tensor:
        """Images [B, C, H, W] as one batch, in training -> features [B, dim], differentiable in ``params``. Counts the
        images (:func:`bench.training.work.count`).
        """
        running = RunningStatistics(self.buffers, self.momentum, training=True)
        once = {name: params[name].unsqueeze(0) for name in self.params}
        return self.backbone.forward(once, images.unsqueeze(0), running)[0]

    def encoder(self) -> ConvEncoder:
        """What it is now, for inference; shares the tensors."""
        return ConvEncoder(self.backbone, self.params, self.buffers, self.image_shape)


Loss = Callable[..., Tensor]
"""(rng, parameters that want a gradient, *inputs of the step) -> loss."""

Inputs = Callable[[int, torch.Generator], tuple[Tensor, ...]]
"""(step, rng) -> tensors of which neither shape nor type ever changes; see :class:`bench.training.steps.Step`."""


@dataclass(frozen=True, slots=True)
class Schedule:
    """The learning rate of a training: how it rises and falls, by the share of the training that is over.

    warm_up: share of the steps in which the rate rises from 0 (exclusive) to its full value; then it falls along half a
    cosine to 0, or stays where ``falling`` is False. halve_every: halved after every so many steps; 0 is never.
    """

    rate: float
    warm_up: float = 0.0
    falling: bool = True
    halve_every: int = 0

    def at(self, i: int, total: int) -> float:
        """The rate of step ``i`` of ``total``."""
        rising = self.warm_up * total
        if i < rising:
            return self.rate * (i + 1) / (rising + 1)
        rate = self.rate * 0.5 ** (i // self.halve_every if self.halve_every else 0)
        if not self.falling:
            return rate
        return rate * 0.5 * (1 + math.cos(math.pi * (i - rising) / (total - rising)))


@dataclass(frozen=True)
class Course:
    """Where and for how long to train: as a run's training (:meth:`of_run`), or as an artifact of the store."""

    total: int
    checkpoint: Checkpoint
    stage: str
    seed: Seed
    learner: Callable[[], Learner] | None = None
    monitor: Monitor | None = None
    validate_every: int = 0

    @classmethod
    def of_run(cls, context: Context, learner: Callable[[], Learner]) -> Course:
        """``budget.meta_iterations`` steps, with the run's checkpoint, learning curve and seed."""
        return cls(
            context.budget.meta_iterations,
            context.checkpoint,
            "meta-train",
            context.seed.at("meta-train"),
            learner,
            context.monitor,
            context.budget.validate_every,
        )


def image_batches(images: UnlabelledImages, size: int, seed: Seed, name: str) -> EpochBatches:
    """Batches of ``size`` different images; BenchError where there are fewer."""
    if size > len(images):
        raise BenchError(
            f"{name}: a batch of {size} images is larger than the {len(images)} images of meta-train; lower it"
        )
    return EpochBatches(len(images), size, seed.at("order"), images.device)


def batch_of(images: UnlabelledImages, batches: EpochBatches) -> Inputs:
    """The images of step i."""
    return lambda i, rng: (images.take(batches.at(i)),)


@dataclass(slots=True)
class ImageTraining:
    """What is trained by gradients (``params``) and what else changes (``buffers``), all in place.

    after: called after each step of the optimiser, with the step's generator; on a GPU it is captured with the rest.
    """

    params: Params
    buffers: Params
    optimizer: torch.optim.Optimizer
    schedule: Schedule
    after: Callable[[torch.Generator], None] = field(default=lambda rng: None)

    def run(
        self,
        loss: Loss,
        inputs: Inputs,
        course: Course,
        context: Context,
        items: int,
        others: Callable[[int], Iterable[int] | None] = lambda total: (),
    ) -> dict[str, Any]:
        """Train; returns what :func:`bench.training.loop.train` does. Raises Diverged at a loss that is not finite.

        What ``inputs`` draws comes from a generator of its own, what ``loss`` draws from another; both are seeded anew
        in every step. items: images a step, for progress. others: as of :class:`bench.training.steps.Step`.
        """
        device = context.device
        aside = torch.Generator(device=device)

        def compute(rng: torch.Generator, *given: Tensor) -> Tensor:
            with torch.enable_grad():
                leaves = {name: value.detach().requires_grad_() for name, value in self.params.items()}
                value = loss(rng, leaves, *given)
                grads = torch.autograd.grad(value, list(leaves.values()))
            give_gradients(self.params.values(), grads)
            self.optimizer.step()
            self.after(rng)
            return value.detach()

        def prepared(i: int) -> tuple[Tensor, ...]:
            set_rate(self.optimizer, self.schedule.at(i, course.total))
            return inputs(i, aside.manual_seed(course.seed.at("inputs", i).value()))

        outcome = train(
            Step(lambda i: course.seed.at("step", i).value(), prepared, compute, others=others),
            {**self.params, **self.buffers},
            self.optimizer,
            course.total,
            course.checkpoint,
            context.progress,
            course.stage,
            course.learner,
            course.monitor,
            course.validate_every,
            items=items,
        )
        if outcome["facts"]:
            context.note(meta_training=outcome["facts"]["program"])
        return outcome
