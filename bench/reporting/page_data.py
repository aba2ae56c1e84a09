"""What the page's script draws from: learning curves of every line, and its correct answers task by task."""

from __future__ import annotations

import string
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.leaderboard.rows import Row
from bench.leaderboard.score_table import Shape
from bench.leaderboard.table import Table
from bench.reporting.curves import Curve, Curves
from bench.reporting.foreign import visible

POINTS = 25
"""Of a curve at most."""
DIGITS = "".join(c for c in string.digits + string.ascii_letters + string.punctuation if c not in "\"'\\<>&")
"""Of counts of correct answers: a letter a digit, the same number of letters for every count of a column."""


def data(table: Table, curves: Curves) -> dict[str, Any]:
    """Plain values for JSON. Of a row with several seeds: the mean curve, and the sum of its correct answers."""
    steps: dict[tuple[int, ...], int] = {}
    lines = list({id(line.row): line for line in table.board.lines()}.values())
    curved = [
        {**_named(table, line.row, [one.row for one in lines]), "folded": line.kind == "variant", **found}
        for line in lines
        if (found := _curves([curves[run] for run in line.row.runs if run in curves], steps))
    ]
    shown = [line.row for line in lines if line.kind != "variant"]
    return {
        "shapes": [{"title": title, "total": shape.way * table.query} for shape, title in table.columns.items()],
        "digits": DIGITS,
        "tasks": [
            {**_named(table, row, shown), "counts": [_counts(table, row, s) for s in table.manifests]} for row in shown
        ],
        "curves": curved,
        "steps": [list(one) for one in steps],
    }


def _named(table: Table, row: Row, others: Sequence[Row]) -> dict[str, str]:
    name = table.board.name(row)
    several = sum(table.board.name(other) == name for other in others) > 1
    return {"name": visible(f"{name} ({row.trained.text})" if several else name)}


def _counts(table: Table, row: Row, shape: Shape) -> dict[str, Any] | None:
    """Correct answers of every task over all seeds; None where accuracies are no whole counts of the questions."""
    score = row.scores.get(shape)
    if score is None:
        return None
    questions = shape.way * table.query
    exact = score.values.sum(axis=0) * questions
    counts = np.rint(exact).astype(int)
    if np.abs(exact - counts).max(initial=0.0) > 1e-6:
        return None
    seeds = len(score.values)
    letters = 1
    while len(DIGITS) ** letters <= questions * seeds:
        letters += 1
    return {"seeds": seeds, "letters": letters, "text": "".join(_written(int(count), letters) for count in counts)}


def _written(count: int, letters: int) -> str:
    found = ""
    for _ in range(letters):
        count, digit = divmod(count, len(DIGITS))
        found = DIGITS[digit] + found
    return found


def _curves(seeds: Sequence[Mapping[str, Curve]], steps: dict[tuple[int, ...], int]) -> dict[str, Any]:
    """``kind``: number of its steps among ``steps``, to which new ones are added, and its values."""
    found = {}
    for kind, scale, digits in (("validation", 100.0, 4), ("loss", 1.0, 3)):
        curve = _mean([one[kind] for one in seeds if kind in one])
        if curve is not None:
            step, value = _thin(curve)
            number = steps.setdefault(tuple(round(float(x)) for x in step), len(steps))
            found[kind] = [number, [float(f"{scale * y:.{digits}g}") for y in value]]
    return found


def _mean(curves: Sequence[Curve]) -> Curve | None:
    """The mean over seeds, at the steps that every seed has."""
    if not curves:
        return None
    steps = set(curves[0][0]).intersection(*(set(curve[0]) for curve in curves[1:]))
    kept = np.array([curve[:, np.isin(curve[0], list(steps))] for curve in curves])
    return kept.mean(axis=0) if steps else None


def _thin(curve: Curve) -> NDArray[np.float64]:
    count = curve.shape[1]
    if count <= POINTS:
        return curve
    edges = np.linspace(0, count, POINTS + 1).astype(int)
    means: NDArray[np.float64] = np.add.reduceat(curve, edges[:-1], axis=1) / np.diff(edges)
    return means
