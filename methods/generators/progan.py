"""ProGAN (Karras et al. 2018), from checkpoints of facebookresearch/pytorch_GAN_zoo."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bench.foreign.pretrained import Checkpoint, State
from methods.generators.pretrained import Decoder, Pretrained

VERSION = 1
"""Raised whenever the same settings would make other images of the same checkpoint."""

LAYOUT = "ProGAN of pytorch_GAN_zoo"


@dataclass(frozen=True)
class ProGAN(Pretrained):
    """The progressively grown generator (Karras et al. 2018, §2 to §4).

    The paper's LASIUM decodes with TensorFlow Hub's ``google/progan-128/1``; that of pytorch_GAN_zoo has the same
    architecture, but was trained again, on another crop of CelebA. It looks at the direction of a latent only, so
    ``latent_norm`` is on by default. The file holds ``avgG`` (weights averaged over the training, used here), ``netG``
    and ``netD``, and the training's settings as an object, which is not needed.
    """

    latent_norm: bool = True

    what: ClassVar[str] = "ProGAN weights"
    foreign: ClassVar[tuple[str, ...]] = ("models.utils.config.BaseConfig",)

    def network(self, checkpoint: Checkpoint) -> Network:
        """See :class:`Pretrained`."""
        return Network.of(checkpoint.state("avgG", "netG"))


class Network(Decoder):
    """z [n, d] -> images [n, C, S, S] in [0, 1], S = 4 * 2^(scales - 1).

    z of unit mean square; dense to 4x4; a 3x3 convolution; for every further scale nearest-neighbour upsampling and
    two 3x3 convolutions; 1x1 convolution to colours. LeakyReLU 0.2, then pixel norm, after every layer but the last.
    Weights are scaled by sqrt(2 / fan in) at run time, biases too. There is no final nonlinearity: values lie about
    [-1, 1] and are clipped there.
    """

    def __init__(self, latent_dim: int, depths: list[int], colours: int) -> None:
        super().__init__()
        self.latent_dim, first = latent_dim, depths[0]
        with torch.device("meta"):
            self.formatLayer = Scaled(nn.Linear(latent_dim, 16 * first))
            self.groupScale0 = nn.ModuleList([_convolution(first, first)])
            self.scaleLayers = nn.ModuleList(
                nn.ModuleList([_convolution(a, b), _convolution(b, b)]) for a, b in pairwise(depths)
            )
            self.toRGBLayers = nn.ModuleList(Scaled(nn.Conv2d(depth, colours, 1)) for depth in depths)

    @classmethod
    def of(cls, state: State) -> Network:
        """With the weights of ``state``; BenchError where they do not fit."""
        # Files of early versions leave the level ``module`` out of their names.
        tensors = {key if ".module." in key else _with_module(key): value for key, value in state.tensors.items()}
        state = state.renamed(tensors)
        latent_dim = state.size("formatLayer.module.weight", 1, LAYOUT)
        depths = [state.size("groupScale0.0.module.weight", 0, LAYOUT)]
        depths += [
            state.size(f"scaleLayers.{i}.0.module.weight", 0, LAYOUT)
            for i in range(state.count("scaleLayers.{}.0.module.weight"))
        ]
        network = cls(latent_dim, depths, state.size("toRGBLayers.0.module.weight", 0, LAYOUT))
        state.into(network, LAYOUT)
        return network

    def forward(self, z: Tensor) -> Tensor:
        """See the class."""
        x = _activated(self.formatLayer(_pixel_norm(z))).unflatten(1, (-1, 4, 4))
        # The dense layer's norm is over channels, so it comes after the reshape.
        x = _pixel_norm(x)
        for convolution in self.groupScale0:
            x = _pixel_norm(_activated(convolution(x)))
        for scale in self.scaleLayers:
            x = F.interpolate(x, scale_factor=2, mode="nearest")
            for convolution in scale:
                x = _pixel_norm(_activated(convolution(x)))
        return ((self.toRGBLayers[-1](x) + 1) / 2).clamp(0, 1)


class Scaled(nn.Module):
    """A layer whose output is multiplied by He's constant (Karras et al. 2018, §4.1)."""

    def __init__(self, module: nn.Linear | nn.Conv2d) -> None:
        super().__init__()
        self.module = module
        self.scale = math.sqrt(2 / module.weight[0].numel())

    def forward(self, x: Tensor) -> Tensor:
        """Any x that the layer takes."""
        return self.module(x) * self.scale


def _convolution(inputs: int, outputs: int) -> Scaled:
    return Scaled(nn.Conv2d(inputs, outputs, 3, padding=1))


def _activated(x: Tensor) -> Tensor:
    return F.leaky_relu(x, 0.2)


def _pixel_norm(x: Tensor) -> Tensor:
    return x * (x.square().mean(dim=1, keepdim=True) + 1e-8).rsqrt()


def _with_module(key: str) -> str:
    owner, _, name = key.rpartition(".")
    return f"{owner}.module.{name}"
