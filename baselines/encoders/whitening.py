"""Features as DeepCluster and CACTUs cluster them: principal components of unit variance, then unit length."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from bench.basics.errors import Diverged

NEGLIGIBLE = 1e-6
"""Components with less than this share of the largest one's variance are rounding errors, and left out."""


@dataclass(frozen=True, slots=True)
class Whitening:
    """x -> (x - mean) @ projection, divided by its length. mean [f], projection [f, dim], both float32."""

    mean: Tensor
    projection: Tensor

    @classmethod
    def of(cls, name: str, features: Tensor, dim: int) -> Whitening:
        """Fitted on features [n, f]: at most ``dim`` principal components, each scaled to unit variance.

        Computed in float64. Raises Diverged, naming ``name``, where the features are not finite or all the same.
        """
        wide = features.double()
        if not bool(wide.isfinite().all()):
            raise Diverged(f"{name}: its features are not finite")
        mean = wide.mean(0)
        centred = wide - mean
        variances, axes = torch.linalg.eigh(centred.T @ centred / len(wide))  # ascending
        largest = float(variances[-1])
        if largest <= NEGLIGIBLE**2 * float(mean.square().sum()):
            raise Diverged(f"{name}: it collapsed, all images have the same features")
        kept = int((variances > NEGLIGIBLE * largest).sum().clamp(max=dim))
        variances, axes = variances[-kept:].flip(0), axes[:, -kept:].flip(1)
        return cls(mean.float(), (axes / variances.sqrt()).float())

    def apply(self, features: Tensor) -> Tensor:
        """Features [n, f] -> [n, dim], each of length 1."""
        return F.normalize((features - self.mean) @ self.projection, dim=1)
