"""Conv4 as a user of those libraries has it: an nn.Module in PyTorch's own layout, one task a batch."""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bench.backbones import Conv4


class Norm(nn.Module):
    """Batch normalisation with an offset only. ``running``: averages outside training, else always of the batch."""

    def __init__(self, features: int, eps: float, running: bool = False) -> None:
        super().__init__()
        self.eps, self.running = eps, running
        self.bias = nn.Parameter(torch.zeros(features))
        self.register_buffer("scale", torch.ones(features))  # the double backward wants one
        if running:
            self.register_buffer("mean", torch.zeros(features))
            self.register_buffer("variance", torch.ones(features))

    def normalise(self, x: Tensor, bias: Tensor) -> Tensor:
        """[B, F, H, W] with another offset than the module's own."""
        mean, variance = (self.mean, self.variance) if self.running else (None, None)
        training = self.training or not self.running
        return F.batch_norm(x, mean, variance, self.scale, bias, training, 0.1, self.eps)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        """[B, F, H, W], normalised."""
        return self.normalise(x, self.bias)


def convolution(backbone: Conv4, inputs: int) -> dict[str, int | bool]:
    """The arguments of one of its convolutions."""
    inside = 1 if backbone.padding == "same" and backbone.stride == 1 else 0
    return {
        "in_channels": inputs,
        "out_channels": backbone.filters,
        "kernel_size": 3,
        "stride": backbone.stride,
        "padding": inside,
        "bias": False,
    }


class ConvNet(nn.Module):
    """The same network as ``backbone`` with ``params`` (no task axis), copied; without a scale in the normalisation."""

    def __init__(self, backbone: Conv4, params: Mapping[str, Tensor], running: bool = False) -> None:
        super().__init__()
        self.backbone = backbone
        inputs = params["conv1.weight"].shape[1]
        for i in range(1, 5):
            self.add_module(f"conv{i}", nn.Conv2d(**convolution(backbone, inputs)))  # type: ignore[arg-type]
            self.add_module(f"norm{i}", Norm(backbone.filters, backbone.eps, running))
            inputs = backbone.filters
        if "head.weight" in params:
            outputs, features = params["head.weight"].shape
            self.head = nn.Linear(features, outputs)
        fill(self, params)

    def forward(self, x: Tensor) -> Tensor:
        """Images [B, C, H, W] -> logits [B, N], or features [B, D] without a classifier."""
        for i in range(1, 5):
            x = getattr(self, f"conv{i}")(padded(self.backbone, x))
            x = pooled(self.backbone, F.relu(getattr(self, f"norm{i}")(x)))
        return self.head(features(self.backbone, x)) if hasattr(self, "head") else x.flatten(1)


def fill(network: nn.Module, params: Mapping[str, Tensor]) -> None:
    """Give the parameters these values, and their device and type."""
    value = next(iter(params.values()))
    network.to(value.device, value.dtype)
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            parameter.copy_(params[name])


def padded(backbone: Conv4, x: Tensor) -> Tensor:
    """TensorFlow's 'same' padding where a strided convolution cannot do it itself."""
    if backbone.padding != "same" or backbone.stride == 1:
        return x
    left, top = ((0 if side % 2 == 0 else 1) for side in (x.shape[3], x.shape[2]))
    return F.pad(x, (left, 1, top, 1))


def pooled(backbone: Conv4, x: Tensor) -> Tensor:
    """Max-pooling where the network has it."""
    return F.max_pool2d(x, 2) if backbone.pool else x


def features(backbone: Conv4, x: Tensor) -> Tensor:
    """What the classifier sees of the last map."""
    return x.mean((2, 3)) if backbone.head == "mean" else x.flatten(1)
