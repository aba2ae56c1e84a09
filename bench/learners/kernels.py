"""Triton kernels of one block of Conv4 without pooling; import it where there is a GPU.

Maps are matrices [B*h*w, T*F], row-major: one program looks after a few columns (channels) from the first row to the
last, takes the sums that batch normalisation needs, and then applies them. What they compute is written down in
:mod:`bench.learners.conv_block_grad`, here about the mean of a channel, which loses fewer digits: (z - mean) for z.
"""

# mypy: disable-error-code="no-untyped-def, untyped-decorator, no-untyped-call"

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from bench.learners.conv_block_grad import BlockBackward, BlockForward, BlockRForward


@triton.jit
def _tile(pointer, start, rows, channels, channel, ROWS: tl.constexpr):
    """Addresses and mask of rows start … start + ROWS of the program's channels."""
    row = start + tl.arange(0, ROWS)
    mask = (row < rows)[:, None] & (channel < channels)[None, :]
    return pointer + row.to(tl.int64)[:, None] * channels + channel[None, :], mask


@triton.jit
def _read(pointer, start, rows, channels, channel, ROWS: tl.constexpr):
    at, mask = _tile(pointer, start, rows, channels, channel, ROWS)
    return tl.load(at, mask=mask, other=0.0)


@triton.jit(do_not_specialize=["rows"])
def _forward(
    z_, gamma_, beta_, mean_, r_, s_, y_, rows, channels, eps,
    SCALED: tl.constexpr, ROWS: tl.constexpr, COLS: tl.constexpr,
):  # fmt: skip
    channel = tl.program_id(0) * COLS + tl.arange(0, COLS)
    inside = channel < channels
    # Sums about the channel's first value: about zero they lose digits where the mean is far from it.
    about = tl.load(z_ + channel, mask=inside, other=0.0)
    total = tl.zeros([ROWS, COLS], z_.dtype.element_ty)
    squares = tl.zeros([ROWS, COLS], z_.dtype.element_ty)
    for start in range(0, rows, ROWS):
        at, mask = _tile(z_, start, rows, channels, channel, ROWS)
        apart = tl.where(mask, tl.load(at, mask=mask, other=0.0) - about[None, :], 0.0)
        total += apart
        squares += apart * apart
    shift = tl.sum(total, 0) / rows
    mean = about + shift
    r = 1.0 / tl.sqrt(tl.maximum(tl.sum(squares, 0) / rows - shift * shift, 0.0) + eps)
    s = r
    if SCALED:
        s = r * tl.load(gamma_ + channel, mask=inside, other=0.0)
    beta = tl.load(beta_ + channel, mask=inside, other=0.0)
    tl.store(mean_ + channel, mean, mask=inside)
    tl.store(r_ + channel, r, mask=inside)
    tl.store(s_ + channel, s, mask=inside)
    for start in range(0, rows, ROWS):
        z = _read(z_, start, rows, channels, channel, ROWS)
        at, mask = _tile(y_, start, rows, channels, channel, ROWS)
        tl.store(at, tl.maximum(beta[None, :] + s[None, :] * (z - mean[None, :]), 0.0), mask=mask)


