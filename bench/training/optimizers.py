"""Optimisers: for a CPU as PyTorch has them, for a GPU in one kernel and fit to be captured."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor


def adam(params: Iterable[Tensor], lr: float, **settings: Any) -> torch.optim.Adam:
    """Adam for ``params``, which are on their device already; ``settings`` as of ``torch.optim.Adam``.

    On a GPU all parameters are updated by a few kernels, and the learning rate is a tensor (see :func:`set_rate`).
    """
    params = list(params)
    device = params[0].device
    if device.type != "cuda":
        return torch.optim.Adam(params, lr=lr, **settings)
    rate = torch.tensor(lr, device=device)
    optimizer = torch.optim.Adam(params, lr=rate, fused=True, capturable=True, **settings)
    optimizer._warned_capturable_if_run_uncaptured = True  # the first steps are, on purpose
    return optimizer


def adamw(params: Iterable[Tensor], lr: float, **settings: Any) -> torch.optim.AdamW:
    """As :func:`adam`, with weight decay beside the gradient (Loshchilov and Hutter 2019)."""
    params = list(params)
    if params[0].device.type != "cuda":
        return torch.optim.AdamW(params, lr=lr, **settings)
    rate = torch.tensor(lr, device=params[0].device)
    optimizer = torch.optim.AdamW(params, lr=rate, fused=True, capturable=True, **settings)
    optimizer._warned_capturable_if_run_uncaptured = True
    return optimizer


def sgd(params: Iterable[Tensor], lr: float, **settings: Any) -> torch.optim.SGD:
    """SGD for ``params``, which are on their device already; ``settings`` as of ``torch.optim.SGD``."""
    params = list(params)
    device = params[0].device
    if device.type != "cuda":
        return torch.optim.SGD(params, lr=lr, **settings)
    return torch.optim.SGD(params, lr=torch.tensor(lr, device=device), fused=True, **settings)


def set_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Change the learning rate, also of an optimiser that was captured."""
    for group in optimizer.param_groups:
        if isinstance(group["lr"], Tensor):
            group["lr"].fill_(rate)
        else:
            group["lr"] = rate


def give_gradients(params: Iterable[Tensor], gradients: Iterable[Tensor]) -> None:
    """Put a gradient on every parameter, in the parameter's own layout where an optimiser of one kernel needs that."""
    for param, grad in zip(params, gradients, strict=True):
        if param.is_cuda and grad.stride() != param.stride():
            grad = torch.empty_like(param).copy_(grad)
        param.grad = grad
