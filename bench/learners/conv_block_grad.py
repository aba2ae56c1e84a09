"""First and second derivatives of one block of Conv4, written out for T tasks at once. No autograd graph.

A block is   z = conv(x, w),  p = pool(z),  y = relu(t + s p)
      with   r = 1/sqrt(var + eps),  s = gamma r,  t = beta - mean s.

Pooling comes before the affine part: batch normalisation is monotone in z (increasing for gamma >= 0,
decreasing below), so the maximum of the normalised map sits where z has its maximum (minimum), and all
pointwise work is done on a quarter of the pixels. The statistics are still those of the whole map z.

Every quantity has four lines of arithmetic, one method each:

    forward      the value
    backward     d/d. of the loss                                   (reverse mode)
    r_forward    R{.}, the derivative of the value along v          (forward mode over forward)
    r_backward   R{d/d.}, the derivative of the gradient along v    (forward mode over reverse)

R{.} is the operator of Pearlmutter 1994 (Fast exact multiplication by the Hessian): it obeys the product
rule, and R of the whole gradient is the Hessian times v. Max-pooling and ReLU are piecewise linear: R passes
through them with the same argmax and the same mask.

Layout: see :mod:`bench.learners.conv_grad`.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from bench.backbones import Geometry, per_channel

_POOL = ([2, 2], [2, 2])  # kernel and stride


@dataclass(slots=True)
class BlockForward:
    """x: the convolution's input, padded; z: its output; at: the pooled pixels' places (None: no pooling);
    p: z there.
    """

    x: Tensor
    z: Tensor
    at: Tensor | None
    p: Tensor
    mean: Tensor
    r: Tensor
    s: Tensor
    y: Tensor


@dataclass(slots=True)
class BlockBackward:
    """g: gradient at relu's input; dz: at z, of which ``slope`` is the factor of z."""

    g: Tensor
    dz: Tensor
    slope: Tensor
    dw: Tensor
    dgamma: Tensor
    dbeta: Tensor
    dx: Tensor | None


@dataclass(slots=True)
class BlockRForward:
    """R of the forward quantities; q is -R{r}/r. x is None in the first block: images do not depend on
    parameters.
    """

    x: Tensor | None
    z: Tensor
    p: Tensor
    mean: Tensor
    q: Tensor
    s: Tensor
    y: Tensor


@dataclass(slots=True)
class BlockRBackward:
    """R of the gradients."""

    dw: Tensor
    dgamma: Tensor
    dbeta: Tensor
    dx: Tensor | None


StatisticsGrad = tuple[Tensor, Tensor]
"""Gradient with respect to a layer's mean and r, each [T*F]."""