@triton.jit(do_not_specialize=["rows"])
def _backward(
    dy_, y_, z_, mean_, r_, s_, dz_, slope_, dgamma_, dbeta_, rows, channels, ROWS: tl.constexpr, COLS: tl.constexpr
):  # fmt: skip
    channel = tl.program_id(0) * COLS + tl.arange(0, COLS)
    inside = channel < channels
    mean = tl.load(mean_ + channel, mask=inside, other=0.0)
    r = tl.load(r_ + channel, mask=inside, other=0.0)
    s = tl.load(s_ + channel, mask=inside, other=0.0)
    total = tl.zeros([ROWS, COLS], z_.dtype.element_ty)
    products = tl.zeros([ROWS, COLS], z_.dtype.element_ty)
    for start in range(0, rows, ROWS):
        dy = _read(dy_, start, rows, channels, channel, ROWS)
        g = tl.where(_read(y_, start, rows, channels, channel, ROWS) > 0, dy, 0.0)
        total += g
        products += g * (_read(z_, start, rows, channels, channel, ROWS) - mean[None, :])
    dbeta = tl.sum(total, 0)
    dgamma = r * tl.sum(products, 0)
    slope = -s * r * dgamma / rows
    tl.store(slope_ + channel, slope, mask=inside)
    tl.store(dgamma_ + channel, dgamma, mask=inside)
    tl.store(dbeta_ + channel, dbeta, mask=inside)
    level = s * dbeta / rows
    for start in range(0, rows, ROWS):
        dy = _read(dy_, start, rows, channels, channel, ROWS)
        g = tl.where(_read(y_, start, rows, channels, channel, ROWS) > 0, dy, 0.0)
        z = _read(z_, start, rows, channels, channel, ROWS)
        at, mask = _tile(dz_, start, rows, channels, channel, ROWS)
        tl.store(at, s[None, :] * g + slope[None, :] * (z - mean[None, :]) - level[None, :], mask=mask)


@triton.jit(do_not_specialize=["rows"])
def _r_forward(
    z_, rz_, y_, mean_, r_, s_, v_gamma_, v_beta_, r_mean_, q_, r_s_, r_y_, rows, channels,
    SCALED: tl.constexpr, ROWS: tl.constexpr, COLS: tl.constexpr,
):  # fmt: skip
    channel = tl.program_id(0) * COLS + tl.arange(0, COLS)
    inside = channel < channels
    mean = tl.load(mean_ + channel, mask=inside, other=0.0)
    r = tl.load(r_ + channel, mask=inside, other=0.0)
    s = tl.load(s_ + channel, mask=inside, other=0.0)
    total = tl.zeros([ROWS, COLS], z_.dtype.element_ty)
    products = tl.zeros([ROWS, COLS], z_.dtype.element_ty)
    for start in range(0, rows, ROWS):
        rz = _read(rz_, start, rows, channels, channel, ROWS)
        total += rz
        products += rz * (_read(z_, start, rows, channels, channel, ROWS) - mean[None, :])
    r_mean = tl.sum(total, 0) / rows
    q = r * r * tl.sum(products, 0) / rows
    r_s = -s * q
    if SCALED:
        r_s += r * tl.load(v_gamma_ + channel, mask=inside, other=0.0)
    v_beta = tl.load(v_beta_ + channel, mask=inside, other=0.0)
    tl.store(r_mean_ + channel, r_mean, mask=inside)
    tl.store(q_ + channel, q, mask=inside)
    tl.store(r_s_ + channel, r_s, mask=inside)
    for start in range(0, rows, ROWS):
        z = _read(z_, start, rows, channels, channel, ROWS) - mean[None, :]
        rz = _read(rz_, start, rows, channels, channel, ROWS) - r_mean[None, :]
        y = _read(y_, start, rows, channels, channel, ROWS)
        at, mask = _tile(r_y_, start, rows, channels, channel, ROWS)
        tl.store(at, tl.where(y > 0, v_beta[None, :] + s[None, :] * rz + r_s[None, :] * z, 0.0), mask=mask)


