"""The convolutional VAE for small images (Khodadadeh et al. 2020, §7.1), trained on the unlabelled images."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bench.checkpoint import Checkpoint
from bench.contracts import Context
from bench.datasets.images import UnlabelledImages
from bench.errors import BenchError, Diverged, did_you_mean
from bench.training import train

VERSION = 1
"""Raised whenever the same settings would train another VAE."""

LARGEST_SIDE = 32
CHUNK = {"cpu": 64, "cuda": 1024}  # images at a time outside training; on a CPU, what the cache holds
BATCH_NORMS = ("batch", "affine")


@dataclass(frozen=True)
class VAE:
    """Train a variational autoencoder with Gaussian posterior N(mean, exp(logvar)) and prior N(0, I).

    Architecture (Khodadadeh et al. 2020, §7.1; strides as in the authors' code, because the eight stride-2
    layers of the text do not fit 28x28): four 3x3 convolutions of strides 2, 2, 1, 1, two dense heads; a
    dense layer, four 3x3 transposed convolutions of strides 2, 2, 1, 1, a fifth to C channels and a sigmoid.
    Batch norm and ReLU after every layer but the dense ones and the last. Adam, Glorot-uniform weights.

    Loss: binary cross-entropy summed over pixels + kl_weight * KL summed over latent dimensions, mean over
    images.

    kl_weight: None is 1 / latent_dim, as the authors' code has it (a mean over the dimensions); 1 is the VAE
    of Kingma & Welling 2014.
    batch_norm: ``batch`` is batch normalisation, running averages outside training; ``affine`` keeps mean 0
    and variance 1 for ever, so that only the learned affine map remains, as in the authors' code under
    TensorFlow 2.

    Images of 1 to any number of channels, sides at most 32 pixels and divisible by 4.
    """

    latent_dim: int = 20
    channels: int = 64
    kl_weight: float | None = None
    batch_norm: str = "batch"
    lr: float = 1e-3
    batch_size: int = 128

    def __post_init__(self) -> None:
        for name in ("latent_dim", "channels", "batch_size"):
            if getattr(self, name) < 1:
                raise BenchError(f"vae: {name} must be at least 1, not {getattr(self, name)}")
        if self.kl_weight is not None and not 0 <= self.kl_weight < math.inf:
            raise BenchError(f"vae: kl_weight must be 0 or more, or null for 1/latent_dim, not {self.kl_weight}")
        if not 0 < self.lr < math.inf:
            raise BenchError(f"vae: lr must be above 0, not {self.lr}")
        if self.batch_norm not in BATCH_NORMS:
            hint = did_you_mean(self.batch_norm, BATCH_NORMS)
            raise BenchError(f"vae: batch_norm must be batch or affine, not {self.batch_norm!r}.{hint}")

    def obtain(self, images: UnlabelledImages, context: Context) -> TrainedVAE:
        """The VAE of ``images`` for ``context.budget.generator_epochs`` epochs, stored or trained.

        Its loss, epochs and training seconds are noted in the run's record under ``vae``.
        Raises BenchError for images of an unsupported size and Diverged for a non-finite or collapsed model.
        """
        _check_shape(images.shape)
        recipe = {
            "generator": "vae",
            "version": VERSION,
            **asdict(self),
            "images": images.fingerprint,
            "shape": list(images.shape),
            "epochs": context.budget.generator_epochs,
            "seed": context.seed.at("generator").value(),
        }
        artifact = context.artifacts.get(
            "vae",
            recipe,
            lambda checkpoint: self._train(images, context, checkpoint),
            context.budget.checkpoint_seconds,
        )
        network = Network(images.shape, self.channels, self.latent_dim, self.batch_norm == "affine")
        network.load_state_dict({name: value for name, value in artifact.tensors.items() if name != "losses"})
        notes = {name: artifact.meta[name] for name in ("loss", "epochs", "seconds")}
        context.note(vae=notes)
        return TrainedVAE(network.to(images.device), notes)

    def _train(
        self, images: UnlabelledImages, context: Context, checkpoint: Checkpoint
    ) -> tuple[Mapping[str, Tensor], Mapping[str, Any]]:
        seed, device, epochs = context.seed.at("generator"), images.device, context.budget.generator_epochs
        kl_weight = 1 / self.latent_dim if self.kl_weight is None else self.kl_weight
        network = Network(images.shape, self.channels, self.latent_dim, self.batch_norm == "affine")
        network.initialise(seed.at("weights").generator())
        network.to(device).train()
        optimizer = torch.optim.Adam(network.parameters(), lr=self.lr)

        batch = min(self.batch_size, len(images))
        per_epoch = len(images) // batch
        order: tuple[int, Tensor] = (-1, torch.empty(0))

        def step(i: int) -> Tensor:
            nonlocal order
            epoch, position = divmod(i, per_epoch)
            if order[0] != epoch:
                rng = seed.at("epoch", epoch).generator()
                order = epoch, torch.randperm(len(images), generator=rng).to(device)
            x = images.take(order[1][position * batch : (position + 1) * batch])
            noise_rng = seed.at("noise", i).generator(device)
            noise = torch.randn(batch, self.latent_dim, generator=noise_rng, device=device)
            optimizer.zero_grad(set_to_none=True)
            loss = network.loss(x, noise, kl_weight)
            loss.backward()
            optimizer.step()
            return loss.detach()

        outcome = train(
            step,
            network.state_dict(),
            optimizer,
            total=epochs * per_epoch,
            checkpoint=checkpoint,
            progress=context.progress,
            stage="vae",
        )
        trained = TrainedVAE(network, {})
        if epochs > 0:
            _check_alive(trained, seed.at("check").generator(device))
        last = outcome["loss"][-per_epoch:]
        loss = sum(last) / len(last) if last else None
        tensors = {**network.state_dict(), "losses": torch.tensor(outcome["loss"])}
        return tensors, {"loss": loss, "epochs": epochs, "seconds": outcome["seconds"]}


class Network(nn.Module):
    """Encoder and decoder for images [C, H, W]. Its weights are undefined until initialised or loaded."""

    def __init__(self, shape: tuple[int, int, int], channels: int, latent_dim: int, affine: bool) -> None:
        super().__init__()
        self.shape, self.latent_dim, self.affine = shape, latent_dim, affine
        colours, height, width = shape
        self.small = (channels, height // 4, width // 4)
        features = math.prod(self.small)
        c = channels

        def block(layer: nn.Module) -> nn.Sequential:
            return nn.Sequential(layer, nn.BatchNorm2d(c), nn.ReLU(inplace=True))

        with torch.device("meta"):  # torch's own initialisation draws from the global generator
            self.encoder = nn.Sequential(
                block(nn.Conv2d(colours, c, 3, stride=2, padding=1, bias=False)),
                block(nn.Conv2d(c, c, 3, stride=2, padding=1, bias=False)),
                block(nn.Conv2d(c, c, 3, padding=1, bias=False)),
                block(nn.Conv2d(c, c, 3, padding=1, bias=False)),
            )
            self.mean = nn.Linear(features, latent_dim)
            self.logvar = nn.Linear(features, latent_dim)
            self.dense = nn.Linear(latent_dim, features)
            self.decoder = nn.Sequential(
                block(nn.ConvTranspose2d(c, c, 3, stride=2, padding=1, output_padding=1, bias=False)),
                block(nn.ConvTranspose2d(c, c, 3, stride=2, padding=1, output_padding=1, bias=False)),
                block(nn.ConvTranspose2d(c, c, 3, padding=1, bias=False)),
                block(nn.ConvTranspose2d(c, c, 3, padding=1, bias=False)),
                nn.ConvTranspose2d(c, colours, 3, padding=1),
            )
        self.to_empty(device="cpu")

    def initialise(self, rng: torch.Generator) -> None:
        """Glorot-uniform weights, zero biases; ``rng`` is on the CPU: the same start on every device."""
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
                nn.init.xavier_uniform_(module.weight, generator=rng)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
            elif isinstance(module, nn.BatchNorm2d):
                module.reset_parameters()

    def train(self, mode: bool = True) -> Network:
        """As always, but ``affine`` batch norm stays at its initial statistics."""
        super().train(mode)
        for module in self.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.training = mode and not self.affine
        return self

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Images [B, C, H, W] -> mean and log-variance, each [B, latent_dim]."""
        # `.contiguous` leaves a one-channel image NCHW, and with it the whole network.
        x = torch.empty_like(x, memory_format=torch.channels_last).copy_(x)
        features = self.encoder(x).flatten(1)
        return self.mean(features), self.logvar(features)

    def decode(self, z: Tensor) -> Tensor:
        """Latents [B, latent_dim] -> logits [B, C, H, W]."""
        features = F.relu(self.dense(z)).unflatten(1, self.small)
        return self.decoder(features.contiguous(memory_format=torch.channels_last))

    def loss(self, x: Tensor, noise: Tensor, kl_weight: float) -> Tensor:
        """Mean over images [B, C, H, W] of cross-entropy + kl_weight * KL; noise [B, d] ~ N(0, I)."""
        mean, logvar = self.encode(x)
        logits = self.decode(mean + torch.exp(logvar / 2) * noise)
        cross_entropy = F.binary_cross_entropy_with_logits(logits, x, reduction="sum")
        kl = 0.5 * (mean.square() + logvar.exp() - 1 - logvar).sum()
        return (cross_entropy + kl_weight * kl) / len(x)


