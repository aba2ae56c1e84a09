"""Multinomial logistic regression of many small tasks at once, solved to the optimum."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from bench.errors import BenchError, Diverged

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

    How: the optimum lies in the span of the support set, W = A X, so only its Gram matrix is needed. Newton's
    method with backtracking, each step by conjugate gradients in that span, preconditioned by the Hessian
    that has the mean curvature of an image in place of its N x N block. In float64, all tasks as one program;
    a task that is solved takes no further part in it.
    """

    C: float = 1.0

    def __post_init__(self) -> None:
        if isinstance(self.C, bool) or not isinstance(self.C, int | float) or not 0 < self.C < math.inf:
            raise BenchError(f"logistic regression needs C above 0, not {self.C!r}")

    def classify(self, support: Tensor, query: Tensor) -> Tensor:
        """Embeddings [T, N, K, d] and [T, M, d] -> logits [T, M, N], float64."""
        images = support.shape[1] * support.shape[2]
        piece = _piece(_SOLVED, support.device, images * support.shape[3] + 4 * images**2)
        solved = [self.solve(some) for some in torch.split(support, piece)]
        weights, intercepts = (torch.cat(parts) for parts in zip(*solved, strict=True))
        piece = _piece(_ANSWERED, query.device, query[0].numel())
        pieces = zip(*(torch.split(x, piece) for x in (weights, intercepts, query)), strict=True)
        return torch.cat([torch.baddbmm(b[:, :, None], w, q.double().mT).mT for w, b, q in pieces])

    def solve(self, support: Tensor) -> tuple[Tensor, Tensor]:
        """The optimum for embeddings [T, N, K, d]: W [T, N, d] and b [T, N], float64; b sums to 0."""
        way, shot = support.shape[1:3]
        x = support.flatten(1, 2).double()
        # The intercept is free, so the weights do not change when the mean of the support set is taken away.
        mean = x.mean(1, keepdim=True)
        x = x - mean
        targets = torch.eye(way, dtype=x.dtype, device=x.device).repeat_interleave(shot, 1)
        coefficients, intercepts = _solve(x @ x.mT, targets, self.C)
        weights = coefficients @ x
        return weights, (intercepts - weights @ mean.mT)[:, :, 0]


def _piece(numbers: Mapping[str, int], device: torch.device, per_task: int) -> int:
    return max(1, numbers.get(device.type, numbers["cpu"]) // max(1, per_task))


def _solve(gram: Tensor, targets: Tensor, c: float) -> tuple[Tensor, Tensor]:
    """gram [T, n, n] of centred embeddings, one-hot targets [N, n] -> A [T, N, n] and b [T, N, 1].

    Weights A X are known by A. Their inner products are those of A under the Gram matrix, and gradients and
    Hessian-vector products come out as coefficients A too.
    """
    way, images = targets.shape
    solution = gram.new_zeros(len(gram), way, images), gram.new_zeros(len(gram), way, 1)
    rows = torch.arange(len(gram), device=gram.device)  # of the tasks that are not solved yet
    a, b = (zeros.clone() for zeros in solution)
    for _ in range(NEWTON_STEPS):
        ag = a @ gram
        p = (ag + b).softmax(1)
        curvature = (p * (1 - p)).sum(1) / (way - 1)
        inverse, total = _preconditioner(gram, curvature, c), curvature.sum(1)[:, None, None]
        down_a, down_b = targets - p - a / c, (targets - p).sum(2, keepdim=True)  # minus the gradient
        squared = _dot(down_a, down_a @ inverse @ gram) + _dot(down_b, down_b / total)
        solution[0][rows], solution[1][rows] = a, b
        unsolved = squared > TOLERANCE**2  # squared is that of the Newton decrement, nearly
        if not bool(unsolved.any()):
            return solution
        if not bool(unsolved.all()):
            a, b, ag, gram, p, inverse, total, down_a, down_b, squared, rows = (
                value[unsolved] for value in (a, b, ag, gram, p, inverse, total, down_a, down_b, squared, rows)
            )
        step_a, step_b = _newton_step(gram, p, inverse, total, down_a, down_b, squared, c)
        size = _step_size(gram, targets, a, b, ag, step_a, step_b, _descent(gram, down_a, down_b, step_a, step_b), c)
        a, b = a + size * step_a, b + size * step_b
    raise Diverged(
        f"logistic regression: {len(rows)} tasks are not solved after {NEWTON_STEPS} Newton steps; "
        "the embeddings or C are too large"
    )


def _preconditioner(gram: Tensor, curvature: Tensor, c: float) -> Tensor:
    """The inverse [T, n, n] of G diag(curvature) + I / C, through a matrix whose eigenvalues are at least 1."""
    root = curvature.clamp_min(1e-150).sqrt()
    inner = c * root[:, :, None] * gram * root[:, None, :]
    inner.diagonal(dim1=1, dim2=2).add_(1)
    inverse = torch.cholesky_inverse(torch.linalg.cholesky_ex(inner).L)
    return c / root[:, :, None] * inverse * root[:, None, :]


def _newton_step(
    gram: Tensor, p: Tensor, inverse: Tensor, total: Tensor, r_a: Tensor, r_b: Tensor, squared: Tensor, c: float
) -> tuple[Tensor, Tensor]:
    """Solve H s = r by conjugate gradients, to a fraction of the first residual that vanishes with it."""
    goal = (squared * squared.clamp_max(1e-2)).clamp_min(1e-2 * TOLERANCE**2)
    step_a, step_b = torch.zeros_like(r_a), torch.zeros_like(r_b)
    d_a, d_b = r_a @ inverse, r_b / total
    dg = d_a @ gram
    active = squared > goal
    for _ in range(CG_STEPS):
        h = p * (dg + d_b)
        h = h - p * h.sum(1, keepdim=True)
        h_a, h_b = h + d_a / c, h.sum(2, keepdim=True)
        curved = _dot(dg, h_a) + _dot(d_b, h_b)
        active = active & (curved > 0)
        alpha = torch.where(active, squared / curved, 0)[:, None, None]
        step_a, step_b = step_a + alpha * d_a, step_b + alpha * d_b
        r_a, r_b = r_a - alpha * h_a, r_b - alpha * h_b
        z_a, z_b = r_a @ inverse, r_b / total
        zg = z_a @ gram
        before, squared = squared, _dot(r_a, zg) + _dot(r_b, z_b)
        active = active & (squared > goal)
        if not bool(active.any()):
            break
        beta = torch.where(active, squared / before, 0)[:, None, None]
        d_a, d_b, dg = z_a + beta * d_a, z_b + beta * d_b, zg + beta * dg
    return step_a, step_b


def _descent(gram: Tensor, down_a: Tensor, down_b: Tensor, step_a: Tensor, step_b: Tensor) -> Tensor:
    """By how much the objective would fall along a step if it were linear: [T]."""
    return _dot(down_a, step_a @ gram) + _dot(down_b, step_b)


def _step_size(
    gram: Tensor,
    targets: Tensor,
    a: Tensor,
    b: Tensor,
    ag: Tensor,
    step_a: Tensor,
    step_b: Tensor,
    descent: Tensor,
    c: float,
) -> Tensor:
    """[T, 1, 1]: 1, halved until the objective falls by enough (Armijo), rounding aside."""
    step_g = step_a @ gram

    def objective(size: Tensor) -> Tensor:
        weights, weights_g = a + size * step_a, ag + size * step_g
        logits = weights_g + b + size * step_b
        loss = logits.logsumexp(1).sum(1) - (targets * logits).sum((1, 2))
        return loss + _dot(weights, weights_g) / (2 * c)

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
