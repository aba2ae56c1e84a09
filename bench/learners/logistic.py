"""Multinomial logistic regression of many small tasks at once, solved to the optimum."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from bench.basics.errors import BenchError, Diverged

TOLERANCE = 1e-9
"""Newton decrement at which a task is solved; the objective is then within 1e-18 of its minimum."""
NEWTON_STEPS = 200
CG_STEPS = 500
_SOLVED = {"cpu": 2**22, "cuda": 2**28}
_ANSWERED = {"cpu": 2**20, "cuda": 2**28}
"""Numbers held at once: bounds memory, and queries in float64 should not leave the cache of a CPU."""


@dataclass(frozen=True, slots=True)
class LogisticRegression:
    """L2-regularised multinomial logistic regression with an unpenalised intercept (Hsu et al. 2019's linear baseline).

    Minimises, for every task on its own and over weights W [N, d] and intercepts b [N],

        sum over support images of cross_entropy(W x + b)  +  ||W||^2 / (2 C),

    which is the objective of scikit-learn's ``LogisticRegression(C=C)`` for three classes or more. (For two,
    scikit-learn fits one weight vector instead; it then finds the same scores at 2 C.) Embeddings are used as
    they are: no scaling.

    How: the weights lie in the span of the support set, so where embeddings have many more dimensions than a
    task has images they are rotated into it first. There, Newton's method with backtracking; each step by
    conjugate gradients, preconditioned by the Hessian with one curvature an image in place of an N x N block.
    In float64, all tasks as one program; a task that is solved takes no further part in it.
    """

    C: float = 1.0

    def __post_init__(self) -> None:
        if isinstance(self.C, bool) or not isinstance(self.C, int | float) or not 0 < self.C < math.inf:
            raise BenchError(f"logistic regression needs C above 0, not {self.C!r}")

    def classify(self, support: Tensor, query: Tensor) -> Tensor:
        """Embeddings [T, N, K, d] and [T, M, d] -> logits [T, M, N], float64."""
        images = support.shape[1] * support.shape[2]
        piece = _piece(_SOLVED, support.device, images * support.shape[3] + 4 * min(2 * images, support.shape[3]) ** 2)
        solved = [self.solve(some) for some in torch.split(support, piece)]
        weights, intercepts = (torch.cat(parts) for parts in zip(*solved, strict=True))
        piece = _piece(_ANSWERED, query.device, query[0].numel())
        pieces = zip(*(torch.split(x, piece) for x in (weights, intercepts, query)), strict=True)
        return torch.cat([torch.baddbmm(b[:, :, None], w, q.double().mT).mT for w, b, q in pieces])

    def solve(self, support: Tensor) -> tuple[Tensor, Tensor]:
        """The optimum for embeddings [T, N, K, d]: W [T, N, d] and b [T, N], float64; b sums to 0."""
        way, shot, dim = support.shape[1:]
        x = support.flatten(1, 2).double()
        # The intercept is free, so the weights do not change when the mean of the support set is taken away.
        mean = x.mean(1, keepdim=True)
        x = x - mean
        basis = _span(x) if 2 * way * shot <= dim else None
        z = x if basis is None else x @ basis.mT
        targets = torch.eye(way, dtype=x.dtype, device=x.device).repeat_interleave(shot, 1)
        solution = _solve(torch.cat([z, torch.ones_like(z[:, :, :1])], 2), targets, self.C)
        weights, intercepts = solution[:, :, :-1], solution[:, :, -1]
        if basis is not None:
            weights = weights @ basis
        return weights, intercepts - (weights @ mean.mT)[:, :, 0]


def _piece(numbers: Mapping[str, int], device: torch.device, per_task: int) -> int:
    return max(1, numbers.get(device.type, numbers["cpu"]) // max(1, per_task))


def _span(x: Tensor) -> Tensor:
    """Orthonormal rows [T, n, d] that span those of x [T, n, d], where n <= d."""
    values, vectors = torch.linalg.eigh(x @ x.mT)
    # Directions that rounding alone tells from nothing are left out: their rows are zero.
    kept = values > values[:, -1:] * x.shape[1] * torch.finfo(x.dtype).eps
    scale = torch.where(kept, values.clamp_min(torch.finfo(x.dtype).tiny).rsqrt(), 0)
    basis: Tensor = (vectors * scale[:, None, :]).mT @ x
    return basis


def _solve(z: Tensor, targets: Tensor, c: float) -> Tensor:
    """Embeddings z [T, n, r], the last coordinate 1, one-hot targets [N, n] -> weights [T, N, r].

    The weights of the last coordinate are the intercepts.
    """
    penalty = torch.full((z.shape[2],), 1 / c, dtype=z.dtype, device=z.device)
    penalty[-1] = 0
    solution = z.new_zeros(len(z), len(targets), z.shape[2])
    rows = torch.arange(len(z), device=z.device)  # of the tasks that are not solved yet
    v = solution.clone()
    for _ in range(NEWTON_STEPS):
        logits = v @ z.mT
        p = logits.softmax(1)
        inverse = _preconditioner(z, p, penalty)
        down = (targets - p) @ z - v * penalty  # minus the gradient
        squared = _dot(down, down @ inverse)  # of the Newton decrement, nearly
        solution[rows] = v
        unsolved = ~(squared <= TOLERANCE**2)
        if not bool(unsolved.any()):
            return solution
        if not bool(unsolved.all()):
            z, v, logits, p, inverse, down, squared, rows = (
                value[unsolved] for value in (z, v, logits, p, inverse, down, squared, rows)
            )
        step = _newton_step(z, p, inverse, penalty, down, squared)
        step = step - step.mean(1, keepdim=True)  # which changes nothing but rounding: classes sum to 0
        v = v + _step_size(v, logits, step, step @ z.mT, targets, penalty, _dot(down, step)) * step
    raise Diverged(
        f"logistic regression: {len(rows)} tasks are not solved after {NEWTON_STEPS} Newton steps; "
        "the embeddings or C are too large"
    )


def _preconditioner(z: Tensor, p: Tensor, penalty: Tensor) -> Tensor:
    """The inverse [T, r, r] of the Hessian if the N x N block of every image were its mean times the identity."""
    curvature = ((p * (1 - p)).sum(1) / (p.shape[1] - 1)).clamp_min(1e-100)
    hessian = (z * curvature[:, :, None]).mT @ z
    diagonal = hessian.diagonal(dim1=1, dim2=2)
    diagonal.add_(penalty).mul_(1 + 1e-13)  # a preconditioner may be inexact, but not indefinite
    # With a diagonal of ones, rounding does not mix coordinates of different scale.
    scale = diagonal.rsqrt()
    scale = scale[:, :, None] * scale[:, None, :]
    return torch.cholesky_inverse(torch.linalg.cholesky_ex(hessian * scale).L) * scale


def _newton_step(z: Tensor, p: Tensor, inverse: Tensor, penalty: Tensor, residual: Tensor, squared: Tensor) -> Tensor:
    """Solve H s = residual by conjugate gradients, to a fraction of the residual that vanishes with it."""
    goal = (squared * squared.clamp_max(1e-2)).clamp_min(1e-2 * TOLERANCE**2)
    step = torch.zeros_like(residual)
    direction = residual @ inverse
    active = squared > goal
    for _ in range(CG_STEPS):
        h = p * (direction @ z.mT)
        h = (h - p * h.sum(1, keepdim=True)) @ z + direction * penalty
        curved = _dot(direction, h)
        active = active & (curved > 0)
        alpha = torch.where(active, squared / curved, 0)[:, None, None]
        step = step + alpha * direction
        residual = residual - alpha * h
        preconditioned = residual @ inverse
        before, squared = squared, _dot(residual, preconditioned)
        active = active & (squared > goal)
        if not bool(active.any()):
            break
        direction = preconditioned + torch.where(active, squared / before, 0)[:, None, None] * direction
    return step


def _step_size(
    v: Tensor, logits: Tensor, step: Tensor, change: Tensor, targets: Tensor, penalty: Tensor, descent: Tensor
) -> Tensor:
    """[T, 1, 1]: 1, halved until the objective falls by enough (Armijo), rounding aside."""

    def objective(size: Tensor) -> Tensor:
        at, there = v + size * step, logits + size * change
        loss = there.logsumexp(1).sum(1) - (targets * there).sum((1, 2))
        return loss + _dot(at * penalty, at) / 2

    size = torch.ones_like(descent)[:, None, None]
    now = objective(torch.zeros_like(size))
    for _ in range(50):
        enough = objective(size) <= now - 1e-4 * size[:, 0, 0] * descent + 1e-13 * (1 + now.abs())
        if bool(enough.all()):
            break
        size = torch.where(enough[:, None, None], size, size / 2)
    return size


def _dot(x: Tensor, y: Tensor) -> Tensor:
    return (x * y).sum((1, 2))
