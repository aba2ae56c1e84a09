"""Conv4, the backbone of few-shot learning, as pure functions of its parameters.

One forward serves one task and T tasks at once: every parameter carries a leading task axis T, and T tasks
become one grouped convolution on a channels-last tensor [B, T*C, H, W]. Parameters that all tasks share have
T = 1.

A convolution in front of batch statistics has no bias here: the normalisation subtracts it again, so its
gradient is exactly zero and it never moves from its initial zero.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

import torch
import torch.nn.functional as F
from torch import Tensor

from bench.basics.errors import BenchError
from bench.training.work import count

Params = dict[str, Tensor]
ImageShape = tuple[int, int, int]
Statistics = list[tuple[Tensor, Tensor]]
"""Mean and (biased) variance of every normalised layer, each [T*F]."""

Normalise = Callable[[int, Tensor, Tensor, Tensor, float], Tensor]
"""``normalise(layer, z [B, T*F, H, W], weight [T*F], bias [T*F], eps)`` -> same shape as z."""


@runtime_checkable
class Backbone(Protocol):
    """A network as a pure function. MAML accepts any object with these two methods.

    Of an ``nn.Module`` :class:`bench.learners.modules.ModuleBackbone` makes one.
    """

    def init(self, rng: torch.Generator, image_shape: ImageShape, outputs: int | None) -> Params:
        """Initial parameters without a task axis, drawn on the CPU; ``outputs`` logits, or features where
        None.
        """
        ...

    def forward(self, params: Mapping[str, Tensor], images: Tensor, normalise: Normalise) -> Tensor:
        """Parameters [T, ...] and images [T, B, C, H, W] -> logits [T, B, outputs] or features [T, B, D]."""
        ...


@runtime_checkable
class EmbeddingBackbone(Backbone, Protocol):
    """What ProtoNets accept, and methods that train an embedding: running statistics and inference with them."""

    def dim(self, image_shape: ImageShape) -> int:
        """D, the length of a feature."""
        ...

    def buffers(self, image_shape: ImageShape) -> Params:
        """Fresh running statistics on the CPU, ``norm{i}.mean`` and ``norm{i}.variance`` of layer i = 1, 2, …, each
        [F]; empty without batch normalisation.
        """
        ...

    def embed(self, params: Mapping[str, Tensor], buffers: Mapping[str, Tensor], images: Tensor) -> Tensor:
        """Parameters without a task axis and images [B, C, H, W] -> features [B, D], normalised by ``buffers``."""
        ...


# ------------------------------------------------------------------------------------------- normalisation
def batch_statistics(layer: int, z: Tensor, weight: Tensor, bias: Tensor, eps: float) -> Tensor:
    """Batch normalisation with the statistics of the batch itself."""
    # Not F.batch_norm: its check refuses a single query whose last map is one pixel.
    return torch.batch_norm(z, weight, bias, None, None, True, 0.0, eps, torch.backends.cudnn.enabled)


class RecordedStatistics:
    """As :func:`batch_statistics`, and remembers them (with their gradient) in ``seen``."""

    def __init__(self) -> None:
        self.seen: Statistics = []

    def __call__(self, layer: int, z: Tensor, weight: Tensor, bias: Tensor, eps: float) -> Tensor:
        variance, mean = torch.var_mean(z, dim=(0, 2, 3), correction=0)
        self.seen.append((mean, variance))
        return _affine(z, mean, variance, weight, bias, eps)


class GivenStatistics:
    """Normalisation with statistics that were seen elsewhere; differentiable in them too."""

    def __init__(self, statistics: Statistics) -> None:
        self.statistics = statistics

    def __call__(self, layer: int, z: Tensor, weight: Tensor, bias: Tensor, eps: float) -> Tensor:
        mean, variance = self.statistics[layer]
        return _affine(z, mean, variance, weight, bias, eps)


class RunningStatistics:
    """Batch statistics in training, their exponential average otherwise (PyTorch's convention).

    running <- (1 - momentum) * running + momentum * batch, with the unbiased batch variance. ``buffers``
    holds ``norm{i}.mean`` and ``norm{i}.variance`` and is updated in place.
    """

    def __init__(self, buffers: Mapping[str, Tensor], momentum: float, training: bool) -> None:
        self.buffers, self.momentum, self.training = buffers, momentum, training

    def __call__(self, layer: int, z: Tensor, weight: Tensor, bias: Tensor, eps: float) -> Tensor:
        mean, variance = self.buffers[f"norm{layer + 1}.mean"], self.buffers[f"norm{layer + 1}.variance"]
        enabled = torch.backends.cudnn.enabled
        return torch.batch_norm(z, weight, bias, mean, variance, self.training, self.momentum, eps, enabled)


def _affine(z: Tensor, mean: Tensor, variance: Tensor, weight: Tensor, bias: Tensor, eps: float) -> Tensor:
    scale = weight * torch.rsqrt(variance + eps)
    return z * per_channel(scale) + per_channel(bias - mean * scale)


# ------------------------------------------------------------------------------------------------- layout
def per_channel(vector: Tensor) -> Tensor:
    """[C] -> [1, C, 1, 1]."""
    return vector.view(1, -1, 1, 1)


def side_by_side(images: Tensor) -> Tensor:
    """[T, B, C, H, W] -> [B, T*C, H, W], channels-last: the tasks' channels next to each other.

    A copy into fresh memory: for one channel ``contiguous`` does nothing in either layout, keeps the strides
    of channels-first, and the whole network would silently stay in the slow layout.
    """
    tasks, batch, channels, height, width = images.shape
    rows = images.new_empty(batch, height, width, tasks, channels)
    rows.copy_(images.permute(1, 3, 4, 0, 2))
    return rows.view(batch, height, width, tasks * channels).permute(0, 3, 1, 2)


def flat_features(maps: Tensor, tasks: int) -> Tensor:
    """[B, T*F, h, w] -> [T, B, F*h*w]."""
    batch, channels, height, width = maps.shape
    split = maps.reshape(batch, tasks, channels // tasks, height, width)
    return split.transpose(0, 1).reshape(tasks, batch, -1)


def mean_features(maps: Tensor, tasks: int) -> Tensor:
    """[B, T*F, h, w] -> [T, B, F]."""
    batch, channels = maps.shape[:2]
    return maps.mean(dim=(2, 3)).reshape(batch, tasks, channels // tasks).transpose(0, 1)


@dataclass(frozen=True, slots=True)
class Geometry:
    """Where one 3x3 convolution looks, and how large its map is.

    pad: left, right, top, bottom, before the convolution. size: height and width after it. pooled: after
    pooling.
    """

    pad: tuple[int, int, int, int]
    stride: int
    size: tuple[int, int]
    pooled: tuple[int, int]

    @property
    def symmetric(self) -> bool:
        """Whether the convolution itself can do the padding, without a copy."""
        left, right, top, bottom = self.pad
        return left == right and top == bottom

    @property
    def padding(self) -> tuple[int, int]:
        """What is left to the convolution: (vertical, horizontal)."""
        return (self.pad[2], self.pad[0]) if self.symmetric else (0, 0)

    def prepare(self, x: Tensor) -> Tensor:
        """The convolution's input: padded here where the two sides differ."""
        return x if self.symmetric else F.pad(x, self.pad)

    def convolve(self, x: Tensor, weight: Tensor, groups: int) -> Tensor:
        """3x3 convolution of a prepared input."""
        return torch.conv2d(x, weight, None, self.stride, self.padding, 1, groups)


# ---------------------------------------------------------------------------------------------- the network
@dataclass(frozen=True, slots=True)
class Conv4:
    """Four blocks of 3x3 convolution, batch normalisation, 2x2 max-pooling (optional) and ReLU.

    The defaults are the network of the text of Khodadadeh et al. 2020, §4 (64 filters, padding 1, pooling;
    Vinyals et al. 2016, §3). ``stride=2, pool=False, head="mean"`` is the network of the authors' Omniglot
    programs: TensorFlow's 'same' padding (28 -> 14 -> 7 -> 4 -> 2; an even side is padded by 0 before and 1
    after), a classifier on the spatial mean, features [2*2*filters] for ProtoNets. As in those programs the
    normalisation has eps 1e-3 and an offset only.

    filters: channels of every block. padding: ``same`` as TensorFlow counts it, or ``valid`` (none). head:
    what the classifier sees, the ``flatten``-ed last map or its spatial ``mean``; features without a
    classifier are always flattened. norm_scale: whether the normalisation also learns a scale.
    """

    filters: int = 64
    stride: int = 1
    pool: bool = True
    padding: Literal["same", "valid"] = "same"
    head: Literal["flatten", "mean"] = "flatten"
    norm_scale: bool = False
    eps: float = 1e-3

    def __post_init__(self) -> None:
        if self.filters < 1:
            raise BenchError(f"backbone.filters must be at least 1, not {self.filters}")
        if self.stride not in (1, 2):
            raise BenchError(f"backbone.stride must be 1 or 2, not {self.stride}")
        if self.padding not in ("same", "valid"):
            raise BenchError(f"backbone.padding must be 'same' or 'valid', not {self.padding!r}")
        if self.head not in ("flatten", "mean"):
            raise BenchError(f"backbone.head must be 'flatten' or 'mean', not {self.head!r}")
        if not self.eps > 0:
            raise BenchError(f"backbone.eps must be above 0, not {self.eps}")

    def geometry(self, image_shape: ImageShape) -> tuple[Geometry, ...]:
        """The four convolutions for images of this shape; BenchError where nothing would be left of them."""
        _, height, width = image_shape
        size, blocks = (height, width), []
        for _ in range(4):
            (left, right), (top, bottom) = self._pads(size[1]), self._pads(size[0])
            out = (self._out(size[0]), self._out(size[1]))
            pooled = (out[0] // 2, out[1] // 2) if self.pool else out
            if min(pooled) < 1:
                raise BenchError(
                    f"images of {height}x{width} pixels are too small for this backbone, its maps shrink to "
                    "nothing; use at least 16x16, or backbone.padding=same with backbone.pool=false"
                )
            blocks.append(Geometry((left, right, top, bottom), self.stride, out, pooled))
            size = pooled
        return tuple(blocks)

    def _out(self, side: int) -> int:
        return math.ceil(side / self.stride) if self.padding == "same" else (side - 3) // self.stride + 1

    def _pads(self, side: int) -> tuple[int, int]:
        if self.padding == "valid":
            return 0, 0
        total = max((self._out(side) - 1) * self.stride + 3 - side, 0)
        return total // 2, total - total // 2

    def dim(self, image_shape: ImageShape) -> int:
        """Length of the flattened feature."""
        height, width = self.geometry(image_shape)[-1].pooled
        return self.filters * height * width

    def init(self, rng: torch.Generator, image_shape: ImageShape, outputs: int | None) -> Params:
        """Glorot-uniform kernels, zero offsets, unit scales, float32 on the CPU."""
        params: Params = {}
        channels = image_shape[0]
        for i in range(1, 5):
            params[f"conv{i}.weight"] = glorot((self.filters, channels, 3, 3), rng)
            if self.norm_scale:
                params[f"norm{i}.weight"] = torch.ones(self.filters)
            params[f"norm{i}.bias"] = torch.zeros(self.filters)
            channels = self.filters
        features = self.dim(image_shape)  # also checks the image size
        if outputs is not None:
            params["head.weight"] = glorot((outputs, self.filters if self.head == "mean" else features), rng)
            params["head.bias"] = torch.zeros(outputs)
        return params

    def buffers(self, image_shape: ImageShape | None = None) -> Params:
        """Fresh running statistics for :class:`RunningStatistics`: mean 0, variance 1; the same for all images."""
        start = {"mean": torch.zeros, "variance": torch.ones}
        return {f"norm{i}.{name}": make(self.filters) for i in range(1, 5) for name, make in start.items()}

    def forward(self, params: Mapping[str, Tensor], images: Tensor, normalise: Normalise = batch_statistics) -> Tensor:
        """See :class:`Backbone`. Plain differentiable operations, for autograd."""
        tasks = len(images)
        count(tasks * images.shape[1])
        x = side_by_side(images)
        for layer, geometry in enumerate(self.geometry(tuple(images.shape[2:]))):  # type: ignore[arg-type]
            name = f"{layer + 1}"
            bias = params[f"norm{name}.bias"].flatten()
            # Ones in place of a scale: the double backward of batch_norm fails on a missing weight.
            scale = params[f"norm{name}.weight"].flatten() if self.norm_scale else torch.ones_like(bias)
            z = geometry.convolve(geometry.prepare(x), params[f"conv{name}.weight"].flatten(0, 1), tasks)
            y = normalise(layer, z, scale, bias, self.eps)
            x = torch.relu(F.max_pool2d(y, 2) if self.pool else y)  # in this order: ReLU on a quarter of the pixels
        if "head.weight" not in params:
            return flat_features(x, tasks)
        features = mean_features(x, tasks) if self.head == "mean" else flat_features(x, tasks)
        return torch.baddbmm(params["head.bias"].unsqueeze(1), features, params["head.weight"].mT)

    def embed(self, params: Mapping[str, Tensor], buffers: Mapping[str, Tensor], images: Tensor) -> Tensor:
        """Features [B, D] of images [B, C, H, W] with running statistics, for inference.

        A normalisation with fixed statistics is affine, so it is folded into the convolution before it.
        """
        count(len(images))
        x = side_by_side(images.unsqueeze(0))
        for i, geometry in enumerate(self.geometry((images.shape[1], images.shape[2], images.shape[3])), 1):
            scale = torch.rsqrt(buffers[f"norm{i}.variance"] + self.eps)
            if self.norm_scale:
                scale = scale * params[f"norm{i}.weight"]
            weight = params[f"conv{i}.weight"] * scale[:, None, None, None]
            bias = params[f"norm{i}.bias"] - buffers[f"norm{i}.mean"] * scale
            z = torch.conv2d(geometry.prepare(x), weight, bias, geometry.stride, geometry.padding)
            x = (_max_of_pairs(z) if self.pool else z).relu_()
        return flat_features(x, 1)[0]


def _max_of_pairs(x: Tensor) -> Tensor:
    """2x2 max-pooling in two comparisons; without the places of the maxima this is the faster way on a CPU."""
    height, width = x.shape[2] // 2 * 2, x.shape[3] // 2 * 2
    rows = torch.maximum(x[:, :, 0:height:2, :width], x[:, :, 1:height:2, :width])
    return torch.maximum(rows[..., 0::2], rows[..., 1::2])


def glorot(shape: tuple[int, ...], rng: torch.Generator) -> Tensor:
    """U(-a, a) with a = sqrt(6 / (fan_in + fan_out)) (Glorot and Bengio 2010, §4.2.1)."""
    area = math.prod(shape[2:])
    bound = math.sqrt(6.0 / (area * (shape[0] + shape[1])))
    return torch.empty(shape).uniform_(-bound, bound, generator=rng)
