"""MAML's two computations, adapting to tasks and differentiating through it, for a batch of tasks at once.

:class:`WrittenOut` does them for Conv4 without an autograd graph; :class:`Autograd` does them for any
backbone. Both compute the same numbers (up to rounding) and keep the notation of Finn et al. 2017, §3.1:

    theta_0 = theta,   theta_k = theta_{k-1} - lr * grad L_support(theta_{k-1}),   meta-loss =
    L_query(theta_K)

with L the mean cross-entropy over a task's images, for each of T tasks. ``inductive`` normalises the query
images with the statistics of the support images at the last inner step, which are those at theta_{K-1};
otherwise the query batch has statistics of its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from bench.backbones import (
    Backbone,
    Conv4,
    GivenStatistics,
    Params,
    RecordedStatistics,
    batch_statistics,
)
from bench.learners import conv_rows
from bench.learners.conv_block_grad import StatisticsGrad
from bench.learners.conv_grad import (
    Backward,
    Conv4Derivatives,
    Forward,
    cross_entropy_backward,
    grouped,
    stacked,
)
from bench.training.steps import Repeated


class Adaptation(Protocol):
    """What MAML needs. ``params`` have no task axis; support [T, N, K, C, H, W], query [T, N, Q, C, H, W]."""

    def meta_gradient(
        self, params: Mapping[str, Tensor], support: Tensor, query: Tensor, first_order: bool
    ) -> tuple[Tensor, Params]:
        """Mean meta-loss over the tasks (a scalar) and its gradient; first order drops the Hessians."""
        ...

    program: str
    """How the inner steps of the last :meth:`scores` ran, for the record; empty where nothing can be captured."""

    def scores(self, params: Mapping[str, Tensor], support: Tensor, images: Tensor) -> Tensor:
        """Logits [T, M, N] of images [T, M, C, H, W] after adapting to the support images."""
        ...


def adaptation(backbone: Backbone, steps: int, lr: float, inductive: bool) -> Adaptation:
    """The written-out path where there is one."""
    if type(backbone) is Conv4:  # a subclass may compute something else
        return WrittenOut(backbone, steps, lr, inductive)
    return Autograd(backbone, steps, lr, inductive)


def labels_of(images: Tensor) -> Tensor:
    """[T, N, K, ...] -> int64 [N*K], the class of every image once the two axes are flattened."""
    way, shot = images.shape[1:3]
    return torch.arange(way, device=images.device).repeat_interleave(shot)


def one_hot(images: Tensor) -> Tensor:
    """[T, N, K, ...] -> [N*K, N], of the images' type: the classes of :func:`labels_of`."""
    way, shot = images.shape[1:3]
    return torch.eye(way, device=images.device, dtype=images.dtype).repeat_interleave(shot, dim=0)


def repeated(params: Mapping[str, Tensor], tasks: int) -> Params:
    """The same parameters for every task, [...] -> [T, ...], without a copy."""
    return {name: value.detach().expand(tasks, *value.shape) for name, value in params.items()}


class WrittenOut:
    """Conv4: gradients and Hessian-vector products from :mod:`bench.learners.conv_grad`."""

    def __init__(self, backbone: Conv4, steps: int, lr: float, inductive: bool) -> None:
        self.backbone, self.steps, self.lr, self.inductive = backbone, steps, lr, inductive
        self.program = ""
        self._kept: dict[torch.Size, _Adapting] = {}

    @torch.no_grad()
    def meta_gradient(
        self, params: Mapping[str, Tensor], support: Tensor, query: Tensor, first_order: bool
    ) -> tuple[Tensor, Params]:
        """Forward over the inner steps, keeping them, then backward: v <- v - lr H_k v, from v = grad
        L_query.

        Where the statistics come from the last inner step they are one more path from theta_{K-1} to the
        meta-loss.
        """
        tasks = len(support)
        net = self._derivatives(support)
        theta = grouped(repeated(params, tasks))
        x, target = net.images(support.flatten(1, 2)), one_hot(support)
        trail: list[tuple[Params, Forward, Backward]] = []
        for _ in range(self.steps):
            f, b = _gradient(net, theta, x, target)
            if first_order:
                trail.clear()  # only the last step is looked at again
            trail.append((theta, f, b))
            theta = _moved(theta, b.grads, self.lr)

        given = trail[-1][1].statistics() if self.inductive else None
        f, b = _gradient(net, theta, net.images(query.flatten(1, 2)), one_hot(query), given)
        loss = F.cross_entropy(f.logits.flatten(0, 1), labels_of(query).repeat(tasks))

        v = b.grads
        statistics = net.statistics_backward(theta, f, b) if self.inductive else None
        for theta, inner, gradient in reversed(trail):
            v = v if first_order else _moved(v, net.hessian_vector(theta, inner, gradient, v), self.lr)
            if statistics is not None:
                extra = self._through_statistics(net, theta, inner, statistics)
                v = {name: value + extra[name] for name, value in v.items()}
                statistics = None
        return loss, {name: value.mean(0) for name, value in stacked(v, tasks).items()}

    @torch.no_grad()
    def scores(self, params: Mapping[str, Tensor], support: Tensor, images: Tensor) -> Tensor:
        """See :class:`Adaptation`. Nothing of a step outlives it, so memory does not grow with the steps."""
        adapting = self._kept.pop(support.shape, None)
        if adapting is None:
            self._kept.clear()
            adapting = _Adapting(self._derivatives(support), params, support, self.lr)
        adapting.begin(params, support)
        adapting.step(self.steps)
        self.program = adapting.step.program
        given = adapting.statistics if self.inductive else None
        found = adapting.net.forward(adapting.theta, adapting.net.images(images), given).logits
        if support.is_cuda:  # a step that was captured is worth keeping for the next tasks of this shape
            self._kept[support.shape] = adapting
        return found

    def _derivatives(self, images: Tensor) -> Conv4Derivatives:
        channels, height, width = images.shape[-3:]
        rows = images.is_cuda and conv_rows.available()
        return Conv4Derivatives(self.backbone, (channels, height, width), len(images), rows)

    @staticmethod
    def _through_statistics(
        net: Conv4Derivatives, theta: Params, f: Forward, statistics: list[StatisticsGrad]
    ) -> Params:
        return net.backward(theta, f, torch.zeros_like(f.logits), statistics).grads


