"""Which tasks a method really trains on: it may ask its sampler for another shape than the settings say."""

from __future__ import annotations

import copy
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from bench.contracts import ClusteringMethod, Context, Method, ProgressCallback, Tasks, TaskSampler, TaskSpec
from bench.datasets.images import LabelledImages, UnlabelledImages
from bench.training.checkpoint import Checkpoint


class _Asked(BaseException):
    """Ends a training at its first task; no error, so that nobody takes it for one."""

    def __init__(self, spec: TaskSpec | None) -> None:
        self.spec = spec


@dataclass(frozen=True)
class _Watched:
    """The sampler of a method, up to the first task that is asked of it."""

    sampler: TaskSampler

    def sample(self, n: int, spec: TaskSpec, rng: torch.Generator) -> Tasks:
        raise _Asked(spec)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.sampler, name)


def trained_on(
    method: Method, sampler: TaskSampler, images: UnlabelledImages | LabelledImages, spec: TaskSpec, context: Context
) -> TaskSpec:
    """The shape of the first task that ``fit`` asks ``sampler`` for; ``spec`` where it does not ask it.

    Training ends there, before its first step: nothing is trained or kept. A method that clusters its images is told
    ``spec`` as it makes the clusters, and would make them anew for this.
    """
    if isinstance(method, ClusteringMethod):
        return spec

    def over(stage: str, done: int, total: int, metrics: Any) -> None:
        raise _Asked(None)  # a training that does without the sampler

    progress: ProgressCallback = over
    with tempfile.TemporaryDirectory() as folder:
        own = replace(
            context, checkpoint=Checkpoint(Path(folder) / "unused"), monitor=None, progress=progress, notes={}
        )
        try:
            _handing_out(method, _Watched(sampler)).fit(images, spec, own)
        except _Asked as asked:
            return asked.spec or spec
        except Exception:  # the run itself will say what is wrong with it
            return spec
    return spec


def _handing_out(method: Method, sampler: Any) -> Any:
    """The method, but that ``sampler()`` gives this one."""
    kind = type(method)
    watched = type(kind.__name__, (kind,), {"__slots__": (), "sampler": lambda *_: sampler})
    found = copy.copy(method)
    object.__setattr__(found, "__class__", watched)
    return found
