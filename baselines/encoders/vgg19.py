"""VGG-19 (Simonyan & Zisserman 2015), trained on ImageNet with its labels, or not trained at all."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from baselines.encoders.frozen import FrozenEncoder, WhitenedEncoder, check_whole, whitened
from bench.basics.errors import BenchError, did_you_mean
from bench.contracts import Context
from bench.datasets.images import UnlabelledImages
from bench.foreign import pretrained
from bench.foreign.pretrained import State
from bench.training.work import UNKNOWN, include

VERSION = 1
"""Raised whenever the same settings would make other embeddings."""

LAYOUT = "VGG-19 in the layout of torchvision"
LAYERS = ("conv", "fc1", "fc2")
BLOCKS = (2, 2, 4, 4, 4)  # convolutions before each halving
TIMES = (1, 2, 4, 8, 8)  # maps of each block, in units of the first's
GRID = 7  # pixels a side of the last maps, for 224 pixels


@dataclass(frozen=True)
class Features:
    """Which features to take.

    layer: ``conv``, the last maps, flattened: 25,088 numbers for 224 pixels; ``fc1`` or ``fc2``, the first or second
    dense layer after its ReLU: 4096 numbers.
    dim: principal components of the meta-train images' features, each of unit variance, the whole divided by its
    length, as the authors of LASIUM cluster fc2; null leaves the features as they are.
    size: pixels a side that images are resized to.
    """

    layer: str = "fc2"
    dim: int | None = 256
    size: int = 224

    def __post_init__(self) -> None:
        if self.layer not in LAYERS:
            hint = did_you_mean(str(self.layer), LAYERS)
            raise BenchError(f"vgg19: layer must be one of {', '.join(LAYERS)}, not {self.layer!r}.{hint}")
        check_whole("vgg19", "size", self.size, 32)
        if self.dim is not None:
            check_whole("vgg19", "dim", self.dim)

    def encoder(self, network: Network, device: torch.device) -> FrozenEncoder:
        """The features of ``network``, unwhitened."""
        network = network.until(self.layer).to(device)
        return FrozenEncoder(network, network.features_at(self.size), self.size)


@dataclass(frozen=True)
class VGG19(Features):
    """The network of torchvision's ``vgg19-dcbb9e9d.pth``, or another under its names (``.pth``, ``.safetensors``).

    It has seen the labels of ImageNet's thousand classes, those of mini-ImageNet's meta-test classes included, so
    nothing that rests on it is unsupervised. The authors of LASIUM took the Caffe weights of Keras; torchvision's
    are another training of the same architecture.

    outside_data: whether it was trained on images from outside the dataset. sha256: of the file; filled in when a run
    is planned, or given to pin it.
    """

    weights: str | None = None
    outside_data: bool = True
    sha256: str | None = None

    @staticmethod
    def digest(weights: Any) -> str:
        """SHA-256 (hex) of the file: what makes another file another run."""
        return pretrained.digest(weights)

    def obtain(self, images: UnlabelledImages, context: Context) -> FrozenEncoder | WhitenedEncoder:
        """The encoder; BenchError says in one sentence what is wrong with the file."""
        expected = self.sha256 or self.digest(self.weights)
        checkpoint = pretrained.load(self.weights, expected, "VGG-19 weights")
        encoder = self.encoder(Network.of(checkpoint.state("state_dict")), images.device)
        include(UNKNOWN)
        context.note(encoder={"weights": Path(str(self.weights)).name, "sha256": expected, "layer": self.layer})
        identity = {"network": "vgg19", "version": VERSION, "sha256": expected, "layer": self.layer, "size": self.size}
        return whitened("vgg19", encoder, self.dim, identity, images, context)


@dataclass(frozen=True)
class RandomVGG19(Features):
    """The same network with random weights: what its architecture alone is worth. Trained on nothing.

    He-normal convolutions and dense layers of standard deviation 0.01, zero biases, as torchvision begins.
    channels: maps of the first block, 64 in VGG-19.
    """

    channels: int = 64

    def __post_init__(self) -> None:
        super().__post_init__()
        check_whole("vgg19", "channels", self.channels)

    def obtain(self, images: UnlabelledImages, context: Context) -> FrozenEncoder | WhitenedEncoder:
        """The encoder; its weights follow from the training seed."""
        seed = context.seed.at("encoder", "vgg19")
        network = Network([self.channels * times for times in TIMES], (64 * self.channels, 64 * self.channels, 1000))
        network.until(self.layer)
        network.to_empty(device="cpu")
        network.initialise(seed.generator())
        encoder = self.encoder(network, images.device)
        identity = {"network": "random vgg19", "version": VERSION, "channels": self.channels, "seed": seed.value()}
        identity |= {"layer": self.layer, "size": self.size}
        return whitened("vgg19", encoder, self.dim, identity, images, context)


class Network(nn.Module):
    """Configuration E of Simonyan & Zisserman 2015, Table 1: [n, 3, S, S] -> the features it was cut at.

    widths: maps of the five blocks. dense: numbers of the three dense layers. Built on the meta device.
    """

    def __init__(self, widths: list[int], dense: tuple[int, int, int]) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        inputs = 3
        with torch.device("meta"):
            for width, convolutions in zip(widths, BLOCKS, strict=True):
                for _ in range(convolutions):
                    layers += [nn.Conv2d(inputs, width, 3, padding=1), nn.ReLU(inplace=True)]
                    inputs = width
                layers.append(nn.MaxPool2d(2))
            self.features = nn.Sequential(*layers)
            first, second, last = dense
            # Dropout does nothing here, but its place counts in the names of the layers after it.
            self.classifier = nn.Sequential(
                *(nn.Linear(GRID**2 * inputs, first), nn.ReLU(inplace=True), nn.Dropout()),
                *(nn.Linear(first, second), nn.ReLU(inplace=True), nn.Dropout()),
                nn.Linear(second, last),
            )
        self.maps = inputs

    @classmethod
    def of(cls, state: State) -> Network:
        """With the weights of ``state``; BenchError where they do not fit."""
        ends = (2, 7, 16, 25, 34)  # the last convolution of every block
        widths = [state.size(f"features.{i}.weight", 0, LAYOUT) for i in ends]
        first, second, last = (state.size(f"classifier.{i}.weight", 0, LAYOUT) for i in (0, 3, 6))
        network = cls(widths, (first, second, last))
        state.into(network, LAYOUT)
        return network

    def until(self, layer: str) -> Network:
        """Forget what comes after ``layer``."""
        self.classifier = self.classifier[: {"conv": 0, "fc1": 2, "fc2": 5}[layer]]
        return self

    def initialise(self, rng: torch.Generator) -> None:
        """Random weights; ``rng`` is on the CPU."""
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu", generator=rng)
                nn.init.zeros_(module.bias)
            elif isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, 0, 0.01, generator=rng)
                nn.init.zeros_(module.bias)
        self.eval().requires_grad_(False)

    def features_at(self, size: int) -> int:
        """How many numbers come out for images of ``size`` pixels."""
        dense = [module for module in self.classifier if isinstance(module, nn.Linear)]
        return dense[-1].out_features if dense else self.maps * (size // 32) ** 2

    def forward(self, x: Tensor) -> Tensor:
        """[n, 3, S, S], normalised -> [n, numbers]. The dense layers see maps averaged to 7x7, if S is not 224."""
        x = self.features(x)
        if len(self.classifier):
            x = F.adaptive_avg_pool2d(x, GRID)
        # The original order of the flattened numbers: maps, rows, columns.
        return self.classifier(x.flatten(1))
