"""The two networks of the VAE: one for small images, one for photographs."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bench.basics.errors import BenchError
from bench.learners.convolution import Conv2d, ConvTranspose2d
from bench.training.work import count

SMALL_SIDE = 32
"""Images with no longer side are small."""


@dataclass(frozen=True)
class Architecture:
    """Layers as (maps in units of ``channels``, stride); all kernels are ``kernel`` pixels wide.

    down: convolutions of the encoder. up: transposed convolutions of the decoder, which starts from ``channels``
    maps; one more leads to the image. latent_dim: what the authors used. precision: of the products, where none is
    asked for. chunk: images at a time outside training, by type of device; on a CPU, about what the cache holds.
    """

    kernel: int
    down: tuple[tuple[int, int], ...]
    up: tuple[tuple[int, int], ...]
    latent_dim: int
    precision: str
    chunk: Mapping[str, int]

    @property
    def enlargement(self) -> int:
        """How many times larger than the maps it starts from the decoder's image is; sides divide by it."""
        return math.prod(stride for _, stride in self.up)


SMALL = Architecture(
    kernel=3,
    down=((1, 2), (1, 2), (1, 1), (1, 1)),
    up=((1, 2), (1, 2), (1, 1), (1, 1)),
    latent_dim=20,
    precision="float32",
    chunk={"cpu": 64, "cuda": 1024},
)
"""For 28x28 (Khodadadeh et al. 2020, §7.1). Strides as in the authors' code: the eight stride-2 layers of the text
do not fit 28x28."""

LARGE = Architecture(
    kernel=4,
    down=((1, 2), (2, 2), (4, 2), (4, 2), (8, 2)),
    up=((8, 3), (4, 2), (4, 2), (2, 1), (1, 1)),
    latent_dim=500,
    precision="auto",
    chunk={"cpu": 8, "cuda": 128},
)
"""For 84x84 (the authors' code for CelebA; the paper says only that it has one more block and more channels)."""


def architecture_for(shape: tuple[int, int, int]) -> Architecture:
    """The network for images [C, H, W], by their longer side; BenchError for sides that it cannot make."""
    _, height, width = shape
    found = SMALL if max(height, width) <= SMALL_SIDE else LARGE
    if height % found.enlargement or width % found.enlargement:
        raise BenchError(
            f"generator vae is for images with sides divisible by {SMALL.enlargement} up to {SMALL_SIDE} pixels, "
            f"and by {LARGE.enlargement} above, not {height}x{width}; choose another size or another generator"
        )
    return found


class Network(nn.Module):
    """Encoder and decoder for images [C, H, W]. Its weights are undefined until initialised or loaded.

    precision: ``bfloat16`` or ``float32``, of the products; weights and results are float32.
    """

    def __init__(
        self,
        shape: tuple[int, int, int],
        channels: int,
        latent_dim: int,
        affine: bool,
        precision: str = "float32",
    ) -> None:
        super().__init__()
        self.architecture = plan = architecture_for(shape)
        self.shape, self.latent_dim, self.affine, self.precision = shape, latent_dim, affine, precision
        colours, height, width = shape
        self.small = (channels, height // plan.enlargement, width // plan.enlargement)

        def block(layer: nn.Module, maps: int) -> nn.Sequential:
            return nn.Sequential(layer, nn.BatchNorm2d(maps), nn.ReLU(inplace=True))

        with torch.device("meta"):  # torch's own initialisation draws from the global generator
            down, maps = [], colours
            for units, stride in plan.down:
                down.append(block(_Down(maps, units * channels, plan.kernel, stride), units * channels))
                maps, height, width = units * channels, -(-height // stride), -(-width // stride)
            self.encoder = nn.Sequential(*down)
            self.mean = nn.Linear(maps * height * width, latent_dim)
            self.logvar = nn.Linear(maps * height * width, latent_dim)
            self.dense = nn.Linear(latent_dim, math.prod(self.small))
            up: list[nn.Module] = []
            maps = channels
            for units, stride in plan.up:
                up.append(block(_Up(maps, units * channels, plan.kernel, stride), units * channels))
                maps = units * channels
            self.decoder = nn.Sequential(*up, _Up(maps, colours, plan.kernel, 1, bias=True))
        self.to_empty(device="cpu")

    def train(self, mode: bool = True) -> Network:
        """As always, but ``affine`` batch norm stays at its initial statistics."""
        super().train(mode)
        for module in self.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.training = mode and not self.affine
        return self

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Images [B, C, H, W] -> mean and log-variance, each [B, latent_dim]."""
        count(len(x))
        # `.contiguous` leaves a one-channel image NCHW, and with it the whole network.
        x = torch.empty_like(x, memory_format=torch.channels_last).copy_(x)
        with self._autocast(x):
            features = self.encoder(x).flatten(1)
            mean, logvar = self.mean(features), self.logvar(features)
        return mean.to(x.dtype), logvar.to(x.dtype)

    def decode(self, z: Tensor) -> Tensor:
        """Latents [B, latent_dim] -> logits [B, C, H, W]."""
        count(len(z))
        with self._autocast(z):
            features = F.relu(self.dense(z)).unflatten(1, self.small)
            logits: Tensor = self.decoder(features.contiguous(memory_format=torch.channels_last))
        return logits.to(z.dtype)

    def loss(self, x: Tensor, noise: Tensor, kl_weight: float) -> Tensor:
        """Mean over images [B, C, H, W] of cross-entropy + kl_weight * KL; noise [B, d] ~ N(0, I)."""
        mean, logvar = self.encode(x)
        logits = self.decode(mean + torch.exp(logvar / 2) * noise)
        cross_entropy = F.binary_cross_entropy_with_logits(logits, x, reduction="sum")
        kl = 0.5 * (mean.square() + logvar.exp() - 1 - logvar).sum()
        return (cross_entropy + kl_weight * kl) / len(x)

    def _autocast(self, like: Tensor) -> torch.autocast:
        return torch.autocast(like.device.type, torch.bfloat16, enabled=self.precision == "bfloat16")


class _Down(Conv2d):
    """A convolution to 1/stride of each side, rounded up: one pixel of zeros before, after as many as it needs."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int) -> None:
        super().__init__(inputs, outputs, kernel, stride, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """[B, inputs, h, w] -> [B, outputs, ceil(h / stride), ceil(w / stride)]."""
        kernel, stride = self.kernel_size[0], self.stride[0]
        height, width = (max(0, (-(-side // stride) - 1) * stride + kernel - side - 2) for side in x.shape[2:])
        return super().forward(F.pad(x, (0, width, 0, height)) if height or width else x)


class _Up(ConvTranspose2d):
    """A transposed convolution to exactly ``stride`` times each side: one pixel is cut off before, the rest after."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, bias: bool = False) -> None:
        missing = stride + 2 - kernel  # pixels at the far edge, beyond those that padding 1 leaves
        super().__init__(inputs, outputs, kernel, stride, 1, output_padding=max(0, missing), bias=bias)
        self.surplus = max(0, -missing)

    def forward(self, x: Tensor, output_size: list[int] | None = None) -> Tensor:
        """[B, inputs, h, w] -> [B, outputs, h * stride, w * stride]."""
        made = super().forward(x, output_size)
        return made[..., : -self.surplus, : -self.surplus] if self.surplus else made
