"""Multinomial logistic regression of many small tasks at once, solved to the optimum."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from bench.errors import BenchError, Diverged

TOLERANCE = 1e-9
"""Newton decrement at which a task is solved; the objective is then within 1e-18 of its minimum."""
NEWTON_STEPS = 200
CG_STEPS = 500
_PIECE = {"cpu": 2**23, "cuda": 2**28}
"""Numbers held at once: bounds the memory of a piece of tasks."""


@dataclass(frozen=True, slots=True)
class LogisticRegression:
    """L2-regularised multinomial logistic regression with an unpenalised intercept (Hsu et al. 2019's linear baseline).

    Minimises, for every task on its own and over weights W [d, N] and intercepts b [N],

        sum over support images of cross_entropy(x W + b)  +  ||W||^2 / (2 C),

    which is the objective of scikit-learn's ``LogisticRegression(C=C)`` for three classes or more. (For two,
    scikit-learn fits one weight vector instead; it then finds the same scores at 2 C.) Embeddings are used as
    they are: no scaling.

    How: the optimum lies in the span of the support set, W = X^T A, so only its Gram matrix is needed. Newton's
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
        numbers = support[0].numel() + query[0].numel() + 4 * math.prod(support.shape[1:3]) ** 2
        piece = max(1, _PIECE.get(query.device.type, 2**23) // numbers)
        parts = []
        for some, asked in zip(torch.split(support, piece), torch.split(query, piece), strict=True):
            weights, intercepts = self.solve(some)
            parts.append(torch.baddbmm(intercepts[:, None, :], asked.double(), weights))
        return torch.cat(parts)

    def solve(self, support: Tensor) -> tuple[Tensor, Tensor]:
        """The optimum for embeddings [T, N, K, d]: W [T, d, N] and b [T, N], float64; b sums to 0."""
        way, shot = support.shape[1:3]
        x = support.flatten(1, 2).double()
        # The intercept is free, so the weights do not change when the mean of the support set is taken away.
        mean = x.mean(1, keepdim=True)
        x = x - mean
        targets = torch.eye(way, dtype=x.dtype, device=x.device).repeat_interleave(shot, 0)
        coefficients, intercepts = _solve(x @ x.mT, targets, self.C)
        weights = x.mT @ coefficients
        return weights, (intercepts - mean @ weights)[:, 0]


def _solve(gram: Tensor, targets: Tensor, c: float) -> tuple[Tensor, Tensor]:
    """gram [T, n, n] of centred embeddings, one-hot targets [n, N] -> A [T, n, N] and b [T, 1, N].

    Weights X^T A are known by A. Their inner products are those of A under the Gram matrix, and gradients and
    Hessian-vector products come out as coefficients A too.
    """
    tasks, (n, way) = len(gram), targets.shape
    solution = gram.new_zeros(tasks, n, way), gram.new_zeros(tasks, 1, way)
    open_tasks = torch.arange(tasks, device=gram.device)
    a, b, ga = (gram.new_zeros(tasks, rows, way) for rows in (n, 1, n))  # ga is always gram @ a
    for _ in range(NEWTON_STEPS):
        p = (ga + b).softmax(2)
        curvature = (p * (1 - p)).sum(2) / (way - 1)
        inverse = _preconditioner(gram, curvature, c)
        total = curvature.sum(1)[:, None, None]
        residual = targets - p
        slope_a, slope_b = residual - a / c, residual.sum(1, keepdim=True)  # minus the gradient
        z_a = inverse @ slope_a
        squared = _dot(slope_a, gram @ z_a) + _dot(slope_b, slope_b / total)  # of the Newton decrement, nearly
        unsolved = squared > TOLERANCE**2
        for kept, value in zip(solution, (a, b), strict=True):
            kept[open_tasks] = value
        if not bool(unsolved.any()):
            return solution
        if not bool(unsolved.all()):
            a, b, ga, gram, p, inverse, total, slope_a, slope_b, squared, open_tasks = (
                value[unsolved] for value in (a, b, ga, gram, p, inverse, total, slope_a, slope_b, squared, open_tasks)
            )
        step_a, step_b = _newton_step(gram, p, inverse, total, slope_a, slope_b, squared, c)
        size = _line_search(gram, targets, c, a, b, ga, step_a, step_b, slope_a, slope_b)
        a, b = a + size * step_a, b + size * step_b
        ga = gram @ a
    raise Diverged(
        f"logistic regression: {len(open_tasks)} tasks are not solved after {NEWTON_STEPS} Newton steps; "
        "the embeddings are too large, or C is"
    )


def _preconditioner(gram: Tensor, curvature: Tensor, c: float) -> Tensor:
    """The inverse [T, n, n] of diag(curvature) G + I / C, through a matrix whose eigenvalues are at least 1."""
    root = curvature.clamp_min(1e-150).sqrt()
    inner = c * root[:, :, None] * gram * root[:, None, :]
    inner.diagonal(dim1=1, dim2=2).add_(1)
    factor = torch.linalg.cholesky_ex(inner).L
    return c * root[:, :, None] * torch.cholesky_inverse(factor) / root[:, None, :]


def _newton_step(
    gram: Tensor, p: Tensor, inverse: Tensor, total: Tensor, r_a: Tensor, r_b: Tensor, squared: Tensor, c: float
) -> tuple[Tensor, Tensor]:
    """Conjugate gradients for H s = r, until the residual is a fraction of the first that vanishes with it."""
    goal = (squared * squared.clamp_max(1e-2)).clamp_min(1e-2 * TOLERANCE**2)
    step_a, step_b = torch.zeros_like(r_a), torch.zeros_like(r_b)
    z_a, z_b = inverse @ r_a, r_b / total
    gz_a = gram @ z_a
    d_a, d_b, gd_a = z_a, z_b, gz_a
    active = squared > goal
    for _ in range(CG_STEPS):
        logits = gd_a + d_b
        h = p * logits
        h = h - p * h.sum(2, keepdim=True)
        h_a, h_b = h + d_a / c, h.sum(1, keepdim=True)
        curved = _dot(gd_a, h_a) + _dot(d_b, h_b)
        active = active & (curved > 0)
        alpha = torch.where(active, squared / curved, 0)[:, None, None]
        step_a, step_b = step_a + alpha * d_a, step_b + alpha * d_b
        r_a, r_b = r_a - alpha * h_a, r_b - alpha * h_b
        z_a, z_b = inverse @ r_a, r_b / total
        gz_a = gram @ z_a
        before, squared = squared, _dot(r_a, gz_a) + _dot(r_b, z_b)
        active = active & (squared > goal)
        if not bool(active.any()):
            break
        beta = torch.where(active, squared / before, 0)[:, None, None]
        d_a, d_b, gd_a = z_a + beta * d_a, z_b + beta * d_b, gz_a + beta * gd_a
    return step_a, step_b


def _line_search(
    gram: Tensor,
    targets: Tensor,
    c: float,
    a: Tensor,
    b: Tensor,
    ga: Tensor,
    step_a: Tensor,
    step_b: Tensor,
    slope_a: Tensor,
    slope_b: Tensor,
) -> Tensor:
    """Step sizes [T, 1, 1]: 1, halved until the objective falls enough (Armijo), up to rounding."""
    g_step = gram @ step_a
    descent = _dot(slope_a, g_step) + _dot(slope_b, step_b)

    def objective(size: Tensor) -> Tensor:
        weights, g_weights = a + size * step_a, ga + size * g_step
        logits = g_weights + b + size * step_b
        loss = logits.logsumexp(2).sum(1) - (targets * logits).sum((1, 2))
        return loss + _dot(weights, g_weights) / (2 * c)

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
