"""Which tasks a method really trains on: its training is begun, and ends when it asks for the first of them."""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NoReturn

import torch

from bench.contracts import Context, EpisodicMethod, MetaLearner, Method, SamplingMethod, Tasks, TaskSampler, TaskSpec
from bench.datasets.images import LabelledImages, UnlabelledImages
from bench.learners.embeddings import STAGE
from bench.training.checkpoint import Checkpoint


@dataclass(frozen=True, slots=True)
class TrainedOn:
    """The sampler that ``fit`` draws from, and the shape of task that it asks for.

    asked: False where ``fit`` draws from none, in a loop of its own; these are then the tasks of ``sampler()`` that are
    most like what it does.
    """

    sampler: TaskSampler
    spec: TaskSpec
    asked: bool


class _Asked(BaseException):
    """Ends a training at its first task; no error, so that nobody takes it for one."""

    def __init__(self, sampler: TaskSampler | None = None, spec: TaskSpec | None = None) -> None:
        self.sampler, self.spec = sampler, spec


@dataclass(frozen=True)
class _Watched:
    """A sampler up to the first task that is asked of it."""

    sampler: TaskSampler

    def sample(self, n: int, spec: TaskSpec, rng: torch.Generator) -> Tasks:
        raise _Asked(self.sampler, spec)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.sampler, name)


class _NoLoop(Checkpoint):
    """Of a training loop of its own, which looks here before its first step."""

    def load(self) -> NoReturn:
        raise _Asked


def trained_on(
    method: SamplingMethod, images: UnlabelledImages | LabelledImages, spec: TaskSpec, context: Context
) -> TrainedOn:
    """What ``fit`` trains on; ``spec`` is what the settings say.

    ``fit`` is called and ends at its first task, or before the first step of a loop of its own: nothing is trained or
    kept but what it takes from the artifact store. One that fails before that is for the run itself to report.
    """
    found = _Asked()
    with tempfile.TemporaryDirectory() as folder, suppress(Exception):
        progress = _Progress(context)
        checkpoint = _NoLoop(Path(folder) / "unused")
        own = replace(context, checkpoint=checkpoint, monitor=None, progress=progress, notes={})
        try:
            _watching(method).fit(images, spec, own)
        except _Asked as asked:
            found = asked
        finally:
            progress.ends = False
    if found.sampler is not None and found.spec is not None:
        return TrainedOn(found.sampler, found.spec, asked=True)
    like = method.trains_on(spec) if isinstance(method, EpisodicMethod) else spec
    return TrainedOn(method.sampler(images, context), like, asked=isinstance(method, EpisodicMethod))


@dataclass
class _Progress:
    """Passes on what is told of preparations, and ends a training that tells how far it is."""

    context: Context
    ends: bool = True

    def __call__(self, stage: str, done: int, total: int, metrics: Mapping[str, float]) -> None:
        if self.ends and total and stage != STAGE and self.context.artifacts.making is None:
            raise _Asked
        self.context.progress(stage, done, total, metrics)


def _watching(method: SamplingMethod) -> Method:
    """The method, but that its sampler, and whatever it hands to a meta-learner of its own, is watched."""

    def sampler(self: Any, *arguments: Any, **named: Any) -> _Watched:
        return _watched(type(method).sampler(self, *arguments, **named))

    found: Method = _with(method, sampler=sampler)
    for name in getattr(method, "__dataclass_fields__", None) or vars(method):
        value = getattr(method, name)
        if isinstance(value, MetaLearner):
            object.__setattr__(found, name, _with(value, fit=_listening(type(value).fit)))
    return found


def _listening(fit: Callable[..., Any]) -> Callable[..., Any]:
    def listening(self: Any, sampler: TaskSampler, *arguments: Any, **named: Any) -> Any:
        return fit(self, _watched(sampler), *arguments, **named)

    return listening


def _watched(sampler: TaskSampler) -> _Watched:
    return sampler if isinstance(sampler, _Watched) else _Watched(sampler)


def _with(thing: Any, **functions: Callable[..., Any]) -> Any:
    """A copy of an object that has these instead of its own."""
    kind = type(thing)
    found = copy.copy(thing)
    object.__setattr__(found, "__class__", type(kind.__name__, (kind,), {"__slots__": (), **functions}))
    return found