@triton.jit(do_not_specialize=["rows"])
def _r_backward(
    r_dy_, dy_, y_, z_, rz_, mean_, r_, s_, slope_, dgamma_, dbeta_, r_mean_, q_, r_s_, r_dz_, r_dgamma_, r_dbeta_,
    rows, channels, ROWS: tl.constexpr, COLS: tl.constexpr,
):  # fmt: skip
    channel = tl.program_id(0) * COLS + tl.arange(0, COLS)
    inside = channel < channels
    mean = tl.load(mean_ + channel, mask=inside, other=0.0)
    r = tl.load(r_ + channel, mask=inside, other=0.0)
    s = tl.load(s_ + channel, mask=inside, other=0.0)
    slope = tl.load(slope_ + channel, mask=inside, other=0.0)
    dgamma = tl.load(dgamma_ + channel, mask=inside, other=0.0)
    dbeta = tl.load(dbeta_ + channel, mask=inside, other=0.0)
    r_mean = tl.load(r_mean_ + channel, mask=inside, other=0.0)
    q = tl.load(q_ + channel, mask=inside, other=0.0)
    r_s = tl.load(r_s_ + channel, mask=inside, other=0.0)
    total = tl.zeros([ROWS, COLS], z_.dtype.element_ty)
    products = tl.zeros([ROWS, COLS], z_.dtype.element_ty)
    for start in range(0, rows, ROWS):
        on = _read(y_, start, rows, channels, channel, ROWS) > 0
        g = tl.where(on, _read(dy_, start, rows, channels, channel, ROWS), 0.0)
        r_g = tl.where(on, _read(r_dy_, start, rows, channels, channel, ROWS), 0.0)
        z = _read(z_, start, rows, channels, channel, ROWS) - mean[None, :]
        rz = _read(rz_, start, rows, channels, channel, ROWS) - r_mean[None, :]
        total += r_g
        products += r_g * z + g * rz
    r_dbeta = tl.sum(total, 0)
    r_dgamma = r * tl.sum(products, 0) - q * dgamma
    r_slope = -r * (s * (r_dgamma - q * dgamma) + r_s * dgamma) / rows
    tl.store(r_dgamma_ + channel, r_dgamma, mask=inside)
    tl.store(r_dbeta_ + channel, r_dbeta, mask=inside)
    level = (r_s * dbeta + s * r_dbeta) / rows
    for start in range(0, rows, ROWS):
        on = _read(y_, start, rows, channels, channel, ROWS) > 0
        g = tl.where(on, _read(dy_, start, rows, channels, channel, ROWS), 0.0)
        r_g = tl.where(on, _read(r_dy_, start, rows, channels, channel, ROWS), 0.0)
        z = _read(z_, start, rows, channels, channel, ROWS) - mean[None, :]
        rz = _read(rz_, start, rows, channels, channel, ROWS) - r_mean[None, :]
        made = r_s[None, :] * g + s[None, :] * r_g + r_slope[None, :] * z + slope[None, :] * rz - level[None, :]
        at, mask = _tile(r_dz_, start, rows, channels, channel, ROWS)
        tl.store(at, made, mask=mask)


@triton.jit(
    do_not_specialize=["rows", "per_task", "height", "width", "out_height", "out_width", "stride", "top", "left"]
)
def _columns(
    x_, columns_, rows, channels, per_task, height, width, out_height, out_width, stride, top, left,
    SIDE: tl.constexpr, ROWS: tl.constexpr, COLS: tl.constexpr,
):  # fmt: skip
    """One program: all taps of a few rows and channels (of all tasks)."""
    row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    channel = tl.program_id(1) * COLS + tl.arange(0, COLS)
    image, pixel = row // (out_height * out_width), row % (out_height * out_width)
    mask = (row < rows)[:, None] & (channel < channels)[None, :]
    task, own = channel // per_task, channel % per_task
    place = (task.to(tl.int64)[None, :] * rows + row.to(tl.int64)[:, None]) * (SIDE * SIDE * per_task) + own[None, :]
    for tap in range(SIDE * SIDE):
        y = pixel // out_width * stride - top + tap // SIDE
        x = pixel % out_width * stride - left + tap % SIDE
        seen = ((y >= 0) & (y < height) & (x >= 0) & (x < width))[:, None] & mask
        source = ((image * height + y) * width + x).to(tl.int64)[:, None] * channels + channel[None, :]
        tl.store(columns_ + place + tap * per_task, tl.load(x_ + source, mask=seen, other=0.0), mask=mask)


