"""Raw pixels: what a learner must beat to have learned anything."""

from __future__ import annotations

import math
from dataclasses import dataclass

from baselines.encoders.pixels import PixelEncoder
from bench.basics.errors import BenchError
from bench.contracts import Context, TaskSpec
from bench.datasets.images import UnlabelledImages
from bench.learners.embedding import EmbeddingClassifier, NearestNeighbours


@dataclass(frozen=True)
class Pixels:
    """k nearest neighbours of the raw pixels, Euclidean. Trains nothing."""

    k: int = 1

    def __post_init__(self) -> None:
        if not isinstance(self.k, int) or self.k < 1:
            raise BenchError(f"pixels: k must be an integer of at least 1, not {self.k!r}")

    def fit(self, images: UnlabelledImages, spec: TaskSpec, context: Context) -> EmbeddingClassifier:
        """Only the shape of ``images`` is used."""
        if not isinstance(images, UnlabelledImages):
            raise BenchError(f"pixels takes unlabelled images, not {type(images).__name__}")
        return EmbeddingClassifier(PixelEncoder(math.prod(images.shape)), NearestNeighbours(self.k))
