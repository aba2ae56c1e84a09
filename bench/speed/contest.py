"""A row of the table: the same work done by us and by others, in turns."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch

OURS, PLAIN, LEARN2LEARN, SKLEARN = "ours", "plain", "learn2learn", "scikit-learn"
REFERENCES = (LEARN2LEARN, PLAIN, SKLEARN)
"""Whom a target is about: the first of these that takes part."""

Side = Callable[[], float | None]
"""Does the work once. Seconds, where it times itself; None where it is to be timed from outside."""


@dataclass(frozen=True, slots=True)
class Contest:
    """One row. ``sides`` makes those who take part, ours under :data:`OURS`, when the row's turn comes.

    target: the least ratio that we ask of ourselves; 0 where nothing is asked.
    """

    name: str
    sides: Callable[[], Mapping[str, Side]]
    target: float = 0.0


@dataclass(slots=True)
class Result:
    """Seconds of every round for each side, in the order they were taken; ``failed``: side -> what went wrong."""

    name: str
    target: float = 0.0
    seconds: dict[str, list[float]] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)

    @property
    def peers(self) -> list[str]:
        """Those besides us who finished."""
        return sorted((name for name in self.seconds if name != OURS), key=lambda name: (name != PLAIN, name))

    @property
    def reference(self) -> str | None:
        """Whom the target is about; None where nobody fit for it finished, or nothing is asked."""
        found = [name for name in REFERENCES if name in self.peers]
        return found[0] if found and self.target else None

    def ratios(self, peer: str) -> list[float]:
        """Round by round, peer / ours: above 1 we are faster."""
        return [theirs / ours for theirs, ours in zip(self.seconds[peer], self.seconds[OURS], strict=True)]

    def ratio(self, peer: str) -> float:
        """The median of :meth:`ratios`."""
        return statistics.median(self.ratios(peer))

    def median(self, side: str) -> float:
        """Median seconds of one side."""
        return statistics.median(self.seconds[side])


def measure(contest: Contest, rounds: int, device: torch.device, limit: float = float("inf")) -> Result:
    """One untimed turn of everybody, then ``rounds`` timed ones, taken in turns.

    After ``limit`` seconds no further round begins, but one is always timed. A side that fails is noted and left out;
    without ours there is nothing to compare.
    """
    result = Result(contest.name, contest.target)
    began = time.perf_counter()
    try:
        sides = dict(contest.sides())
    except Exception as error:  # whatever one row runs into, the others are still measured
        result.failed[OURS] = _told(error)
        return result
    for i in range(rounds + 1):
        for name, run in list(sides.items()):
            try:
                taken = _seconds(run, device)
            except Exception as error:
                result.failed[name] = _told(error)
                result.seconds.pop(name, None)
                del sides[name]
                if name == OURS:
                    result.seconds.clear()
                    return result
                continue
            if i > 0:
                result.seconds.setdefault(name, []).append(taken)
        if i > 0 and time.perf_counter() - began > limit:
            break
    return result


def _seconds(run: Side, device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    began = time.perf_counter()
    timed = run()
    if timed is not None:
        return timed
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - began


def _told(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
