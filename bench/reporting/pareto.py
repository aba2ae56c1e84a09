"""The figure of accuracy against cost: which rows no other beats at their price."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import NullLocator

from bench.leaderboard.columns import duration, percent, reach
from bench.leaderboard.rows import Cost, Row
from bench.leaderboard.score_table import Shape
from bench.leaderboard.table import Table
from bench.reporting.figures_labels import Box, inches, names, place, spread, wrapped
from bench.reporting.figures_style import (
    BLUE,
    FAINT,
    GREEN,
    GREY,
    INK,
    Caption,
    alike,
    numbers,
    panel,
    sheet,
    write,
)  # fmt: skip

MOST_PANELS = 2
"""Of more columns only the first is drawn."""
LETTERS = 30
LABEL = 7.5
MOST_LABELS = 24
"""Of rows that are not on the front, the best."""
WIDTH, HEIGHT = 4.7, 4.2
ENOUGH = 5
"""With so many rows above training from scratch, those far below it do not stretch the axis."""


@dataclass(frozen=True, slots=True)
class Measure:
    """A way to count cost that is known of all rows."""

    title: str
    value: Callable[[Cost], float]
    is_time: bool = True


MEASURES = (
    Measure("images through networks in training", lambda cost: cost.images, is_time=False),
    Measure("GPU time of training", lambda cost: cost.gpu_seconds or math.nan),
    Measure("CPU time of training", lambda cost: math.nan if cost.gpu_seconds > 0 else cost.cpu_seconds),
    Measure("training by the clock on the wall of a shared machine", lambda cost: cost.seconds),
)
"""The first that is known of every row is taken."""


@dataclass(frozen=True, slots=True)
class Plot:
    """What a panel shows."""

    measure: Measure
    rows: tuple[Row, ...]
    """By cost."""
    front: tuple[Row, ...]
    """Those that cost less than every row with a higher accuracy; by cost."""
    below: int
    """Rows that are left out because they are far below training from scratch."""
    unknown: int
    """Rows without a known cost."""

    def cost(self, row: Row) -> float:
        """On the axis."""
        return self.measure.value(row.cost)


def plot(table: Table, shape: Shape) -> Plot | None:
    """Ranked rows of all tiers; None where fewer than two have a cost."""
    each = {id(line.row): line.row for tier in table.board.tiers for line in tier.ranked}
    rows = [row for row in each.values() if shape in row.scores]
    known = [row for row in rows if any(one.value(row.cost) > 0 for one in MEASURES)]
    measure = next((one for one in MEASURES if known and all(one.value(row.cost) > 0 for row in known)), None)
    if measure is None or len(known) < 2:
        return None
    floor = table.board.floor
    shown = known
    if floor is not None and shape in floor.scores:
        least = _mean(floor, shape) - 1.0
        above = [row for row in known if _mean(row, shape) >= least]
        shown = above if len(above) >= ENOUGH else known
    shown = sorted(shown, key=lambda row: (measure.value(row.cost), -_mean(row, shape), row.method))
    front, best = [], -math.inf
    for row in shown:
        if _mean(row, shape) > best:
            front.append(row)
            best = _mean(row, shape)
    return Plot(measure, tuple(shown), tuple(front), len(known) - len(shown), len(rows) - len(known))


def _mean(row: Row, shape: Shape) -> float:
    return 100 * row.scores[shape].estimate.mean


def _columns(table: Table) -> dict[Shape, Plot]:
    shapes = list(table.manifests)
    shapes = shapes if len(shapes) <= MOST_PANELS else shapes[:1]
    return {shape: found for shape in shapes if (found := plot(table, shape)) is not None}


def picture(table: Table) -> Figure | None:
    """A panel a column, where there are one or two; None where no cost is known."""
    plots = _columns(table)
    if not plots:
        return None
    lines = {shape: _references(table, shape) for shape in plots}
    margins = [max((inches(text, LABEL) for _, text, _ in lines[shape]), default=0.0) + 0.25 for shape in plots]
    left, top, below = 0.6, 0.32, 0.78
    said = wrapped(" ".join(notes(table)), int((left + sum(margins) + len(plots) * (WIDTH + 0.4)) * 14))
    below += 0.14 * (said.count("\n") + 1) if said.strip() else 0.0
    figure = sheet(sum(margins) + len(plots) * (left + WIDTH), top + HEIGHT + below)
    x = left
    for (shape, found), margin in zip(plots.items(), margins):
        axis = panel(figure, x, top, WIDTH, HEIGHT)
        axis.set_title(table.columns[shape])
        _frame(axis, found, shape, lines[shape])
        _points(axis, table, found, shape)
        axis.set_ylabel("accuracy, %", fontsize=8)
        x += left + WIDTH + margin
    keys = {
        "no other is better at this cost or less": Line2D([], [], color=BLUE, marker="o", markersize=5, linewidth=1.2),
    }
    if any(len(found.rows) > len(found.front) for found in plots.values()):
        keys["other rows"] = Line2D([], [], color=GREY, marker="o", markersize=4, linewidth=0)
    if any(_pairs(found) for found in plots.values()):
        keys["one method, trained for longer"] = Line2D([], [], color=GREY, linewidth=0.9, linestyle=":")
    down, width = figure.get_figheight(), figure.get_figwidth()
    figure.legend(
        keys.values(), keys, loc="upper left", ncols=len(keys), borderpad=0.0, borderaxespad=0.0, columnspacing=1.4,
        bbox_to_anchor=((left - 0.35) / width, 1 - (top + HEIGHT + 0.52) / down),
    )  # fmt: skip
    write(figure, left - 0.35, top + HEIGHT + 0.74, said, color=FAINT, fontsize=7.5)
    return figure


def _references(table: Table, shape: Shape) -> list[tuple[float, str, str]]:
    """Accuracy, words and colour of horizontal lines: the floor, the highest ceiling, and the highest of the length of
    the leader.
    """
    board, found = table.board, []
    if board.floor is not None and shape in board.floor.scores:
        found.append((board.floor, INK))
    ceilings = [one.row for one in board.references if one.row.group == "ceiling" and shape in one.row.scores]
    leading = board.leader(shape)
    alike = [row for row in ceilings if leading and row.trained.iterations == leading[1].row.trained.iterations]
    for some in (ceilings, alike):
        best = max(some, key=lambda row: _mean(row, shape), default=None)
        if best is not None and all(best is not row for row, _ in found):
            found.append((best, GREEN))
    texts = names(board, [row for row, _ in found], lengths=True)
    return [
        (_mean(row, shape), f"{wrapped(text, 24)}\n{percent(row.scores[shape].estimate.mean)}", colour)
        for (row, colour), text in zip(found, texts)
    ]


def _frame(axis: Axes, found: Plot, shape: Shape, lines: Sequence[tuple[float, str, str]]) -> None:
    """Scales, and the lines of floor and ceilings with their names beside the panel."""
    costs = [found.cost(row) for row in found.rows]
    ranked = [_mean(row, shape) for row in found.rows]
    means = [*ranked, *(mean for mean, _, _ in lines)]
    wide = [100 * (reach(row.scores[shape].estimate) or 0.0) for row in found.rows]
    most = 1.0 + 0.2 * (max(means) - min(means))  # a huge interval is cut off rather than all the others pressed flat
    means += [mean + side * min(half, most) for mean, half in zip(ranked, wide) for side in (-1, 1)]
    axis.set_xscale("log")
    axis.set_xlim(min(costs) / 2, max(costs) * 2)
    room = 0.04 * max(max(means) - min(means), 2.0)
    low, high = min(means) - room, min(max(means) + room, 101.0)
    axis.set_ylim(low, high)
    ladder = _TIMES if found.measure.is_time else _COUNTS
    ticks = {value: text for value, text in ladder.items() if axis.get_xlim()[0] <= value <= axis.get_xlim()[1]}
    step = -(-len(ticks) // 7) or 1
    axis.set_xticks(list(ticks)[::step], list(ticks.values())[::step])
    axis.xaxis.set_minor_locator(NullLocator())
    axis.set_xlabel(f"{found.measure.title} (logarithmic)", fontsize=8)
    numbers(axis, "y")
    tall = [0.12 * (text.count("\n") + 1) for _, text, _ in lines]
    wanted = [(mean - low) / (high - low) * HEIGHT for mean, _, _ in lines]
    for (mean, text, colour), at, start in zip(lines, spread(wanted, tall, -0.1, HEIGHT + 0.1), wanted):
        axis.axhline(mean, color=colour, linewidth=1.0, linestyle=(0, (4, 3)), zorder=1)
        ends = [1, 1 + 0.1 / WIDTH], [start / HEIGHT, at / HEIGHT]
        axis.plot(
            *ends, transform=axis.transAxes, color=colour, linewidth=0.7, clip_on=False, scalex=False, scaley=False
        )
        axis.text(
            1 + 0.14 / WIDTH, at / HEIGHT, text, transform=axis.transAxes, va="center", fontsize=LABEL, linespacing=1.05
        )


def _count(value: float) -> str:
    unit, size = next((one for one in (("G", 1e9), ("M", 1e6), ("k", 1e3)) if value >= one[1]), ("", 1.0))
    return f"{value / size:.3g} {unit}".rstrip()


_COUNTS = {digit * 10.0**power: _count(digit * 10.0**power) for power in range(13) for digit in (1, 2, 5)}
_TIMES: dict[float, str] = {
    0.1: "0.1 s", 1: "1 s", 3: "3 s", 10: "10 s", 30: "30 s", 60: "1 min", 120: "2 min", 300: "5 min", 600: "10 min",
    1200: "20 min", 2400: "40 min", 3600: "1 h", 7200: "2 h", 18000: "5 h", 36000: "10 h", 86400: "1 day",
    259200: "3 days", 864000: "10 days",
}  # fmt: skip


def _pairs(found: Plot) -> list[tuple[Row, Row]]:
    """A method and the same one in the next longer tier."""
    by_family: dict[str, list[Row]] = {}
    for row in sorted(found.rows, key=lambda row: row.trained.iterations):
        by_family.setdefault(row.family, []).append(row)
    return [pair for rows in by_family.values() for pair in itertools.pairwise(rows)]


def _points(axis: Axes, table: Table, found: Plot, shape: Shape) -> None:
    front = {id(row) for row in found.front}
    for pair in _pairs(found):
        joined = [found.cost(row) for row in pair], [_mean(row, shape) for row in pair]
        axis.plot(*joined, color=GREY, linewidth=0.9, linestyle=":", zorder=1)
    steps = [(found.cost(row), _mean(row, shape)) for row in found.front]
    end = (axis.get_xlim()[1], steps[-1][1])
    axis.step(*zip(*steps, end), where="post", color=BLUE, linewidth=1.2, zorder=2)
    for on, colour, size in ((False, GREY, 16), (True, BLUE, 26)):
        rows = [row for row in found.rows if (id(row) in front) is on]
        x, y = [found.cost(row) for row in rows], np.array([_mean(row, shape) for row in rows])
        half = np.array([100 * (reach(row.scores[shape].estimate) or 0.0) for row in rows])
        axis.vlines(x, y - half, y + half, colors=colour, linewidth=1.0, zorder=3 + on)
        axis.scatter(x, y, s=size, color=colour, zorder=3 + on)
    _labels(axis, table, found, shape)


def _labels(axis: Axes, table: Table, found: Plot, shape: Shape) -> None:
    """Of the front first, then of the others, the best first, where there is room."""
    front = {id(row) for row in found.front}
    others = sorted((row for row in found.rows if id(row) not in front), key=lambda row: -_mean(row, shape))
    rows = [*found.front, *others[:MOST_LABELS]]
    texts = [wrapped(name, LETTERS) for name in names(table.board, rows)]
    weights = ["bold" if id(row) in front else "normal" for row in rows]
    dpi = axis.figure.dpi
    widths = [dpi * inches(text, LABEL, weight) + 2 for text, weight in zip(texts, weights)]
    sizes = [(wide, dpi * 0.125 * (text.count("\n") + 1)) for wide, text in zip(widths, texts)]
    at = [(float(x), float(y)) for x, y in axis.transData.transform([(found.cost(r), _mean(r, shape)) for r in rows])]
    corner, far = axis.transAxes.transform([(0, 0), (1, 1)])
    levels = [mean for mean, _, _ in _references(table, shape)]
    taken = _taken(axis, found, shape, levels)
    corners = place(at, sizes, taken, (*(corner + 2), *(far - 2)), must=len(front))
    back, joins = axis.transAxes.inverted().transform, []
    for text, weight, (x, y), size, place_of in zip(texts, weights, at, sizes, corners):
        if place_of is None:
            continue
        left, bottom = place_of
        near = min(max(x, left), left + size[0]), min(max(y, bottom), bottom + size[1])
        if math.hypot(near[0] - x, near[1] - y) > 8:
            joins.append(back([(x, y), near]))
        start = back((left, bottom + size[1] / 2))
        axis.text(
            start[0], start[1], text, transform=axis.transAxes, va="center", fontsize=LABEL,
            linespacing=1.0, fontweight=weight, color=INK if weight == "bold" else FAINT,
        )  # fmt: skip
    lines = LineCollection(joins, colors=[FAINT], linewidths=0.6, transform=axis.transAxes)
    axis.add_collection(lines, autolim=False)


def _taken(axis: Axes, found: Plot, shape: Shape, levels: Sequence[float]) -> list[Box]:
    """Pixels of markers, intervals, the steps of the front and horizontal lines."""
    pixels = axis.transData.transform
    left, right = axis.transAxes.transform([(0, 0), (1, 0)])[:, 0]
    boxes: list[Box] = []
    for row in found.rows:
        mean, half = _mean(row, shape), 100 * (reach(row.scores[shape].estimate) or 0.0)
        (x, y), (_, top) = pixels([(found.cost(row), mean), (found.cost(row), mean + half)])
        boxes += [(x - 5, y - 5, x + 5, y + 5), (x - 2, 2 * y - top, x + 2, top)]
    steps = pixels([(found.cost(row), _mean(row, shape)) for row in found.front])
    ends = [*steps[1:, 0], right]
    boxes += [(x, y - 2, end, y + 2) for (x, y), end in zip(steps, ends)]
    boxes += [(x - 2, y, x + 2, above) for x, y, above in zip(ends, steps[:, 1], steps[1:, 1])]
    boxes += [(left, y - 2, right, y + 2) for y in (pixels([(1, mean) for mean in levels])[:, 1] if levels else ())]
    return boxes


def notes(table: Table) -> list[str]:
    """What the picture leaves out."""
    told = []
    for shape, found in _columns(table).items():
        left = [f"{_rows(found.below)} below training from scratch"] if found.below else []
        left += [f"{_rows(found.unknown)} of unknown cost"] if found.unknown else []
        if left:
            told.append(f"{table.columns[shape]}: {alike(left)} not drawn.")
    return told


def _rows(count: int) -> str:
    return f"{count} {'row' if count == 1 else 'rows'}"


def caption(table: Table) -> Caption:
    """Names the front."""
    plots = _columns(table)
    if not plots:
        return Caption("Accuracy against the cost of training.", "Accuracy against cost.")
    measure = next(iter(plots.values())).measure
    wall = " It depends on what else that machine did." if measure is MEASURES[-1] else ""
    title = (
        f"Accuracy against cost ({measure.title}).{wall} The line joins the rows that no other beats at their price; "
        "dashed lines are training from scratch and ceilings with labels."
    )
    written = duration if measure.is_time else _count
    told = []
    for shape, found in plots.items():
        front = [
            f"{name} {percent(row.scores[shape].estimate.mean)} % for {written(found.cost(row))}"
            for name, row in zip(names(table.board, found.front), found.front)
        ]
        told.append(f"{table.columns[shape]}, the front from cheap to dear: {'; '.join(front)}.")
    return Caption(title, " ".join([*told, *notes(table)]))
