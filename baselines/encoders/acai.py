"""The adversarially constrained autoencoder (Berthelot et al. 2019), trained on the unlabelled images."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bench.basics.errors import BenchError
from bench.contracts import Context
from bench.datasets.images import UnlabelledImages
from bench.learners.convolution import Conv2d
from bench.training.checkpoint import Checkpoint
from bench.training.loop import EpochBatches, train
from bench.training.optimizers import adam, give_gradients
from bench.training.steps import Step
from bench.training.work import count

VERSION = 1
"""Raised whenever the same settings would train another encoder."""

CODE_SIDE = 4
SLOPE = 0.2
LARGEST_SIDE = 64
CHUNK = {"cpu": 128, "cuda": 4096}  # images embedded at a time


@dataclass(frozen=True)
class ACAI:
    """An autoencoder whose decoded mixtures of two codes fool a critic that guesses how much was mixed.

    x, x' images, e encoder, d decoder, c critic, a ~ the nearer half of U(0, 1), so a <= 0.5 (Berthelot et al.
    2019, §3, and the authors' code):

        autoencoder   mean (x - d(e(x)))^2 + critic_weight * mean c(d(a e(x) + (1 - a) e(x')))^2
        critic        mean (c(d(a e(x) + (1 - a) e(x'))) - a)^2 + mean c(critic_mix x + (1 - critic_mix) d(e(x)))^2

    Both take one Adam step a batch, from the same forward pass. Images are padded with background to 32 or 64
    pixels and scaled to [-1, 1]. Encoder: a 1x1 convolution to ``depth`` maps; for each halving of the side two
    3x3 convolutions and 2x2 mean pooling, the maps doubling; two 3x3 convolutions to ``latent`` maps of 4x4. The
    decoder mirrors it with nearest-neighbour upsampling, the critic is an encoder whose code is averaged.
    LeakyReLU 0.2, He-normal weights. The defaults are those of CACTUs on Omniglot (Hsu et al. 2019): 256 numbers.
    The authors trained for 2^24 images, which is 700 epochs of Omniglot.
    """

    depth: int = 16
    latent: int = 16
    critic_weight: float = 0.5
    critic_mix: float = 0.2
    lr: float = 1e-4
    batch_size: int = 64

    def __post_init__(self) -> None:
        for name in ("depth", "latent", "batch_size"):
            if getattr(self, name) < 1:
                raise BenchError(f"acai: {name} must be at least 1, not {getattr(self, name)}")
        if not 0 <= self.critic_mix <= 1:
            raise BenchError(f"acai: critic_mix must be between 0 and 1, not {self.critic_mix}")
        if not self.critic_weight >= 0 or not self.lr > 0:
            raise BenchError("acai: critic_weight must be 0 or more, and lr above 0")

    def obtain(self, images: UnlabelledImages, context: Context) -> TrainedACAI:
        """The encoder of ``images`` for ``context.budget.encoder_epochs`` epochs, stored or trained.

        Raises BenchError for images above 64 pixels and Diverged when the loss becomes non-finite.
        """
        if max(images.shape[1:]) > LARGEST_SIDE:
            height, width = images.shape[1:]
            raise BenchError(
                f"encoder acai is for images of at most {LARGEST_SIDE} pixels, not {height}x{width}; choose another"
            )
        batches = EpochBatches(len(images), self.batch_size, context.seed.at("encoder"), images.device)
        recipe = {
            "encoder": "acai",
            "version": VERSION,
            **asdict(self),
            "images": images.fingerprint,
            "shape": list(images.shape),
            "seed": context.seed.at("encoder").value(),
        }
        artifact = context.artifacts.grow(
            "encoder-acai",
            recipe,
            context.budget.encoder_epochs,
            batches.per_epoch,
            lambda checkpoint, epochs: self._train(images, context, checkpoint, epochs, batches),
            checkpoint_seconds=context.budget.checkpoint_seconds,
        )
        networks = Networks(images.shape, self.depth, self.latent)
        networks.load_state_dict({name: value for name, value in artifact.tensors.items() if name != "losses"})
        noted = ("loss", "epochs", "seconds", "program")
        context.note(acai={name: artifact.meta[name] for name in noted if name in artifact.meta})
        return TrainedACAI(networks.to(images.device))

    def _train(
        self, images: UnlabelledImages, context: Context, checkpoint: Checkpoint, epochs: int, batches: EpochBatches
    ) -> tuple[Mapping[str, Tensor], Mapping[str, Any]]:
        seed, device = context.seed.at("encoder"), images.device
        networks = Networks(images.shape, self.depth, self.latent)
        networks.initialise(seed.at("weights").generator())
        networks.to(device, memory_format=torch.channels_last)
        autoencoder = [*networks.encoder.parameters(), *networks.decoder.parameters()]
        critic = list(networks.critic.parameters())
        optimizer = adam([*autoencoder, *critic], self.lr, eps=1e-8)

        def step(rng: torch.Generator, x: Tensor) -> Tensor:
            x = networks.pad(x)
            share = 0.5 - (torch.rand(len(x), 1, 1, 1, generator=rng, device=device) - 0.5).abs()
            of_autoencoder, of_critic = self.losses(networks, x, share)
            grads = [
                *torch.autograd.grad(of_autoencoder, autoencoder, retain_graph=True),
                *torch.autograd.grad(of_critic, critic),
            ]
            give_gradients([*autoencoder, *critic], grads)
            optimizer.step()
            return of_autoencoder.detach()

        outcome = train(
            Step(lambda i: seed.at("mix", i).value(), lambda i: (images.take(batches.at(i)),), step),
            networks.state_dict(),
            optimizer,
            total=epochs * batches.per_epoch,
            checkpoint=checkpoint,
            progress=context.progress,
            stage="acai",
            items=batches.size,
            growing=True,
        )
        last = outcome["loss"][-batches.per_epoch :]
        tensors = {**networks.state_dict(), "losses": torch.tensor(outcome["loss"])}
        loss = sum(last) / len(last) if last else None
        return tensors, {"loss": loss, "epochs": epochs, "seconds": outcome["seconds"], **outcome["facts"]}

    def losses(self, networks: Networks, x: Tensor, share: Tensor) -> tuple[Tensor, Tensor]:
        """Of the autoencoder and of the critic; x padded [B, C, S, S] in [-1, 1], share [B, 1, 1, 1] in [0, 0.5]."""
        count(5 * len(x))  # encoder, decoder twice, critic twice
        code = networks.encoder(x)
        decoded = networks.decoder(code)
        mixture = networks.decoder(share * code + (1 - share) * code.flip(0))
        guess = networks.judge(mixture)
        nearly_real = networks.judge((decoded + self.critic_mix * (x - decoded)).detach())
        of_autoencoder = (x - decoded).square().mean() + self.critic_weight * guess.square().mean()
        of_critic = (guess - share.flatten()).square().mean() + nearly_real.square().mean()
        return of_autoencoder, of_critic


class Networks(nn.Module):
    """Encoder, decoder and critic for images [C, H, W]. Undefined until initialised or loaded."""

    def __init__(self, shape: tuple[int, int, int], depth: int, latent: int) -> None:
        super().__init__()
        self.shape, self.latent = shape, latent
        self.side = 32 if max(shape[1:]) <= 32 else 64
        scales = (self.side // CODE_SIDE).bit_length() - 1
        with torch.device("meta"):  # torch's own initialisation draws from the global generator
            self.encoder = _encoder(shape[0], scales, depth, latent)
            self.decoder = _decoder(shape[0], scales, depth, latent)
            self.critic = _encoder(shape[0], scales, depth, latent)
        self.to_empty(device="cpu")

    def initialise(self, rng: torch.Generator) -> None:
        """He-normal weights for LeakyReLU, zero biases; ``rng`` is on the CPU."""
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, a=SLOPE, generator=rng)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def pad(self, x: Tensor) -> Tensor:
        """Images [B, C, H, W] in [0, 1] -> [B, C, S, S] in [-1, 1] with background (0) around them."""
        _, height, width = self.shape
        left, top = (self.side - width) // 2, (self.side - height) // 2
        padded = F.pad(x, (left, self.side - width - left, top, self.side - height - top))
        return padded.mul(2).sub(1).contiguous(memory_format=torch.channels_last)

    def crop(self, x: Tensor) -> Tensor:
        """The inverse of :meth:`pad`, clipped to [0, 1]."""
        _, height, width = self.shape
        left, top = (self.side - width) // 2, (self.side - height) // 2
        return x[..., top : top + height, left : left + width].add(1).div(2).clamp(0, 1)

    def judge(self, x: Tensor) -> Tensor:
        """The critic's guess [B] of how much of another image is mixed in."""
        guess: Tensor = self.critic(x).mean(dim=(1, 2, 3))
        return guess


def _encoder(colours: int, scales: int, depth: int, latent: int) -> nn.Sequential:
    layers: list[nn.Module] = [Conv2d(colours, depth, 1)]
    maps = depth
    for scale in range(scales):
        layers += [*_activated(maps, depth << scale), *_activated(depth << scale, depth << scale), nn.AvgPool2d(2)]
        maps = depth << scale
    return nn.Sequential(*layers, *_activated(maps, depth << scales), Conv2d(depth << scales, latent, 3, padding=1))


def _decoder(colours: int, scales: int, depth: int, latent: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    maps = latent
    for scale in reversed(range(scales)):
        layers += [*_activated(maps, depth << scale), *_activated(depth << scale, depth << scale)]
        layers.append(nn.Upsample(scale_factor=2, mode="nearest"))
        maps = depth << scale
    return nn.Sequential(*layers, *_activated(maps, depth), Conv2d(depth, colours, 3, padding=1))


def _activated(inputs: int, outputs: int) -> tuple[nn.Module, nn.Module]:
    return Conv2d(inputs, outputs, 3, padding=1), nn.LeakyReLU(SLOPE, inplace=True)


class TrainedACAI:
    """A :class:`bench.contracts.Encoder`; ``decode`` is its other half. Nothing here tracks gradients."""

    def __init__(self, networks: Networks) -> None:
        self.networks = networks.eval().requires_grad_(False)
        self.dim = networks.latent * CODE_SIDE**2
        self.image_shape = networks.shape

    @torch.no_grad()
    def encode(self, x: Tensor) -> Tensor:
        """Images [B, C, H, W] in [0, 1] -> codes [B, 16 * latent]."""
        count(len(x))
        chunk = CHUNK.get(x.device.type, 128)
        return torch.cat([self.networks.encoder(self.networks.pad(part)).flatten(1) for part in x.split(chunk)])

    @torch.no_grad()
    def decode(self, code: Tensor) -> Tensor:
        """Codes [B, 16 * latent] -> images [B, C, H, W] in [0, 1]."""
        maps = code.unflatten(1, (self.networks.latent, CODE_SIDE, CODE_SIDE))
        chunk = CHUNK.get(code.device.type, 128)
        return torch.cat([self.networks.crop(self.networks.decoder(part)) for part in maps.split(chunk)])
