"""Pictures of a generator and its latent space: samples, reconstructions, interpolations, strategies."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray
from torch import Tensor

from bench.contracts import Generator, PosteriorEncoder
from bench.looking.task_sheet import QUERY_COLOUR, SUPPORT_COLOUR, explain_frames, rgb, strips

# The palette of Okabe and Ito without its yellow, which is hard to see on white; then it begins again.
CLASS_COLOURS = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#000000")
REAL, GENERATED = (SUPPORT_COLOUR, "real image"), (QUERY_COLOUR, "generated")
STEPS = 11  # images of an interpolation, both ends included
COLUMNS = 16  # samples in a row
RECONSTRUCTED, BETWEEN = "real images and their reconstructions", "between encoded real images"


def sample_sheet(generator: Generator, real: Tensor, count: int, rng: torch.Generator, title: str = "") -> Figure:
    """``count`` images of the prior; where the generator can encode, also ``real`` images [n, C, H, W], each
    beside its reconstruction (the decoded mean of its posterior).
    """
    made = rgb(generator.decode(generator.sample_prior(count, rng)))
    blocks = {"from the prior": strips((_rows(made), GENERATED[0]))}
    if isinstance(generator, PosteriorEncoder) and len(real):
        blocks[RECONSTRUCTED] = _pairs(real, generator.decode(generator.encode(real)[0]))
    return _sheet(blocks, title)


def reconstruction_sheet(
    encode: Callable[[Tensor], Tensor], decode: Callable[[Tensor], Tensor], real: Tensor, title: str = ""
) -> Figure:
    """``real`` images [n, C, H, W], each beside what is decoded from its code."""
    return _sheet({RECONSTRUCTED: _pairs(real, decode(encode(real)))}, title, both=True)


def blend_sheet(
    encode: Callable[[Tensor], Tensor], decode: Callable[[Tensor], Tensor], real: Tensor, title: str = ""
) -> Figure:
    """Straight lines between the codes of two ``real`` images [2 * rows, C, H, W], which are shown at both ends."""
    return _sheet({BETWEEN: _blends(encode, decode, real)}, title, both=True)


def interpolation_sheet(
    generator: Generator, real: Tensor, count: int, rng: torch.Generator, title: str = ""
) -> Figure:
    """``count`` straight lines between two draws of the prior, decoded at equal steps; where the generator can
    encode, also as many lines between the posterior means of ``real`` images [2 * count, C, H, W], shown at
    both ends.
    """
    ends = generator.sample_prior(2 * count, rng).view(count, 2, -1)
    blocks = {"between draws of the prior": strips((rgb(_decode(generator.decode, line(ends))), GENERATED[0]))}
    if isinstance(generator, PosteriorEncoder) and len(real):
        blocks[BETWEEN] = _blends(lambda x: generator.encode(x)[0], generator.decode, real)
    return _sheet(blocks, title)


def line(ends: Tensor) -> Tensor:
    """Pairs of latents [R, 2, d] -> STEPS equally spaced latents from the first to the second [R, STEPS, d]."""
    share = torch.linspace(0, 1, STEPS, device=ends.device)[:, None]
    return torch.lerp(ends[:, :1], ends[:, 1:], share)


def strategy_sheet(latents: Mapping[str, Tensor], title: str = "") -> Figure:
    """One panel a strategy: the latents [N, 1 + S, d] of N classes, each joined to its anchor, which comes first.

    All panels show the same projection, on the two principal axes of all the latents drawn (PCA).
    """
    plane, shares = project(latents)
    count = len(plane)
    figure = Figure(figsize=(3.6 * count + 0.4, 4.4), layout="constrained")
    axes = figure.subplots(1, count, squeeze=False, sharex=True, sharey=True)[0]
    for axis, (name, points) in zip(axes, plane.items()):
        for number, of_class in enumerate(points):
            colour = CLASS_COLOURS[number % len(CLASS_COLOURS)]
            anchor, near = of_class[0], of_class[1:]
            joined = np.stack([np.broadcast_to(anchor, near.shape), near])  # [2, S, 2]
            axis.plot(joined[..., 0], joined[..., 1], color=to_rgba(colour, 0.25), linewidth=0.6, zorder=1)
            axis.scatter(near[:, 0], near[:, 1], s=12, color=colour, linewidths=0, alpha=0.8, zorder=2)
            axis.scatter(*anchor, s=170, marker="*", color=colour, edgecolors="black", linewidths=0.8, zorder=3)
        axis.set_title(name.upper(), fontsize=10)
        axis.set_aspect("equal", adjustable="box")
        axis.tick_params(labelsize=7)
        axis.set_xlabel(f"1st principal axis, {100 * shares[0]:.0f} % of the variance", fontsize=8)
    axes[0].set_ylabel(f"2nd principal axis, {100 * shares[1]:.0f} %", fontsize=8)
    grey: dict[str, Any] = {"color": "#777777", "linewidth": 0}
    marks = [
        Line2D([], [], marker="*", markersize=11, markeredgecolor="black", label="anchor of a class", **grey),
        Line2D([], [], marker="o", markersize=4, label="latent of the same class", **grey),
    ]
    figure.legend(handles=marks, loc="outside lower center", ncols=2, frameon=False, fontsize=9)
    if title:
        figure.suptitle(title, fontsize=11)
    return figure


def project(latents: Mapping[str, Tensor]) -> tuple[dict[str, NDArray[np.float64]], tuple[float, float]]:
    """Latents [N, 1 + S, d] of every strategy -> [N, 1 + S, 2], and the shares of the variance of the two axes."""
    from sklearn.decomposition import PCA  # takes a second to load

    drawn = {name: one.detach().cpu().double().numpy() for name, one in latents.items()}
    everything = np.concatenate([one.reshape(-1, one.shape[-1]) for one in drawn.values()])
    if everything.shape[1] == 1:  # a line has no second axis
        drawn = {name: np.concatenate([one, np.zeros_like(one)], axis=-1) for name, one in drawn.items()}
        everything = np.concatenate([everything, np.zeros_like(everything)], axis=1)
    pca = PCA(n_components=2, svd_solver="full").fit(everything)
    plane = {
        name: pca.transform(one.reshape(-1, one.shape[-1])).reshape(*one.shape[:2], 2) for name, one in drawn.items()
    }
    first, second = (float(share) for share in pca.explained_variance_ratio_)
    return plane, (first, second)


def _pairs(real: Tensor, again: Tensor) -> NDArray[np.float32]:
    """Two sets of as many images [n, C, H, W] -> one picture of a few columns of pairs."""
    columns = [_rows(rgb(one), COLUMNS // 2) for one in (real, again)]
    parts = [(column[:, i : i + 1], colour) for i in range(columns[0].shape[1]) for column, colour in
             zip(columns, (REAL[0], GENERATED[0]))]  # fmt: skip
    return strips(*parts)


def _blends(
    encode: Callable[[Tensor], Tensor], decode: Callable[[Tensor], Tensor], real: Tensor
) -> NDArray[np.float32]:
    """Images [2 * rows, C, H, W] -> one picture of lines between the codes of two."""
    codes, ends = encode(real), rgb(real.reshape(-1, 2, *real.shape[1:]))
    between = rgb(_decode(decode, line(codes.view(-1, 2, codes.shape[1]))))
    return strips((ends[:, :1], REAL[0]), (between, GENERATED[0]), (ends[:, 1:], REAL[0]))


def _decode(decode: Callable[[Tensor], Tensor], z: Tensor) -> Tensor:
    """Latents [R, S, d] -> images [R, S, C, H, W]."""
    images = decode(z.flatten(0, 1))
    return images.view(*z.shape[:2], *images.shape[1:])


def _rows(images: NDArray[np.float32], columns: int = COLUMNS) -> NDArray[np.float32]:
    """Images [n, H, W, 3] -> [rows, columns, H, W, 3], the last row filled up with white."""
    columns = min(columns, len(images))
    missing = -len(images) % columns
    filled = np.concatenate([images, np.ones((missing, *images.shape[1:]), dtype=images.dtype)])
    return filled.reshape(-1, columns, *images.shape[1:])


def _sheet(blocks: Mapping[str, NDArray[np.float32]], title: str, both: bool = False) -> Figure:
    """Pictures [H, W, 3], one below the other, each with its heading. Real images are in all but the first, or, with
    ``both``, in every one.
    """
    width = 7.2
    heights = [width * picture.shape[0] / picture.shape[1] + 0.3 for picture in blocks.values()]
    figure = Figure(figsize=(width + 0.2, sum(heights) + 0.7), layout="constrained")
    axes = figure.subplots(len(blocks), 1, squeeze=False, height_ratios=heights)[:, 0]
    for axis, (heading, picture) in zip(axes, blocks.items()):
        axis.imshow(picture, interpolation="nearest")
        axis.set_title(heading, fontsize=9, loc="left")
        axis.set_axis_off()
    explain_frames(figure, *((REAL, GENERATED) if both or len(blocks) > 1 else (GENERATED,)))
    if title:
        figure.suptitle(title, fontsize=11)
    return figure
