"""First and second derivatives of Conv4, written out for T tasks at once. No autograd graph.

The blocks have theirs in :mod:`bench.learners.conv_block_grad`, where the four lines of arithmetic are explained:
forward, backward, r_forward and r_backward.

Layout: maps are channels-last [B, T*F, H, W], one channel per task and filter; vectors over channels are
[T*F]; the parameters of the T tasks lie side by side in the same way (:func:`grouped`). Tasks never mix, so
the gradient of the summed loss is every task's own gradient.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from bench.backbones import Conv4, ImageShape, Params, flat_features, mean_features, side_by_side
from bench.learners.conv_block_grad import (
    Block,
    BlockBackward,
    BlockForward,
    BlockRBackward,
    BlockRForward,
    StatisticsGrad,
)
from bench.learners.conv_rows import RowsBlock
from bench.training.work import count


# ---------------------------------------------------------------------------------------------- parameters
def grouped(params: Mapping[str, Tensor]) -> Params:
    """Stacked parameters [T, ...] in the layout of a grouped convolution: kernels [T*F, C, 3, 3], vectors
    [T*F].

    Kernels are channels-last, as their gradients come out: mixed layouts make every update many times slower.
    """
    return {name: _group(name, value) for name, value in params.items()}


def _group(name: str, value: Tensor) -> Tensor:
    if name.startswith("head."):
        return value
    flat = value.flatten(0, 1)
    return flat.contiguous(memory_format=torch.channels_last) if flat.dim() == 4 else flat


def stacked(params: Mapping[str, Tensor], tasks: int) -> Params:
    """The inverse of :func:`grouped`."""
    return {
        name: value if name.startswith("head.") else value.reshape(tasks, -1, *value.shape[1:])
        for name, value in params.items()
    }


# -------------------------------------------------------------------------------------------- cross-entropy
def cross_entropy_backward(logits: Tensor, target: Tensor) -> Tensor:
    """d/dlogits of the mean cross-entropy over B images, for each task: (softmax - onehot) / B.

    logits [T, B, N], target one-hot [B, N] shared by all tasks, of the same type.
    """
    return (logits.softmax(-1) - target).div_(logits.shape[1])


def cross_entropy_r_backward(logits: Tensor, r_logits: Tensor) -> Tensor:
    """R of the above: softmax * (R{l} - sum_n softmax R{l}) / B."""
    p = logits.softmax(-1)
    weighted = p * r_logits
    return weighted.sub_(p * weighted.sum(-1, keepdim=True)).div_(logits.shape[1])


# -------------------------------------------------------------------------------------------- whole network
@dataclass(slots=True)
class Forward:
    """blocks: their forward quantities; features [T, B, D]; logits [T, B, N]."""

    blocks: list[BlockForward]
    features: Tensor
    logits: Tensor

    def statistics(self) -> list[tuple[Tensor, Tensor]]:
        """Mean and r of every block."""
        return [(block.mean, block.r) for block in self.blocks]


@dataclass(slots=True)
class Backward:
    """blocks, first to last; dlogits [T, B, N]; grads, like the parameters."""

    blocks: list[BlockBackward]
    dlogits: Tensor
    grads: Params


class Conv4Derivatives:
    """Conv4 with a classifier, for ``tasks`` tasks of images of one shape. Parameters as :func:`grouped`
    makes them.
    """

    def __init__(self, backbone: Conv4, image_shape: ImageShape, tasks: int, rows: bool = False) -> None:
        """``rows``: convolutions as matrix products, for a GPU (:mod:`bench.learners.conv_rows`)."""
        self.tasks = tasks
        self.mean_head = backbone.head == "mean"
        self.blocks: list[Block] = []
        before = image_shape[1:]
        for i, geometry in enumerate(backbone.geometry(image_shape)):
            settings = geometry, tasks, backbone.pool, backbone.eps, i == 0
            self.blocks.append(RowsBlock(*settings, before) if rows else Block(*settings))
            before = geometry.pooled

    def images(self, images: Tensor) -> Tensor:
        """Images [T, B, C, H, W] as :meth:`forward` takes them; once, for all the steps that look at them."""
        return self.blocks[0].prepare(side_by_side(images))

    def forward(self, params: Params, x: Tensor, given: list[tuple[Tensor, Tensor]] | None = None) -> Forward:
        """x from :meth:`images` -> logits. ``given``: statistics to normalise with."""
        blocks = []
        for i, block in enumerate(self.blocks):
            w, gamma, beta = _of_block(params, i)
            blocks.append(block.forward(x, w, gamma, beta, given[i] if given else None))
            x = blocks[-1].y
        features = self._features(x)
        count(self.tasks * features.shape[1])
        return Forward(blocks, features, _linear(features, params["head.weight"], params["head.bias"]))

    def backward(
        self,
        params: Params,
        f: Forward,
        dlogits: Tensor,
        statistics: list[StatisticsGrad] | None = None,
        given: bool = False,
    ) -> Backward:
        """Gradient of a loss whose gradient at the logits is ``dlogits`` (and at the statistics
        ``statistics``).
        """
        grads = {"head.weight": dlogits.mT @ f.features, "head.bias": dlogits.sum(1)}
        dy = self._features_backward(dlogits @ params["head.weight"], f.blocks[-1].y)
        blocks: list[BlockBackward] = []
        for i in reversed(range(len(self.blocks))):
            w = params[f"conv{i + 1}.weight"]
            b = self.blocks[i].backward(f.blocks[i], w, dy, statistics[i] if statistics else None, given)
            _put(grads, params, i, b)
            blocks.insert(0, b)
            if b.dx is not None:
                dy = b.dx
        return Backward(blocks, dlogits, grads)

    def statistics_backward(self, params: Params, f: Forward, b: Backward) -> list[StatisticsGrad]:
        """Gradient with respect to the statistics that ``f`` was given."""
        return [
            block.statistics_backward(bf, bb, params.get(f"norm{i + 1}.weight"))
            for i, (block, bf, bb) in enumerate(zip(self.blocks, f.blocks, b.blocks, strict=True))
        ]

    def hessian_vector(self, params: Params, f: Forward, b: Backward, v: Params) -> Params:
        """H v, with H the Hessian of the mean cross-entropy whose ``f`` and ``b`` are given."""
        x: Tensor | None = None
        blocks: list[BlockRForward] = []
        for i, block in enumerate(self.blocks):
            w, v_beta = params[f"conv{i + 1}.weight"], v[f"norm{i + 1}.bias"]
            v_w, v_gamma = v[f"conv{i + 1}.weight"], v.get(f"norm{i + 1}.weight")
            blocks.append(block.r_forward(f.blocks[i], w, x, v_w, v_gamma, v_beta))
            x = blocks[-1].y
        assert x is not None
        features = self._features(x)
        weight, v_weight = params["head.weight"], v["head.weight"]
        r_logits = _linear(f.features, v_weight, v["head.bias"]).baddbmm_(features, weight.mT)
        r_dlogits = cross_entropy_r_backward(f.logits, r_logits)
        product = {
            "head.weight": (r_dlogits.mT @ f.features).baddbmm_(b.dlogits.mT, features),
            "head.bias": r_dlogits.sum(1),
        }
        r_dfeatures = (r_dlogits @ weight).baddbmm_(b.dlogits, v_weight)
        r_dy = self._features_backward(r_dfeatures, f.blocks[-1].y)
        for i in reversed(range(len(self.blocks))):
            w, v_w = params[f"conv{i + 1}.weight"], v[f"conv{i + 1}.weight"]
            rb = self.blocks[i].r_backward(f.blocks[i], b.blocks[i], blocks[i], w, v_w, r_dy)
            _put(product, params, i, rb)
            if rb.dx is not None:
                r_dy = rb.dx
        return product

    def _features(self, maps: Tensor) -> Tensor:
        return mean_features(maps, self.tasks) if self.mean_head else flat_features(maps, self.tasks)

    def _features_backward(self, dfeatures: Tensor, maps: Tensor) -> Tensor:
        """[T, B, D] -> channels-last maps [B, T*F, h, w]: the transpose of :meth:`_features`, which is
        linear.
        """
        batch, channels, height, width = maps.shape
        grid = dfeatures.view(self.tasks, batch, channels // self.tasks, -1)
        if self.mean_head:
            grid = (grid / (height * width)).expand(-1, -1, -1, height * width)
        rows = grid.permute(1, 3, 0, 2).reshape(batch, height, width, channels)
        return rows.permute(0, 3, 1, 2)


def _linear(features: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    return torch.baddbmm(bias.unsqueeze(1), features, weight.mT)


def _of_block(params: Params, i: int) -> tuple[Tensor, Tensor | None, Tensor]:
    return params[f"conv{i + 1}.weight"], params.get(f"norm{i + 1}.weight"), params[f"norm{i + 1}.bias"]


def _put(grads: Params, params: Params, i: int, b: BlockBackward | BlockRBackward) -> None:
    grads[f"conv{i + 1}.weight"] = b.dw
    grads[f"norm{i + 1}.bias"] = b.dbeta
    if f"norm{i + 1}.weight" in params:
        grads[f"norm{i + 1}.weight"] = b.dgamma
