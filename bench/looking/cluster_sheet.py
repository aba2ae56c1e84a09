"""Pictures of clusters: a few of their members each."""

from __future__ import annotations

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor

from bench.datasets.images import LabelledImages, UnlabelledImages
from bench.looking.task_sheet import SUPPORT_COLOUR, rgb, strips

MEMBERS = 16  # images of a cluster that are shown


def cluster_sheet(
    images: UnlabelledImages | LabelledImages, labels: Tensor, count: int, rng: torch.Generator, title: str = ""
) -> Figure:
    """One row a cluster, ``count`` clusters drawn at random: some of its members, and how many there are.

    labels: int64 [n] on the CPU, -1 for images in no cluster. ``rng`` is on the images' device.
    """
    present, sizes = torch.unique(labels[labels >= 0], return_counts=True)
    chosen = torch.randperm(len(present), generator=rng, device=rng.device).cpu()[:count]
    _, *shape = images.pixels.shape
    table = np.ones((len(chosen), MEMBERS, *shape[1:], 3), dtype=np.float32)
    for row, place in enumerate(chosen.tolist()):
        members = (labels == present[place]).nonzero()[:, 0]
        some = members[torch.randperm(len(members), generator=rng, device=rng.device).cpu()[:MEMBERS]]
        table[row, : len(some)] = rgb(images.take(some.to(images.device)))
    picture = strips((table, SUPPORT_COLOUR))
    width = 7.2
    figure = Figure(figsize=(width + 0.9, width * picture.shape[0] / picture.shape[1] + 0.8), layout="constrained")
    axis = figure.subplots()
    axis.imshow(picture, interpolation="nearest")
    middles = (np.arange(len(chosen)) + 0.5) * picture.shape[0] / len(chosen) - 0.5
    axis.set_yticks(middles, [str(int(sizes[place])) for place in chosen], fontsize=7)
    axis.set_ylabel("images in the cluster", fontsize=8)
    axis.set_xticks([])
    axis.tick_params(length=0)
    axis.spines[:].set_visible(False)
    if title:
        figure.suptitle(title, fontsize=11)
    return figure
