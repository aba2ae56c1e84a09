"""What a training would cost, found without it: a step or two, taken as often as there would be steps.

For records from before there was a count. Trainings within :func:`rehearsing` come out untrained.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from contextvars import ContextVar

import torch
from torch import Tensor

from bench.training.steps import Step, Steps
from bench.training.work import UNKNOWN, Cost, metered

_rehearsing: ContextVar[bool] = ContextVar("rehearsing", default=False)


@contextlib.contextmanager
def rehearsing() -> Iterator[None]:
    """Within, :func:`bench.training.loop.train` trains nothing, and clusterings that count nothing may be any."""
    token = _rehearsing.set(True)
    try:
        yield
    finally:
        _rehearsing.reset(token)


def is_rehearsal() -> bool:
    """Whether only the cost is wanted."""
    return _rehearsing.get()


def rehearsed(step: Step | Callable[[int], Tensor], total: int, device: torch.device) -> Cost:
    """The images of ``total`` steps; seconds are unknown, and so is everything where steps differ as they should not.

    Two of the ordinary steps are taken, and the first and last of those of which ``step`` says that they do more.
    """
    asked = step.others(total) if isinstance(step, Step) else ()
    if asked is None:
        return UNKNOWN
    others = sorted({i for i in asked if i < total})
    ordinary = total - len(others)
    run = Steps(step, device)
    with run.running():
        found: dict[int, int] = {}
        some = [i for i in range(min(total, len(others) + 2)) if i not in set(others)][:2]
        for i in sorted({*some, *others[:1], *others[-1:]}):
            with metered() as spent:
                run(i)
            found[i] = spent.images
    if len({found[i] for i in some}) > 1 or (others and found[others[0]] != found[others[-1]]):
        return UNKNOWN
    images = ordinary * (found[some[0]] if some else 0) + len(others) * (found[others[0]] if others else 0)
    return Cost(images, None, None)
