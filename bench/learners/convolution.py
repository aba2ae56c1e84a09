"""Convolutions of few channels as matrix products, for the generators and encoders that are trained on a GPU.

Where a map has one channel or three, what cuDNN offers takes up to half of a training step. There every position's
products with the whole kernel are one matrix product, and what belongs together is gathered before it or added up after
it. Elsewhere, and on a CPU, these are PyTorch's own convolutions.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bench.learners.conv_rows import available

FEW = 4
"""Channels that are few."""


def convolve(x: Tensor, weight: Tensor, bias: Tensor | None, padding: int, stride: int = 1) -> Tensor:
    """``F.conv2d`` of x [B, C, H, W] with a square kernel [F, C, k, k]; channels-last where it is a matrix product."""
    if not _as_products(x, weight):
        return F.conv2d(x, weight, bias, stride, padding)
    from bench.learners.kernels import Window

    side = weight.shape[2]
    height, width = ((n + 2 * padding - side) // stride + 1 for n in x.shape[2:])
    if len(weight) <= FEW and stride == 1 and 2 * padding == side - 1:
        # What every position gives to those around it, added up: the transpose, with a mirrored kernel.
        window = Window(side, 1, padding, padding, (height, width))
        made = _apply(_Spread, x, weight.flip(2, 3).transpose(0, 1), window, (height, width))
    else:
        made = _apply(_Gather, x, weight, Window(side, stride, padding, padding, (height, width)))
    return made if bias is None else made + bias.to(made.dtype).view(1, -1, 1, 1)


def convolve_transposed(
    x: Tensor, weight: Tensor, bias: Tensor | None, padding: int, stride: int, output_padding: int
) -> Tensor:
    """``F.conv_transpose2d`` of x [B, C, h, w] with a square kernel [C, F, k, k]."""
    if not _as_products(x, weight):
        return F.conv_transpose2d(x, weight, bias, stride, padding, output_padding)
    from bench.learners.kernels import Window

    side = weight.shape[2]
    height, width = ((n - 1) * stride - 2 * padding + side + output_padding for n in x.shape[2:])
    size = x.shape[2], x.shape[3]
    made = _apply(_Spread, x, weight, Window(side, stride, padding, padding, size), (height, width))
    return made if bias is None else made + bias.to(made.dtype).view(1, -1, 1, 1)


class Conv2d(nn.Conv2d):
    """A convolution by :func:`convolve`: square kernel, equal strides and paddings."""

    def forward(self, x: Tensor) -> Tensor:
        """See :func:`convolve`."""
        return convolve(x, self.weight, self.bias, int(self.padding[0]), self.stride[0])


class ConvTranspose2d(nn.ConvTranspose2d):
    """A transposed convolution by :func:`convolve_transposed`: square kernel, equal strides and paddings."""

    def forward(self, x: Tensor, output_size: list[int] | None = None) -> Tensor:
        """See :func:`convolve_transposed`; ``output_size`` is not used."""
        stride, padding, extra = self.stride[0], int(self.padding[0]), self.output_padding[0]
        return convolve_transposed(x, self.weight, self.bias, padding, stride, extra)


def _as_products(x: Tensor, weight: Tensor) -> bool:
    return x.is_cuda and available() and min(weight.shape[:2]) <= FEW and weight.shape[2] >= 3


def _apply(function: type[torch.autograd.Function], x: Tensor, *others: Any) -> Tensor:
    """Call it with x as automatic mixed precision would cast it."""
    x = x.to(torch.get_autocast_dtype("cuda")) if torch.is_autocast_enabled("cuda") else x
    made: Tensor = function.apply(x, *others)  # type: ignore[no-untyped-call]
    return made


class _Gather(torch.autograd.Function):
    """Columns of x times the kernel."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, window: Any) -> Tensor:
        from bench.learners import kernels

        seen = kernels.columns(x, window)[0]
        matrix = _last(weight).to(seen.dtype)  # [F, k^2 C]
        ctx.save_for_backward(seen, matrix)
        ctx.shapes = x.shape, weight.shape, window
        return _map(seen @ matrix.T, len(x), window.size)

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        from bench.learners import kernels

        (seen, matrix), (x_shape, w_shape, window) = ctx.saved_tensors, ctx.shapes
        rows = _rows(dy)
        dx = dw = None
        if ctx.needs_input_grad[1]:
            outputs, inputs, side, _ = w_shape
            dw = (rows.T @ seen).float().view(outputs, side, side, inputs).permute(0, 3, 1, 2)
        if ctx.needs_input_grad[0]:
            dx = kernels.folded((rows @ matrix)[None], window, x_shape[0], (x_shape[2], x_shape[3]))
        return dx, dw, None


class _Spread(torch.autograd.Function):
    """x times the kernel, added up where the products belong."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, window: Any, size: tuple[int, int]) -> Tensor:
        from bench.learners import kernels

        rows = _rows(x)
        inputs, outputs = weight.shape[:2]
        matrix = weight.permute(0, 2, 3, 1).reshape(inputs, -1).to(rows.dtype)  # [C, k^2 F]
        ctx.save_for_backward(rows, matrix)
        ctx.shapes = x.shape, weight.shape, window
        return kernels.folded((rows @ matrix)[None], window, len(x), size, torch.float32 if outputs <= FEW else None)

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, Tensor | None, None, None]:
        from bench.learners import kernels

        (rows, matrix), (x_shape, w_shape, window) = ctx.saved_tensors, ctx.shapes
        given = kernels.columns(dy.to(rows.dtype), window)[0]
        dx = dw = None
        if ctx.needs_input_grad[1]:
            inputs, outputs, side, _ = w_shape
            dw = (rows.T @ given).float().view(inputs, side, side, outputs).permute(0, 3, 1, 2)
        if ctx.needs_input_grad[0]:
            dx = _map(given @ matrix.T, x_shape[0], (x_shape[2], x_shape[3]))
        return dx, dw, None, None


def _rows(maps: Tensor) -> Tensor:
    """[B, C, h, w] -> [B*h*w, C]; a view of a channels-last map."""
    return maps.permute(0, 2, 3, 1).reshape(-1, maps.shape[1])


def _map(rows: Tensor, batch: int, size: tuple[int, int]) -> Tensor:
    """The inverse of :func:`_rows`."""
    return rows.view(batch, *size, rows.shape[1]).permute(0, 3, 1, 2)


def _last(weight: Tensor) -> Tensor:
    """[F, C, k, k] -> [F, k^2 C]."""
    return weight.permute(0, 2, 3, 1).reshape(len(weight), -1)
