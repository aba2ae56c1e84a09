"""A generator for photographs that anybody can make in a minute: eigen-images, exported as a file.

    python tests/integration/eigen_images.py --data-dir DATA --to eigen.pt2

The latents are the coordinates along the 64 largest principal components of the meta-train images, whitened, so that
their prior is N(0, I). It has seen what LASIUM's own generators see: meta-train images without labels.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from torch import Tensor, nn

from bench.datasets.prepare import default_cache
from bench.planning.catalogue import variants
from bench.planning.composing import compose
from bench.running.inputs import open_dataset

COMPONENTS = 64


class EigenImages(nn.Module):
    """z [n, d] of N(0, I) -> images [n, C, H, W] in [0, 1]: the mean plus z along the components."""

    def __init__(self, mean: Tensor, components: Tensor, shape: tuple[int, int, int]) -> None:
        super().__init__()
        self.shape = shape
        self.register_buffer("mean", mean)
        self.register_buffer("components", components)

    def forward(self, z: Tensor) -> Tensor:
        return (self.mean + z @ self.components).clamp(0, 1).unflatten(1, self.shape)


def fit(images: Tensor, components: int = COMPONENTS) -> EigenImages:
    """From images [n, C, H, W] in [0, 1]; deterministic up to rounding (an exact decomposition)."""
    flat = images.flatten(1)
    mean = flat.mean(0)
    centred = flat - mean
    # The Gram matrix is n x n, far smaller than pixels x pixels.
    _, vectors = torch.linalg.eigh(centred @ centred.T)
    top = vectors[:, -components:].flip(1)  # unit columns: rows of top.T @ centred are components times singular values
    return EigenImages(mean, (top.T @ centred) / (len(flat) - 1) ** 0.5, tuple(images.shape[1:]))


def export(generator: nn.Module, latent_dim: int, path: Path) -> None:
    """One file, for batches of any size."""
    batch = torch.export.Dim("n")
    program = torch.export.export(generator.eval(), (torch.randn(2, latent_dim),), dynamic_shapes=({0: batch},))
    torch.export.save(program, path)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dataset", default="grocery84")
    parser.add_argument("--data-dir", required=True)
    parser.add_argument("--to", type=Path, required=True)
    asked = parser.parse_args()
    chosen = compose(variants()["chance"], asked.dataset, "smoke", data_dir=asked.data_dir)
    images = open_dataset(chosen.values, default_cache()).splits["train"].unlabelled()
    export(fit(images.take(torch.arange(len(images)))), COMPONENTS, asked.to)
