"""Leaderboards, comparisons and gate verdicts for the terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rich.table import Table as Rich
from rich.text import Text

from bench.leaderboard.columns import DASH, p_value, percent, points
from bench.leaderboard.compare import Comparison
from bench.leaderboard.gate import GateRow, Verdict
from bench.leaderboard.table import Leaderboard
from bench.reporting import layout
from bench.reporting.inspections import HEADING, Section

_COLOURS: Mapping[Verdict, str] = {
    "WORSE": "bold red",
    "CHANGED": "bold red",
    "MISSING": "bold yellow",
    "NEW": "cyan",
    "OK": "green",
}
"""What fails the gate first."""


def to_terminal(leaderboard: Leaderboard) -> Rich:
    """Every table in compact form below the other, then the runs that are in none."""
    page = Rich.grid(padding=(0, 0, 1, 0))
    page.add_column()
    for table in leaderboard.tables:
        page.add_row(_grid(table.title, layout.grid(table, compact=True)))
        for note in layout.notes(table):
            page.add_row(Text(note, style="dim"))
    if leaderboard.unfinished:
        rest = Rich(
            *("dataset", "method", "budget", "seed", "status", "reason"),
            title="In no table",
            title_justify="left",
        )
        for run in leaderboard.unfinished:
            cells = (run.dataset, run.method, run.budget, str(run.seed), run.status, run.reason)
            rest.add_row(*(Text(cell) for cell in cells))
        page.add_row(rest)
    for problem in leaderboard.problems:
        page.add_row(Text(problem, style="yellow"))
    return page


def comparison_table(comparisons: Sequence[Comparison]) -> Rich:
    """Differences in accuracy points."""
    titles = (
        "tasks",
        "a",
        "b",
        "a %",
        "b %",
        "a − b, points",
        "95 % interval",
        "p",
        "seeds a, b",
        "interval covers",
    )
    found = Rich(title="Paired by task", title_justify="left")
    for heading in titles:
        found.add_column(heading, overflow="fold")
    for one in comparisons:
        where, difference = one.evaluation, one.difference
        names = [f"{name} ({budget})" for name, budget in zip((one.a, one.b), one.budget)]
        cells = [
            f"{where.dataset} {where.way}-way {where.shot}-shot, {difference.tasks} tasks",
            *names,
            *(percent(mean) for mean in one.mean),
            points(difference.mean),
            f"{points(difference.low)} to {points(difference.high)}",
            p_value(difference.p),
            ", ".join(str(count) for count in difference.seeds),
            "tasks and seeds" if difference.covers_seeds else "tasks",
        ]
        found.add_row(*(Text(cell) for cell in cells))
    return found


def gate_table(rows: Sequence[GateRow]) -> Rich:
    """Verdicts of the regression gate, those that fail it first. What all rows share stands in the title."""
    columns: dict[str, list[str]] = {
        "dataset": [row.dataset for row in rows],
        "method": [row.method.replace(",", ", ") for row in rows],  # lines break between settings, not within
        "budget": [row.budget for row in rows],
        "shot": [DASH if row.shot is None else str(row.shot) for row in rows],
        "measure": [row.measure for row in rows],
        "baseline %": [DASH if row.baseline is None else percent(row.baseline) for row in rows],
        "now %": [DASH if row.current is None else percent(row.current) for row in rows],
        "drop, 95 %": [_drop(row) for row in rows],
        "margin": [f"{row.margin:g}" for row in rows],
        "reason": [row.reason for row in rows],
    }
    title = "Regression gate, accuracy points"
    for name in ("dataset", "budget", "reason"):
        if len(set(columns[name])) == 1:
            title += f"; {name} {columns[name][0]}" if columns[name][0] else ""
            del columns[name]
    found = Rich(title=Text(title), title_justify="left")
    for heading in ("verdict", *columns):
        found.add_column(Text(heading), overflow="fold")
    worst_first = list(_COLOURS)
    for i in sorted(range(len(rows)), key=lambda i: worst_first.index(rows[i].verdict)):
        verdict = rows[i].verdict
        found.add_row(Text(verdict, style=_COLOURS[verdict]), *(Text(texts[i]) for texts in columns.values()))
    return found


def _drop(row: GateRow) -> str:
    drop = row.drop
    return DASH if drop is None else f"{points(drop.mean)} ({points(drop.low)} to {points(drop.high)})"


def inspection_table(section: Section) -> Rich:
    """Measurements of the methods' synthetic tasks, and how to read them."""
    page = Rich.grid(padding=(0, 0, 1, 0))
    page.add_column()
    found = Rich(title=Text(f"{HEADING}. {section.title}", style="bold"), title_justify="left")
    for number, column in enumerate(section.columns):
        found.add_column(Text(column), overflow="fold", min_width=None if number else 24)
    for row in section.rows:
        found.add_row(*(Text(cell) for cell in row))
    page.add_row(found)
    for line in section.lines:
        page.add_row(Text(line, style="dim"))
    return page


def _grid(title: str, grid: layout.Grid) -> Rich:
    # Titles may hold square brackets, which rich would take for styles, so every text is wrapped.
    found = Rich(title=Text(title, style="bold"), title_justify="left")
    for heading in grid.flat_titles:
        found.add_column(Text(heading), overflow="fold")
    for section in grid.sections:
        found.add_section()
        found.add_row(Text(section.heading, style="italic"))
        for row in section.rows:
            found.add_row(*(Text(cell.text, style="bold green" if cell.strong else "") for cell in row))
    return found
