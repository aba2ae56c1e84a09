"""Two threads on a CPU that other programs want too: waiting by sleeping, not by spinning, for as long as that lasts.

PyTorch's threads meet thousands of times in a training step, and GNU OpenMP's wait for each other by spinning: on a
quiet machine that is a third faster than sleeping. Where another program takes a core, two of them come to share the
other one, and the one that spins keeps away the very one that it waits for: beside one busy program training on two
cores falls to between a third and a sixteenth of its speed, where half is there to be had.

How long OpenMP spins is read once, when the library is loaded. But it spins for a moment only while it manages more
threads than there are CPUs. So there are idle teams of threads here while others want the CPUs. No number changes:
the threads that compute, and what each of them computes, stay the same.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import torch

from bench.basics.cpus import affinity

PERIOD = 0.25
"""Seconds between two looks."""
WAITED, CALM = 0.2, 0.1
"""Share of the time that a thread was kept from running: above the first others want the CPUs, below the second not.
Measured on two cores: 0.06 at most on a quiet machine, 0.25 to 0.5 beside one busy program, spinning or sleeping.
"""
PATIENCE = 8
"""Calm looks in turn before threads spin again."""
MOST_TEAMS = 32


@contextlib.contextmanager
def making_way(threads: int | None = None, tasks: Path = Path("/proc/self/task")) -> Iterator[None]:
    """While entered, threads that wait sleep whenever other programs want the CPUs. Nothing where that cannot be seen
    (not Linux), or where one thread computes.

    threads: that compute; None is as many as PyTorch takes now.
    """
    teams = teams_needed(threads or torch.get_num_threads(), affinity())
    if not teams or not kept_waiting(tasks):
        yield
        return
    end = threading.Event()
    watch = threading.Thread(target=_watch, args=(end, teams, tasks), daemon=True, name="crowding")
    watch.start()
    try:
        yield
    finally:
        end.set()
        watch.join()


def teams_needed(threads: int, cpus: int) -> int:
    """Idle teams of ``threads`` that bring the threads above the CPUs, of which a team's first is not counted; 0 where
    that would be too many, or where nobody waits for anybody.
    """
    if threads < 2:
        return 0
    needed = max(1, (cpus - threads) // (threads - 1) + 1)
    return needed if needed <= MOST_TEAMS else 0


def kept_waiting(tasks: Path) -> dict[str, float]:
    """Thread -> seconds so far that it was ready to run and had no CPU. Empty where the system does not say."""
    found = {}
    with contextlib.suppress(OSError):
        for task in tasks.iterdir():
            with contextlib.suppress(OSError, ValueError, IndexError):  # a thread may end while one looks
                found[task.name] = int((task / "schedstat").read_text(encoding="utf-8").split()[1]) / 1e9
    return found


class Crowd:
    """Whether others want the CPUs, from look to look."""

    def __init__(self) -> None:
        self.there = False
        self._calm = 0

    def look(self, share: float) -> bool:
        """share: of the time since the last look, what the thread that waited longest was ready but had no CPU."""
        if share > WAITED:
            self.there, self._calm = True, 0
        elif share < CALM:
            self._calm += 1
            self.there = self.there and self._calm < PATIENCE
        else:
            self._calm = 0
        return self.there


class IdleTeams:
    """Threads of OpenMP that are there and do nothing."""

    def __init__(self, teams: int) -> None:
        self._end = threading.Event()
        self._holders = [threading.Thread(target=self._hold, daemon=True) for _ in range(teams)]
        for holder in self._holders:
            holder.start()

    def _hold(self) -> None:
        torch.zeros(1 << 18).add_(1)  # large enough to be shared out, so that this thread comes to have a team
        self._end.wait()

    def leave(self) -> None:
        """They end with the threads that hold them."""
        self._end.set()
        for holder in self._holders:
            holder.join()


def _watch(end: threading.Event, teams: int, tasks: Path) -> None:
    crowd, idle = Crowd(), None
    own = str(threading.get_native_id())
    before, then = kept_waiting(tasks), time.monotonic()
    while not end.wait(PERIOD):
        after, now = kept_waiting(tasks), time.monotonic()
        waited = max((after[one] - before[one] for one in after.keys() & before.keys() if one != own), default=0.0)
        there = crowd.look(waited / (now - then))
        if there and idle is None:
            idle = IdleTeams(teams)
        elif not there and idle is not None:
            idle.leave()
            idle = None
        before, then = after, now
    if idle is not None:
        idle.leave()
