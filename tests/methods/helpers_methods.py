"""A context, images and generators small enough to check by hand."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from bench.basics.seeds import Seed
from bench.contracts import Budget, Context, TaskSpec
from bench.datasets.images import UnlabelledImages
from bench.training.artifacts import ArtifactStore
from bench.training.checkpoint import Checkpoint


def make_context(folder: Path, epochs: int = 1, seed: int = 0, progress=None) -> Context:
    budget = Budget("test", meta_iterations=2, generator_epochs=epochs, encoder_epochs=1, checkpoint_seconds=0)
    return Context(
        seed=Seed(seed),
        device=torch.device("cpu"),
        budget=budget,
        artifacts=ArtifactStore(folder / "artifacts"),
        checkpoint=Checkpoint(folder / "run.safetensors"),
        progress=progress or (lambda stage, done, total, metrics: None),
    )


def make_images(n: int = 40, shape: tuple[int, int, int] = (1, 8, 8), seed: int = 3) -> UnlabelledImages:
    """Every image has its own number in its first pixels, so that images can be told apart."""
    rng = torch.Generator().manual_seed(seed)
    pixels = torch.randint(0, 256, (n, *shape), generator=rng, dtype=torch.uint8)
    pixels[:, :, 0, 0] = torch.arange(n, dtype=torch.uint8)[:, None]
    return UnlabelledImages(pixels, f"made-{n}-{shape}-{seed}")


class FakeGenerator:
    """decode(z) is the sigmoid of z laid out as an image; nothing else, so latents can be read off images."""

    def __init__(self, shape: tuple[int, int, int] = (1, 8, 8), latent_dim: int | None = None) -> None:
        self.image_shape = shape
        self.pixels = shape[0] * shape[1] * shape[2]
        self.latent_dim = latent_dim or self.pixels

    def sample_prior(self, n: int, rng: torch.Generator) -> Tensor:
        return torch.randn(n, self.latent_dim, generator=rng)

    def decode(self, z: Tensor) -> Tensor:
        return torch.sigmoid(z[:, : self.pixels]).reshape(len(z), *self.image_shape)


class FakeVAE(FakeGenerator):
    """The posterior of an image: mean = its pixels - 0.5, standard deviation = ``std``."""

    def __init__(self, shape: tuple[int, int, int] = (1, 8, 8), std: float = 0.3) -> None:
        super().__init__(shape)
        self.std = std

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        mean = x.flatten(1) - 0.5
        return mean, torch.full_like(mean, 2.0).mul_(torch.tensor(self.std).log())


class Given:
    """A recipe whose generator is there already."""

    def __init__(self, generator: object) -> None:
        self.generator = generator

    def obtain(self, images, context):
        return self.generator


class RecordingLearner:
    """A meta-learner that only looks at the tasks it is given."""

    def fit(self, sampler, spec: TaskSpec, context: Context):
        self.tasks = [
            sampler.sample(4, spec, context.seed.at("meta-train", i).generator())
            for i in range(context.budget.meta_iterations)
        ]
        return self

    def untrained(self, spec, context):
        return self


def logit(images: Tensor) -> Tensor:
    return torch.special.logit(images.double())
