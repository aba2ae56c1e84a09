"""The figure of an experiment with a row for every value of a setting: accuracy against that value, and below it what
the generators of these runs make of the same few latents.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from bench.basics.errors import BenchError
from bench.leaderboard.paper_tables import PaperCell, PaperTable
from bench.leaderboard.statistics import Estimate
from bench.planning.paper_layout import Figure as Sketch
from bench.planning.values import plain
from bench.records.arrays import read_images
from bench.reporting.figures_style import BLUE, GREEN, GREY, ORANGE, house_style, png, sheet, svg

Pictures = NDArray[np.uint8]
"""[n, H, W] or [n, H, W, C]."""

Keys = dict[str, Any]
"""Label -> what the legend shows for it."""

WIDTH, HEIGHT = 7.2, 3.1
LEFT, RIGHT, TOP, BOTTOM = 0.6, 0.15, 0.15, 0.95


def sweep(table: PaperTable) -> tuple[dict[str, bytes], tuple[str, ...]]:
    """``png`` and ``svg``, and one sentence per damaged file of samples; nothing where no value has a number of ours.

    The same records give the same bytes.
    """
    sketch = table.layout.figure
    points = [row[0] for row in table.rows if row[0].cell.row.value is not None]
    if sketch is None or not any(cell.state == "done" for cell in points):
        return {}, ()
    pictures, problems = _samples(points, sketch.samples)
    name = f"{table.layout.experiment}-{table.number}"
    with house_style():
        figure = _draw(table, sketch, points, pictures)
        return {"png": png(figure), "svg": svg(figure, name, alt(table))}, problems


def alt(table: PaperTable) -> str:
    """What is read out in place of the figure."""
    points = [row[0] for row in table.rows if row[0].cell.row.value is not None and row[0].answer is not None]
    told = [
        f"{plain(cell.cell.row.value)}: {100 * cell.answer.estimate.mean:.2f} %"
        for cell in points
        if cell.answer is not None and cell.answer.estimate is not None
    ]
    label = table.layout.figure.xlabel if table.layout.figure is not None else "setting"
    return f"Accuracy against {label}. {'; '.join(told)}."


def _samples(points: list[PaperCell], count: int) -> tuple[dict[float, Pictures], tuple[str, ...]]:
    """Value -> the first ``count`` sample images of its run."""
    found: dict[float, Pictures] = {}
    problems = []
    for cell in points if count else ():
        if cell.samples is None:
            continue
        try:
            images = read_images(cell.samples, 4, "its images are left out")
        except BenchError as error:
            problems.append(str(error).replace(str(cell.samples), "/".join(cell.samples.parts[-4:])))
            continue
        whole = np.moveaxis(images[:count], 1, -1)
        found[float(cell.cell.row.value)] = whole[..., 0] if whole.shape[-1] == 1 else whole
    return found, tuple(problems)


def _draw(table: PaperTable, sketch: Sketch, points: list[PaperCell], pictures: dict[float, Pictures]) -> Figure:
    ours, theirs, line = BLUE, ORANGE, GREEN
    side = min(0.58, (WIDTH - LEFT - RIGHT) / max(1, len(pictures)))
    latents = max((len(images) for images in pictures.values()), default=0)
    strip = latents * side + 0.32 if latents else 0.0
    whole = TOP + HEIGHT + BOTTOM + strip
    figure = sheet(WIDTH, whole)
    axis = figure.add_axes((LEFT / WIDTH, (BOTTOM + strip) / whole, 1 - (LEFT + RIGHT) / WIDTH, HEIGHT / whole))
    keys: Keys = {}
    for row in table.rows:
        found = row[0].answer.estimate if row[0].answer is not None else None
        if row[0].cell.row.baseline and found is not None:
            of_all = found.total_ci95 is not None
            half = found.task_ci95 if found.total_ci95 is None else found.total_ci95
            covers = "" if half is None else f", 95 % over tasks{' and seeds' if of_all else ''}"
            name = f"{row[0].cell.row.title.lower()}{covers}"
            keys[name] = axis.axhline(100 * found.mean, color=line, linewidth=1.4)
            if half is None:
                continue
            axis.axhspan(100 * (found.mean - half), 100 * (found.mean + half), color=line, alpha=0.15, linewidth=0)
    if table.comparable:
        printed = [(float(cell.cell.row.value), cell.printed) for cell in points if cell.printed is not None]
        if printed:
            x, y = [value for value, _ in printed], [100 * one.accuracy for _, one in printed]
            bars = [100 * (one.ci95 or 0.0) for _, one in printed]
            keys[sketch.published] = axis.errorbar(
                x, y, bars, fmt="D", markersize=6, color=theirs, markerfacecolor="white", elinewidth=1.0, capsize=2
            )
    done = [(float(c.cell.row.value), c.answer.estimate) for c in points if c.answer and c.answer.estimate]
    _ours(axis, done, ours, keys)
    if sketch.root_scale:
        axis.set_xscale("function", functions=(_root, lambda y: np.sign(y) * np.square(y)))
    values = sorted({value for value, _ in done} | {float(cell.cell.row.value) for cell in points})
    shown = [float(cell.cell.row.value) for cell in points if cell.state == "done" or table.comparable]
    most = max(shown) or 1.0
    axis.set_xlim(min(min(values), 0.0) - most * (0.0006 if sketch.root_scale else 0.02), most * 1.04)
    axis.set_xticks(_apart(shown, axis), [plain(value) for value in _apart(shown, axis)])
    axis.set_xlabel(sketch.xlabel + (" (square-root scale)" if sketch.root_scale else ""))
    axis.set_ylabel("accuracy, %")
    axis.margins(y=0.08)
    figure.legend(
        list(keys.values()), list(keys), loc="upper center", bbox_to_anchor=(0.5, (strip + 0.42) / whole),
        ncols=3, frameon=False, fontsize=8, borderaxespad=0.0,
    )  # fmt: skip
    if pictures:
        _strip(figure, pictures, side, latents, whole)
    return figure


def _root(x: NDArray[np.float64]) -> NDArray[np.float64]:
    found: NDArray[np.float64] = np.sign(x) * np.sqrt(np.abs(x))
    return found


def _ours(axis: Axes, done: list[tuple[float, Estimate]], colour: str, keys: Keys) -> None:
    x, y = [value for value, _ in done], [100 * found.mean for _, found in done]
    half = [100 * (found.task_ci95 or 0.0) for _, found in done]
    one_task = all(found.task_ci95 is None for _, found in done)
    keys["ours" if one_task else "ours, 95 % over tasks"] = axis.errorbar(
        x, y, half, fmt="o", markersize=4.5, color=colour, elinewidth=2.6, capsize=0, zorder=4
    )
    several = [(value, found.mean, found.total_ci95) for value, found in done if found.total_ci95 is not None]
    if several:
        keys["95 % over tasks and seeds"] = axis.errorbar(
            [value for value, *_ in several],
            [100 * mean for _, mean, _ in several],
            [100 * total for *_, total in several],
            fmt="none", ecolor=colour, elinewidth=1.0, capsize=3, zorder=3,
        )  # fmt: skip
    if any(found.seeds > 1 for _, found in done):
        rings = [(value, 100 * mean) for value, found in done for mean in found.seed_means]
        axis.scatter(
            [value for value, _ in rings], [mean for _, mean in rings], s=12, facecolors="none", edgecolors=colour,
            linewidths=0.7, zorder=5,
        )  # fmt: skip
        keys["one seed"] = Line2D([], [], color=colour, marker="o", markersize=3.5, markerfacecolor="none", linewidth=0)


def _apart(values: list[float], axis: Axes) -> list[float]:
    """The values whose labels have room on the axis."""
    place = axis.transData.transform
    kept: list[float] = []
    for value in sorted(set(values)):
        if not kept or place((value, 0))[0] - place((kept[-1], 0))[0] > 22:
            kept.append(value)
    return kept


def _strip(figure: Figure, pictures: dict[float, Pictures], side: float, latents: int, whole: float) -> None:
    """A column a value, a row a latent; images as the methods see them, as in every other picture."""
    for x, (value, images) in enumerate(sorted(pictures.items())):
        for y, image in enumerate(images):
            left, bottom = LEFT + x * side, 0.05 + (latents - 1 - y) * side
            place = ((left + 0.02) / WIDTH, (bottom + 0.02) / whole, (side - 0.04) / WIDTH, (side - 0.04) / whole)
            axis = figure.add_axes(place)
            if image.ndim == 2:
                axis.imshow(image, cmap="gray", vmin=0, vmax=255, interpolation="nearest")
            else:
                axis.imshow(image, interpolation="nearest")
            axis.set_xticks([])
            axis.set_yticks([])
            axis.grid(visible=False)
            if y == 0:
                axis.set_title(plain(value), fontsize=8, fontweight="normal", pad=2)
    figure.text(
        (LEFT - 0.08) / WIDTH, (0.05 + latents * side / 2) / whole, "one latent a row", rotation=90, ha="right",
        va="center", fontsize=8, color=GREY,
    )  # fmt: skip
