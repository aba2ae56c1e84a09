"""Whether a sampler makes tasks as :class:`bench.contracts.TaskSampler` says, found on its first two, drawn twice."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

from bench.basics.seeds import Seed
from bench.checks.finding import Finding
from bench.checks.process import Process
from bench.contracts import Tasks, TaskSampler, TaskSpec

TASKS = 2
BEYOND = 1e-3
"""By how much pixels may lie outside [0, 1]: an interpolation rounds."""
ALIKE = 1e-4
"""Mean difference of pixels up to which two draws are equal: on a GPU some sums differ from call to call."""


def examine(sampler: TaskSampler, spec: TaskSpec, device: torch.device, seed: Seed) -> Iterator[Finding]:
    """The checks, one after the other. Every tensor of the sampler's ``state`` is put back as it was.

    Raises whatever the sampler raises.
    """
    before = Process(device)
    state: Mapping[str, Tensor] = getattr(sampler, "state", {})
    kept = {name: value.clone() for name, value in state.items()}
    try:
        yield from _examined(sampler, spec, device, seed, before)
    finally:
        with torch.no_grad():
            for name, value in kept.items():
                state[name].copy_(value)


def _examined(
    sampler: TaskSampler, spec: TaskSpec, device: torch.device, seed: Seed, before: Process
) -> Iterator[Finding]:
    name = f"{type(sampler).__name__}.sample"
    first = sampler.sample(TASKS, spec, seed.generator(device))
    fault = ill_formed(name, first, spec, device, getattr(sampler, "image_shape", None))
    yield Finding("tasks", "support [n, N, K, C, H, W] and query [n, N, Q, C, H, W], float32 on the device", fault)
    if fault is not None:
        return
    yield Finding("range", "pixels are finite and in [0, 1]", _out_of_range(name, first))
    fault = None
    if first.support.data_ptr() == first.query.data_ptr():
        fault = f"{name} hands out its support images as queries too, so that there is nothing to learn; draw others"
    yield Finding("queries", "queries are other images than the support", fault)
    fault = None
    if torch.equal(first.support[0], first.support[1]) and torch.equal(first.query[0], first.query[1]):
        fault = f"{name} makes equal tasks; draw each of them from rng (or its generator makes one image only)"
    yield Finding("distinct", "no two tasks are the same", fault)
    again = sampler.sample(TASKS, spec, seed.generator(device))
    fault = None
    if drew := before.drew_from():
        fault = (
            f"{name} draws from, or seeds, the global generator of {' and '.join(drew)}; take every draw from the rng "
            "that it is given"
        )
    yield Finding("global generators", "no draw is from a global generator", fault)
    fault = None
    if _apart(first.support, again.support) > ALIKE or _apart(first.query, again.query) > ALIKE:
        fault = f"{name} makes other tasks from an equal rng; take every draw from the rng that it is given"
    yield Finding("equal draws", "equal states of rng give equal tasks", fault)
    fault = None
    if changed := before.changed():
        fault = f"{name} changed {' and '.join(changed)}; whatever makes tasks must leave its process as it was"
    yield Finding("process", "making tasks leaves the process as it was", fault)


def ill_formed(
    name: str, tasks: object, spec: TaskSpec, device: torch.device, image_shape: tuple[int, int, int] | None
) -> str | None:
    """What is wrong with the tensors of ``TASKS`` tasks."""
    support, query = getattr(tasks, "support", None), getattr(tasks, "query", None)
    if not isinstance(support, Tensor) or not isinstance(query, Tensor):
        return f"{name} must return bench.contracts.Tasks(support, query), not {type(tasks).__name__}"
    shape = list(image_shape or support.shape[-3:])
    for part, tensor, count in (("support", support, spec.shot), ("query", query, spec.query)):
        expected = [TASKS, spec.way, count, *shape]
        if list(tensor.shape) != expected:
            return f"{name}: {part} must have shape {expected} for {TASKS} tasks of {spec}, not {list(tensor.shape)}"
        if tensor.dtype != torch.float32:
            return f"{name}: {part} must be float32, not {str(tensor.dtype).removeprefix('torch.')}"
        if tensor.device.type != device.type:
            return f"{name}: {part} must be on {device}, not on {tensor.device}; make tasks where rng.device is"
    return None


def _out_of_range(name: str, tasks: Tasks) -> str | None:
    low = min(float(tasks.support.amin()), float(tasks.query.amin()))
    high = max(float(tasks.support.amax()), float(tasks.query.amax()))
    if low >= -BEYOND and high <= 1 + BEYOND:  # false for NaN too
        return None
    return f"{name} makes images with values from {low:g} to {high:g}; they must be in [0, 1]"


def _apart(one: Tensor, other: Tensor) -> float:
    return float((one - other).abs().mean()) if one.shape == other.shape else float("inf")
