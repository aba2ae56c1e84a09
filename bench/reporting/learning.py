"""The figure of learning curves: a dozen lines at most, each with its name at its end."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from bench.leaderboard.rows import Row
from bench.leaderboard.table import Table
from bench.reporting.curves import Curve, Curves
from bench.reporting.figures_labels import inches, names, spread, wrapped
from bench.reporting.figures_style import (
    BLUE,
    FAINT,
    GREEN,
    INK,
    ORANGE,
    PURPLE,
    SKY,
    SMALL,
    VERMILLION,
    Caption,
    numbers,
    panel,
    sheet,
)  # fmt: skip

MOST = 12
RULE = (
    "Drawn are the rows with a curve that lead their tier in the first column, then the others by tier and rank, then "
    f"floors and ceilings, {MOST} at most."
)
"""Settled before any curve is looked at."""
LETTERS = 38
WIDTH, GAP = 4.6, 0.28
COLOURS = (BLUE, VERMILLION, GREEN, PURPLE, ORANGE, SKY)
DASHES = ("-", (0, (4, 1.6)))


def chosen(table: Table, curves: Curves) -> list[Row]:
    """The rows that are drawn, by :data:`RULE`."""
    board, shape = table.board, next(iter(table.manifests))
    leaders = [leader.row for tier in board.tiers if (leader := tier.leader(shape)) is not None]
    rows = [*leaders, *(line.row for tier in board.tiers for line in tier.ranked)]
    rows += [line.row for line in board.references]
    each = {id(row): row for row in rows if any(curves.get(run) for run in row.runs)}
    return list(each.values())[:MOST]


def picture(table: Table, curves: Curves) -> Figure | None:
    """Validation accuracy above meta-training loss, the mean over seeds of each row; None without curves."""
    rows = chosen(table, curves)
    labels = [wrapped(name, LETTERS) for name in names(table.board, rows)]
    lines = {kind: _lines(rows, curves, kind) for kind in ("validation", "loss")}
    panels = [kind for kind, found in lines.items() if found]
    if not panels:
        return None
    beside = max(inches(label, SMALL, _weight(i)) for i, label in enumerate(labels))
    heights = [max(2.2, sum(_tall(labels[i]) for i in lines[kind]) + 0.1) for kind in panels]
    left, top, between = 0.6, 0.32, 0.75
    figure = sheet(left + WIDTH + 1.3 * GAP + beside + 0.15, top + sum(heights) + len(panels) * between - 0.25)
    longest = [step[-1] for step, _ in lines[panels[0]].values()]
    for kind, tall in zip(panels, heights):
        axis = panel(figure, left, top, WIDTH, tall)
        top += tall + between
        percent = 100 if kind == "validation" else 1
        for i, (step, value) in lines[kind].items():
            axis.plot(step, percent * value, **_look(i))
        axis.set_title("validation accuracy, %" if kind == "validation" else "meta-training loss")
        axis.set_xlabel("meta-iteration", fontsize=SMALL)
        _scale(axis, lines[kind], spread_out=max(longest) > 3 * min(longest), loss=kind == "loss")
        if kind == "validation" and (known := uncertainty(table)) is not None:
            _bar(axis, 100 * known[0], known[1])
        _name_ends(axis, {i: (step[-1], percent * value[-1]) for i, (step, value) in lines[kind].items()}, labels, tall)
    return figure


def uncertainty(table: Table) -> tuple[float, int] | None:
    """Half of a usual 95 % interval of a validation accuracy, and on how many tasks that rests: from how much the test
    tasks of one shot spread. None where rows were validated on different numbers, or none is known.
    """
    shape = next((shape for shape in table.manifests if shape.shot == 1), next(iter(table.manifests)))
    rows = [line.row for tier in table.board.tiers for line in tier.ranked] or list(table.rows)
    rows = [row for row in rows if row.trained.iterations]
    counts = {row.validation_tasks for row in rows}
    found = [row.scores[shape].estimate for row in rows if shape in row.scores]
    spreads = [one.task_ci95 * one.tasks**0.5 for one in found if one.task_ci95 is not None]
    if len(counts) != 1 or not min(counts) or not spreads:
        return None
    return float(np.median(spreads)) / min(counts) ** 0.5, min(counts)


def _lines(rows: Sequence[Row], curves: Curves, kind: str) -> dict[int, Curve]:
    found = {}
    for i, row in enumerate(rows):
        mean = _mean([curves[run][kind] for run in row.runs if kind in curves.get(run, {})])
        if mean is not None:
            found[i] = mean
    return found


def _mean(curves: Sequence[Curve]) -> Curve | None:
    """The mean over seeds, at the steps that every seed has."""
    if not curves:
        return None
    steps = set(curves[0][0]).intersection(*(curve[0] for curve in curves[1:]))
    kept = np.array([curve[:, np.isin(curve[0], list(steps))] for curve in curves])
    return kept.mean(axis=0) if steps else None


def _look(i: int) -> dict[str, Any]:
    dash = DASHES[i // len(COLOURS) % len(DASHES)]
    return {"color": COLOURS[i % len(COLOURS)], "linestyle": dash, "linewidth": 2.0 if i == 0 else 1.4}


def _weight(i: int) -> str:
    return "bold" if i == 0 else "normal"


def _scale(axis: Axes, lines: dict[int, Curve], spread_out: bool, loss: bool) -> None:
    if spread_out:  # or the longest training would leave no room for the others
        axis.set_xscale("log")
    values = np.concatenate([value for _, value in lines.values()])
    if loss and values.min() > 0 and values.max() > 30 * values.min():
        axis.set_yscale("log")
    axis.set_xlim(right=max(step[-1] for step, _ in lines.values()))
    axis.set_ylim(axis.get_ylim())
    for which in ("x", "y"):
        numbers(axis, which)


def _bar(axis: Axes, half: float, tasks: int) -> None:
    """How far a point of these curves may be from what it measures."""
    low, high = axis.get_ylim()
    middle = low + 0.06 * (high - low) + half
    place = axis.get_yaxis_transform()
    axis.errorbar(0.93, middle, half, transform=place, color=INK, elinewidth=1.1, capsize=3)
    text = f"95 % of one point\n({tasks:,} tasks): ± {half:.1f}"
    axis.text(0.91, middle, text, transform=place, ha="right", va="center", fontsize=7.5, color=FAINT)
    axis.set_ylim(low, high)


def _tall(label: str) -> float:
    return 0.13 * (label.count("\n") + 1) + 0.035


def _name_ends(axis: Axes, ends: dict[int, tuple[float, float]], labels: Sequence[str], tall: float) -> None:
    """The name of each line to the right of the panel, joined to the dot where the line ends."""
    across, up = axis.transAxes.inverted().transform(axis.transData.transform(list(ends.values()))).T
    middles = spread(tall * up, [_tall(labels[i]) for i in ends], -0.05, tall + 0.05) / tall
    bend, mark, text = (1 + part * GAP / WIDTH for part in (0.15, 0.7, 1.3))
    look: dict[str, Any] = {"transform": axis.transAxes, "clip_on": False}
    joins = [[(x, y), (bend, y), (mark, end)] for x, y, end in zip(across, up, middles)]
    colours = [_look(i)["color"] for i in ends]
    axis.add_collection(LineCollection(joins, colors=colours, linewidths=0.8, linestyles=":", **look), autolim=False)
    axis.scatter(across, up, s=9, c=colours, zorder=3, **look)
    for i, end in zip(ends, middles):
        axis.add_line(Line2D([mark, text - 0.005], [end, end], **_look(i), **look))
        words: dict[str, Any] = {"va": "center", "fontsize": SMALL, "linespacing": 1.0, "fontweight": _weight(i)}
        axis.text(text, end, labels[i], **words, **look)


def caption(table: Table) -> Caption:
    """Says which rows are drawn; the picture has their names."""
    known = uncertainty(table)
    sure = "" if known is None else f" A point rests on {known[1]:,} tasks: ± {100 * known[0]:.1f} points (95 %)."
    title = f"Learning curves: accuracy on meta-validation tasks and loss, means over seeds.{sure} {RULE}"
    return Caption(title, f"Learning curves of the best rows of {table.title}; each line is named at its end.")
