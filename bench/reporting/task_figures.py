"""A picture of one synthetic task of every method that was inspected."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from bench.basics.errors import BenchError
from bench.looking.inspection import example
from bench.looking.inspection.example import Example, read_example
from bench.looking.inspection.records import inspection_files, read_inspection
from bench.looking.task_sheet import QUERY_COLOUR, SUPPORT_COLOUR, explain_frames, strips
from bench.reporting.figures_style import DPI, house_style, png
from bench.reporting.inspections import Section

IMAGE, ACROSS = 0.36, 8.6  # inches: an image with its frame; the whole figure
TITLE, GAP, BELOW = 0.45, 0.2, 0.4
LETTER = 0.075  # of a title, on average


def load(outs: Path | Sequence[Path]) -> tuple[dict[str, Example], list[str]]:
    """Key of an inspection -> its task, for all below the folders; and a sentence for each damaged file."""
    found, problems = {}, []
    for out in [outs] if isinstance(outs, Path) else outs:
        for path in inspection_files(out):
            try:
                key = read_inspection(path).key
            except BenchError:
                continue  # told where the numbers are
            try:
                if (file := example.file_of(path.parent)) is not None:
                    found[key] = read_example(file)
            except BenchError as error:
                problems.append(str(error).replace(f"{out}/", ""))
    return found, problems


def draw(sections: Sequence[Section], examples: Mapping[str, Example]) -> dict[str, bytes]:
    """File name -> PNG for every section of which there are tasks, each row with its first training seed.

    The same input gives the same bytes.
    """
    found = {}
    for section in sections:
        panels = {
            label: (min(seeds[0].shot, example.MOST), examples[seeds[0].key])
            for label, seeds in section.methods
            if seeds[0].key in examples
        }
        if panels:
            with house_style():
                found[section.picture] = _sheet(panels)
    return found


def _sheet(panels: Mapping[str, tuple[int, Example]]) -> bytes:
    """Panels in rows: a row of a panel is a class, support images in blue frames before the queries in orange ones."""
    wide = max(images.shape[1] for _, images in panels.values()) * IMAGE
    high = max(images.shape[0] for _, images in panels.values()) * IMAGE
    columns = min(len(panels), max(1, int(ACROSS / (wide + GAP))))
    rows = math.ceil(len(panels) / columns)
    width, height = columns * (wide + GAP) + GAP, rows * (high + TITLE) + BELOW
    figure = Figure(figsize=(width, height), dpi=DPI)
    FigureCanvasAgg(figure)
    for number, (label, (shot, images)) in enumerate(panels.items()):
        row, column = divmod(number, columns)
        pixels = np.broadcast_to(
            np.moveaxis(images / np.float32(255), 2, -1), (*images.shape[:2], *images.shape[3:], 3)
        ).astype(np.float32)
        drawn = strips((pixels[:, :shot], SUPPORT_COLOUR), (pixels[:, shot:], QUERY_COLOUR))
        left, top = GAP + column * (wide + GAP), height - row * (high + TITLE) - TITLE
        axis = figure.add_axes((left / width, (top - high) / height, wide / width, high / height), anchor="NW")
        axis.imshow(drawn, interpolation="nearest")
        axis.set_axis_off()
        lines = textwrap.wrap(label, max(12, int(wide / LETTER)), max_lines=2, placeholder=" …")
        figure.text(left / width, (top + 0.06) / height, "\n".join(lines), fontsize=8, va="bottom")
    explain_frames(figure, (SUPPORT_COLOUR, "support"), (QUERY_COLOUR, "query"))
    return png(figure)
