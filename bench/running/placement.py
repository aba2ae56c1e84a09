"""Which GPU a run gets when several run side by side: places on GPUs, taken and given back. Imports no torch.

Nothing here makes a CUDA context: it would hold hundreds of MiB of a GPU for a process that computes nothing there.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

MIB_A_RUN = 6 * 1024
"""Of GPU memory: assumed of a run before it has begun."""
MOST_A_GPU = 4
"""By default. Four trainings of MAML at once on an H100 have 97 % of the speed of one, a quarter each. What is gained:
one run starts, reads images or clusters on the CPU while others compute.
"""
VISIBLE = "CUDA_VISIBLE_DEVICES"


@dataclass(frozen=True, slots=True)
class Gpu:
    """One that this process may use."""

    index: int
    """As this process counts: that of ``cuda:1``."""
    name: str
    """What shows a process this GPU alone, in ``CUDA_VISIBLE_DEVICES``: a number, or an identifier."""
    free_mib: float | None = None
    """None where nobody could say."""


@dataclass(eq=False, slots=True)
class Place:
    """Room for one run on a GPU. shared: whether another run was on that GPU at any time since this place was taken."""

    gpu: Gpu
    alone: bool = False
    shared: bool = False

    @property
    def environment(self) -> dict[str, str]:
        """What the run's process must find in its environment before it asks for CUDA."""
        return {VISIBLE: self.gpu.name}


class Closed(Exception):
    """Nothing more is to start."""


class Placement:
    """Places on GPUs, at most ``rooms[gpu]`` at a time on each. The GPU with fewest runs comes first, then most memory.

    Only runs without a process wait for a place, and a place is given back when the run's process has ended. So runs
    that wait for one another's artifacts cannot block each other: the one that trains it has its place.
    """

    def __init__(self, rooms: Mapping[Gpu, int]) -> None:
        self.rooms = {gpu: room for gpu, room in rooms.items() if room}
        self._taken: dict[Gpu, list[Place]] = {gpu: [] for gpu in self.rooms}
        self._awaited: list[Gpu] = []  # by runs that want to be alone there, so that no new one comes in between
        self._changed = threading.Condition()
        self._closed = False

    @contextlib.contextmanager
    def one(self, alone_on: Gpu | None = None) -> Iterator[Place]:
        """A place, once there is one; ``alone_on`` a GPU: once nobody is there, and nobody comes. Raises Closed."""
        place = self._take(alone_on)
        try:
            yield place
        finally:
            with self._changed:
                self._taken[place.gpu].remove(place)
                self._changed.notify_all()

    def close(self) -> None:
        """Nobody gets a place any more, and whoever waits for one need not wait."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def describe(self) -> str:
        """One line for people."""
        return "at most " + ", ".join(
            f"{room} run{'s' * (room > 1)} at a time on GPU {gpu.index}" for gpu, room in self.rooms.items()
        )

    def _take(self, alone_on: Gpu | None) -> Place:
        with self._changed:
            if alone_on is not None:
                self._awaited.append(alone_on)
            try:
                while (gpu := self._free(alone_on)) is None:
                    self._changed.wait()
            finally:
                if alone_on is not None:
                    self._awaited.remove(alone_on)
            others = self._taken[gpu]
            place = Place(gpu, alone=alone_on is not None, shared=bool(others))
            for one in others:
                one.shared = True
            others.append(place)
            return place

    def _free(self, alone_on: Gpu | None) -> Gpu | None:
        if self._closed:
            raise Closed
        if alone_on is not None:
            return None if self._taken[alone_on] else alone_on
        free = [
            gpu
            for gpu, taken in self._taken.items()
            if len(taken) < self.rooms[gpu] and gpu not in self._awaited and not any(one.alone for one in taken)
        ]
        return min(free, key=lambda gpu: (len(self._taken[gpu]), -(gpu.free_mib or 0.0), gpu.index), default=None)


def placement(device: str, per_gpu: int | None = None) -> Placement | None:
    """For runs side by side on ``device``: ``auto`` and ``cuda`` use every GPU, ``cuda:1`` that one. None without any.

    per_gpu: runs at a time on one GPU; None is as many as its free memory has room for, at most ``MOST_A_GPU``.
    """
    if device == "cpu":
        return None
    gpus = visible_gpus()
    _, _, pinned = device.partition(":")
    if pinned:
        gpus = [gpu for gpu in gpus if gpu.index == int(pinned)]
    return Placement(rooms(gpus, per_gpu)) if gpus else None


def rooms(gpus: Sequence[Gpu], per_gpu: int | None) -> dict[Gpu, int]:
    """GPU -> runs at a time. Where no GPU seems to have room for a run, one may try on each."""
    if per_gpu is not None:
        return dict.fromkeys(gpus, per_gpu)
    by_memory = {gpu: MOST_A_GPU if gpu.free_mib is None else int(gpu.free_mib // MIB_A_RUN) for gpu in gpus}
    return {gpu: min(MOST_A_GPU, room) if any(by_memory.values()) else 1 for gpu, room in by_memory.items()}


def visible_gpus() -> list[Gpu]:
    """The GPUs that this process may use, and how much of their memory is free."""
    import torch

    memory = free_memory()
    return [Gpu(i, name, _of(name, memory)) for i, name in enumerate(names(torch.cuda.device_count()))]


def names(count: int) -> list[str]:
    """What each of the ``count`` GPUs of this process is called: by what ``CUDA_VISIBLE_DEVICES`` says already."""
    visible = os.environ.get(VISIBLE)
    chosen = map(str, range(count)) if visible is None else (one.strip() for one in visible.split(","))
    return list(chosen)[:count]


def free_memory() -> dict[str, float]:
    """Number and identifier of every GPU of the machine -> free MiB; empty where the driver's tool is absent."""
    query = ["nvidia-smi", "--query-gpu=index,uuid,memory.free", "--format=csv,noheader,nounits"]
    try:
        said = subprocess.run(query, capture_output=True, text=True, timeout=20, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return {}
    found: dict[str, float] = {}
    for line in said.splitlines():
        with contextlib.suppress(ValueError):  # "[N/A]" where parts of a GPU are lent out
            number, identifier, free = (part.strip() for part in line.split(","))
            found[number] = found[identifier] = float(free)
    return found


def _of(name: str, memory: Mapping[str, float]) -> float | None:
    if name in memory:
        return memory[name]
    if name.isdigit():
        return None
    return next((free for one, free in memory.items() if one.startswith(name)), None)  # the beginning will do for CUDA
