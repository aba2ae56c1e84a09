"""BigBiGAN's generator (Donahue & Simonyan 2019), under the names of ajbrock/BigGAN-PyTorch."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bench.basics.errors import BenchError
from bench.foreign.pretrained import Checkpoint, State
from methods.generators.pretrained import Decoder, Pretrained

VERSION = 1
"""Raised whenever the same settings would make other images of the same checkpoint."""

LAYOUT = "BigBiGAN in the layout of BigGAN-PyTorch"
SPECTRAL_EPS = 1e-4
CONDITIONAL_EPS = 1e-4  # of the batch norms in the blocks
OUTPUT_EPS = 1e-5


@dataclass(frozen=True)
class BigBiGAN(Pretrained):
    """The generator that LASIUM decodes with on mini-ImageNet, converted from TensorFlow Hub's to PyTorch.

    ``BigBiGAN_x1.pth`` (A. Voynov & A. Babenko 2020) is ``deepmind/bigbigan-resnet50/1``. It was trained on all of
    ImageNet without labels, the meta-test classes included. No encoder of it was published for PyTorch.
    """

    what: ClassVar[str] = "BigBiGAN weights"

    def network(self, checkpoint: Checkpoint) -> Network:
        """See :class:`Pretrained`."""
        return Network.of(checkpoint.state())


class Network(Decoder):
    """z [n, d] -> images [n, 3, S, S] in [0, 1], S = 4 * 2^blocks.

    z is cut into 1 + blocks parts: the first is the input, part i + 1, beside a learnt vector, is the condition of
    block i. A block upsamples (nearest) and has two 3x3 convolutions after conditional batch norm and ReLU, beside a
    1x1 convolution; one block is followed by self-attention. Batch norm, ReLU, 3x3 convolution and tanh end it.
    Weights are divided by their spectral norm: one power iteration from the vector that the file keeps, as it was
    when training ended.
    """

    def __init__(self, part: int, shared: tuple[int, int], widths: list[int], attention: set[int]) -> None:
        super().__init__()
        self.part, self.latent_dim = part, part * len(widths)
        condition = part + shared[1]
        with torch.device("meta"):
            self.shared = nn.Embedding(*shared)
            self.linear = Spectral((16 * widths[0], part))
            self.blocks = nn.ModuleList()
            for i, (inputs, outputs) in enumerate(pairwise(widths)):
                layers: list[nn.Module] = [Block(inputs, outputs, condition)]
                self.blocks.append(nn.ModuleList(layers + [Attention(outputs)] * (i in attention)))
            self.output_layer = nn.Sequential(Norm(widths[-1]), nn.ReLU(), Spectral((3, widths[-1], 3, 3)))

    @classmethod
    def of(cls, state: State) -> Network:
        """With the weights of ``state``; BenchError where they do not fit."""
        part = state.size("linear.weight", 1, LAYOUT)
        shared = state.size("shared.weight", 0, LAYOUT), state.size("shared.weight", 1, LAYOUT)
        blocks = range(state.count("blocks.{}.0.conv1.weight"))
        widths = [state.size("blocks.0.0.conv1.weight", 1, LAYOUT)]
        widths += [state.size(f"blocks.{i}.0.conv1.weight", 0, LAYOUT) for i in blocks]
        attention = {i for i in blocks if f"blocks.{i}.1.gamma" in state.tensors}
        if any(widths[i + 1] < 8 for i in attention):
            raise BenchError(f"{state.name} is no {LAYOUT}: attention needs 8 maps or more, not {min(widths)}")
        network = cls(part, shared, widths, attention)
        state.into(network, LAYOUT)
        for module in network.modules():
            if isinstance(module, Spectral):
                module.normalise()
        return network

    def forward(self, z: Tensor) -> Tensor:
        """See the class."""
        first, *rest = z.split(self.part, dim=1)
        vector = self.shared.weight[:1].expand(len(z), -1)  # the conversion repeats one vector a thousand times
        x = self.linear(first).unflatten(1, (-1, 4, 4))
        for layers, part in zip(self.blocks, rest, strict=True):
            x = layers[0](x, torch.cat([vector, part], dim=1))
            for attention in layers[1:]:
                x = attention(x)
        return (torch.tanh(self.output_layer(x)) + 1) / 2


class Spectral(nn.Module):
    """A dense layer (weight [out, in]) or a convolution (weight [out, in, k, k]) of spectral norm about 1.

    ``normalise`` divides the weight once and for all; ``u0`` and ``sv0`` are of no use after that.
    """

    def __init__(self, shape: tuple[int, ...], bias: bool = True) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(shape))
        self.bias = nn.Parameter(torch.empty(shape[0])) if bias else None
        self.register_buffer("u0", torch.empty(1, shape[0]))
        self.register_buffer("sv0", torch.empty(1))

    @torch.no_grad()
    def normalise(self) -> None:
        """One power iteration from ``u0``."""
        matrix = self.weight.flatten(1)
        v = F.normalize(self.u0 @ matrix, eps=SPECTRAL_EPS)
        u = F.normalize(v @ matrix.T, eps=SPECTRAL_EPS)
        self.weight.div_((v @ matrix.T @ u.T).squeeze())

    def forward(self, x: Tensor) -> Tensor:
        """[n, in] or [n, in, H, W]."""
        if self.weight.ndim == 2:
            return F.linear(x, self.weight, self.bias)
        return F.conv2d(x, self.weight, self.bias, padding=self.weight.shape[-1] // 2)


class Norm(nn.Module):
    """Batch norm by stored statistics, with gain and bias."""

    def __init__(self, maps: int) -> None:
        super().__init__()
        self.gain, self.bias = nn.Parameter(torch.empty(maps)), nn.Parameter(torch.empty(maps))
        self.register_buffer("stored_mean", torch.empty(maps))
        self.register_buffer("stored_var", torch.empty(maps))

    def forward(self, x: Tensor) -> Tensor:
        """[n, maps, H, W]."""
        return F.batch_norm(x, self.stored_mean, self.stored_var, self.gain, self.bias, eps=OUTPUT_EPS)


class ConditionalNorm(nn.Module):
    """Batch norm by stored statistics, whose gain (as difference from 1) and bias are linear in the condition."""

    def __init__(self, maps: int, condition: int) -> None:
        super().__init__()
        self.gain, self.bias = Spectral((maps, condition), bias=False), Spectral((maps, condition), bias=False)
        self.register_buffer("stored_mean", torch.empty(maps))
        self.register_buffer("stored_var", torch.empty(maps))

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """x [n, maps, H, W], y [n, condition]."""
        x = F.batch_norm(x, self.stored_mean, self.stored_var, eps=CONDITIONAL_EPS)
        return x * (1 + self.gain(y))[..., None, None] + self.bias(y)[..., None, None]


class Block(nn.Module):
    """A residual block that doubles the side."""

    def __init__(self, inputs: int, outputs: int, condition: int) -> None:
        super().__init__()
        self.conv1 = Spectral((outputs, inputs, 3, 3))
        self.conv2 = Spectral((outputs, outputs, 3, 3))
        self.conv_sc = Spectral((outputs, inputs, 1, 1))
        self.bn1, self.bn2 = ConditionalNorm(inputs, condition), ConditionalNorm(outputs, condition)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """x [n, inputs, S, S] -> [n, outputs, 2S, 2S]."""
        h = F.interpolate(F.relu(self.bn1(x, y)), scale_factor=2, mode="nearest")
        h = self.conv2(F.relu(self.bn2(self.conv1(h), y)))
        return h + self.conv_sc(F.interpolate(x, scale_factor=2, mode="nearest"))


class Attention(nn.Module):
    """Self-attention over positions (Zhang et al. 2019); keys and values at half the side."""

    def __init__(self, maps: int) -> None:
        super().__init__()
        self.theta = Spectral((maps // 8, maps, 1, 1), bias=False)
        self.phi = Spectral((maps // 8, maps, 1, 1), bias=False)
        self.g = Spectral((maps // 2, maps, 1, 1), bias=False)
        self.o = Spectral((maps, maps // 2, 1, 1), bias=False)
        self.gamma = nn.Parameter(torch.empty(()))

    def forward(self, x: Tensor) -> Tensor:
        """[n, maps, S, S]."""
        query = self.theta(x).flatten(2)
        key = F.max_pool2d(self.phi(x), 2).flatten(2)
        value = F.max_pool2d(self.g(x), 2).flatten(2)
        weights = torch.softmax(query.mT @ key, dim=-1)  # [n, positions, positions / 4]
        return self.gamma * self.o((value @ weights.mT).unflatten(2, x.shape[2:])) + x
