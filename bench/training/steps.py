"""A step of training in two halves, the second of which a GPU is told once and then repeats.

A training step is hundreds to thousands of small kernels, and on a GPU most of its time is spent launching them. A CUDA
graph launches all of them at once. What is captured computes what was written: the same kernels in the same order.
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import torch
from torch import Tensor

from bench.training.work import Cost, count, include, metered

T = TypeVar("T")

_WAITING = "called a synchronizing CUDA operation"
_PROTOTYPE = "Synchronization debug mode is a prototype"
"""What PyTorch says where the processor waits for the GPU, and once of the mode in which it says so."""


@dataclass(frozen=True)
class Step:
    """What a training repeats, split at the line between host and device.

    seed: step i -> the number that its draws come from. inputs: step i -> tensors whose shapes and types never change;
    called in order, once a step, and free to do anything that is done now and then (a new order of the images, a new
    learning rate).

    compute: (rng, *inputs) -> loss, a detached scalar; it draws from ``rng`` alone and updates the weights in place. On
    a GPU it is captured once and replayed, so it must launch the same kernels whatever the step: no branch on the value
    of a tensor, no shape that depends on one, nothing read back, no state of Python.

    captures: what that is, in a few words, for the record. otherwise: the step to try where this one cannot be
    captured.

    others: total -> the steps before which ``inputs`` takes images through a network that it does not take through in
    all others (embeds all of them, say); None where nobody knows before it is done. All steps else cost the same.
    """

    seed: Callable[[int], int]
    inputs: Callable[[int], tuple[Tensor, ...]]
    compute: Callable[..., Tensor]
    captures: str = "the whole step"
    otherwise: Step | None = None
    others: Callable[[int], Iterable[int] | None] = lambda total: ()


class Graphs(Protocol):
    """What captures: CUDA, or a stand-in for tests."""

    def stream(self) -> contextlib.AbstractContextManager[object]:
        """Everything between, warm-up, capture and replay, belongs to one stream."""
        ...

    def watched(self) -> contextlib.AbstractContextManager[list[str]]:
        """A list that holds, afterwards, what was done between that cannot be captured: waiting for the device."""
        ...

    def capture(self, compute: Callable[[], T], rng: torch.Generator | None = None) -> tuple[Callable[[], None], T]:
        """(replay, result): record ``compute`` without running it; ``rng`` may be seeded anew before each replay."""
        ...


class CudaGraphs:
    """Capture by ``torch.cuda.CUDAGraph``."""

    def __init__(self, device: torch.device) -> None:
        self.device = device

    @contextlib.contextmanager
    def stream(self) -> Iterator[None]:
        """A stream of its own, in order with the current one."""
        outer, inner = torch.cuda.current_stream(self.device), torch.cuda.Stream(self.device)  # type: ignore[no-untyped-call]
        inner.wait_stream(outer)
        try:
            with torch.cuda.stream(inner):
                yield
        finally:
            outer.wait_stream(inner)

    @contextlib.contextmanager
    def watched(self) -> Iterator[list[str]]:
        """See :class:`Graphs`."""
        seen: list[str] = []
        before = torch.cuda.get_sync_debug_mode()
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            torch.cuda.set_sync_debug_mode("warn")
            try:
                yield seen
            finally:
                torch.cuda.set_sync_debug_mode(before)
        for one in said:
            text = str(one.message)
            if text.startswith(_WAITING):
                seen.append("it waits for the GPU")
            elif not text.startswith(_PROTOTYPE):
                warnings.warn_explicit(one.message, one.category, one.filename, one.lineno)

    def capture(self, compute: Callable[[], T], rng: torch.Generator | None = None) -> tuple[Callable[[], None], T]:
        """See :class:`Graphs`."""
        graph = torch.cuda.CUDAGraph()
        if rng is not None:
            graph.register_generator_state(rng)
        # Other threads may use the GPU meanwhile: their calls are no part of this.
        with torch.cuda.graph(graph, stream=torch.cuda.current_stream(self.device), capture_error_mode="thread_local"):
            result = compute()
        return graph.replay, result


class Repeated:
    """A computation that is repeated unchanged, on tensors that it changes in place.

    The first time it runs as it is written; then it is captured where the device can.
    program: how it ran, for a record.
    """

    def __init__(self, compute: Callable[[], None], device: torch.device, graphs: Graphs | None = None) -> None:
        self._compute = compute
        self._graphs = CudaGraphs(device) if graphs is None and device.type == "cuda" else graphs
        self._replay: Callable[[], None] | None = None
        self.program = ""

    def __call__(self, times: int) -> None:
        """Run it ``times`` times."""
        with self._graphs.stream() if self._graphs is not None else contextlib.nullcontext():
            for i in range(times):
                if self._graphs is not None and self._replay is None and i > 0:
                    self._capture()
                (self._replay or self._compute)()

    def _capture(self) -> None:
        assert self._graphs is not None
        try:
            self._replay, _ = self._graphs.capture(self._compute)
            self.program = "captured"
        except torch.OutOfMemoryError:
            raise  # of which the caller makes smaller pieces
        except Exception as error:
            self._graphs, self.program = None, f"step by step: {_first_line(error)}"


class Steps:
    """Runs a :class:`Step` for one i after another, captured where the device can.

    The first ``WARM_UP`` steps run as they are written: they set up what libraries and optimisers set up at first use.
    A plain function of i always runs as it is written.
    """

    WARM_UP = 3

    def __init__(
        self, step: Step | Callable[[int], Tensor], device: torch.device, graphs: Graphs | None = None
    ) -> None:
        if graphs is None and device.type == "cuda":
            graphs = CudaGraphs(device)
        self._step, self._device, self._graphs = step, device, graphs
        self._rng = torch.Generator(device=device)
        self._replay: tuple[Callable[[], None], tuple[Tensor, ...], Tensor] | None = None
        self._images = 0  # through networks in one replay, of which Python sees nothing
        self._warm = 0
        self.fell_back: list[str] = []
        """Why something was not captured, in sentences that nobody has read yet."""
        self.program = ""
        """How the steps run, for the record; empty where nothing can be captured."""
        if graphs is not None and not isinstance(step, Step):
            self._give_up("it is written as one function of the step's number")
        elif graphs is not None:
            self.program = "step by step: over before anything was captured"

    @property
    def facts(self) -> dict[str, Any]:
        """What a record should say: ``{"program": …}``, or nothing."""
        return {"program": self.program} if self.program else {}

    @contextlib.contextmanager
    def running(self) -> Iterator[Steps]:
        """Around all steps; what was captured is given up after it."""
        with self._graphs.stream() if self._graphs is not None else contextlib.nullcontext():
            try:
                yield self
            finally:
                self._replay = None

    def __call__(self, i: int) -> Tensor:
        """Run step ``i``; the loss is valid until the next step."""
        step = self._step
        if not isinstance(step, Step):
            return step(i)
        inputs = step.inputs(i)
        if self._graphs is not None and self._replay is None and self._warm >= self.WARM_UP:
            step, inputs = self._capture(step, inputs, i)
        self._warm += 1
        self._rng.manual_seed(step.seed(i))
        if self._replay is None:
            # A capture that fails for waiting leaves PyTorch's memory half in it, so the last step before is watched.
            last = self._graphs is not None and self._warm == self.WARM_UP
            loss: Tensor = self._watched(step, inputs) if last else step.compute(self._rng, *inputs)
            return loss
        replay, static, loss = self._replay
        for place, value in zip(static, inputs, strict=True):
            place.copy_(value)
        replay()
        count(self._images)
        return loss

    def _watched(self, step: Step, inputs: tuple[Tensor, ...]) -> Tensor:
        """Run ``step`` as it is written; where it does what cannot be captured, what it says otherwise comes next."""
        assert self._graphs is not None
        with self._graphs.watched() as seen:
            loss: Tensor = step.compute(self._rng, *inputs)
        if seen:
            self._fall_back(step, seen[0])
            self._warm -= step.otherwise is not None  # which is watched in its turn
        return loss

    def _fall_back(self, step: Step, why: str) -> None:
        self.fell_back.append(f"{step.captures} cannot be captured: {why}")
        if step.otherwise is None:
            self._give_up(why)
        else:
            self._step = step.otherwise

    def _capture(self, step: Step, inputs: tuple[Tensor, ...], i: int) -> tuple[Step, tuple[Tensor, ...]]:
        """Capture ``step``, or what it says otherwise, or go on without; returns what step ``i`` is now."""
        assert self._graphs is not None
        static = tuple(value.clone() for value in inputs)
        # A generator of its own: one that took part in a capture that failed is not usable.
        rng = torch.Generator(device=self._device)
        try:
            with metered() as once:  # nothing is computed yet
                replay, loss = self._graphs.capture(lambda: step.compute(rng, *static), rng)
        except torch.OutOfMemoryError:
            self._give_up("not enough memory to capture it")
            return step, inputs
        except Exception as error:  # whatever somebody's code does that cannot be captured
            self._fall_back(step, _first_line(error))
            if step.otherwise is None:
                return step, inputs
            return self._capture(step.otherwise, step.otherwise.inputs(i), i)
        include(Cost(cpu_seconds=once.cost.cpu_seconds))
        self._rng, self._replay, self._images = rng, (replay, static, loss), once.images
        self.program = f"captured: {step.captures}"
        return step, inputs

    def _give_up(self, why: str) -> None:
        self._graphs = None
        self.program = f"step by step: {why}"


def _first_line(error: Exception) -> str:
    return str(error).strip().split("\n")[0] or type(error).__name__
