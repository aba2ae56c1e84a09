"""Pictures of tasks, to look at what a task sampler makes; and what all pictures share."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from bench.basics.errors import BenchError
from bench.basics.files import replacing

if TYPE_CHECKING:  # reports draw with these functions, and do without PyTorch
    from torch import Tensor

    from bench.contracts import Tasks

Colour = tuple[float, float, float]

# Blue and orange of the palette of Okabe and Ito, which colour-blind people can tell apart.
SUPPORT_COLOUR = (0.0, 0.45, 0.70)
QUERY_COLOUR = (0.90, 0.62, 0.0)


def task_sheet(tasks: Tasks, title: str = "") -> Figure:
    """One panel a task, one row a class: support images in blue frames, then queries in orange ones.

    Images have one channel (drawn in grey, 0 black, 1 white) or three; BenchError otherwise.
    """
    count, way, shot = tasks.support.shape[:3]
    query = tasks.query.shape[2]
    panels = [
        strips((support, SUPPORT_COLOUR), (query, QUERY_COLOUR))
        for support, query in zip(rgb(tasks.support), rgb(tasks.query))
    ]
    columns = math.ceil(math.sqrt(count))
    rows = math.ceil(count / columns)
    rows_high, columns_wide, _ = panels[0].shape
    panel_width = 0.45 * (shot + query) + 0.3
    panel_height = (panel_width - 0.3) * rows_high / columns_wide + 0.35
    figure = Figure(figsize=(columns * panel_width + 0.2, rows * panel_height + 0.6), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False)
    for index, axis in enumerate(axes.flat):
        if index >= count:
            axis.set_axis_off()
            continue
        axis.imshow(panels[index], interpolation="nearest")
        axis.set_title(f"task {index + 1}", fontsize=9)
        axis.set_xticks([])
        middles = (np.arange(way) + 0.5) * rows_high / way - 0.5
        axis.set_yticks(middles, [str(label) for label in range(1, way + 1)], fontsize=7)
        axis.tick_params(length=0)
        axis.spines[:].set_visible(False)
    for axis in axes[:, 0]:
        axis.set_ylabel("class", fontsize=8)
    explain_frames(figure, (SUPPORT_COLOUR, "support"), (QUERY_COLOUR, "query"))
    if title:
        figure.suptitle(title, fontsize=11)
    return figure


def check_ending(path: Path) -> str:
    """The kind of picture that a file name asks for: png, pdf, svg …; BenchError for one that cannot be drawn."""
    known = Figure().canvas.get_supported_filetypes()
    ending = path.suffix.lstrip(".").lower()
    if ending not in known:
        raise BenchError(f"cannot draw to {path}: its ending must be one of {', '.join(sorted(known))}")
    return ending


def save(figure: Figure, path: Path) -> None:
    """Write a picture, whole or not at all; its kind is that of the file's ending, see :func:`check_ending`."""
    ending = check_ending(path)
    with replacing(path) as temporary:
        figure.savefig(temporary, format=ending, dpi=150)


def rgb(images: Tensor) -> NDArray[np.float32]:
    """[..., C, H, W] -> [..., H, W, 3] in [0, 1], on the CPU; BenchError unless C is 1 (grey) or 3."""
    if images.shape[-3] not in (1, 3):
        raise BenchError(f"only images of 1 or 3 channels can be drawn, not of {images.shape[-3]}")
    channels_last = images.detach().cpu().clamp(0, 1).movedim(-3, -1)
    array: NDArray[np.float32] = channels_last.expand(*channels_last.shape[:-1], 3).numpy()
    return array


def strips(*parts: tuple[NDArray[np.float32], Colour]) -> NDArray[np.float32]:
    """Tables of images [N, K, H, W, 3], each with the colour of its frames -> one picture, side by side."""
    frame = max(1, parts[0][0].shape[2] // 14)
    tables = [_strip(images, frame, colour) for images, colour in parts]
    gap = np.ones((len(tables[0]), 2 * frame, 3), dtype=np.float32)
    return np.concatenate([piece for table in tables for piece in (gap, table)][1:], axis=1)


def explain_frames(figure: Figure, *frames: tuple[Colour, str]) -> None:
    """A legend below the figure that says what the colours of frames mean."""
    marks = [Line2D([], [], linewidth=4, color=colour, label=label) for colour, label in frames]
    figure.legend(handles=marks, loc="outside lower center", ncols=len(marks), frameon=False, fontsize=9)


def _strip(images: NDArray[np.float32], frame: int, colour: Colour) -> NDArray[np.float32]:
    """Images [N, K, H, W, 3] -> their table, N rows and K columns, every image in a coloured frame."""
    way, shot, height, width, _ = images.shape
    margin = 2 * frame  # half of it colour, half of it white
    tiles = np.ones((way, shot, height + 2 * margin, width + 2 * margin, 3), dtype=np.float32)
    tiles[:, :, frame:-frame, frame:-frame] = colour
    tiles[:, :, margin:-margin, margin:-margin] = images
    return tiles.swapaxes(1, 2).reshape(way * tiles.shape[2], shot * tiles.shape[3], 3)
