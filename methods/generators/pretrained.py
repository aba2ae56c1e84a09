"""What generators read from public checkpoints have in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from torch import Tensor, nn

from bench.contracts import Context
from bench.datasets.images import UnlabelledImages
from bench.foreign import pretrained
from bench.foreign.pretrained import Checkpoint
from bench.training.work import UNKNOWN, include
from methods.generators.alive import check_alive
from methods.generators.foreign_generator import ExternalGenerator, Settings
from methods.generators.probe import probe

VERSION = 1
"""Raised whenever the same settings would make other images of the same checkpoint."""


class Decoder(nn.Module, ABC):
    """A frozen network from latents [n, latent_dim], n of any size, to images [n, C, S, S] in [0, 1]."""

    latent_dim: int

    @abstractmethod
    def forward(self, z: Tensor) -> Tensor:
        """A function of ``z`` alone: any noise inside is fixed."""


@dataclass(frozen=True)
class Pretrained(ABC):
    """A generator whose weights somebody else trained and published. Latents are N(0, I).

    weights: the file. resize: to the size of the dataset; ``bilinear`` takes two by two neighbours, as the authors
    of LASIUM did with TensorFlow; ``antialias`` widens the filter by the reduction; ``none`` refuses another size.
    convert_channels: turn colour into grey (ITU-R 601) where the dataset is grey; else that is refused.
    chunk: images decoded at once; bounds memory.
    latent_norm: whether only the direction of a latent counts, so that LASIUM keeps to the unit sphere.
    outside_data: whether it was trained on images from outside the dataset, which marks its rows on every leaderboard.
    sha256: of the file; filled in when a run is planned, or given to pin it.
    """

    weights: str | None = None
    resize: str = "bilinear"
    convert_channels: bool = False
    chunk: int = 64
    latent_norm: bool = False
    outside_data: bool | None = True
    sha256: str | None = None

    what: ClassVar[str]
    """For messages."""
    foreign: ClassVar[tuple[str, ...]] = ()
    """Classes that its files name and that are not needed, see :func:`bench.foreign.pretrained.load`."""

    def __post_init__(self) -> None:
        self._settings()

    @staticmethod
    def digest(weights: Any) -> str:
        """SHA-256 (hex) of the file: what makes another file another run."""
        return pretrained.digest(weights)

    @abstractmethod
    def network(self, checkpoint: Checkpoint) -> Decoder:
        """The network, its widths read off the checkpoint's tensors, on the CPU. BenchError where they do not fit."""

    def obtain(self, images: UnlabelledImages, context: Context) -> ExternalGenerator:
        """The generator, checked; BenchError says in one sentence what is wrong with it, Diverged that it collapsed."""
        checkpoint = pretrained.load(self.weights, self.sha256, self.what, self.foreign)
        network = self.network(checkpoint).to(images.device)
        generator = ExternalGenerator(self._settings(), network, network.latent_dim, images.shape, images.device)
        seed = context.seed.at("generator", "check")
        facts = probe(checkpoint.name, generator, seed.at("probe").generator(images.device))
        include(UNKNOWN)
        facts["diversity"] = check_alive(checkpoint.name, generator, seed.generator(images.device), images)
        context.note(
            generator={
                "weights": Path(str(self.weights)).name,
                "sha256": self.sha256,
                "outside_data": self.outside_data,
                **facts,
            }
        )
        return generator

    def _settings(self) -> Settings:
        return Settings(
            resize=self.resize,
            convert_channels=self.convert_channels,
            chunk=self.chunk,
            latent_norm=self.latent_norm,
            outside_data=self.outside_data is not False,
        )
