"""Words in figures: names that are told apart, lines that fit, and labels that do not cover each other."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from numpy.typing import NDArray

from bench.leaderboard.board import Board
from bench.leaderboard.rows import Row
from bench.reporting.figures_style import DPI, FONT_SIZE
from bench.reporting.foreign import one_line

Box = tuple[float, float, float, float]
"""Left, bottom, right, top."""

MOST_LINES = 8
"""Of one label: a name of more than three hundred letters ends in an ellipsis."""


def names(board: Board, rows: Sequence[Row], lengths: bool = False) -> list[str]:
    """What rows of one picture are called, each differently: with their length of training where ``lengths`` asks for
    it or that tells them apart, else by their exact names.
    """
    plain = [one_line(board.name(row)) for row in rows]
    found = []
    for name, row in zip(plain, rows):
        count = row.trained.iterations
        apart = any(one == name and other.trained.iterations != count for one, other in zip(plain, rows))
        found.append(f"{name} ({count:,})" if count and (lengths or apart) else name)
    found = [name if found.count(name) == 1 else f"{name} ({one_line(row.method)})" for name, row in zip(found, rows)]
    return [name if found.count(name) == 1 else f"{i + 1}: {name}" for i, name in enumerate(found)]


def wrapped(text: str, letters: int) -> str:
    """In lines of at most so many letters."""
    return "\n".join(textwrap.wrap(text, letters, max_lines=MOST_LINES, placeholder=" …")) or " "


@lru_cache(maxsize=4096)
def inches(text: str, size: float = FONT_SIZE, weight: str = "normal") -> float:
    """Width of the widest line."""
    font = FontProperties(family=["DejaVu Sans"], size=size, weight=weight)
    measure = _renderer().get_text_width_height_descent
    return max(float(measure(line, font, False)[0]) for line in text.split("\n")) / DPI


@lru_cache(maxsize=1)
def _renderer() -> Any:
    return FigureCanvasAgg(Figure(dpi=DPI)).get_renderer()  # type: ignore[no-untyped-call]


def spread(wanted: Sequence[float], heights: Sequence[float], low: float, high: float) -> NDArray[np.float64]:
    """Middles of labels as near to where they are wanted as they can be without overlap, between ``low`` and ``high``
    where there is room for all; the order is kept.
    """
    order = np.argsort(wanted, kind="stable")
    half = np.asarray(heights)[order] / 2
    # Labels that touch move as one block, whose middle is where its labels want it on average.
    blocks: list[tuple[float, float, int]] = []  # sum of wanted bottoms, height, labels
    for middle, h in zip(np.asarray(wanted)[order], half):
        total, height, count = middle - h, 2 * h, 1
        while blocks and _bottom(blocks[-1], low, high) + blocks[-1][1] > _bottom((total, height, count), low, high):
            before = blocks.pop()
            total, height, count = before[0] + total - count * before[1], before[1] + height, before[2] + count
        blocks.append((total, height, count))
    placed, labels = np.empty(len(order)), iter(zip(order, half))
    for block in blocks:
        bottom = _bottom(block, low, high)
        for _ in range(block[2]):
            i, h = next(labels)
            placed[i] = bottom + h
            bottom += 2 * h
    return placed


def _bottom(block: tuple[float, float, int], low: float, high: float) -> float:
    return max(low, min(block[0] / block[2], high - block[1]))


def place(
    points: Sequence[tuple[float, float]],
    sizes: Sequence[tuple[float, float]],
    taken: Sequence[Box],
    room: Box,
    must: int = 0,
) -> list[tuple[float, float] | None]:
    """Lower left corners of labels beside their points, the first with the first choice; None where there is no room.

    ``taken``: what they must not cover; ``room``: what they must stay inside. The first ``must`` may be farther from
    their points, and cover something rather than be left out.
    """
    covered = list(taken)
    found: list[tuple[float, float] | None] = []
    for i, ((x, y), (w, h)) in enumerate(zip(points, sizes)):
        gaps = (6.0, 12.0, 20.0, 30.0, 42.0, 56.0, 72.0, 90.0, 110.0) if i < must else (6.0, 12.0, 22.0, 34.0)
        choices = [(x + dx, y + dy) for gap in gaps for dx, dy in _around(w, h, gap)]
        boxes = [(left, bottom, left + w, bottom + h) for left, bottom in choices]
        corner = next((one for one, box in zip(choices, boxes) if _fits(box, covered, room)), None)
        if corner is None and i < must:
            corner = choices[int(np.argmin([_spoilt(box, covered, room) for box in boxes]))]
        if corner is not None:
            covered.append((*corner, corner[0] + w, corner[1] + h))
        found.append(corner)
    return found


def _around(w: float, h: float, gap: float) -> list[tuple[float, float]]:
    beside = [(gap, -h / 2), (-gap - w, -h / 2), (-w / 2, gap), (-w / 2, -gap - h)]
    return [*beside, (gap / 2, gap / 2), (gap / 2, -gap / 2 - h), (-gap / 2 - w, gap / 2), (-gap / 2 - w, -gap / 2 - h)]


def _spoilt(box: Box, covered: Sequence[Box], room: Box) -> float:
    """Pixels that a label would cover, and twice those that it would be outside by."""
    left, bottom, right, top = box
    shared = [(min(right, r) - max(left, a), min(top, t) - max(bottom, b)) for a, b, r, t in [*covered, room]]
    areas = [wide * high if wide > 0 and high > 0 else 0.0 for wide, high in shared]
    return sum(areas[:-1]) + 2 * ((right - left) * (top - bottom) - areas[-1])


def _fits(box: Box, covered: Sequence[Box], room: Box) -> bool:
    left, bottom, right, top = box
    if left < room[0] or bottom < room[1] or right > room[2] or top > room[3]:
        return False
    return not any(left < r and right > a and bottom < t and top > b for a, b, r, t in covered)