class _Adapting:
    """Parameters on their way from theta_0 to theta_K, in memory that stays where it is: a step can be captured."""

    def __init__(self, net: Conv4Derivatives, params: Mapping[str, Tensor], support: Tensor, lr: float) -> None:
        self.net, self.lr = net, lr
        self.theta = {n: value.clone() for n, value in grouped(repeated(params, len(support))).items()}
        self.x, self.target = net.images(support.flatten(1, 2)), one_hot(support)
        self.statistics: list[tuple[Tensor, Tensor]] = []
        """Of the support images, at the last step."""
        self.step = Repeated(self._step, support.device)
        self._fresh = True

    def begin(self, params: Mapping[str, Tensor], support: Tensor) -> None:
        """Start from ``params`` with other tasks of the same shape."""
        if not self._fresh:
            for name, value in grouped(repeated(params, len(support))).items():
                self.theta[name].copy_(value)
            self.x.copy_(self.net.images(support.flatten(1, 2)))
        self._fresh = False

    def _step(self) -> None:
        forward, backward = _gradient(self.net, self.theta, self.x, self.target)
        self.statistics = forward.statistics()
        torch._foreach_sub_(list(self.theta.values()), [backward.grads[n] for n in self.theta], alpha=self.lr)


def _gradient(
    net: Conv4Derivatives,
    theta: Params,
    x: Tensor,
    target: Tensor,
    given: list[tuple[Tensor, Tensor]] | None = None,
) -> tuple[Forward, Backward]:
    f = net.forward(theta, x, given)
    return f, net.backward(theta, f, cross_entropy_backward(f.logits, target), given=given is not None)


def _moved(values: Params, steps: Params, lr: float) -> Params:
    """values - lr * steps."""
    moved = torch._foreach_sub(list(values.values()), [steps[name] for name in values], alpha=lr)
    return dict(zip(values, moved, strict=True))


class Autograd:
    """Any backbone. Tasks do not mix, so the gradient of the summed loss is every task's own gradient."""

    def __init__(self, backbone: Backbone, steps: int, lr: float, inductive: bool) -> None:
        self.backbone, self.steps, self.lr, self.inductive = backbone, steps, lr, inductive
        self.program = ""

    def meta_gradient(
        self, params: Mapping[str, Tensor], support: Tensor, query: Tensor, first_order: bool
    ) -> tuple[Tensor, Params]:
        """See :class:`Adaptation`."""
        tasks = len(support)
        with torch.enable_grad():
            leaves = {name: value.detach().requires_grad_() for name, value in params.items()}
            theta = {name: value.expand(tasks, *value.shape) for name, value in leaves.items()}
            theta, normalise = self._adapt(theta, support, graph=not first_order, detach=False)
            loss = self._loss(theta, query, normalise) / tasks
            grads = torch.autograd.grad(loss, list(leaves.values()))
        return loss.detach(), dict(zip(leaves, grads, strict=True))

    def scores(self, params: Mapping[str, Tensor], support: Tensor, images: Tensor) -> Tensor:
        """See :class:`Adaptation`. Detached after each step, so memory does not grow with the steps."""
        self.program = "step by step: a backbone other than Conv4" if support.is_cuda else ""
        with torch.enable_grad():
            theta, normalise = self._adapt(repeated(params, len(support)), support, graph=False, detach=True)
        with torch.no_grad():
            return self.backbone.forward(theta, images, normalise or batch_statistics)

    def _adapt(
        self, theta: Params, support: Tensor, graph: bool, detach: bool
    ) -> tuple[Params, GivenStatistics | None]:
        given = None
        for k in range(self.steps):
            if detach:
                theta = {name: value.detach().requires_grad_() for name, value in theta.items()}
            recorded = RecordedStatistics() if self.inductive and k == self.steps - 1 else None
            loss = self._loss(theta, support, recorded)
            keep = graph or recorded is not None  # the statistics are differentiated once more
            grads = torch.autograd.grad(loss, list(theta.values()), create_graph=graph, retain_graph=keep)
            theta = {n: p - self.lr * g for (n, p), g in zip(theta.items(), grads, strict=True)}
            if recorded is not None:
                given = GivenStatistics(recorded.seen)
        return theta, given

    def _loss(self, theta: Params, images: Tensor, normalise: GivenStatistics | RecordedStatistics | None) -> Tensor:
        """Sum over tasks of the mean cross-entropy over a task's images."""
        flat = images.flatten(1, 2)
        logits = self.backbone.forward(theta, flat, normalise or batch_statistics)
        target = labels_of(images).repeat(len(images))
        return F.cross_entropy(logits.flatten(0, 1), target, reduction="sum") / flat.shape[1]
