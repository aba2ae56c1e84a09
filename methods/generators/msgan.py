"""The mode-seeking GAN for small images (Mao et al. 2019), trained on the unlabelled images."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bench.basics.errors import BenchError, did_you_mean
from bench.contracts import Context
from bench.datasets.images import UnlabelledImages
from bench.learners.convolution import Conv2d, ConvTranspose2d, convolve
from bench.training.checkpoint import Checkpoint
from bench.training.loop import EpochBatches, train
from bench.training.optimizers import adam, give_gradients
from bench.training.steps import Step
from bench.training.work import count
from methods.generators.alive import check_alive
from methods.generators.training import PRECISIONS, initialise, resolve_precision

VERSION = 1
"""Raised whenever the same settings would train another GAN."""

LARGEST_SIDE = 32
CHUNK = {"cpu": 64, "cuda": 4096}  # images decoded at a time
LOSSES = ("mode_seeking", "as_coded")
KERNEL = 7  # of the generator's last convolution
EPSILON = 1e-5  # of the mode-seeking term, as in both programs


@dataclass(frozen=True)
class MSGAN:
    """Train an unconditional GAN that is rewarded for telling latents apart. Prior N(0, I).

    Architecture (Khodadadeh et al. 2020, §7.1 and the authors' code). Generator: a dense layer to 128 maps of a
    quarter of the side, two 4x4 transposed convolutions of stride 2, a 7x7 convolution to C channels, sigmoid.
    Discriminator: three 3x3 convolutions of stride 2 with 64, 128 and 128 maps, global maximum, a dense layer to
    one logit (fake is 1, real is 0). LeakyReLU 0.2 between layers, no batch norm, Glorot-uniform weights. Adam
    for both, one step each a batch.

    Discriminator: cross-entropy, each target plus U(0, label_noise) (the authors' code). Generator, for latents
    z1, z2 and their images x1, x2 (Mao et al. 2019, §3.2):

        CE(D(x1), real) + CE(D(x2), real) + mode_seeking_weight / (mean|x1 - x2| / mean|z1 - z2| + 1e-5)

    loss: ``mode_seeking`` is that. ``as_coded`` is what the authors of LASIUM ran: their two *logits* are added
    before one cross-entropy, the ratio is taken image by image, and |z1 - z2| is of a z1 that was never decoded.
    precision: of the products within a training step; weights and losses are float32. ``auto`` is bfloat16 on
    processors that multiply it faster. What was used is part of the artifact's name.

    A training of more epochs continues a shorter one. Images with sides divisible by 4, at most 32 pixels.
    """

    latent_dim: int = 128
    channels: int = 128
    loss: str = "mode_seeking"
    mode_seeking_weight: float = 1.0
    label_noise: float = 0.05
    lr: float = 3e-4
    batch_size: int = 128
    precision: str = "auto"

    def __post_init__(self) -> None:
        for name in ("latent_dim", "channels", "batch_size"):
            if getattr(self, name) < 1:
                raise BenchError(f"msgan: {name} must be at least 1, not {getattr(self, name)}")
        for name, known in (("loss", LOSSES), ("precision", PRECISIONS)):
            if (value := getattr(self, name)) not in known:
                hint = did_you_mean(value, known)
                raise BenchError(f"msgan: {name} must be one of {', '.join(known)}, not {value!r}.{hint}")
        for name in ("mode_seeking_weight", "label_noise"):
            if not 0 <= (value := getattr(self, name)) < math.inf:
                raise BenchError(f"msgan: {name} must be 0 or more, not {value}")
        if not 0 < self.lr < math.inf:
            raise BenchError(f"msgan: lr must be above 0, not {self.lr}")

    def obtain(self, images: UnlabelledImages, context: Context) -> TrainedGAN:
        """The generator of ``images`` after ``context.budget.generator_epochs`` epochs, stored or trained.

        Its epochs, training seconds and diversity (:func:`check_alive`) are noted in the run's record.
        Raises BenchError for images of an unsupported size and Diverged for a non-finite or collapsed model.
        """
        _check_shape(images.shape)
        if len(images) < 2:
            raise BenchError(f"msgan: {len(images)} images are too few to train on")
        precision = resolve_precision(self.precision, images.device)
        batch = min(self.batch_size, len(images))
        recipe = {
            "generator": "msgan",
            "version": VERSION,
            **asdict(self),
            "precision": precision,
            "images": images.fingerprint,
            "shape": list(images.shape),
            "seed": context.seed.at("generator").value(),
        }
        artifact = context.artifacts.grow(
            "msgan",
            recipe,
            context.budget.generator_epochs,
            len(images) // batch,
            lambda checkpoint, epochs: self._train(images, context, checkpoint, epochs, precision),
            context.budget.generator_snapshots,
            context.budget.checkpoint_seconds,
        )
        network = Decoder(images.shape, self.channels, self.latent_dim)
        network.load_state_dict({name: value for name, value in artifact.tensors.items() if name != "losses"})
        notes = {name: artifact.meta[name] for name in ("epochs", "seconds", "program") if name in artifact.meta}
        trained = TrainedGAN(network.to(images.device), notes)
        rng = context.seed.at("generator", "check").generator(images.device)
        notes["diversity"] = check_alive("msgan", trained, rng, images if artifact.meta["epochs"] else None)
        context.note(msgan=notes)
        return trained

    def _train(
        self, images: UnlabelledImages, context: Context, checkpoint: Checkpoint, epochs: int, precision: str
    ) -> tuple[Mapping[str, Tensor], Mapping[str, Any]]:
        seed, device = context.seed.at("generator"), images.device
        decoder = Decoder(images.shape, self.channels, self.latent_dim)
        critic = Critic(images.shape[0], self.channels)
        for name, network in (("decoder", decoder), ("critic", critic)):
            initialise(network, seed.at("weights", name).generator())
            network.to(device, memory_format=torch.channels_last)
        networks = nn.ModuleDict({"decoder": decoder, "critic": critic})
        # One optimiser for both: Adam passes over parameters that have no gradient.
        optimizer = adam(networks.parameters(), self.lr, eps=1e-7)
        batches = EpochBatches(len(images), self.batch_size, seed, device)
        per_epoch, batch = batches.per_epoch, batches.size

        def step(rng: torch.Generator, real: Tensor) -> Tensor:
            z = torch.randn(3 * batch, self.latent_dim, generator=rng, device=device)
            targets = torch.rand(3 * batch, 1, generator=rng, device=device) * self.label_noise
            with torch.autocast(device.type, torch.bfloat16, enabled=precision == "bfloat16"):
                fake = decoder(z[: 2 * batch])
                discriminator_loss = self._discriminator_loss(critic, fake.detach(), real, targets)
            _update(discriminator_loss, optimizer, critic)
            with torch.autocast(device.type, torch.bfloat16, enabled=precision == "bfloat16"):
                generator_loss = self._generator_loss(critic, fake, z)
            _update(generator_loss, optimizer, decoder)
            return generator_loss.detach()

        asked = max(epochs, context.budget.generator_epochs) * per_epoch
        outcome = train(
            Step(lambda i: seed.at("noise", i).value(), lambda i: (images.take(batches.at(i)),), step),
            networks.state_dict(),
            optimizer,
            total=epochs * per_epoch,
            checkpoint=checkpoint,
            progress=lambda stage, done, _, metrics: context.progress(stage, done, asked, metrics),
            stage="msgan",
            items=batch,
            growing=True,
        )
        tensors = {**decoder.state_dict(), "losses": torch.tensor(outcome["loss"])}
        return tensors, {"epochs": epochs, "seconds": outcome["seconds"], **outcome["facts"]}

    def _discriminator_loss(self, critic: Critic, fake: Tensor, real: Tensor, noise: Tensor) -> Tensor:
        """``fake`` [2B, C, H, W], ``real`` [B, …]; ``noise`` [3B, 1] is added to the targets.

        ``as_coded`` judges the first B fake images only.
        """
        if self.loss == "as_coded":
            fake = fake[: len(real)]
        target = torch.cat([fake.new_ones(len(fake), 1).float(), real.new_zeros(len(real), 1).float()])
        logits = critic(torch.cat([fake, real])).float()
        if self.loss == "as_coded":
            return F.binary_cross_entropy_with_logits(logits, target + noise[: len(target)])
        # Real and fake weigh the same, though there are twice as many fakes.
        each = F.binary_cross_entropy_with_logits(logits, target + noise, reduction="none")
        return (each[: len(fake)].mean() + each[len(fake) :].mean()) / 2

    def _generator_loss(self, critic: Critic, fake: Tensor, z: Tensor) -> Tensor:
        """``fake`` [2B, C, H, W] are the images of the first 2B of ``z`` [3B, d]."""
        first, second = fake.float().chunk(2)
        z1, z2, never_decoded = z.chunk(3)
        logits = critic(fake).float()
        real = torch.zeros_like(logits)
        if self.loss == "as_coded":
            added = logits[: len(first)] + logits[len(first) :]
            adversarial = F.binary_cross_entropy_with_logits(added, real[: len(first)])
            apart = (first - second).abs().flatten(1).mean(1) / (never_decoded - z2).abs().mean(1)
            ratio = apart.mean()
        else:
            adversarial = 2 * F.binary_cross_entropy_with_logits(logits, real)  # the sum of the two means
            ratio = (first - second).abs().mean() / (z1 - z2).abs().mean()
        return adversarial + self.mode_seeking_weight / (ratio + EPSILON)


class Decoder(nn.Module):
    """Latents -> images [C, H, W]. Its weights are undefined until initialised or loaded."""

    def __init__(self, shape: tuple[int, int, int], channels: int, latent_dim: int) -> None:
        super().__init__()
        colours, height, width = shape
        self.shape, self.latent_dim = shape, latent_dim
        self.small = (channels, height // 4, width // 4)
        with torch.device("meta"):  # torch's own initialisation draws from the global generator
            self.dense = nn.Linear(latent_dim, math.prod(self.small))
            self.up1 = ConvTranspose2d(channels, channels, 4, stride=2, padding=1)
            self.up2 = ConvTranspose2d(channels, channels, 4, stride=2, padding=1)
            self.image = nn.Conv2d(channels, colours, KERNEL, padding=KERNEL // 2)
        self.to_empty(device="cpu")

    def forward(self, z: Tensor) -> Tensor:
        """[B, latent_dim] -> [B, C, H, W] in [0, 1]."""
        count(len(z))
        maps = F.leaky_relu(self.dense(z), 0.2).unflatten(1, self.small)
        maps = maps.contiguous(memory_format=torch.channels_last)
        maps = F.leaky_relu(self.up1(maps), 0.2, inplace=True)
        maps = F.leaky_relu(self.up2(maps), 0.2, inplace=True)
        return torch.sigmoid(_wide_convolution(maps, self.image.weight, self.image.bias))


def _wide_convolution(maps: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """``conv2d(maps, weight, bias, padding=KERNEL // 2)`` for a large kernel and few outputs.

    Every position first computes what it gives to each of the KERNEL² positions around it, one matrix product;
    then those are added up. A library's convolution leaves most of a CPU's lanes empty when there is one output.
    """
    if maps.device.type != "cpu":
        return convolve(maps, weight, bias, KERNEL // 2)
    outputs, channels = weight.shape[:2]
    # fold adds up the value for offset (i, j) at (y + i, x + j), where a convolution reads it from: mirror it.
    mirrored = weight.flip(2, 3).permute(0, 2, 3, 1).reshape(outputs * KERNEL * KERNEL, channels, 1, 1)
    given = F.conv2d(maps, mirrored).float().flatten(2)
    whole = F.fold(given, maps.shape[2:], KERNEL, padding=KERNEL // 2)
    return whole if bias is None else whole + bias.view(1, -1, 1, 1)


class Critic(nn.Module):
    """Images -> one logit, high for fakes."""

    def __init__(self, colours: int, channels: int) -> None:
        super().__init__()
        with torch.device("meta"):
            self.layers = nn.Sequential(
                Conv2d(colours, max(1, channels // 2), 3, stride=2, padding=1),
                nn.LeakyReLU(0.2),
                Conv2d(max(1, channels // 2), channels, 3, stride=2, padding=1),
                nn.LeakyReLU(0.2),
                Conv2d(channels, channels, 3, stride=2, padding=1),
                nn.LeakyReLU(0.2),
            )
            self.logit = nn.Linear(channels, 1)
        self.to_empty(device="cpu")

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] -> [B, 1]."""
        count(len(x))
        logits: Tensor = self.logit(self.layers(x).amax((2, 3)))
        return logits


class TrainedGAN:
    """A :class:`bench.contracts.Generator`; prior N(0, I). Nothing here tracks gradients.

    notes: epochs, training seconds, diversity.
    """

    capturable = True
    """On a GPU, the same kernels for whatever latents."""

    def __init__(self, network: Decoder, notes: Mapping[str, Any]) -> None:
        self.network = network.eval().requires_grad_(False).to(memory_format=torch.channels_last)
        self.latent_dim = network.latent_dim
        self.image_shape = network.shape
        self.notes = notes
        self._device = network.dense.weight.device
        self._chunk = CHUNK.get(self._device.type, 64)

    def sample_prior(self, n: int, rng: torch.Generator) -> Tensor:
        """``n`` draws of N(0, I) [n, latent_dim] on the generator's device."""
        return torch.randn(n, self.latent_dim, generator=rng, device=rng.device).to(self._device)

    @torch.no_grad()
    def decode(self, z: Tensor) -> Tensor:
        """Latents [n, latent_dim] -> images [n, C, H, W] in [0, 1]."""
        images = z.new_empty(len(z), *self.image_shape)
        for part, out in zip(z.split(self._chunk), images.split(self._chunk), strict=True):
            out.copy_(self.network(part))
        return images


def _update(loss: Tensor, optimizer: torch.optim.Optimizer, network: nn.Module) -> None:
    """One step of ``optimizer`` on the parameters of ``network`` alone."""
    optimizer.zero_grad(set_to_none=True)
    params = list(network.parameters())
    give_gradients(params, torch.autograd.grad(loss, params))
    optimizer.step()


def _check_shape(shape: tuple[int, int, int]) -> None:
    _, height, width = shape
    if height % 4 or width % 4 or max(height, width) > LARGEST_SIDE:
        raise BenchError(
            f"generator msgan is for images with sides divisible by 4 and at most {LARGEST_SIDE} pixels, "
            f"not {height}x{width}; choose another generator"
        )
