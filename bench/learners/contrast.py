"""Losses that tell images apart by their views."""

from __future__ import annotations

import torch
from torch import Tensor

from bench.learners.prototypes import unit


def contrast(features: Tensor, positive: Tensor, temperature: float) -> Tensor:
    """The supervised contrastive loss (Khosla et al. 2020, eq. 2); with one positive a row that of Chen et al. 2020.

    features: [R, d], not normalised. positive: bool [R, R], which rows j are to be found from row i; the diagonal is
    not looked at.

    For row i, with s the cosine divided by ``temperature``: the mean over its positives j of
    -log(exp s_ij / sum over k of exp s_ik), k all rows but i itself. The mean over the rows that have a positive.
    """
    z = unit(features)
    itself = torch.eye(len(z), dtype=torch.bool, device=z.device)
    positive = positive & ~itself
    similarity = (z @ z.mT / temperature).masked_fill(itself, -torch.inf)
    log_p = similarity - similarity.logsumexp(1, keepdim=True)
    count = positive.sum(1)
    per_row = log_p.masked_fill(~positive, 0.0).sum(1) / count.clamp(min=1)
    return -per_row.sum() / (count > 0).sum()


def nt_xent(features: Tensor, temperature: float, classes: Tensor | None = None) -> Tensor:
    """The normalised-temperature cross-entropy of views of images (Chen et al. 2020, §2.1, eq. 1).

    features: [B, V, d], V >= 2 views of B images, not normalised: the positives of a view are the other views of its
    image, or of all images of its class where ``classes`` int64 [B] says which images share one.
    """
    images, views, _ = features.shape
    of = torch.arange(images, device=features.device) if classes is None else classes
    of = of.repeat_interleave(views)
    return contrast(features.flatten(0, 1), of[:, None] == of, temperature)
