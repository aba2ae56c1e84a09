"""Figures of a leaderboard as PNG bytes.

Drawn on Figure objects of their own: pyplot's global state is not used.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import matplotlib
import numpy as np
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.lines import Line2D
from matplotlib.ticker import NullFormatter

from bench.leaderboard.table import GROUPS, Leaderboard, Row, Table
from bench.reporting.curves import Curve, Curves

DPI = 110
LETTERS = 60
"""Longer labels are cut."""
FONT_SIZE = 9.0
_STYLE = {
    "font.family": ["DejaVu Sans"],
    "font.size": FONT_SIZE,
    "axes.titlesize": 10.0,
    "axes.titleweight": "bold",
    "axes.edgecolor": "#c8ccd4",
    "axes.labelcolor": "#444b58",
    "grid.color": "#e8eaef",
    "text.parse_math": False,  # a dollar sign in a name is a dollar sign
}
GREY = "#8a909c"


@contextmanager
def house_style() -> Iterator[None]:
    """A fixed style on top of matplotlib's own defaults: a matplotlibrc of the user must not change a report."""
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        style: dict[Any, Any] = {**sns.axes_style("whitegrid"), **_STYLE}
        matplotlib.rcParams.update(style)
        yield


def draw(leaderboard: Leaderboard, curves: Curves) -> dict[str, bytes]:
    """File name -> PNG: intervals and, where there are any, learning curves, for every table.

    The same input gives the same bytes.
    """
    found = {}
    with house_style():
        for table in leaderboard.tables:
            found[f"{table.slug}.intervals.png"] = intervals(table)
            picture = learning(table, curves)
            if picture is not None:
                found[f"{table.slug}.curves.png"] = picture
    return found


def intervals(table: Table) -> bytes:
    """A panel a column: mean, interval over tasks (thick), over tasks and seeds (thin), every seed (rings)."""
    rows = table.rows[::-1]
    labels = _labels(table, rows)
    colours = dict(zip(GROUPS, sns.color_palette("colorblind", len(GROUPS)).as_hex()))
    bottom = 0.85 if len(table.budgets) == 1 else 1.05
    figure, axes = _panels(len(table.columns), 0.25 * len(rows) + 0.2, left=_inches(labels) + 0.2, bottom=bottom)
    for axis, (shape, title) in zip(axes, table.columns.items()):
        shown = [(y, row, row.scores[shape].estimate) for y, row in enumerate(rows) if shape in row.scores]
        for y, row, found in shown:
            mean, colour = 100 * found.mean, colours.get(row.group, "black")
            for half, width, alpha in ((found.total_ci95, 1.1, 1.0), (found.task_ci95, 4.5, 0.45)):
                if half is not None:
                    axis.hlines(y, mean - 100 * half, mean + 100 * half, colour, linewidth=width, alpha=alpha)
            # Seeds go below the line, where they do not hide the mean.
            seeds = [100 * seed for seed in found.seed_means] if found.seeds > 1 else []
            axis.scatter(seeds, [y - 0.3] * len(seeds), s=11, facecolors="none", edgecolors=colour, linewidths=0.8)
        axis.scatter(
            [100 * found.mean for _, _, found in shown],
            [y for y, _, _ in shown],
            s=18,
            color=[colours.get(row.group, "black") for _, row, _ in shown],
            zorder=3,
        )
        axis.set_title(title, loc="left")
        axis.set_xlabel("accuracy, %")
        axis.set_ylim(-0.7, len(rows) - 0.3)
        axis.set_yticks(range(len(rows)), labels if axis is axes[0] else [""] * len(rows))
        axis.grid(axis="y", visible=False)
    groups = [group for group in GROUPS if any(row.group == group for row in rows)]
    keys = {
        **{GROUPS[group].lower(): Line2D([], [], color=colours[group], linewidth=6) for group in groups},
        "95 % over tasks": Line2D([], [], color=GREY, linewidth=4, alpha=0.6),
        "95 % over tasks and seeds": Line2D([], [], color=GREY, linewidth=1.1),
        "one seed": Line2D([], [], color=GREY, marker="o", markersize=3.5, markerfacecolor="none", linewidth=0),
    }
    _note_budget(figure, table, 0.01, 0.35 / figure.get_figheight())
    columns = 3 if len(axes) == 1 else len(keys)
    figure.legend(keys.values(), keys, loc="lower center", ncols=columns, frameon=False, fontsize=8)
    return png(figure)


