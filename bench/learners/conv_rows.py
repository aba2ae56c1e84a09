"""A block of Conv4 as a GPU likes it: convolutions as batched matrix products, and without pooling one kernel a line.

The same four lines of arithmetic as in :mod:`bench.learners.conv_block_grad`. A convolution of T tasks is T products
[B*h*w, 9C] x [9C, F] of the map's columns (what each of the nine weights sees, unrolled) and the kernels: a grouped
convolution with many groups runs at a tenth of the processor's rate there. Maps stay channels-last [B, T*F, h, w].
"""

from __future__ import annotations

import functools
import importlib.util
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from bench.learners.conv_block_grad import (
    Block,
    BlockBackward,
    BlockForward,
    BlockRBackward,
    BlockRForward,
    StatisticsGrad,
)

if TYPE_CHECKING:
    from bench.learners import kernels


@functools.cache
def available() -> bool:
    """Whether the kernels can be compiled for the GPU: Triton comes with PyTorch for CUDA, and needs a C compiler."""
    if importlib.util.find_spec("triton") is None:
        return False
    from bench.learners import kernels

    try:
        x = torch.ones(1, 1, 2, 2, device="cuda")
        seen = kernels.columns(x, kernels.Window(3, 1, 1, 1, (2, 2)))
        return float(seen.sum()) == 16.0  # each of the four pixels is seen from four places
    except torch.OutOfMemoryError:
        raise  # says nothing of the compiler, and is not to be remembered
    except Exception:  # no compiler, a GPU that is too old: PyTorch's own kernels do as well
        return False


@dataclass(frozen=True)
class RowsBlock(Block):
    """See the module. Prepared maps are columns [T, B*h*w, 9C]. before: height and width of the map that comes in."""

    before: tuple[int, int]

    def prepare(self, x: Tensor) -> Tensor:
        """Channels-last [B, T*C, H, W] -> columns [T, B*h*w, 9C]."""
        from bench.learners import kernels

        return kernels.columns(x, self._window(), self.groups)

    def convolve(self, x: Tensor, w: Tensor) -> Tensor:
        """Columns and w [T*F, C, 3, 3] -> z, channels-last."""
        z = self._map_like(x, w)
        torch.bmm(x, self._matrix(w).mT, out=self._rows(z))
        return z

    def convolve_backward(self, dz: Tensor, x: Tensor, w: Tensor) -> tuple[Tensor | None, Tensor]:
        """See the base."""
        rows = self._rows(dz)
        dw = torch.bmm(rows.mT, x)
        return None if self.first else self._folded(torch.bmm(rows, self._matrix(w)), dz), self._kernels(dw, w)

    def r_convolve_backward(
        self, r_dz: Tensor, x: Tensor, w: Tensor, dz: Tensor, r_x: Tensor | None, v_w: Tensor
    ) -> tuple[Tensor | None, Tensor]:
        """See the base; the two products of each add up in one place."""
        r_rows, rows = self._rows(r_dz), self._rows(dz)
        dw = torch.bmm(r_rows.mT, x)
        if r_x is not None:
            dw.baddbmm_(rows.mT, r_x)
        if self.first:
            return None, self._kernels(dw, w)
        columns = torch.bmm(r_rows, self._matrix(w)).baddbmm_(rows, self._matrix(v_w))
        return self._folded(columns, dz), self._kernels(dw, w)

    def forward(
        self,
        x: Tensor,
        w: Tensor,
        gamma: Tensor | None,
        beta: Tensor,
        given: tuple[Tensor, Tensor] | None = None,
    ) -> BlockForward:
        """See the base."""
        if self.pool or given is not None:
            return super().forward(x, w, gamma, beta, given)
        from bench.learners import kernels

        x = x if self.first else self.prepare(x)
        z = self.convolve(x, w)
        mean, r, s, y = kernels.forward(z, gamma, beta, self.eps)
        return BlockForward(x, z, None, z, mean, r, s, y)

    def backward(
        self,
        f: BlockForward,
        w: Tensor,
        dy: Tensor,
        statistics: StatisticsGrad | None = None,
        given: bool = False,
    ) -> BlockBackward:
        """See the base. ``g`` is the gradient before the mask of relu here, which :meth:`r_backward` puts on it."""
        if self.pool or given or statistics is not None:
            return super().backward(f, w, dy, statistics, given)
        from bench.learners import kernels

        dz, slope, dgamma, dbeta = kernels.backward(dy, f.y, f.z, f.mean, f.r, f.s)
        dx, dw = self.convolve_backward(dz, f.x, w)
        return BlockBackward(dy, dz, slope, dw, dgamma, dbeta, dx)

    def r_forward(
        self,
        f: BlockForward,
        w: Tensor,
        r_x: Tensor | None,
        v_w: Tensor,
        v_gamma: Tensor | None,
        v_beta: Tensor,
    ) -> BlockRForward:
        """See the base."""
        if self.pool:
            return super().r_forward(f, w, r_x, v_w, v_gamma, v_beta)
        from bench.learners import kernels

        z = self.convolve(f.x, v_w)
        if r_x is not None:
            r_x = self.prepare(r_x)
            self._rows(z).baddbmm_(r_x, self._matrix(w).mT)
        mean, q, s, y = kernels.r_forward(f.z, z, f.y, f.mean, f.r, f.s, v_gamma, v_beta)
        return BlockRForward(r_x, z, z, mean, q, s, y)

    def r_backward(
        self, f: BlockForward, b: BlockBackward, r: BlockRForward, w: Tensor, v_w: Tensor, r_dy: Tensor
    ) -> BlockRBackward:
        """See the base."""
        if self.pool:
            return super().r_backward(f, b, r, w, v_w, r_dy)
        from bench.learners import kernels

        dz, dgamma, dbeta = kernels.r_backward(r_dy, f, b, r)
        dx, dw = self.r_convolve_backward(dz, f.x, w, b.dz, r.x, v_w)
        return BlockRBackward(dw, dgamma, dbeta, dx)

    # ------------------------------------------------------------------------------------------- views
    def _rows(self, maps: Tensor) -> Tensor:
        """Channels-last [B, T*F, h, w] -> a view [T, B*h*w, F]."""
        batch, channels, height, width = maps.shape
        rows = maps.permute(0, 2, 3, 1).view(batch * height * width, self.groups, channels // self.groups)
        return rows.transpose(0, 1)

    def _window(self) -> kernels.Window:
        from bench.learners import kernels

        left, _, top, _ = self.geometry.pad
        return kernels.Window(3, self.geometry.stride, left, top, self.geometry.size)

    def _map_like(self, columns: Tensor, w: Tensor) -> Tensor:
        """An empty map for the products of ``columns``."""
        height, width = self.geometry.size
        batch = columns.shape[1] // (height * width)
        return columns.new_empty(batch, height, width, len(w)).permute(0, 3, 1, 2)

    def _matrix(self, w: Tensor) -> Tensor:
        """Channels-last kernels [T*F, C, 3, 3] -> a view [T, F, 9C]."""
        return w.permute(0, 2, 3, 1).reshape(self.groups, len(w) // self.groups, -1)

    def _kernels(self, matrix: Tensor, w: Tensor) -> Tensor:
        """The inverse of :meth:`_matrix`."""
        return matrix.view(len(w), 3, 3, w.shape[1]).permute(0, 3, 1, 2)

    def _folded(self, columns: Tensor, dz: Tensor) -> Tensor:
        """The transpose of :meth:`prepare`: every pixel adds up what its columns hold."""
        from bench.learners import kernels

        return kernels.folded(columns, self._window(), len(dz), self.before)
