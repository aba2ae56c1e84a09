"""The one training loop: resume, progress, learning curve, divergence, checkpoints. Used by everything that trains.

It never forces a device sync per step: losses are written to a tensor on the device and read about twice a second.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from bench.basics.errors import BenchError, Diverged
from bench.basics.seeds import Seed
from bench.basics.signals import between_steps
from bench.contracts import Learner, Monitor, ProgressCallback
from bench.training.checkpoint import Checkpoint
from bench.training.rehearsal import is_rehearsal, rehearsed
from bench.training.steps import Step, Steps
from bench.training.work import Cost, include, metered


def train(
    step: Step | Callable[[int], Tensor],
    tensors: Mapping[str, Tensor],
    optimizer: torch.optim.Optimizer | None,
    total: int,
    checkpoint: Checkpoint,
    progress: ProgressCallback,
    stage: str,
    learner: Callable[[], Learner] | None = None,
    monitor: Monitor | None = None,
    monitor_every: int = 0,
    items: int = 0,
    unit: str = "images",
    growing: bool = False,
) -> dict[str, Any]:
    """Run ``step(i)`` for i = start … total-1 and leave ``tensors`` trained, in place.

    ``step(i)`` updates ``tensors`` (through ``optimizer`` or otherwise) and returns the loss, a detached scalar on
    the device. It must depend on nothing but ``i``, ``tensors`` and the optimiser state, so that a resumed training
    is bit-identical to an uninterrupted one. ``tensors`` holds every weight and buffer that training changes. A
    :class:`bench.training.steps.Step` is captured on a GPU; what cannot be is said once through ``progress``.

    With a checkpoint whose training is complete nothing is trained; tensors are restored. ``monitor(i, learner())``
    is called every ``monitor_every`` steps and after the last. ``items`` is how many images (or another ``unit``) a
    step works through; progress then shows them per second. ``growing``: a training of fewer steps, complete or not,
    is the beginning of this one, so its checkpoint keeps the optimiser's state for good.

    Returns ``{"loss": [total floats], "validation": [[step, accuracy], …], "seconds": training time so far, "cost":
    a :class:`bench.training.work.Cost`, of all steps whoever took them, "facts": what a record should say besides}``.
    The cost is included in whatever is metered around.
    Raises Diverged at the first non-finite loss.
    """
    device = next(iter(tensors.values())).device
    if is_rehearsal():
        cost = rehearsed(step, total, device)
        include(cost)
        return {"loss": [0.0] * total, "validation": [], "seconds": 0.0, "cost": cost, "facts": {}}
    losses = torch.full((max(total, 1),), float("nan"), device=device)
    validation: list[list[float]] = []
    seconds, start, earlier = 0.0, 0, Cost()
    saved = checkpoint.load()
    if saved is not None:
        state, meta = saved
        fits = meta["step"] <= total if growing else meta["total"] == total
        if meta["stage"] != stage or not fits:
            raise BenchError(
                f"{checkpoint.path} holds {meta['stage']} of {meta['total']} steps, not {stage} of {total}; "
                "delete it and run again"
            )
        _restore(tensors, optimizer, state, checkpoint)
        start, validation, seconds = meta["step"], meta["validation"], meta["seconds"]
        earlier = Cost.told(meta)
        losses[:start] = state["losses"][:start].to(device)

    def spent_in_all() -> Cost:
        held = time.monotonic() - began - looked if device.type == "cuda" else 0.0
        return earlier + spent.cost + Cost(gpu_seconds=held)

    def save(done: int, complete: bool = False) -> None:
        state = {f"tensor.{name}": tensor for name, tensor in tensors.items()}
        if growing or not complete:
            state |= _optimizer_state(optimizer)
        meta = {
            "stage": stage,
            "step": done,
            "total": total,
            "validation": validation,
            "seconds": seconds + time.monotonic() - began - looked,
            "complete": complete,
            **spent_in_all().facts(),
        }
        checkpoint.save({**state, "losses": losses[:done]}, meta)

    began = reported = time.monotonic()
    looked = 0.0  # seconds spent on meta-validation, which is not training
    checked = start
    run = Steps(step, device)
    with metered() as spent, between_steps() as steps, run.running():
        for i in range(start, total):
            # An error inside a step may leave half an update, so nothing is saved on the way out of one.
            losses[i] = run(i)
            done = i + 1
            while run.fell_back:
                progress(f"{stage}: {run.fell_back.pop(0)}", 0, 0, {})
            look = monitor is not None and monitor_every > 0 and (done % monitor_every == 0 or done == total)
            if time.monotonic() - reported >= 0.5 or look or done == total or checkpoint.due() or steps.stopped:
                recent = losses[checked:done].cpu()  # waits for the device, so the clock is read after it
                elapsed = time.monotonic() - reported
                _check_finite(recent, checked, stage)
                metrics = {"loss": float(recent.mean())}
                if items and elapsed > 0:
                    metrics[f"{unit}/s"] = items * (done - checked) / elapsed
                checked = done
                if look and monitor is not None and learner is not None:
                    looking = time.monotonic()
                    with metered():
                        validation.append([done, monitor(done, learner())])
                    looked += time.monotonic() - looking
                if validation:
                    metrics["validation"] = validation[-1][1]
                try:
                    progress(stage, done, total, metrics)
                    if steps.stopped:
                        raise steps.stopped
                except BaseException:  # a time limit, Ctrl-C: between two steps, so what is done can be kept
                    save(done, complete=done == total)
                    raise
                if checkpoint.due() and done < total:
                    save(done)
                reported = time.monotonic()  # looking and saving are no part of the next images per second
    if start < total or saved is None or (growing and not saved[1]["complete"]):
        save(total, complete=True)
    include(cost := spent_in_all())
    return {
        "loss": losses[:total].cpu().tolist(),
        "validation": validation,
        "seconds": seconds + time.monotonic() - began - looked,
        "cost": cost,
        "facts": run.facts if start < total else {},
    }


def _check_finite(losses: Tensor, first: int, stage: str) -> None:
    bad = (~torch.isfinite(losses)).nonzero()
    if len(bad):
        raise Diverged(f"{stage}: the loss became non-finite at step {first + int(bad[0])}")


def _optimizer_state(optimizer: torch.optim.Optimizer | None) -> dict[str, Tensor]:
    if optimizer is None:
        return {}
    return {
        f"optimizer.{index}.{name}": value if isinstance(value, Tensor) else torch.tensor(value)
        for index, values in optimizer.state_dict()["state"].items()
        for name, value in values.items()
    }


def _restore(
    tensors: Mapping[str, Tensor],
    optimizer: torch.optim.Optimizer | None,
    state: Mapping[str, Tensor],
    checkpoint: Checkpoint,
) -> None:
    for name, tensor in tensors.items():
        saved = state.get(f"tensor.{name}")
        if saved is None or saved.shape != tensor.shape:
            raise BenchError(f"{checkpoint.path} does not fit this model at {name!r}; delete it and run again")
        with torch.no_grad():
            tensor.copy_(saved)
    if optimizer is None:
        return
    moments: dict[int, dict[str, Tensor]] = {}
    for key, value in state.items():
        if key.startswith("optimizer."):
            _, index, name = key.split(".", 2)
            moments.setdefault(int(index), {})[name] = value
    if moments:
        optimizer.load_state_dict({**optimizer.state_dict(), "state": moments})


class EpochBatches:
    """Which images belong to step i: every epoch visits them in a new order, ``batch`` at a time, the rest left out.

    What step i sees depends on the seed and on i alone, so a resumed training sees the same.
    """

    def __init__(self, images: int, batch: int, seed: Seed, device: torch.device) -> None:
        self.images, self.device, self.seed = images, device, seed
        self.size = min(batch, images)
        self.per_epoch = images // self.size
        self._order: tuple[int, Tensor] = (-1, torch.empty(0))

    def at(self, i: int) -> Tensor:
        """Indices int64 [size] of step ``i``."""
        epoch, position = divmod(i, self.per_epoch)
        if self._order[0] != epoch:
            rng = self.seed.at("epoch", epoch).generator()
            self._order = epoch, torch.randperm(self.images, generator=rng).to(self.device)
        return self._order[1][position * self.size : (position + 1) * self.size]