@triton.jit(
    do_not_specialize=[
        "rows", "out_rows", "per_task", "height", "width", "out_height", "out_width", "stride", "top", "left",
    ]
)  # fmt: skip
def _folded(
    columns_, x_, rows, out_rows, channels, per_task, height, width, out_height, out_width, stride, top, left,
    SIDE: tl.constexpr, ROWS: tl.constexpr, COLS: tl.constexpr,
):  # fmt: skip
    """The transpose of the above: one program adds up what a few pixels gave to the rows around them."""
    row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    channel = tl.program_id(1) * COLS + tl.arange(0, COLS)
    image, pixel = row // (height * width), row % (height * width)
    mask = (row < rows)[:, None] & (channel < channels)[None, :]
    task, own = channel // per_task, channel % per_task
    total = tl.zeros([ROWS, COLS], x_.dtype.element_ty)
    for tap in range(SIDE * SIDE):
        y = pixel // width + top - tap // SIDE
        x = pixel % width + left - tap % SIDE
        fits = (y >= 0) & (x >= 0) & (y % stride == 0) & (x % stride == 0)
        y, x = y // stride, x // stride
        fits = fits & (y < out_height) & (x < out_width)
        source = (image * out_height + y) * out_width + x
        at = (task.to(tl.int64)[None, :] * out_rows + source.to(tl.int64)[:, None]) * (SIDE * SIDE * per_task)
        at += own[None, :] + tap * per_task
        total += tl.load(columns_ + at, mask=fits[:, None] & mask, other=0.0).to(x_.dtype.element_ty)
    tl.store(x_ + row.to(tl.int64)[:, None] * channels + channel[None, :], total, mask=mask)