def learning(table: Table, curves: Curves) -> bytes | None:
    """Validation accuracy and loss against meta-iterations; a line per row, its mean over seeds.

    None without curves.
    """
    lines = {
        name: [
            (label, mean)
            for label, row in zip(_labels(table, table.rows), table.rows)
            if (mean := _mean([curves[run][name] for run in row.runs if name in curves.get(run, {})])) is not None
        ]
        for name in ("validation", "loss")
    }
    panels = [name for name, drawn in lines.items() if drawn]
    if not panels:
        return None
    # The legend has the lines from top to bottom, by where those of the first panel end: hues go the same way.
    ends = {label: value[-1] for name in panels[::-1] for label, (_, value) in lines[name]}
    drawn = sorted(ends, key=lambda label: -ends[label])
    longest = [step[-1] for _, (step, _) in lines[panels[0]]]
    spread = max(longest) > 3 * min(longest)
    # Neighbouring colours are told apart by their dashes.
    dashes = ("-", "--", ":", "-.")
    looks: dict[str, dict[str, Any]] = {
        label: {"color": colour, "linestyle": dashes[i % len(dashes)], "linewidth": 1.3}
        for i, (label, colour) in enumerate(zip(drawn, sns.color_palette("husl", len(drawn)).as_hex()))
    }
    height = max(2.6, 0.17 * len(drawn))
    bottom = 0.5 if len(table.budgets) == 1 else 0.7
    figure, axes = _panels(len(panels), height, left=0.6, bottom=bottom, right=_inches(drawn) + 0.6, gap=0.55)
    for axis, name in zip(axes, panels):
        for label, (step, value) in lines[name]:
            axis.plot(step, 100 * value if name == "validation" else value, **looks[label])
        axis.set_title("validation accuracy, %" if name == "validation" else "meta-training loss", loc="left")
        axis.set_xlabel("meta-iteration")
        if spread:  # or the longest training would leave no room for the others
            axis.set_xscale("log")
            axis.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
            axis.xaxis.set_minor_formatter(NullFormatter())
        values = np.concatenate([value for _, (_, value) in lines[name]])
        if name == "loss" and values.min() > 0 and values.max() > 30 * values.min():
            axis.set_yscale("log")
            # Matplotlib's own labels are in the mark-up of formulas, which is off here.
            axis.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
            axis.yaxis.set_minor_formatter(NullFormatter())
    handles = [Line2D([], [], **looks[label]) for label in drawn]
    figure.legend(handles, drawn, loc="upper right", frameon=False, fontsize=8)
    _note_budget(figure, table, 0.01, 0.02)
    return png(figure)


def _mean(curves: Sequence[Curve]) -> Curve | None:
    """The mean over seeds, at the steps that every seed has."""
    if not curves:
        return None
    steps = set(curves[0][0]).intersection(*(curve[0] for curve in curves[1:]))
    kept = np.array([curve[:, np.isin(curve[0], list(steps))] for curve in curves])
    return kept.mean(axis=0) if steps else None


def _labels(table: Table, rows: Sequence[Row]) -> list[str]:
    """Distinct names for the rows."""
    usual = _usual_budget(table)
    names = [row.label + ("" if row.budget == usual else f" ({_beside(row.budget, usual)})") for row in rows]
    names = [name if names.count(name) == 1 else f"{name} ({row.method})" for name, row in zip(names, rows)]
    names = [name if len(name) <= LETTERS else f"{name[: LETTERS - 1]}…" for name in names]
    return [name if names.count(name) == 1 else f"{i + 1}: {name}" for i, name in enumerate(names)]


def _usual_budget(table: Table) -> str:
    """That of most rows; of several, the first in the table's order."""
    budgets = [row.budget for row in table.rows]
    return max(budgets, key=budgets.count)


def _beside(budget: str, usual: str) -> str:
    """What a budget changes in the usual one, where it has all of its settings; else the whole of it."""
    name, _, settings = budget.partition(",")
    usual_name, _, usual_settings = usual.partition(",")
    given, known = settings.split(","), usual_settings.split(",")
    keys = {text.partition("=")[0] for text in given}
    if name != usual_name or not keys.issuperset(text.partition("=")[0] for text in known):
        return f"budget {budget}"
    return ",".join(text for text in given if text not in known)


def _note_budget(figure: Figure, table: Table, x: float, y: float) -> None:
    """Says, where rows of several budgets are drawn, which one those have that name none."""
    if len(table.budgets) > 1:
        text = f"Budget, where none is named: {_usual_budget(table)}"
        figure.text(x, y, text, fontsize=8, color=GREY, ha="left", va="bottom")


def _inches(labels: Sequence[str]) -> float:
    """Width of the widest label. (A constrained layout measures everything several times, for seconds.)"""
    renderer = FigureCanvasAgg(Figure(dpi=DPI)).get_renderer()  # type: ignore[no-untyped-call]
    font = FontProperties(size=FONT_SIZE)
    return max(float(renderer.get_text_width_height_descent(label, font, False)[0]) for label in labels) / DPI


def _panels(
    count: int, height: float, left: float, bottom: float, right: float = 0.2, gap: float = 0.15
) -> tuple[Figure, list[Axes]]:
    """Panels of 3.8 inches by ``height`` side by side, with margins in inches."""
    width, top = 3.8, 0.35
    whole = (left + count * width + (count - 1) * gap + right, bottom + min(height, 50.0) + top)
    figure = Figure(figsize=whole, dpi=DPI)
    FigureCanvasAgg(figure)
    axes = figure.subplots(1, count, squeeze=False)[0]
    figure.subplots_adjust(
        left=left / whole[0],
        right=1 - right / whole[0],
        bottom=bottom / whole[1],
        top=1 - top / whole[1],
        wspace=gap / width,
    )
    return figure, list(axes)


def png(figure: Figure) -> bytes:
    """PNG bytes that depend on the picture alone."""
    buffer = io.BytesIO()
    # Without a Software entry: it names the version of matplotlib.
    figure.savefig(buffer, format="png", dpi=DPI, metadata={"Software": None})
    return buffer.getvalue()
