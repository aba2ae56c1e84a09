"""What the tests of the VAE share."""

from __future__ import annotations

import torch

from methods.generators.training import initialise
from methods.generators.vae_networks import Network


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def network_of(shape=(1, 28, 28), channels=64, latent_dim=20, affine=False, precision="float32") -> Network:
    network = Network(shape, channels, latent_dim, affine, precision)
    initialise(network, rng())
    return network
