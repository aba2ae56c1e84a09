"""A training step of the VAE and of MSGAN as people write it: nn.Module, PyTorch's own layout and defaults, float32.

The parameters have the names that ours have, so that a test can give both sides the same.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Step = Callable[[Tensor], None]
"""One update by a batch of images [B, C, H, W] in [0, 1]."""


class VAE(nn.Module):
    """For 28x28 pixels: four 3x3 convolutions there and back."""

    def __init__(self, latent: int = 20, maps: int = 64, side: int = 28) -> None:
        super().__init__()
        strides, small = (2, 2, 1, 1), side // 4
        inputs = (1, maps, maps, maps)
        self.encoder = nn.Sequential(
            *(_block(nn.Conv2d(i, maps, 3, s, 1, bias=False), maps) for i, s in zip(inputs, strides, strict=True))
        )
        self.mean = nn.Linear(maps * small * small, latent)
        self.logvar = nn.Linear(maps * small * small, latent)
        self.dense = nn.Linear(latent, maps * small * small)
        self.decoder = nn.Sequential(
            *(_block(nn.ConvTranspose2d(maps, maps, 3, s, 1, s - 1, bias=False), maps) for s in strides),
            nn.ConvTranspose2d(maps, 1, 3, 1, 1),
        )
        self.latent, self.small = latent, (maps, small, small)

    def forward(self, x: Tensor, noise: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Logits of the image rebuilt, mean and log-variance."""
        features = self.encoder(x).flatten(1)
        mean, logvar = self.mean(features), self.logvar(features)
        z = mean + torch.exp(0.5 * logvar) * noise
        return self.decoder(F.relu(self.dense(z)).view(-1, *self.small)), mean, logvar

    def loss(self, x: Tensor, noise: Tensor) -> Tensor:
        """Cross-entropy over pixels plus the divergence, averaged over latent dimensions; mean over images."""
        logits, mean, logvar = self(x, noise)
        cross_entropy = F.binary_cross_entropy_with_logits(logits, x, reduction="sum")
        divergence = -0.5 * torch.sum(1 + logvar - mean.pow(2) - logvar.exp())
        return (cross_entropy + divergence / self.latent) / len(x)


def vae(device: torch.device) -> Step:
    """One step of Adam."""
    model = VAE().to(device)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)

    def step(x: Tensor) -> None:
        optimizer.zero_grad()
        loss = model.loss(x, torch.randn(len(x), model.latent, device=device))
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()

    return step


class Decoder(nn.Module):
    """MSGAN's generator."""

    def __init__(self, latent: int = 128, maps: int = 128, side: int = 28) -> None:
        super().__init__()
        self.small = (maps, side // 4, side // 4)
        self.dense = nn.Linear(latent, math.prod(self.small))
        self.up1 = nn.ConvTranspose2d(maps, maps, 4, 2, 1)
        self.up2 = nn.ConvTranspose2d(maps, maps, 4, 2, 1)
        self.image = nn.Conv2d(maps, 1, 7, padding=3)
        self.latent = latent

    def forward(self, z: Tensor) -> Tensor:
        """[B, latent] -> [B, 1, side, side] in [0, 1]."""
        x = F.leaky_relu(self.dense(z), 0.2).view(-1, *self.small)
        return torch.sigmoid(self.image(F.leaky_relu(self.up2(F.leaky_relu(self.up1(x), 0.2)), 0.2)))


class Critic(nn.Module):
    """MSGAN's discriminator."""

    def __init__(self, maps: int = 128) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for inputs, outputs in ((1, maps // 2), (maps // 2, maps), (maps, maps)):
            layers += [nn.Conv2d(inputs, outputs, 3, 2, 1), nn.LeakyReLU(0.2)]
        self.layers = nn.Sequential(*layers)
        self.logit = nn.Linear(maps, 1)

    def forward(self, x: Tensor) -> Tensor:
        """[B, 1, side, side] -> [B, 1], high for fakes."""
        logits: Tensor = self.logit(self.layers(x).amax((2, 3)))
        return logits


def of_critic(critic: Critic, real: Tensor, fake: Tensor, noise: Tensor) -> Tensor:
    """Fake is 1 and real is 0, plus noise [fakes + reals, 1]; both weigh the same."""
    entropy = F.binary_cross_entropy_with_logits
    of_fake = entropy(critic(fake), torch.ones(len(fake), 1, device=fake.device) + noise[: len(fake)])
    of_real = entropy(critic(real), torch.zeros(len(real), 1, device=real.device) + noise[len(fake) :])
    return (of_fake + of_real) / 2


def of_decoder(critic: Critic, fake: Tensor, z: Tensor) -> Tensor:
    """Both halves are to pass for real, and to differ as their latents do."""
    logits, (first, second), (z1, z2) = critic(fake), fake.chunk(2), z.chunk(2)
    adversarial = 2 * F.binary_cross_entropy_with_logits(logits, torch.zeros_like(logits))
    apart = (first - second).abs().mean() / (z1 - z2).abs().mean()
    return adversarial + 1 / (apart + 1e-5)


def msgan(device: torch.device) -> Step:
    """One step of each player."""
    decoder, critic = Decoder().to(device), Critic().to(device)
    of_d, of_g = (torch.optim.Adam(one.parameters(), lr=3e-4) for one in (critic, decoder))

    def step(x: Tensor) -> None:
        z = torch.randn(2 * len(x), decoder.latent, device=device)
        noise = 0.05 * torch.rand(3 * len(x), 1, device=device)
        fake = decoder(z)
        of_d.zero_grad()
        of_critic(critic, x, fake.detach(), noise).backward()  # type: ignore[no-untyped-call]
        of_d.step()
        of_g.zero_grad()
        of_decoder(critic, fake, z).backward()  # type: ignore[no-untyped-call]
        of_g.step()

    return step


def _block(layer: nn.Module, maps: int) -> nn.Sequential:
    return nn.Sequential(layer, nn.BatchNorm2d(maps), nn.ReLU())
