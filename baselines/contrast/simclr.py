"""SimCLR: find the other view of the same image."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from baselines.contrast.networks import Networks
from baselines.contrast.recipe import SHARED_VERSION, Contrast, Objective
from bench.basics.seeds import Seed
from bench.contracts import Context
from bench.datasets.images import UnlabelledImages
from bench.learners.contrast import nt_xent
from bench.views.choice import several

VERSION = SHARED_VERSION


@dataclass(frozen=True)
class SimCLR(Contrast):
    """Two views of every image; each is to find the other among all of the batch, by the projection.

    Chen et al. 2020, §2.1, eq. 1, with the training of :class:`baselines.contrast.recipe.Contrast`.
    """

    name: ClassVar[str] = "simclr"

    def objective(self, networks: Networks, images: UnlabelledImages, context: Context, seed: Seed) -> Objective:
        """The normalised-temperature cross-entropy of the projections of two views."""

        def loss(rng: torch.Generator, leaves: Mapping[str, Tensor], batch: Tensor) -> Tensor:
            views = several(self.views, batch, 2, rng)
            projected = networks.student(leaves, views.flatten(0, 1))
            return nt_xent(projected.view(len(batch), 2, -1), self.temperature)

        return Objective(loss)
