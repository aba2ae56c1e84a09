"""Other people's code as a learner: functions on tensors or arrays, modules that embed images."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from bench.basics.errors import BenchError
from bench.contracts import Encoder, Learner
from bench.learners.embedding import EmbeddingClassifier
from bench.learners.prototypes import Metric, Prototypes
from bench.library.sealed import SealedTasks

WHAT = (
    "a function (support [N, K, C, H, W], query [M, C, H, W]) -> scores [M, N] or labels [M], an nn.Module "
    "(images [B, C, H, W] -> embeddings [B, d]), or a learner with predict()"
)


def as_learner(answer: Any, tasks: SealedTasks, numpy: bool, metric: Metric) -> Learner:
    """Whatever answers tasks, as the harness asks. BenchError where it is nothing of :data:`WHAT`."""
    if isinstance(answer, type):
        raise BenchError(f"{answer.__name__} is a class; make an object of it, {answer.__name__}(...), and score that")
    if isinstance(answer, Learner):
        return answer
    if isinstance(answer, nn.Module):
        return cast(Learner, EmbeddingClassifier(ModuleEncoder(answer, tasks), Prototypes(metric)))
    if isinstance(answer, Encoder):
        return cast(Learner, EmbeddingClassifier(answer, Prototypes(metric)))
    if callable(answer):
        return FunctionLearner(answer, numpy)
    raise BenchError(f"what answers tasks is {WHAT}; {type(answer).__name__} is none of these")


def name_of(answer: Any) -> str:
    """What to call it in a sentence."""
    return str(getattr(answer, "__name__", type(answer).__name__))


class ModuleEncoder:
    """A module as a :class:`bench.contracts.Encoder`; maps [B, C, H, W] and the like are flattened."""

    def __init__(self, module: nn.Module, tasks: SealedTasks) -> None:
        self.module, self.name = module, name_of(module)
        homes = {one.device for one in (*module.parameters(), *module.buffers())}
        if homes and homes != {tasks.batch(0, 1)[0].device}:
            told = " and ".join(sorted(map(str, homes)))
            raise BenchError(f"{self.name} is on {told}, the tasks are on {tasks.device}; bring them to one device")
        self.dim = 0
        with evaluating(module):
            self.dim = self._embedded(tasks.batch(0, 1)[0].flatten(0, 2)).shape[1]

    def encode(self, x: Tensor) -> Tensor:
        """Images [B, C, H, W] -> [B, dim]."""
        found = self._embedded(x)
        if not bool(found.isfinite().all()):
            raise BenchError(f"{self.name}: the embeddings of some images are not finite (NaN or infinite)")
        return found

    @torch.no_grad()
    def _embedded(self, x: Tensor) -> Tensor:
        try:
            found = self.module(x)
        except (RuntimeError, TypeError) as error:
            told = str(error).splitlines()[0]
            raise BenchError(
                f"{self.name} cannot embed images {list(x.shape)} ({told}); a module that answers whole tasks is "
                "scored as a function, lambda support, query: module(support, query)"
            ) from error
        if not isinstance(found, Tensor) or found.ndim < 2 or len(found) != len(x) or not found.is_floating_point():
            got = f"{found.dtype} {list(found.shape)}" if isinstance(found, Tensor) else type(found).__name__
            raise BenchError(
                f"{self.name} must turn images {list(x.shape)} into embeddings [{len(x)}, d] of floats, not {got}"
            )
        return found.flatten(1)


@contextmanager
def evaluating(answer: Any) -> Iterator[None]:
    """A module is in evaluation mode here, and afterwards each of its parts as it was."""
    parts = [(one, one.training) for one in answer.modules()] if isinstance(answer, nn.Module) else []
    try:
        if parts:
            answer.eval()
        yield
    finally:
        for one, training in parts:
            one.training = training


class FunctionLearner:
    """A function of one task as a :class:`bench.contracts.Learner`."""

    transductive = True
    """It is handed all queries of a task; whether it makes anything of that is measured."""

    def __init__(self, function: Callable[..., Any], numpy: bool) -> None:
        self.function, self.numpy, self.name = function, numpy, name_of(function)

    def predict(self, support: Tensor, query: Tensor) -> Tensor:
        """One task after the other: scores [T, M, N], float64."""
        return torch.stack([self._one(s, q) for s, q in zip(support, query, strict=True)])

    def _one(self, support: Tensor, query: Tensor) -> Tensor:
        # Copies, so that a function that changes what it is handed is handed the same the next time.
        s, q = support.clone(), query.clone()
        found = self.function(s.cpu().numpy(), q.cpu().numpy()) if self.numpy else self.function(s, q)
        return scores_of(found, len(query), len(support), self.name).to(query.device)


def scores_of(found: Any, queries: int, way: int, name: str) -> Tensor:
    """Scores [M, N], or labels [M], as tensor, array or lists -> scores [M, N], float64. BenchError for all else."""
    wanted = f"scores [{queries}, {way}] or labels [{queries}]"
    try:
        values = found.detach() if isinstance(found, Tensor) else torch.as_tensor(np.asarray(found))
    except (TypeError, ValueError, RuntimeError) as error:
        raise BenchError(f"{name} must answer a task with {wanted}, not {type(found).__name__}") from error
    if list(values.shape) not in ([queries, way], [queries]) or values.is_complex():
        raise BenchError(f"{name} must answer a task with {wanted}, not {list(values.shape)}")
    values = values.to(torch.float64)
    if not bool(values.isfinite().all()):
        raise BenchError(f"{name} answered a task with scores or labels that are not finite (NaN or infinite)")
    if values.ndim == 2:
        return values
    if not bool(((values >= 0) & (values < way) & (values == values.floor())).all()):
        raise BenchError(f"{name} answered a task with labels that are not whole numbers from 0 to {way - 1}")
    return nn.functional.one_hot(values.long(), way).to(torch.float64)
