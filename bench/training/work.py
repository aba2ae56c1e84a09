"""What a training costs, in measures that do not depend on who else used the machine.

*Images*: every image that passes forward through a network in training counts 1, every time and for every network. An
inner step of MAML on 5 support images is 5, and its query pass counts the queries; every view of an image counts; what
a generator decodes and a discriminator or a teacher looks at counts, and so does an embedding of all images that a
method clusters. Backward passes and Hessian-vector products do not count, nor do evaluation, meta-validation and the
checks of a finished generator. The number follows from the configuration, whatever the machine.

*CPU seconds*: of this process, all its threads together, kept over interruptions. Meta-validation is left out.

*GPU seconds*: for which a training loop or a clustering held a GPU, by the clock on the wall.

Networks say :func:`count`, each in one place. Who wants to know opens :func:`metered`; elsewhere counting does nothing.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import torch


@dataclass(frozen=True, slots=True)
class Cost:
    """images through networks, CPU seconds, GPU seconds; None is unknown, and so is what is added to it."""

    images: int | None = 0
    cpu_seconds: float | None = 0.0
    gpu_seconds: float | None = 0.0

    def __add__(self, other: Cost) -> Cost:
        return Cost(
            None if self.images is None or other.images is None else self.images + other.images,
            _sum(self.cpu_seconds, other.cpu_seconds),
            _sum(self.gpu_seconds, other.gpu_seconds),
        )

    def facts(self) -> dict[str, float]:
        """What is known, for a checkpoint or a record: what is absent is unknown."""
        told = {"images": self.images, "cpu_seconds": self.cpu_seconds, "gpu_seconds": self.gpu_seconds}
        return {name: value for name, value in told.items() if value is not None}

    @classmethod
    def told(cls, facts: Mapping[str, Any]) -> Cost:
        """The inverse of :meth:`facts`."""
        return cls(facts.get("images"), facts.get("cpu_seconds"), facts.get("gpu_seconds"))


UNKNOWN = Cost(None, None, None)
"""Of what somebody else trained."""


class Meter:
    """What was spent since it was opened, and what it was told to include."""

    def __init__(self) -> None:
        self.images = 0
        self._included = Cost()
        self._began, self._ended = time.process_time(), 0.0
        self._elsewhere = 0.0

    def include(self, cost: Cost) -> None:
        """Add what was spent elsewhere: in a process that was interrupted, in a part that was metered by itself."""
        self._included += cost

    @property
    def cost(self) -> Cost:
        """So far; fixed once it is closed."""
        return Cost(self.images, self._here() - self._elsewhere) + self._included

    def _here(self) -> float:
        return (self._ended or time.process_time()) - self._began

    def _close(self, outer: Meter | None) -> None:
        self._ended = time.process_time()
        if outer is not None:
            outer._elsewhere += self._here()


_meter: ContextVar[Meter | None] = ContextVar("meter", default=None)


def count(images: int) -> None:
    """So many images pass through a network."""
    meter = _meter.get()
    if meter is not None:
        meter.images += images


def include(cost: Cost) -> None:
    """Add to what is being metered."""
    meter = _meter.get()
    if meter is not None:
        meter.include(cost)


def hold(device: torch.device, seconds: float) -> None:
    """Say that a training held ``device`` for so long; of a CPU that says nothing."""
    if device.type == "cuda":
        include(Cost(gpu_seconds=seconds))


def so_far() -> Cost:
    """Of what is being metered."""
    meter = _meter.get()
    return meter.cost if meter is not None else Cost()


@contextlib.contextmanager
def metered() -> Iterator[Meter]:
    """Meter what is done within, and leave it out of what is metered around it, unless that is told to include it."""
    outer, inner = _meter.get(), Meter()
    token = _meter.set(inner)
    try:
        yield inner
    finally:
        _meter.reset(token)
        inner._close(outer)


def _sum(one: float | None, other: float | None) -> float | None:
    return None if one is None or other is None else one + other
