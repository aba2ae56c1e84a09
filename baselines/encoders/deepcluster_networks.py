"""The two networks of DeepCluster: features of an image's derivatives."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bench.training.work import count

ALEXNET_SIDE = 64  # Hsu et al. 2019, appendix E.4
ALEXNET = ((1.5, 5), (4.0, 5), (6.0, 3), (6.0, 3), (4.0, 3))  # maps in units of ``maps``, kernel


def sobel(x: Tensor) -> Tensor:
    """Images [B, C, H, W] -> horizontal and vertical derivative of their grey [B, 2, H, W] (the authors' kernels)."""
    steps = torch.arange(-1.0, 2.0, device=x.device, dtype=x.dtype)
    slope = torch.outer(2 - steps.abs(), -steps)  # 1 0 -1, 2 0 -2, 1 0 -1
    return F.conv2d(x.mean(1, keepdim=True), torch.stack([slope, slope.T])[:, None], padding=1)


class Conv(nn.Module):
    """Images [B, C, H, W] of one size -> features [B, 16 maps], before their ReLU. Undefined until initialised."""

    def __init__(self, shape: tuple[int, int, int], maps: int) -> None:
        super().__init__()
        self.maps, self.features = maps, 16 * maps
        layers: list[nn.Module] = []
        _, *sides = shape
        inputs, outputs = 2, maps
        with torch.device("meta"):  # torch's own initialisation draws from the global generator
            while not layers or max(sides) > 4:
                layers += [*_block(inputs, outputs, 3, 1), nn.MaxPool2d(2, ceil_mode=True)]
                sides = [-(-side // 2) for side in sides]
                inputs, outputs = outputs, 2 * outputs
            self.layers = nn.Sequential(*layers)
            self.dense = nn.Linear(inputs * sides[0] * sides[1], self.features)
        self.to_empty(device="cpu")

    def forward(self, x: Tensor, rng: torch.Generator | None = None) -> Tensor:
        """``rng`` is not used: there is no dropout."""
        count(len(x))
        found: Tensor = self.dense(self.layers(_channels_last(sobel(x))).flatten(1))
        return found


class AlexNet(nn.Module):
    """Images [B, C, H, W] of any size -> features [B, 64 maps], before their ReLU. Undefined until initialised."""

    def __init__(self, maps: int) -> None:
        super().__init__()
        self.maps, self.features = maps, 64 * maps
        layers: list[nn.Module] = []
        inputs = 2
        with torch.device("meta"):
            for number, (units, kernel) in enumerate(ALEXNET):
                outputs = max(1, round(units * maps))
                # 64 pixels -> 62 -> 30 -> 14 -> 6, which is where the AlexNet of 224 pixels ends too.
                layers += _block(inputs, outputs, kernel, 1 if number == 0 else kernel // 2)
                if number in (0, 1, 4):
                    layers.append(nn.MaxPool2d(3, 2))
                inputs = outputs
            self.layers = nn.Sequential(*layers)
            self.dense = nn.Linear(inputs * 6 * 6, self.features)
            self.last = nn.Linear(self.features, self.features)
        self.to_empty(device="cpu")

    def forward(self, x: Tensor, rng: torch.Generator | None = None) -> Tensor:
        """``rng``: of the dropout before either dense layer, half of the numbers; without it there is none."""
        count(len(x))
        if list(x.shape[2:]) != [ALEXNET_SIDE, ALEXNET_SIDE]:
            x = F.interpolate(x, (ALEXNET_SIDE, ALEXNET_SIDE), mode="bilinear", align_corners=False, antialias=True)
        maps = self.layers(_channels_last(sobel(x))).flatten(1)
        found: Tensor = self.last(_half(F.relu(self.dense(_half(maps, rng))), rng))
        return found


def _block(inputs: int, maps: int, kernel: int, padding: int) -> list[nn.Module]:
    conv = nn.Conv2d(inputs, maps, kernel, padding=padding, bias=False)  # batch norm would take a bias away
    return [conv, nn.BatchNorm2d(maps), nn.ReLU(inplace=True)]


def _half(x: Tensor, rng: torch.Generator | None) -> Tensor:
    """Dropout of 0.5 with a generator of its own."""
    if rng is None:
        return x
    return x * (torch.rand(x.shape, generator=rng, device=x.device) < 0.5) * 2


def _channels_last(x: Tensor) -> Tensor:
    return x.contiguous(memory_format=torch.channels_last)


def initialise(network: nn.Module, rng: torch.Generator) -> None:
    """He-normal weights, of convolutions by their outputs, zero biases; ``rng`` is on the CPU.

    The authors' dense layers have N(0, 0.01^2), which is He-normal within a third for their widths, and too little
    to learn from for fewer inputs.
    """
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            fan = module.out_channels * module.kernel_size[0] * module.kernel_size[1]
            nn.init.normal_(module.weight, std=(2 / fan) ** 0.5, generator=rng)
        elif isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, std=(2 / module.in_features) ** 0.5, generator=rng)
            nn.init.zeros_(module.bias)
        elif isinstance(module, nn.BatchNorm2d):
            module.reset_running_stats()
            nn.init.ones_(module.weight)
            nn.init.zeros_(module.bias)
