"""The convolutional VAE (Khodadadeh et al. 2020, §7.1), trained on the unlabelled images."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from bench.basics.errors import BenchError, did_you_mean
from bench.contracts import Context
from bench.datasets.images import UnlabelledImages
from bench.training.checkpoint import Checkpoint
from bench.training.loop import EpochBatches, train
from bench.training.optimizers import adam
from bench.training.steps import Step
from methods.generators.alive import check_alive
from methods.generators.training import PRECISIONS, initialise, resolve_precision
from methods.generators.vae_networks import Network, architecture_for

VERSION = 1
"""Raised whenever the same settings would train another VAE."""

# Of check_alive, before use. A VAE begins with the mean image, and after few steps the running averages of batch
# norm are far from the mark: its images differ little then, without having collapsed.
SAMPLES, LEAST_DIVERSITY = 32, 0.001
BATCH_NORMS = ("batch", "affine")


@dataclass(frozen=True)
class VAE:
    """Train a variational autoencoder with Gaussian posterior N(mean, exp(logvar)) and prior N(0, I).

    Architecture, by the longer side of the images (networks and sources: :mod:`methods.generators.vae_networks`):

        up to 32  four 3x3 convolutions of strides 2, 2, 1, 1, two dense heads; a dense layer, four 3x3 transposed
                  convolutions of strides 2, 2, 1, 1, a fifth to C channels and a sigmoid. Sides divisible by 4
        above     five 4x4 convolutions of stride 2 with 64, 128, 256, 256, 512 maps, two dense heads; a dense layer
                  to 64 maps, 4x4 transposed convolutions of strides 3, 2, 2, 1, 1 with 512, 256, 256, 128, 64 maps,
                  a sixth to C channels and a sigmoid. Sides divisible by 12

    Batch norm and ReLU after every layer but the dense ones (the decoder's has ReLU) and the last. Adam,
    Glorot-uniform weights.

    Loss: binary cross-entropy summed over pixels + kl_weight * KL summed over latent dimensions, mean over
    images.

    latent_dim: None is 20 for the first network and 500 for the second, as the authors have it.
    channels: of the narrowest layer; the others keep their ratios to it.
    kl_weight: None is 1 / latent_dim, as the authors' code has it (a mean over the dimensions); 1 is the VAE
    of Kingma & Welling 2014.
    batch_norm: ``batch`` is batch normalisation, running averages outside training; ``affine`` keeps mean 0
    and variance 1 for ever, so that only the learned affine map remains, as in the authors' code under
    TensorFlow 2.
    precision: of the products, in training and after; weights and losses are float32. ``auto`` is float32 for the
    first network, and for the second bfloat16 on processors that multiply it faster. What was used is part of the
    artifact's name.
    """

    latent_dim: int | None = None
    channels: int = 64
    kl_weight: float | None = None
    batch_norm: str = "batch"
    lr: float = 1e-3
    batch_size: int = 128
    precision: str = "auto"

    def __post_init__(self) -> None:
        for name in ("latent_dim", "channels", "batch_size"):
            if (value := getattr(self, name)) is not None and value < 1:
                raise BenchError(f"vae: {name} must be at least 1, not {value}")
        if self.kl_weight is not None and not 0 <= self.kl_weight < math.inf:
            raise BenchError(f"vae: kl_weight must be 0 or more, or null for 1/latent_dim, not {self.kl_weight}")
        if not 0 < self.lr < math.inf:
            raise BenchError(f"vae: lr must be above 0, not {self.lr}")
        for name, known in (("batch_norm", BATCH_NORMS), ("precision", PRECISIONS)):
            if (value := getattr(self, name)) not in known:
                hint = did_you_mean(value, known)
                raise BenchError(f"vae: {name} must be one of {', '.join(known)}, not {value!r}.{hint}")

    def obtain(self, images: UnlabelledImages, context: Context) -> TrainedVAE:
        """The VAE of ``images`` for ``context.budget.generator_epochs`` epochs, stored or trained.

        Its loss, epochs, training seconds and diversity (:func:`check_alive`) are noted in the run's record.
        Raises BenchError for images of an unsupported size and Diverged for a non-finite or collapsed model.
        """
        plan, device = architecture_for(images.shape), images.device
        latent_dim = plan.latent_dim if self.latent_dim is None else self.latent_dim
        precision = resolve_precision(plan.precision if self.precision == "auto" else self.precision, device)
        network = Network(images.shape, self.channels, latent_dim, self.batch_norm == "affine", precision)
        recipe = {
            "generator": "vae",
            "version": VERSION,
            **asdict(self),
            "latent_dim": latent_dim,
            "kl_weight": 1 / latent_dim if self.kl_weight is None else self.kl_weight,
            "precision": precision,
            "images": images.fingerprint,
            "shape": list(images.shape),
            "epochs": context.budget.generator_epochs,
            "seed": context.seed.at("generator").value(),
        }
        artifact = context.artifacts.get(
            "vae",
            recipe,
            lambda checkpoint: self._train(network, recipe["kl_weight"], images, context, checkpoint),
            context.budget.checkpoint_seconds,
        )
        network.load_state_dict({name: value for name, value in artifact.tensors.items() if name != "losses"})
        noted = ("loss", "epochs", "seconds", "program")
        notes = {name: artifact.meta[name] for name in noted if name in artifact.meta}
        trained = TrainedVAE(network.to(device), notes)
        rng = context.seed.at("generator", "check").generator(device)
        real = images if notes["epochs"] else None
        notes["diversity"] = check_alive("vae", trained, rng, real, SAMPLES, LEAST_DIVERSITY)
        context.note(vae=notes)
        return trained

    def _train(
        self, network: Network, kl_weight: float, images: UnlabelledImages, context: Context, checkpoint: Checkpoint
    ) -> tuple[Mapping[str, Tensor], Mapping[str, Any]]:
        seed, device, epochs = context.seed.at("generator"), images.device, context.budget.generator_epochs
        initialise(network, seed.at("weights").generator())
        network.to(device).train()
        optimizer = adam(network.parameters(), self.lr)
        batches = EpochBatches(len(images), self.batch_size, seed, device)

        def step(rng: torch.Generator, x: Tensor) -> Tensor:
            noise = torch.randn(len(x), network.latent_dim, generator=rng, device=device)
            optimizer.zero_grad(set_to_none=True)
            loss = network.loss(x, noise, kl_weight)
            loss.backward()
            optimizer.step()
            return loss.detach()

        outcome = train(
            Step(lambda i: seed.at("noise", i).value(), lambda i: (images.take(batches.at(i)),), step),
            network.state_dict(),
            optimizer,
            total=epochs * batches.per_epoch,
            checkpoint=checkpoint,
            progress=context.progress,
            stage="vae",
            items=batches.size,
        )
        last = outcome["loss"][-batches.per_epoch :]
        loss = sum(last) / len(last) if last else None
        tensors = {**network.state_dict(), "losses": torch.tensor(outcome["loss"])}
        return tensors, {"loss": loss, "epochs": epochs, "seconds": outcome["seconds"], **outcome["facts"]}


class TrainedVAE:
    """A :class:`bench.contracts.Generator` and :class:`bench.contracts.PosteriorEncoder`; prior N(0, I).

    Running averages stand in for batch statistics, so what becomes of one latent or image does not depend on
    the others beside it. Nothing here tracks gradients; memory is bounded by a chunk of images.
    notes: final training loss (nats an image, mean of the last epoch), epochs, training seconds, diversity.
    """

    capturable = True
    """On a GPU, the same kernels for whatever latents."""

    def __init__(self, network: Network, notes: Mapping[str, Any]) -> None:
        self.network = network.eval().requires_grad_(False)
        self.latent_dim = network.latent_dim
        self.image_shape = network.shape
        self.notes = notes
        self._device = network.mean.weight.device
        chunk = network.architecture.chunk
        self._chunk = chunk.get(self._device.type, chunk["cpu"])

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