# ---------------------------------------------------------------------------------------------------- calls
def forward(z: Tensor, gamma: Tensor | None, beta: Tensor, eps: float) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Mean, r and s of every channel [T*F], and y like z."""
    vectors, y = [beta.new_empty(z.shape[1]) for _ in range(3)], torch.empty_like(z)
    _launch(_forward, z, z, beta if gamma is None else gamma, beta, *vectors, y, eps=eps, SCALED=gamma is not None)
    mean, r, s = vectors
    return mean, r, s, y


def backward(
    dy: Tensor, y: Tensor, z: Tensor, mean: Tensor, r: Tensor, s: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """dz like z; slope, dgamma and dbeta [T*F]. ``dy`` before the mask of relu."""
    dz, vectors = torch.empty_like(z), [torch.empty_like(mean) for _ in range(3)]
    _launch(_backward, z, _like(dy, z), y, z, mean, r, s, dz, *vectors)
    slope, dgamma, dbeta = vectors
    return dz, slope, dgamma, dbeta


def r_forward(
    z: Tensor, rz: Tensor, y: Tensor, mean: Tensor, r: Tensor, s: Tensor, v_gamma: Tensor | None, v_beta: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """R of the mean, q and R of s [T*F], and R of y like z."""
    vectors, r_y = [torch.empty_like(mean) for _ in range(3)], torch.empty_like(z)
    scale = v_beta if v_gamma is None else v_gamma
    _launch(_r_forward, z, z, rz, y, mean, r, s, scale, v_beta, *vectors, r_y, SCALED=v_gamma is not None)
    r_mean, q, r_s = vectors
    return r_mean, q, r_s, r_y


def r_backward(r_dy: Tensor, f: BlockForward, b: BlockBackward, r: BlockRForward) -> tuple[Tensor, Tensor, Tensor]:
    """R of dz like z, of dgamma and of dbeta [T*F]. ``r_dy`` and ``b.g`` before the mask of relu."""
    r_dz, vectors = torch.empty_like(f.z), [torch.empty_like(f.mean) for _ in range(2)]
    known = (f.mean, f.r, f.s, b.slope, b.dgamma, b.dbeta, r.mean, r.q, r.s)
    _launch(_r_backward, f.z, _like(r_dy, f.z), _like(b.g, f.z), f.y, f.z, r.z, *known, r_dz, *vectors)
    r_dgamma, r_dbeta = vectors
    return r_dz, r_dgamma, r_dbeta


@dataclass(frozen=True, slots=True)
class Window:
    """Where a convolution looks. side: of its kernel. left, top: zeros there. size: of the map that it makes."""

    side: int
    stride: int
    left: int
    top: int
    size: tuple[int, int]


def columns(x: Tensor, window: Window, tasks: int = 1) -> Tensor:
    """Channels-last [B, T*C, H, W] -> [T, B*h*w, side^2 C]: what each weight of a kernel sees, zeros outside."""
    (batch, channels, height, width), (out_height, out_width) = x.shape, window.size
    x = x if _is_rows(x) else _channels_last(x)
    rows = batch * out_height * out_width
    made = x.new_empty(tasks, rows, window.side**2 * channels // tasks)
    shape = rows, channels, channels // tasks, height, width, out_height, out_width
    place = window.stride, window.top, window.left
    _tiles(_columns, x, (rows, channels), x, made, *shape, *place, SIDE=window.side)
    return made


def folded(made: Tensor, window: Window, batch: int, size: tuple[int, int], dtype: torch.dtype | None = None) -> Tensor:
    """The transpose of :func:`columns`, to channels-last [B, T*C, H, W] of ``size`` H, W."""
    (tasks, out_rows, taps), (height, width), (out_height, out_width) = made.shape, size, window.size
    own = taps // window.side**2
    channels, rows = tasks * own, batch * height * width
    x = made.new_empty(batch, height, width, channels, dtype=dtype)
    shape = rows, out_rows, channels, own, height, width, out_height, out_width
    place = window.stride, window.top, window.left
    _tiles(_folded, x, (rows, channels), made, x, *shape, *place, SIDE=window.side)
    return x.permute(0, 3, 1, 2)


def _launch(kernel: Any, like: Tensor, *tensors: Tensor, eps: float | None = None, **constants: Any) -> None:
    """One program for every few channels of a map like ``like``."""
    batch, channels, height, width = like.shape
    rows = batch * height * width
    # Few channels: narrow programs, to have more of them; 8 numbers are the least that memory is read by. Two heights,
    # because each is compiled on its own.
    cols = 8 if channels <= 4096 else 16
    tall = 512 if rows > 128 else 64
    last = () if eps is None else (eps,)
    with torch.cuda.device_of(like):
        kernel[(triton.cdiv(channels, cols),)](
            *tensors,
            rows,
            channels,
            *last,
            **constants,
            ROWS=tall,
            COLS=cols,
            num_warps=(8 if cols == 8 else 16) if tall == 512 else 4,
        )


def _tiles(kernel: Any, like: Tensor, size: tuple[int, int], *arguments: Any, SIDE: int) -> None:
    """One program for every tile of a matrix of ``size``."""
    rows, channels = size
    cols = min(64, triton.next_power_of_2(channels))
    tall = max(1, 1024 // cols)
    with torch.cuda.device_of(like):
        kernel[(triton.cdiv(rows, tall), triton.cdiv(channels, cols))](
            *arguments, SIDE=SIDE, ROWS=tall, COLS=cols, num_warps=4
        )


def _is_rows(x: Tensor) -> bool:
    _, channels, height, width = x.shape
    return x.stride() == (height * width * channels, 1, width * channels, channels)


def _channels_last(x: Tensor) -> Tensor:
    batch, channels, height, width = x.shape
    return x.new_empty(batch, height, width, channels).permute(0, 3, 1, 2).copy_(x)


def _like(maps: Tensor, other: Tensor) -> Tensor:
    """``maps`` in the layout of ``other``; they mostly are."""
    return maps if maps.stride() == other.stride() else torch.empty_like(other).copy_(maps)
