"""What every meta-learner trained on a stream of tasks shares: its seeds, its optimiser, its loop."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from bench.backbones import Backbone, ImageShape, Params
from bench.basics.errors import BenchError
from bench.checks import samplers
from bench.checks.finding import demand, noted
from bench.contracts import Context, Learner, Tasks, TaskSampler, TaskSpec
from bench.training.loop import train
from bench.training.memory import free_bytes
from bench.training.optimizers import adam, give_gradients
from bench.training.steps import Step
from bench.training.work import metered


def initial_params(backbone: Backbone, shape: ImageShape, outputs: int | None, context: Context) -> Params:
    """Weights drawn on the CPU from the run's seed ``init``, so that they do not depend on the device."""
    params = backbone.init(context.seed.at("init").generator(), shape, outputs)
    return {name: value.to(context.device) for name, value in params.items()}


def image_shape(sampler: TaskSampler, spec: TaskSpec, context: Context) -> ImageShape:
    """(C, H, W) of a sampler's images: its own ``image_shape`` where it has one, else from one task drawn aside."""
    known: ImageShape | None = getattr(sampler, "image_shape", None)
    if known is not None:
        return known
    one = sampler.sample(1, spec, context.seed.at("image-shape").generator(context.device))
    channels, height, width = one.support.shape[-3:]
    return channels, height, width


def meta_train(
    gradient: Callable[[Tasks], tuple[Tensor, Mapping[str, Tensor]]],
    params: Params,
    buffers: Mapping[str, Tensor],
    sampler: TaskSampler,
    spec: TaskSpec,
    context: Context,
    meta_batch: int,
    meta_lr: float,
    learner: Callable[[], Learner],
) -> None:
    """Train ``params`` in place for ``context.budget.meta_iterations`` meta-batches.

    ``gradient(tasks)`` returns the loss (a detached scalar) and its gradient, and may update ``buffers``.
    Adam with betas 0.9 and 0.999 and eps 1e-7, the defaults of the authors' Keras; no decay, no clipping
    (their clipped gradients were never applied). Meta-iteration i draws its tasks from the seed ``meta-train,
    i``, whatever was drawn before it: a resumed training is the same training. A sampler that counts may keep its
    counts in tensors of its ``state`` (name -> tensor, changed in place), which checkpoints hold and restore.

    On a GPU gradient and optimiser are captured. A sampler whose ``sample`` launches the same kernels whatever it
    draws, waits for nothing and keeps no state in Python, may say so with ``capturable = True``; it is then captured
    with them.

    Before all that two tasks are drawn aside, twice, and looked at: BenchError where the sampler breaks its contract.
    """
    with metered():
        names = demand(samplers.examine(sampler, spec, context.device, context.seed.at("check sampler")))
    context.note(checked=noted((context.notes or {}).get("checked"), "sampler", names))
    optimizer = adam(params.values(), meta_lr, betas=(0.9, 0.999), eps=1e-7)

    def seed(i: int) -> int:
        return context.seed.at("meta-train", i).value()

    def learn(_: torch.Generator, support: Tensor, query: Tensor) -> Tensor:
        loss, grads = gradient(Tasks(support, query))
        give_gradients(params.values(), (grads[name] for name in params))
        optimizer.step()
        return loss

    rng = torch.Generator(device=context.device)

    def tasks(i: int) -> tuple[Tensor, Tensor]:
        drawn = sampler.sample(meta_batch, spec, rng.manual_seed(seed(i)))
        return drawn.support, drawn.query

    def sample_and_learn(rng: torch.Generator) -> Tensor:
        drawn = sampler.sample(meta_batch, spec, rng)
        return learn(rng, drawn.support, drawn.query)

    step = Step(seed, tasks, learn, "gradient and optimiser")
    if getattr(sampler, "capturable", False):
        step = Step(seed, lambda i: (), sample_and_learn, "sampling, gradient and optimiser", otherwise=step)
    outcome = train(
        step,
        {**params, **buffers, **getattr(sampler, "state", {})},
        optimizer,
        context.budget.meta_iterations,
        context.checkpoint,
        context.progress,
        "meta-train",
        learner,
        context.monitor,
        context.budget.validate_every,
        items=meta_batch,
        unit="tasks",
    )
    if outcome["facts"]:
        context.note(meta_training=outcome["facts"]["program"])


TASKS_ON_GPU = 128
BYTES_A_TASK = 2**25
"""Of 28x28 images, about: 5-shot tasks with 75 queries. Where a task needs more, chunks are halved when memory ends."""


def chunk_size(tasks_on_cpu: int, shape: ImageShape, device: torch.device) -> int:
    """How many tasks to answer at once: as many as stay in the cache of a CPU, as fill a GPU and fit its memory.

    ``tasks_on_cpu`` is the measured best for 28x28 images; larger images take proportionally fewer tasks.
    """
    base = tasks_on_cpu
    if device.type == "cuda":
        base = min(TASKS_ON_GPU, free_bytes(device) // BYTES_A_TASK)
    return max(1, base * 28 * 28 // (shape[1] * shape[2]))


def check_training(name: str, meta_lr: float, meta_batch: int) -> None:
    """The settings that all meta-learners have."""
    if not meta_lr > 0:
        raise BenchError(f"{name}.meta_lr must be above 0, not {meta_lr}")
    if meta_batch < 1:
        raise BenchError(f"{name}.meta_batch must be at least 1, not {meta_batch}")
