"""Leaderboards, comparisons and gate verdicts for the terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rich.table import Table as Rich

from bench.leaderboard.columns import DASH, between, p_value, percent, points
from bench.leaderboard.compare import Comparison
from bench.leaderboard.gate import GateRow, Verdict
from bench.leaderboard.table import Leaderboard
from bench.reporting import layout
from bench.reporting.inspections import HEADING, Section
from bench.reporting.terminal_grid import Grid, text

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
    page = _page()
    for table in leaderboard.tables:
        page.add_row(_board(table.title, layout.grid(table, compact=True)))
        for note in layout.notes(table):
            page.add_row(text(note, "dim"))
    if leaderboard.unfinished:
        titles = ("dataset", "method", "budget", "seed", "status", "reason")
        rows = [[text(str(getattr(run, title))) for title in titles] for run in leaderboard.unfinished]
        page.add_row(Grid("In no table", titles, [("", rows)]))
    for sentence in leaderboard.excluded:
        page.add_row(text(sentence, "dim"))
    for problem in leaderboard.problems:
        page.add_row(text(problem, "yellow"))
    return page


def comparison_table(comparisons: Sequence[Comparison]) -> Grid:
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
    rows = []
    for one in comparisons:
        where, difference = one.evaluation, one.difference
        names = [f"{name} ({budget})" for name, budget in zip((one.a, one.b), one.budget)]
        cells = [
            f"{where.dataset} {where.way}-way {where.shot}-shot, {difference.tasks} tasks",
            *names,
            *(percent(mean) for mean in one.mean),
            points(difference.mean),
            between(difference),
            p_value(difference.p),
            ", ".join(str(count) for count in difference.seeds),
            "tasks and seeds" if difference.covers_seeds else "tasks",
        ]
        rows.append([text(cell) for cell in cells])
    return Grid("Paired by task", titles, [("", rows)])


def gate_table(rows: Sequence[GateRow]) -> Grid:
    """Verdicts of the regression gate, those that fail it first. What all rows share stands in the title."""
    columns: dict[str, list[str]] = {
        "dataset": [row.dataset for row in rows],
        "method": [row.method.replace(",", ", ") for row in rows],  # lines break between settings, not within
        "budget": [row.budget for row in rows],
        "way": [DASH if row.way is None else str(row.way) for row in rows],
        "shot": [DASH if row.shot is None else str(row.shot) for row in rows],
        "measure": [row.measure for row in rows],
        "baseline %": [DASH if row.baseline is None else percent(row.baseline) for row in rows],
        "now %": [DASH if row.current is None else percent(row.current) for row in rows],
        "drop, 95 %": [_drop(row) for row in rows],
        "margin": [f"{row.margin:g}" for row in rows],
        "reason": [row.reason for row in rows],
    }
    title = "Regression gate, accuracy points"
    if len(set(columns["way"]) - {DASH}) < 2:
        del columns["way"]
    for name in ("dataset", "budget", "reason"):
        if len(set(columns[name])) == 1:
            title += f"; {name} {columns[name][0]}" if columns[name][0] else ""
            del columns[name]
    worst_first = list(_COLOURS)
    lines = [
        [text(rows[i].verdict, _COLOURS[rows[i].verdict]), *(text(texts[i]) for texts in columns.values())]
        for i in sorted(range(len(rows)), key=lambda i: worst_first.index(rows[i].verdict))
    ]
    return Grid(title, ("verdict", *columns), [("", lines)])


def _drop(row: GateRow) -> str:
    drop = row.drop
    return DASH if drop is None else f"{points(drop.mean)} ({between(drop)})"


def inspection_table(section: Section) -> Rich:
    """Measurements of the methods' synthetic tasks, and how to read them."""
    page = _page()
    rows = [[text(cell) for cell in row] for row in section.rows]
    page.add_row(Grid(f"{HEADING}. {section.title}", section.columns, [("", rows)]))
    for line in section.lines:
        page.add_row(text(line, "dim"))
    return page


def _board(title: str, grid: layout.Grid) -> Grid:
    sections = [
        (one.heading, [[text(cell.text, "bold green" if cell.strong else "") for cell in row] for row in one.rows])
        for one in grid.sections
    ]
    return Grid(title, grid.flat_titles, sections)


def _page() -> Rich:
    page = Rich.grid(padding=(0, 0, 1, 0))
    page.add_column()
    return page
