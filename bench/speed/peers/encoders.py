"""A training step of ACAI, BiGAN and DeepCluster as people write it: nn.Module, PyTorch's own layout and defaults.

The parameters have the names that ours have, so that a test can give both sides the same.
"""

from __future__ import annotations

from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bench.speed.peers.generators import Step


# ---------------------------------------------------------------------------------------------------- ACAI
class ACAI(nn.Module):
    """Encoder, decoder and critic for 28x28 pixels, padded to 32."""

    def __init__(self, depth: int = 16, latent: int = 16) -> None:
        super().__init__()
        self.encoder, self.critic = _encoder(depth, latent), _encoder(depth, latent)
        layers: list[nn.Module] = []
        maps = latent
        for scale in (2, 1, 0):
            layers += [
                *_conv(maps, depth << scale),
                *_conv(depth << scale, depth << scale),
                nn.Upsample(scale_factor=2),
            ]
            maps = depth << scale
        self.decoder = nn.Sequential(*layers, *_conv(maps, depth), nn.Conv2d(depth, 1, 3, padding=1))

    def losses(self, x: Tensor, share: Tensor) -> tuple[Tensor, Tensor]:
        """Of the autoencoder and of the critic; x [B, 1, 32, 32] in [-1, 1], share [B, 1, 1, 1]."""
        code = self.encoder(x)
        decoded = self.decoder(code)
        guess = self.critic(self.decoder(share * code + (1 - share) * code.flip(0))).mean((1, 2, 3))
        nearly = self.critic((0.2 * x + 0.8 * decoded).detach()).mean((1, 2, 3))
        of_autoencoder = F.mse_loss(decoded, x) + 0.5 * guess.pow(2).mean()
        return of_autoencoder, F.mse_loss(guess, share.flatten()) + nearly.pow(2).mean()


def acai(device: torch.device) -> Step:
    """One step of both players, from the same forward pass."""
    model = ACAI().to(device)
    autoencoder, critic = [*model.encoder.parameters(), *model.decoder.parameters()], list(model.critic.parameters())
    of_autoencoder, of_critic = (torch.optim.Adam(one, lr=1e-4) for one in (autoencoder, critic))

    def step(x: Tensor) -> None:
        x = F.pad(x, (2, 2, 2, 2)) * 2 - 1
        share = 0.5 - (torch.rand(len(x), 1, 1, 1, device=device) - 0.5).abs()
        _update(model.losses(x, share), (autoencoder, critic), (of_autoencoder, of_critic))

    return step


def _encoder(depth: int, latent: int) -> nn.Sequential:
    layers: list[nn.Module] = [nn.Conv2d(1, depth, 1)]
    maps = depth
    for scale in range(3):
        layers += [*_conv(maps, depth << scale), *_conv(depth << scale, depth << scale), nn.AvgPool2d(2)]
        maps = depth << scale
    return nn.Sequential(*layers, *_conv(maps, depth << 3), nn.Conv2d(depth << 3, latent, 3, padding=1))


def _conv(inputs: int, outputs: int) -> tuple[nn.Module, nn.Module]:
    return nn.Conv2d(inputs, outputs, 3, padding=1), nn.LeakyReLU(0.2)


# --------------------------------------------------------------------------------------------------- BiGAN
class Part(nn.Module):
    """A perceptron of two hidden layers; the second hears of the latent, too."""

    def __init__(self, inputs: int, width: int, outputs: int, latent: int, act: nn.Module, both_norms: bool) -> None:
        super().__init__()
        self.first = nn.Linear(inputs, width, bias=False)
        self.first_norm = nn.BatchNorm1d(width, affine=False) if both_norms else nn.Identity()
        self.second = nn.Linear(width, width, bias=False)
        self.latent = nn.Linear(latent, width, bias=False) if latent else None
        self.second_norm = nn.BatchNorm1d(width, affine=False)
        self.last = nn.Linear(width, outputs, bias=False)
        self.act = act

    def forward(self, x: Tensor, z: Tensor | None = None) -> Tensor:
        x = self.second(self.act(self.first_norm(self.first(x))))
        if self.latent is not None and z is not None:
            x = x + self.latent(z)
        return cast(Tensor, self.last(self.act(self.second_norm(x))))


