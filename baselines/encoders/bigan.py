"""The bidirectional GAN (Donahue et al. 2017), trained on the unlabelled images."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bench.basics.errors import BenchError
from bench.contracts import Context
from bench.datasets.images import UnlabelledImages
from bench.training.checkpoint import Checkpoint
from bench.training.loop import EpochBatches, train
from bench.training.optimizers import adam, give_gradients, set_rate
from bench.training.steps import Step
from bench.training.work import count

VERSION = 3
"""Raised whenever the same settings would train another encoder."""

SLOPE = 0.2
LARGEST_SIDE = 64
CHUNK = {"cpu": 1024, "cuda": 16384}  # images embedded at a time


@dataclass(frozen=True)
class BiGAN:
    """An encoder E and a generator G that make the pairs (x, E(x)) and (G(z), z) look alike to a discriminator.

    z ~ U(-1, 1)^dim. Discriminator: half the sum of the cross-entropies of telling the two kinds of pairs apart; E and
    G: the same with the answers exchanged (Donahue et al. 2017, §3.4). All three take one Adam step a batch, from the
    same forward pass. The networks are those of the authors' program for MNIST: two layers of ``width`` each, no layer
    has a bias, and batch norm has neither gain nor offset. E and the discriminator: LeakyReLU 0.2, batch norm in the
    second layer. G: ReLU, batch norm in both layers, a sigmoid at the end. A latent is not joined to the pixels: it is
    added, through weights of its own, to what enters the second layer of the discriminator, and once more to what
    enters the second layer of G. E ends in 2 sigmoid - 1, so that its latents lie where those of the prior do. Weight
    decay as written; the learning rate falls exponentially to ``last_lr`` of itself over the second half (their code).

    The encoder uses running averages for batch statistics. Images above 64 pixels a side are resized to 64, the size
    of their ImageNet program (§4.1); its convolutional networks are not here, the perceptrons see those images too.
    """

    dim: int = 200
    width: int = 1024
    lr: float = 2e-4
    beta1: float = 0.5
    weight_decay: float = 2.5e-5
    last_lr: float = 0.01
    batch_size: int = 128

    def __post_init__(self) -> None:
        for name, least in (("dim", 1), ("width", 1), ("batch_size", 2)):
            if getattr(self, name) < least:
                raise BenchError(f"bigan: {name} must be at least {least}, not {getattr(self, name)}")
        if not self.lr > 0 or not 0 < self.last_lr <= 1 or not 0 <= self.beta1 < 1 or not self.weight_decay >= 0:
            raise BenchError(
                "bigan: lr must be above 0, last_lr in (0, 1], beta1 in [0, 1) and weight_decay 0 or more, not "
                f"{self.lr}, {self.last_lr}, {self.beta1}, {self.weight_decay}"
            )

    def obtain(self, images: UnlabelledImages, context: Context) -> TrainedBiGAN:
        """The encoder of ``images`` for ``context.budget.encoder_epochs`` epochs, stored or trained.

        Raises Diverged when the loss becomes non-finite.
        """
        recipe = {
            "encoder": "bigan",
            "version": VERSION,
            **asdict(self),
            "images": images.fingerprint,
            "shape": list(images.shape),
            "epochs": context.budget.encoder_epochs,
            "seed": context.seed.at("encoder").value(),
        }
        artifact = context.artifacts.get(
            "encoder-bigan",
            recipe,
            lambda checkpoint: self._train(images, context, checkpoint),
            context.budget.checkpoint_seconds,
        )
        networks = Networks(seen(images.shape), self.width, self.dim)
        networks.load_state_dict({name: value for name, value in artifact.tensors.items() if name != "losses"})
        noted = ("loss", "epochs", "seconds", "program")
        context.note(bigan={name: artifact.meta[name] for name in noted if name in artifact.meta})
        return TrainedBiGAN(networks.to(images.device), images.shape)

    def _train(
        self, images: UnlabelledImages, context: Context, checkpoint: Checkpoint
    ) -> tuple[Mapping[str, Tensor], Mapping[str, Any]]:
        seed, device, epochs = context.seed.at("encoder"), images.device, context.budget.encoder_epochs
        networks = Networks(seen(images.shape), self.width, self.dim)
        networks.initialise(seed.at("weights").generator())
        networks.to(device).train()
        players = [*networks.encoder.parameters(), *networks.generator.parameters()]
        judge = list(networks.discriminator.parameters())
        optimizer = adam([*players, *judge], self.lr, betas=(self.beta1, 0.999), weight_decay=self.weight_decay)
        batches = EpochBatches(len(images), self.batch_size, seed, device)
        total = epochs * batches.per_epoch

        def begin(i: int) -> tuple[Tensor]:
            set_rate(optimizer, self.lr * self.last_lr ** max(0.0, 2 * i / total - 1))
            return (images.take(batches.at(i)),)

        def step(rng: torch.Generator, x: Tensor) -> Tensor:
            x = resized(x, networks.shape).flatten(1)
            z = torch.rand(len(x), self.dim, generator=rng, device=device) * 2 - 1
            of_players, of_judge = losses(networks, x, z)
            grads = [
                *torch.autograd.grad(of_players, players, retain_graph=True),
                *torch.autograd.grad(of_judge, judge),
            ]
            give_gradients([*players, *judge], grads)
            optimizer.step()
            return of_players.detach()

        outcome = train(
            Step(lambda i: seed.at("prior", i).value(), begin, step),
            networks.state_dict(),
            optimizer,
            total=total,
            checkpoint=checkpoint,
            progress=context.progress,
            stage="bigan",
            items=batches.size,
        )
        last = outcome["loss"][-batches.per_epoch :]
        tensors = {**networks.state_dict(), "losses": torch.tensor(outcome["loss"])}
        loss = sum(last) / len(last) if last else None
        return tensors, {"loss": loss, "epochs": epochs, "seconds": outcome["seconds"], **outcome["facts"]}


def seen(shape: tuple[int, int, int]) -> tuple[int, int, int]:
    """(C, H, W) of the images of a dataset -> of what the networks see."""
    channels, height, width = shape
    return channels, min(height, LARGEST_SIDE), min(width, LARGEST_SIDE)


def resized(x: Tensor, shape: tuple[int, int, int]) -> Tensor:
    """Images [B, C, H, W] at the height and width of ``shape``; antialiased where that makes them smaller."""
    if x.shape[2:] == shape[1:]:
        return x
    return F.interpolate(x, shape[1:], mode="bilinear", align_corners=False, antialias=True).clamp(0, 1)


def losses(networks: Networks, x: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
    """Of encoder and generator, and of the discriminator; x [B, C*H*W] in [0, 1], z [B, dim]."""
    count(4 * len(x))  # encoder, generator, and the discriminator twice
    real = networks.discriminator(x, networks.latent(x))
    fake = networks.discriminator(torch.sigmoid(networks.generator(z)), z)
    yes, no = torch.ones_like(real), torch.zeros_like(real)
    cross_entropy = F.binary_cross_entropy_with_logits
    return (
        (cross_entropy(real, no) + cross_entropy(fake, yes)) / 2,
        (cross_entropy(real, yes) + cross_entropy(fake, no)) / 2,
    )


class Perceptron(nn.Module):
    """inputs -> width -> width -> outputs, without biases; a latent is added to what enters the second layer."""

    def __init__(self, inputs: int, width: int, outputs: int, latent: int = 0, rectified: bool = False) -> None:
        """latent: its numbers, 0 for none. rectified: ReLU, and batch norm in the first layer too (the generator)."""
        super().__init__()
        self.first = nn.Linear(inputs, width, bias=False)
        self.first_norm = nn.BatchNorm1d(width, affine=False) if rectified else nn.Identity()
        self.second = nn.Linear(width, width, bias=False)
        self.latent = nn.Linear(latent, width, bias=False) if latent else None
        self.second_norm = nn.BatchNorm1d(width, affine=False)
        self.last = nn.Linear(width, outputs, bias=False)
        self.slope = 0.0 if rectified else SLOPE

    def forward(self, x: Tensor, z: Tensor | None = None) -> Tensor:
        hidden = F.leaky_relu(self.first_norm(self.first(x)), self.slope)
        hidden = self.second(hidden)
        if self.latent is not None:
            hidden = hidden + self.latent(x if z is None else z)
        return self.last(F.leaky_relu(self.second_norm(hidden), self.slope))


class Networks(nn.Module):
    """Encoder, generator and discriminator for images [C, H, W]. Undefined until initialised or loaded."""

    def __init__(self, shape: tuple[int, int, int], width: int, dim: int) -> None:
        super().__init__()
        self.shape, self.dim = shape, dim
        pixels = math.prod(shape)
        with torch.device("meta"):  # torch's own initialisation draws from the global generator
            self.encoder = Perceptron(pixels, width, dim)
            self.generator = Perceptron(dim, width, pixels, latent=dim, rectified=True)
            self.discriminator = Perceptron(pixels, width, 1, latent=dim)
        self.to_empty(device="cpu")

    def latent(self, x: Tensor) -> Tensor:
        """E: x [B, C*H*W] in [0, 1] -> [B, dim] in (-1, 1), where z is."""
        return 2 * torch.sigmoid(self.encoder(x)) - 1

    def initialise(self, rng: torch.Generator) -> None:
        """Weights N(0, 0.02^2); ``rng`` is on the CPU."""
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, std=0.02, generator=rng)
            elif isinstance(module, nn.BatchNorm1d):
                module.reset_running_stats()


class TrainedBiGAN:
    """A :class:`bench.contracts.Encoder`; ``decode`` is its generator. Nothing here tracks gradients."""

    def __init__(self, networks: Networks, image_shape: tuple[int, int, int]) -> None:
        self.networks = networks.eval().requires_grad_(False)
        self.dim = networks.dim
        self.image_shape = image_shape

    @torch.no_grad()
    def encode(self, x: Tensor) -> Tensor:
        """Images [B, C, H, W] in [0, 1] -> embeddings [B, dim] in (-1, 1)."""
        count(len(x))
        chunk = CHUNK.get(x.device.type, 1024)
        shape = self.networks.shape
        return torch.cat([self.networks.latent(resized(part, shape).flatten(1)) for part in x.split(chunk)])

    @torch.no_grad()
    def decode(self, z: Tensor) -> Tensor:
        """Latents [B, dim] -> images [B, C, H, W] in [0, 1]."""
        chunk = CHUNK.get(z.device.type, 1024)
        made = [torch.sigmoid(self.networks.generator(part)) for part in z.split(chunk)]
        return resized(torch.cat(made).unflatten(1, self.networks.shape), self.image_shape)