class TrainedVAE:
    """A :class:`bench.contracts.Generator` and :class:`bench.contracts.PosteriorEncoder`; prior N(0, I).

    Running averages stand in for batch statistics, so what becomes of one latent or image does not depend on
    the others beside it. Nothing here tracks gradients; memory is bounded by a chunk of images.
    notes: final training loss (nats an image, mean of the last epoch), epochs, training seconds.
    """

    def __init__(self, network: Network, notes: Mapping[str, Any]) -> None:
        self.network = network.eval().requires_grad_(False)
        self.latent_dim = network.latent_dim
        self.image_shape = network.shape
        self.notes = notes
        self._device = network.mean.weight.device
        self._chunk = CHUNK.get(self._device.type, 64)

    def sample_prior(self, n: int, rng: torch.Generator) -> Tensor:
        """``n`` draws of N(0, I) [n, latent_dim] on the generator's device."""
        z = torch.randn(n, self.latent_dim, generator=rng, device=rng.device)
        return z.to(self._device)

    @torch.no_grad()  # not inference_mode: its tensors could not take part in a meta-learner's gradient
    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Images [n, C, H, W] in [0, 1] -> mean and log-variance of the posterior, each [n, latent_dim]."""
        means, logvars = zip(*(self.network.encode(part) for part in x.split(self._chunk)), strict=True)
        return torch.cat(means), torch.cat(logvars)

    @torch.no_grad()
    def decode(self, z: Tensor) -> Tensor:
        """Latents [n, latent_dim] -> images [n, C, H, W] in [0, 1]."""
        images = z.new_empty(len(z), *self.image_shape)
        for part, out in zip(z.split(self._chunk), images.split(self._chunk), strict=True):
            torch.sigmoid(self.network.decode(part), out=out)
        return images


def _check_shape(shape: tuple[int, int, int]) -> None:
    _, height, width = shape
    if height % 4 or width % 4 or max(height, width) > LARGEST_SIDE:
        raise BenchError(
            f"generator vae is for images with sides divisible by 4 and at most {LARGEST_SIDE} pixels, "
            f"not {height}x{width}; choose another generator"
        )


def _check_alive(vae: TrainedVAE, rng: torch.Generator) -> None:
    """Diverged where the images of 64 latents of the prior are not finite, or all the same."""
    images = vae.decode(vae.sample_prior(64, rng))
    if not bool(images.isfinite().all()):
        raise Diverged("vae: it decodes latents to non-finite images")
    if float(images.std(dim=0).max()) < 1e-4:
        raise Diverged("vae: it collapsed, every latent decodes to the same image")
