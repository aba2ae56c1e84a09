"""The figure of intervals: ranked rows by tier, floors and ceilings, on an axis on which intervals can be seen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from bench.leaderboard.board import Board, Line
from bench.leaderboard.columns import accuracy, percent, reach
from bench.leaderboard.rows import GROUPS
from bench.leaderboard.score_table import Shape
from bench.leaderboard.statistics import Estimate
from bench.leaderboard.table import Table
from bench.reporting.figures_labels import inches, names, wrapped
from bench.reporting.figures_style import (
    BLUE,
    FAINT,
    FONT_SIZE,
    GREEN,
    GREY,
    GRID,
    INK,
    PURPLE,
    SMALL,
    VERMILLION,
    Caption,
    numbers,
    panel,
    sheet,
    write,
)  # fmt: skip

MOST_OF_A_TIER = 20
MOST = 60
"""Ranked rows of the whole figure."""
SEEN = 9.0
"""Width in points that a usual interval has at least."""
LEAST_SPAN = 4.0
"""Of an axis, in percent: below that, intervals are wide enough whatever they are."""
LETTERS = 36
LINE, BETWEEN, HEAD = 0.15, 0.07, 0.3
"""Inches: of one line of a label, between labels, of a heading."""
_GROUP_COLOURS = {"floor": INK, "ceiling": GREEN, "transfer": PURPLE}
_MARKERS = {"floor": "s", "ceiling": "D", "transfer": "^"}


@dataclass(frozen=True, slots=True)
class Section:
    """Rows under one heading."""

    title: str
    lines: tuple[Line, ...]
    left_out: tuple[Line, ...] = ()


def sections(board: Board) -> tuple[Section, ...]:
    """Tiers, best first, each row once; then what is never ranked. What is too much for a picture is left out, never a
    floor.
    """
    found, seen, room = [], set[int](), MOST
    for tier in board.tiers:
        new = [line for line in tier.lines if id(line.row) not in seen]
        seen |= {id(line.row) for line in new}
        ranked = [line for line in new if line.kind == "ranked"]
        kept = {id(line) for line in ranked[: min(MOST_OF_A_TIER, room)]}
        room -= len(kept)
        shown = tuple(line for line in new if line.kind != "ranked" or id(line) in kept)
        if kept:
            found.append(Section(tier.title, shown, tuple(line for line in ranked if id(line) not in kept)))
    for group in GROUPS:
        rest = tuple(line for line in board.references if line.row.group == group and id(line.row) not in seen)
        if rest:
            found.append(Section(GROUPS[group], rest[:MOST_OF_A_TIER], rest[MOST_OF_A_TIER:]))
    return tuple(found)


def picture(table: Table) -> Figure:
    """A panel a column, a row a line of the board."""
    found, shapes = sections(table.board), list(table.manifests)
    lines = [line for section in found for line in section.lines]
    labels = [[wrapped(name, LETTERS) for name in names(table.board, [x.row for x in one.lines])] for one in found]
    heads, places, tall = _places(labels)
    wide = {1: 4.4, 2: 3.3}.get(len(shapes), 2.5)
    weights = ["bold" if _leads(line) else "normal" for line in lines]
    texts = [label for some in labels for label in some]
    left = max(inches(text, FONT_SIZE, weight) for text, weight in zip(texts, weights)) + 0.25
    left = max(left, *(inches(section.title, SMALL, "bold") + 0.3 for section in found))
    width = max(left + len(shapes) * wide + (len(shapes) - 1) * 0.3 + 0.25, 6.0)
    ends = {shape: limits(found, shape, wide) for shape in shapes}
    keys = _keys(lines, ends, table.board)
    columns = max(1, int((width - 0.2) / (max(inches(key, SMALL) for key in keys) + 0.5)))
    legend = 0.2 * -(-len(keys) // columns)
    said = [wrapped(text, int(width * 15)) for text in notes(table)]
    high = tall > 6  # its numbers stand above the panels, too
    top = 0.62 if high else 0.34
    figure = sheet(width, top + tall + 0.55 + legend + sum(0.14 * (text.count("\n") + 1) + 0.04 for text in said))
    for i, (shape, title) in enumerate(table.columns.items()):
        axis = panel(figure, left + i * (wide + 0.3), top, wide, tall)
        axis.set_ylim(tall, 0)
        axis.set_xlim(*ends[shape])
        axis.set_title(title, pad=20 if high else 5)
        axis.set_xlabel("accuracy, %", fontsize=SMALL)
        axis.tick_params(axis="x", top=high, labeltop=high)
        axis.set_yticks([])
        numbers(axis, "x", 8 if wide > 3 else 7)
        _reference_line(axis, table.board, shape)
        _draw(axis, [(line, y) for line, y in zip(lines, places) if shape in line.row.scores], shape)
    for section, y in zip(found, heads):
        write(figure, 0.12, top + y, section.title, fontweight="bold", va="center", color=FAINT)
    for text, weight, y in zip(texts, weights, places):
        look = {"ha": "right", "va": "center", "fontsize": FONT_SIZE, "linespacing": 1.05}
        write(figure, left - 0.08, top + y, text, fontweight=weight, **look)
    y = top + tall + 0.5
    figure.legend(
        keys.values(), keys, loc="upper left", ncols=columns, handletextpad=0.6, columnspacing=1.4, borderpad=0.0,
        bbox_to_anchor=(0.12 / width, 1 - y / figure.get_figheight()), borderaxespad=0.0, labelspacing=0.35,
    )  # fmt: skip
    y += legend + 0.02
    for text in said:
        write(figure, 0.12, y, text, color=FAINT, fontsize=7.5)
        y += 0.14 * (text.count("\n") + 1) + 0.04
    return figure


def limits(found: Sequence[Section], shape: Shape, width: float) -> tuple[float, float]:
    """Ends of the axis, in percent: from the best row down to where a usual interval would no longer be seen on a panel
    of ``width`` inches. A ceiling that is farther up than that does not stretch it.
    """
    lines = [line for section in found for line in section.lines if shape in line.row.scores]
    ranked = [line for line in lines if line.kind == "ranked"] or lines
    if not ranked:
        return 0.0, 100.0
    spans = [_ends(line.row.scores[shape].estimate) for line in ranked]
    best = max(ranked, key=lambda line: line.row.scores[shape].estimate.mean).row.scores[shape].estimate
    wide = [high - low for low, high in spans if high > low]
    usual = min(float(np.median(wide)), 200 * (reach(best) or np.inf)) if wide else 100.0
    span = min(100.0, max(LEAST_SPAN, 0.92 * 72 * width * usual / SEEN))
    # The end of an interval that is far wider than usual may lie beyond the axis, its middle may not.
    top = max((low + high) / 2 + min((high - low) / 2, 0.3 * span) for low, high in spans)
    beside = [_ends(line.row.scores[shape].estimate) for line in lines if line.kind == "reference"]
    top = max([top, *(high for _, high in beside if high <= top + 0.4 * span)])
    bottom = max(top - span, min(low for low, _ in [*spans, *beside]))
    bottom = max(bottom, min(low for low, high in [*spans, *beside] if (low + high) / 2 >= bottom))
    room = 0.04 * max(top - bottom, 0.5)
    return bottom - room, top + room


def _ends(found: Estimate) -> tuple[float, float]:
    half = reach(found) or 0.0
    return 100 * (found.mean - half), 100 * (found.mean + half)


def _leads(line: Line) -> bool:
    return any(verdict.standing in ("leader", "alone") for verdict in line.verdicts.values())


def _places(labels: Sequence[Sequence[str]]) -> tuple[list[float], list[float], float]:
    """Inches from the top: middles of headings, middles of rows, and the end."""
    heads, rows, y = [], [], 0.0
    for some in labels:
        heads.append(y + HEAD / 2)
        y += HEAD
        for label in some:
            tall = LINE * (label.count("\n") + 1) + BETWEEN
            rows.append(y + tall / 2)
            y += tall
    return heads, rows, y + 0.05


def _look(line: Line, shape: Shape) -> tuple[str, str]:
    """Colour and marker."""
    if line.kind != "ranked":
        return _GROUP_COLOURS.get(line.row.group, INK), _MARKERS.get(line.row.group, "o")
    verdict = line.verdicts[shape]
    if verdict.below_floor:
        return VERMILLION, "o"
    return (BLUE if verdict.standing in ("leader", "alone", "tied") else GREY), "o"


def _draw(axis: Axes, lines: Sequence[tuple[Line, float]], shape: Shape) -> None:
    """Means with intervals; an arrow with a number for those beyond an end. (As few collections as can be: an artist a
    row takes seconds.)
    """
    low, high = axis.get_xlim()
    inside: list[tuple[Estimate, float, str, str]] = []
    for line, y in lines:
        found, (colour, marker) = line.row.scores[shape].estimate, _look(line, shape)
        if low <= 100 * found.mean <= high:
            inside.append((found, y, colour, marker))
            continue
        right = 100 * found.mean > high
        edge = high if right else low
        axis.plot(edge, y, ">" if right else "<", color=colour, markersize=4.5, clip_on=False, zorder=3)
        axis.annotate(
            percent(found.mean), (edge, y), (-7 if right else 7, 0), textcoords="offset points",
            va="center", ha="right" if right else "left", fontsize=7.5,
        )  # fmt: skip
    axis.hlines([y for _, y in lines], low, high, colors=[GRID], linewidth=0.5, zorder=0.5)
    for several in (False, True):
        some = [one for one in inside if (one[0].total_ci95 is not None) is several]
        ys, colours = [y for _, y, _, _ in some], [colour for _, _, colour, _ in some]
        spans = np.array([_ends(found) for found, *_ in some]).reshape(-1, 2)
        if several:
            axis.hlines(ys, spans[:, 0], spans[:, 1], colors=colours, linewidth=1.3, zorder=2)
            axis.scatter(spans.T, [ys, ys], s=30, marker="|", color=colours * 2, linewidths=1.1, zorder=2)
        else:
            axis.hlines(ys, spans[:, 0], spans[:, 1], colors=colours, linewidth=5.5, alpha=0.4, zorder=2)
    seeds = [(100 * seed, y + 0.07, c) for found, y, c, _ in inside if found.seeds > 1 for seed in found.seed_means]
    if seeds:
        places = [x for x, _, _ in seeds], [y for _, y, _ in seeds]
        axis.scatter(*places, s=7, facecolors="none", edgecolors=[colour for *_, colour in seeds], linewidths=0.6)
    for marker in dict.fromkeys(marker for *_, marker in inside):
        some = [one for one in inside if one[3] == marker]
        means, colours = [100 * found.mean for found, *_ in some], [colour for _, _, colour, _ in some]
        axis.scatter(means, [y for _, y, _, _ in some], s=13, marker=marker, c=colours, zorder=3)


_FROM_SCRATCH: dict[str, Any] = {"color": (INK, 0.6), "linewidth": 0.9, "linestyle": (0, (4, 3))}


def _reference_line(axis: Axes, board: Board, shape: Shape) -> None:
    if _within(board, shape, axis.get_xlim()):
        assert board.floor is not None
        axis.axvline(100 * board.floor.scores[shape].estimate.mean, zorder=1, **_FROM_SCRATCH)


def _within(board: Board, shape: Shape, ends: tuple[float, float]) -> bool:
    """Whether the floor stands on the axis."""
    floor = board.floor
    return floor is not None and shape in floor.scores and ends[0] < 100 * floor.scores[shape].estimate.mean < ends[1]


def _keys(lines: Sequence[Line], ends: Mapping[Shape, tuple[float, float]], board: Board) -> dict[str, Line2D]:
    """Legend, of what occurs."""
    ranked = [(line, shape) for line in lines if line.kind == "ranked" for shape in ends if shape in line.row.scores]
    colours = {_look(line, shape)[0] for line, shape in ranked}
    groups = {line.row.group for line in lines if line.kind != "ranked"}
    estimates = [line.row.scores[shape].estimate for line in lines for shape in ends if shape in line.row.scores]

    def dot(colour: str, marker: str = "o") -> Line2D:
        return Line2D([], [], color=colour, marker=marker, markersize=4.5, linewidth=0)

    several = any(line.verdicts[shape].standing == "tied" for line, shape in ranked)
    first = "leader of its tier, or not separable from it" if several else "leader of its tier"
    keys = {first: dot(BLUE)} if BLUE in colours else {}
    keys |= {"behind it": dot(GREY)} if GREY in colours else {}
    keys |= {"below training from scratch": dot(VERMILLION)} if VERMILLION in colours else {}
    titles = {"floor": "floor", "ceiling": "ceiling: trained with labels", "transfer": "trained on other images"}
    keys |= {titles[group]: dot(_GROUP_COLOURS[group], _MARKERS[group]) for group in titles if group in groups}
    if any(_within(board, shape, some) for shape, some in ends.items()):
        keys["training from scratch"] = Line2D([], [], **_FROM_SCRATCH)
    if any(one.total_ci95 is None and one.task_ci95 is not None for one in estimates):
        keys["95 % over tasks (one training)"] = Line2D([], [], color=GREY, linewidth=5.5, alpha=0.5)
    if any(one.total_ci95 is not None for one in estimates):
        keys["95 % over tasks and seeds"] = Line2D([], [], color=BLUE, linewidth=1.3, marker="|", markersize=5)
    if any(one.seeds > 1 for one in estimates):
        keys["one seed"] = Line2D([], [], color=BLUE, marker="o", markersize=3, markerfacecolor="none", linewidth=0)
    return keys


def notes(table: Table) -> list[str]:
    """What the picture leaves out."""
    told = []
    shape = next(iter(table.manifests))
    for section in sections(table.board):
        means = [line.row.scores[shape].estimate.mean for line in section.left_out if shape in line.row.scores]
        if section.left_out:
            best = f", the best at {percent(max(means))} % ({table.columns[shape]})" if means else ""
            several = len(section.left_out) > 1
            told.append(
                f"{section.title}: {len(section.left_out)} more {'rows' if several else 'row'}{best}; see the table."
            )
    tiers = [id(line.row) for tier in table.board.tiers for line in tier.ranked]
    told_of = {id(line.row) for section in sections(table.board) for line in (*section.lines, *section.left_out)}
    if rest := len(set(tiers) - told_of):
        told.append(f"Other lengths of training: {rest} more {'row' if rest == 1 else 'rows'}; see the table.")
    folded = sum(len(line.folded) for tier in table.board.tiers for line in tier.lines if line.kind == "ranked")
    if folded:
        told.append(f"Not drawn: {folded} {'row' if folded == 1 else 'rows'} of other settings or shorter generators.")
    return told


def caption(table: Table) -> Caption:
    """Made of the same lines."""
    board = table.board
    shown = [line for section in sections(board) for line in section.lines]
    seeds = any(score.estimate.total_ci95 is not None for line in shown for score in line.row.scores.values())
    over = "over tasks and, where there are two seeds or more, over seeds" if seeds else "over tasks; one training each"
    title = (
        f"Accuracy with 95 % intervals ({over}). The axis is fitted to the best rows; an arrow with a number stands "
        "for one beyond it."
    )
    told = []
    for shape, column in table.columns.items():
        leading = board.leader(shape)
        parts = []
        if leading is not None:
            tier, line = leading
            count = sum(shape in one.verdicts for one in tier.ranked)
            tied = sum(one.verdicts[shape].standing == "tied" for one in tier.ranked if shape in one.verdicts)
            parts.append(f"{board.name(line.row)} leads {count} ranked rows at {accuracy(line.row.scores[shape])} %")
            parts.append(f"{tied} of them not separable from it")
        if board.floor is not None and shape in board.floor.scores:
            parts.append(f"training from scratch {percent(board.floor.scores[shape].estimate.mean)} %")
        ceilings = [one.row for one in board.references if one.row.group == "ceiling" and shape in one.row.scores]
        if ceilings:
            best = max(ceilings, key=lambda row: row.scores[shape].estimate.mean)
            parts.append(f"highest ceiling {board.name(best)} {percent(best.scores[shape].estimate.mean)} %")
        if parts:
            told.append(f"{column}: {', '.join(parts)}.")
    return Caption(title, " ".join(["Accuracies with intervals, a row a method.", *told, *notes(table)]))
