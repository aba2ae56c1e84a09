"""ResNet-12, the larger network of few-shot learning."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bench.backbones import ImageShape
from bench.basics.errors import BenchError
from bench.learners.modules import ModuleBackbone

SLOPE = 0.1
WIDTHS = (1.0, 2.5, 5.0, 10.0)


@dataclass(frozen=True)
class ResNet12(ModuleBackbone):
    """Four residual blocks of 64, 160, 320 and 640 maps: 12,424,320 parameters for colour images.

    As in MetaOptNet (Lee et al. 2019, §4.1, and the authors' code), after Mishra et al. 2018: a block is three 3x3
    convolutions with batch normalisation, leaky ReLU of slope 0.1 between them, and a 1x1 convolution with batch
    normalisation beside them; leaky ReLU and 2x2 max-pooling of the sum. Kernels are He-normal for the slope. Without
    the authors' DropBlock and dropout, which would make a gradient through the inner loop random.

    width: maps of the first block, the others 2.5, 5 and 10 times as many. mean: whether the feature is the mean of the
    last maps (640 numbers), else all of them (16,000 of 84x84 images, as MetaOptNet has it).
    """

    width: int = 64
    mean: bool = False

    def __post_init__(self) -> None:
        if self.width < 2 or self.width % 2:
            raise BenchError(f"backbone.width must be an even number of at least 2, not {self.width}")

    def network(self, image_shape: ImageShape) -> nn.Module:
        """For images of at least 16x16 pixels; BenchError where they are smaller."""
        channels, height, width = image_shape
        if min(height, width) < 16:
            raise BenchError(
                f"images of {height}x{width} pixels are too small for this backbone, its maps shrink to nothing; use "
                "at least 16x16"
            )
        maps = [channels, *(round(self.width * factor) for factor in WIDTHS)]
        blocks = [Block(inputs, outputs) for inputs, outputs in pairwise(maps)]
        return nn.Sequential(*blocks, *([nn.AdaptiveAvgPool2d(1)] if self.mean else []), nn.Flatten())


class Block(nn.Module):
    """Images or maps [B, inputs, H, W] -> [B, outputs, H // 2, W // 2]."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.convs = nn.ModuleList(_conv(outputs if i else inputs, outputs, 3) for i in range(3))
        self.norms = nn.ModuleList(nn.BatchNorm2d(outputs) for _ in range(3))
        self.beside = nn.Sequential(_conv(inputs, outputs, 1), nn.BatchNorm2d(outputs))

    def forward(self, x: Tensor) -> Tensor:
        y = x
        for i, (conv, norm) in enumerate(zip(self.convs, self.norms)):
            y = norm(conv(F.leaky_relu(y, SLOPE) if i else y))
        return F.max_pool2d(F.leaky_relu(y + self.beside(x), SLOPE), 2)


def _conv(inputs: int, outputs: int, side: int) -> nn.Conv2d:
    conv = nn.Conv2d(inputs, outputs, side, padding=side // 2, bias=False)
    with torch.no_grad():
        nn.init.kaiming_normal_(conv.weight, a=SLOPE, mode="fan_out", nonlinearity="leaky_relu")
    return conv