@dataclass(frozen=True)
class Block:
    """Convolution, normalisation, pooling, ReLU, with their derivatives. ``first``: no gradient for the
    images.
    """

    geometry: Geometry
    groups: int
    pool: bool
    eps: float
    first: bool

    def forward(
        self,
        x: Tensor,
        w: Tensor,
        gamma: Tensor | None,
        beta: Tensor,
        given: tuple[Tensor, Tensor] | None = None,
    ) -> BlockForward:
        """x: images already :meth:`prepare`-d, or the map of the block before. ``given``: mean and r to normalise
        with, in place of those of z itself.
        """
        x = x if self.first else self.prepare(x)
        z = self.convolve(x, w)
        if given is None:
            mean, variance = torch.batch_norm_update_stats(z, None, None, 0.0)
            r = torch.rsqrt(variance.add_(self.eps))
        else:
            mean, r = given
        p, at = self._pool(z, gamma)
        s = r if gamma is None else gamma * r
        y = torch.addcmul(per_channel(beta - mean * s), p, per_channel(s)).relu_()
        return BlockForward(x, z, at, p, mean, r, s, y)

    def backward(
        self,
        f: BlockForward,
        w: Tensor,
        dy: Tensor,
        statistics: StatisticsGrad | None = None,
        given: bool = False,
    ) -> BlockBackward:
        """dz = unpool(s g) - s dbeta/m - xhat s dgamma/m, the derivative of batch normalisation, m = B H W,
        xhat = r (z - mean), written as unpool(s g) + a + slope z.

        ``statistics``: further gradient that reaches mean and r from elsewhere: dmean/m - dr r^3 (z -
        mean)/m. ``given``: the statistics were given, so nothing but unpool(s g) reaches z.
        """
        g = torch.ops.aten.threshold_backward(dy, f.y, 0)
        dbeta = _sum(g)
        dgamma = f.r * (_sum(g * f.p) - f.mean * dbeta)
        dz = self._unpool(g * per_channel(f.s), f)
        if given:
            slope = torch.zeros_like(f.r)
        else:
            m = _pixels(f.z)
            slope = f.s * f.r * dgamma
            shift = f.s * dbeta
            if statistics is not None:
                dmean, dr = statistics
                slope = slope + f.r.pow(3) * dr
                shift = shift - dmean
            slope = slope / -m
            a = shift / -m - slope * f.mean
            dz = dz.addcmul_(f.z, per_channel(slope)).add_(per_channel(a))
        dx, dw = self.convolve_backward(dz, f.x, w)
        return BlockBackward(g, dz, slope, dw, dgamma, dbeta, dx)

    def statistics_backward(self, f: BlockForward, b: BlockBackward, gamma: Tensor | None) -> StatisticsGrad:
        """Gradient for ``given`` statistics: dmean = -s dbeta; dr = gamma (sum g p - mean dbeta) = gamma
        dgamma / r.
        """
        dr = b.dgamma / f.r
        return -f.s * b.dbeta, dr if gamma is None else gamma * dr

    def r_forward(
        self,
        f: BlockForward,
        w: Tensor,
        r_x: Tensor | None,
        v_w: Tensor,
        v_gamma: Tensor | None,
        v_beta: Tensor,
    ) -> BlockRForward:
        """R{z} = conv(R{x}, w) + conv(x, v_w);  R{mean} = mean R{z};  R{var} = 2 mean((z - mean) R{z}), so
        R{r} = -r q with q = r^2 mean((z - mean) R{z});  R{s} = v_gamma r - s q;  R{t} = v_beta - R{mean} s -
        mean R{s}; R{t + s p} = R{t} + R{s} p + s R{p}.
        """
        z = self.convolve(f.x, v_w)
        if r_x is not None:
            r_x = self.prepare(r_x)
            z += self.convolve(r_x, w)
        m = _pixels(z)
        mean = _sum(z) / m
        q = f.r * f.r * (_sum(z * f.z) / m - f.mean * mean)
        s = -f.s * q
        if v_gamma is not None:
            s = s + v_gamma * f.r
        p = self._at_argmax(z, f)
        y = torch.addcmul(per_channel(v_beta - mean * f.s - f.mean * s), f.p, per_channel(s))
        y.addcmul_(p, per_channel(f.s))
        return BlockRForward(r_x, z, p, mean, q, s, torch.ops.aten.threshold_backward(y, f.y, 0))

    def r_backward(
        self, f: BlockForward, b: BlockBackward, r: BlockRForward, w: Tensor, v_w: Tensor, r_dy: Tensor
    ) -> BlockRBackward:
        """The product rule on every line of :meth:`backward`:

        R{dgamma} = -q dgamma + r (sum(R{g} p + g R{p}) - R{mean} dbeta - mean R{dbeta})
        R{slope}  = -(R{s} r dgamma - s r q dgamma + s r R{dgamma}) / m
        R{a}      = -(R{s} dbeta + s R{dbeta}) / m - R{slope} mean - slope R{mean}
        R{dz}     = unpool(R{s} g + s R{g}) + R{a} + R{slope} z + slope R{z}
        R{dw}     = dw(R{dz}, x) + dw(dz, R{x}),  R{dx} = dx(R{dz}, w) + dx(dz, v_w)
        """
        g = torch.ops.aten.threshold_backward(r_dy, f.y, 0)
        m = _pixels(f.z)
        dbeta = _sum(g)
        products = torch.addcmul(g * f.p, b.g, r.p)
        dgamma = f.r * (_sum(products) - r.mean * b.dbeta - f.mean * dbeta) - r.q * b.dgamma
        slope = f.r * (f.s * (dgamma - r.q * b.dgamma) + r.s * b.dgamma) / -m
        a = (r.s * b.dbeta + f.s * dbeta) / -m - slope * f.mean - b.slope * r.mean
        inner = torch.addcmul(b.g * per_channel(r.s), g, per_channel(f.s))
        dz = self._unpool(inner, f).addcmul_(f.z, per_channel(slope)).addcmul_(r.z, per_channel(b.slope))
        dz.add_(per_channel(a))
        dx, dw = self.r_convolve_backward(dz, f.x, w, b.dz, r.x, v_w)
        return BlockRBackward(dw, dgamma, dbeta, dx)

    def prepare(self, x: Tensor) -> Tensor:
        """A channels-last map [B, T*C, H, W] as :meth:`convolve` takes it, and as it is kept for the way back."""
        return self.geometry.prepare(x)

    def convolve(self, x: Tensor, w: Tensor) -> Tensor:
        """Prepared x, w [T*F, C, 3, 3] -> z."""
        return self.geometry.convolve(x, w, self.groups)

    def convolve_backward(self, dz: Tensor, x: Tensor, w: Tensor) -> tuple[Tensor | None, Tensor]:
        """Gradients of the map before it was prepared (None for images) and of w."""
        dx, dw = self._convolution_backward(dz, x, w)
        return self._crop(dx), dw

    def r_convolve_backward(
        self, r_dz: Tensor, x: Tensor, w: Tensor, dz: Tensor, r_x: Tensor | None, v_w: Tensor
    ) -> tuple[Tensor | None, Tensor]:
        """R of the above: dx(R{dz}, w) + dx(dz, v_w) and dw(R{dz}, x) + dw(dz, R{x})."""
        dx, dw = self._convolution_backward(r_dz, x, w)
        if r_x is not None:
            dx_too, dw_too = self._convolution_backward(dz, r_x, v_w)
            dw = dw + dw_too
            if dx is not None and dx_too is not None:
                dx = dx + dx_too
        return self._crop(dx), dw

    def _convolution_backward(self, dz: Tensor, x: Tensor, w: Tensor) -> tuple[Tensor | None, Tensor]:
        stride, padding = [self.geometry.stride] * 2, list(self.geometry.padding)
        mask = [not self.first, True, False]
        dx, dw, _ = torch.ops.aten.convolution_backward(
            dz, x, w, None, stride, padding, [1, 1], False, [0, 0], self.groups, mask
        )
        return dx, dw

    def _crop(self, dx: Tensor | None) -> Tensor | None:
        """The gradient of the padded input without its padding."""
        if dx is None or self.geometry.symmetric:
            return dx
        left, right, top, bottom = self.geometry.pad
        return dx[:, :, top : dx.shape[2] - bottom, left : dx.shape[3] - right].contiguous(
            memory_format=torch.channels_last
        )

    def _pool(self, z: Tensor, gamma: Tensor | None) -> tuple[Tensor, Tensor | None]:
        if not self.pool:
            return z, None
        if gamma is None:
            largest, at = torch.ops.aten.max_pool2d_with_indices(z, *_POOL)
            return largest, at
        sign = per_channel(torch.where(gamma < 0, -1.0, 1.0).to(z.dtype))
        largest, at = torch.ops.aten.max_pool2d_with_indices(z * sign, *_POOL)
        return largest * sign, at

    def _unpool(self, pooled: Tensor, f: BlockForward) -> Tensor:
        """Every value back to where its maximum was, zero elsewhere."""
        if f.at is None:
            return pooled
        full: Tensor = torch.ops.aten.max_pool2d_with_indices_backward(pooled, f.z, *_POOL, [0, 0], [1, 1], False, f.at)
        return full

    def _at_argmax(self, full: Tensor, f: BlockForward) -> Tensor:
        """``full`` where z had its maxima."""
        if f.at is None:
            return full
        batch, channels, height, width = f.p.shape
        # As rows of pixels, so that gather walks along memory.
        where = f.at.permute(0, 2, 3, 1).reshape(batch, height * width, channels)
        taken = full.permute(0, 2, 3, 1).reshape(batch, -1, channels).gather(1, where)
        return taken.view(batch, height, width, channels).permute(0, 3, 1, 2)


def _sum(maps: Tensor) -> Tensor:
    """Sum over images and pixels, [T*F]; as a sum of rows, the fast reduction for channels-last."""
    return maps.permute(0, 2, 3, 1).reshape(-1, maps.shape[1]).sum(0)


def _pixels(maps: Tensor) -> int:
    return maps.shape[0] * maps.shape[2] * maps.shape[3]