class BiGAN(nn.Module):
    """Three perceptrons for 28x28 pixels."""

    def __init__(self, dim: int = 200, width: int = 1024, pixels: int = 784) -> None:
        super().__init__()
        self.dim = dim
        self.encoder = Part(pixels, width, dim, 0, nn.LeakyReLU(0.2), False)
        self.generator = Part(dim, width, pixels, dim, nn.ReLU(), True)
        self.discriminator = Part(pixels, width, 1, dim, nn.LeakyReLU(0.2), False)

    def losses(self, x: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
        """Of encoder and generator, and of the discriminator; x [B, pixels] in [0, 1], z [B, dim]."""
        real = self.discriminator(x, torch.tanh(self.encoder(x) / 2))
        fake = self.discriminator(torch.sigmoid(self.generator(z, z)), z)
        yes, no = torch.ones_like(real), torch.zeros_like(real)
        entropy = F.binary_cross_entropy_with_logits
        return (entropy(real, no) + entropy(fake, yes)) / 2, (entropy(real, yes) + entropy(fake, no)) / 2


def bigan(device: torch.device) -> Step:
    """One step of all players, from the same forward pass."""
    model = BiGAN().to(device)
    players = [*model.encoder.parameters(), *model.generator.parameters()]
    judge = list(model.discriminator.parameters())
    settings = {"lr": 2e-4, "betas": (0.5, 0.999), "weight_decay": 2.5e-5}
    of_players, of_judge = (torch.optim.Adam(one, **settings) for one in (players, judge))  # type: ignore[arg-type]

    def step(x: Tensor) -> None:
        z = torch.rand(len(x), model.dim, device=device) * 2 - 1
        _update(model.losses(x.flatten(1), z), (players, judge), (of_players, of_judge))

    return step


def _update(
    losses: tuple[Tensor, Tensor],
    parameters: tuple[list[nn.Parameter], list[nn.Parameter]],
    optimizers: tuple[torch.optim.Optimizer, torch.optim.Optimizer],
) -> None:
    """Both gradients before either step: they come from one forward pass."""
    first = torch.autograd.grad(losses[0], parameters[0], retain_graph=True)
    second = torch.autograd.grad(losses[1], parameters[1])
    for group, grads in zip(parameters, (first, second), strict=True):
        for parameter, grad in zip(group, grads, strict=True):
            parameter.grad = grad
    for optimizer in optimizers:
        optimizer.step()


# --------------------------------------------------------------------------------------------- DeepCluster
class DeepCluster(nn.Module):
    """The network for 28x28 pixels, on the image's derivatives; ``head`` tells the clusters apart."""

    def __init__(self, maps: int = 32, clusters: int = 100) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for inputs, outputs in ((2, maps), (maps, 2 * maps), (2 * maps, 4 * maps)):
            layers += [
                nn.Conv2d(inputs, outputs, 3, padding=1, bias=False),
                *(nn.BatchNorm2d(outputs), nn.ReLU()),
                nn.MaxPool2d(2, ceil_mode=True),
            ]
        self.layers = nn.Sequential(*layers)
        self.dense = nn.Linear(4 * maps * 16, 16 * maps)
        self.head = nn.Linear(16 * maps, clusters)
        slope = torch.tensor([[1.0, 0.0, -1.0], [2.0, 0.0, -2.0], [1.0, 0.0, -1.0]])
        self.register_buffer("sobel", torch.stack([slope, slope.T])[:, None], persistent=False)

    def features(self, x: Tensor) -> Tensor:
        """[B, 1, 28, 28] -> [B, 16 maps], before their ReLU."""
        found: Tensor = self.dense(self.layers(F.conv2d(x, self.sobel, padding=1)).flatten(1))  # type: ignore[arg-type]
        return found

    def forward(self, x: Tensor) -> Tensor:
        """[B, 1, 28, 28] -> logits of the clusters."""
        logits: Tensor = self.head(F.relu(self.features(x)))
        return logits


def deepcluster(device: torch.device, clusters: int) -> Step:
    """One step of SGD on random parts of the images; the clusters are given."""
    model = DeepCluster(clusters=clusters).to(device)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9, weight_decay=1e-5)

    def step(x: Tensor) -> None:
        labels = torch.randint(0, clusters, (len(x),), device=device)
        optimizer.zero_grad()
        F.cross_entropy(model(random_parts(x)), labels).backward()  # type: ignore[no-untyped-call]
        optimizer.step()

    return step


def random_parts(x: Tensor) -> Tensor:
    """A random part of 30 to 100 % of the area of each image, sides of 3:4 to 4:3, enlarged to the whole."""
    area, aspect, left, top = torch.rand(4, len(x), device=x.device)
    area, root = 0.3 + 0.7 * area, torch.exp((aspect - 0.5) * 0.2877)
    width, height = (area.sqrt() * root).clamp(max=1), (area.sqrt() / root).clamp(max=1)
    zero = torch.zeros_like(width)
    rows = [width, zero, (2 * left - 1) * (1 - width), zero, height, (2 * top - 1) * (1 - height)]
    grid = F.affine_grid(torch.stack(rows, 1).view(-1, 2, 3), list(x.shape), align_corners=False)
    return F.grid_sample(x, grid, padding_mode="border", align_corners=False)
