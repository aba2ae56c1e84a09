"""Leaderboards, comparisons and gate verdicts for the terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from rich.console import Group
from rich.table import Table as Rich
from rich.text import Text

from bench.leaderboard.columns import DASH, between, percent, points
from bench.leaderboard.compare import Comparison
from bench.leaderboard.gate import GateRow, Verdict
from bench.leaderboard.headline import headlines
from bench.leaderboard.table import Leaderboard, Table
from bench.reporting import comparisons as comparing
from bench.reporting import grid as board
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


TOP = 5
"""So many rows of a tier does a summary show."""


def to_terminal(leaderboard: Leaderboard, top: int | None = None) -> Rich:
    """Who leads, then every table with the columns that the window has room for, then the runs that are in none.

    ``top``: only so many rows of a tier, and training from scratch; without the notes.
    """
    page = _page()
    for table in leaderboard.tables:
        for one in headlines(table):
            page.add_row(text(one.text))
        page.add_row(_board(table, top))
        if top is None:
            for note in layout.notes(table):
                page.add_row(text(note, "dim"))
    if top is not None:
        return page
    if leaderboard.unfinished:
        titles = ("dataset", "method", "budget", "seed", "status", "reason")
        rows = [[text(str(getattr(run, title))) for title in titles] for run in leaderboard.unfinished]
        page.add_row(Grid("In no table", titles, [("", rows)]))
    for sentence in leaderboard.excluded:
        page.add_row(text(sentence, "dim"))
    for problem in leaderboard.problems:
        page.add_row(text(problem, "yellow"))
    return page


def comparison_table(comparisons: Sequence[Comparison]) -> Group:
    """Who is compared, then differences in accuracy points: a table for each list of tasks."""
    titles = comparing.headings(comparisons)
    grids = [
        Grid(title, titles, [("", [[text(cell) for cell in comparing.cells(one, comparisons)] for one in some])])
        for title, some in comparing.by_tasks(comparisons)
    ]
    return Group(
        text("Paired by task", "bold"),
        *(text(f"{letter}  {told}") for letter, told in comparing.legend(comparisons)),
        *grids,
        *(text(note, "dim") for note in comparing.notes(comparisons)),
    )


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


def _board(table: Table, top: int | None) -> Grid:
    plain = _grid(table, board.grid(table, intervals=False), top)
    return replace(_grid(table, board.grid(table), top), otherwise=plain)


def _below(table: Table, found: board.Grid, kept: Sequence[int], top: int | None) -> list[Text]:
    """What the marks say, and what is not shown."""
    left_out = [title for i, title in enumerate(found.titles) if i not in kept]
    folded = sum(len(line.folded) for line in {id(line.row): line for line in table.board.lines()}.values())
    told = [f"no room here for {', '.join(left_out)}"] if left_out else []
    told += [f"folded below these rows, settings and shorter generators: {folded}"] if folded else []
    more = [f"{'; '.join(told)}: 'bench report' writes them as a page (html) and as a table (csv)."] if told else []
    legend = "; ".join(
        layout.key(table, found.without([i for i in range(len(found.columns)) if i not in kept]).hidden())
    )
    return [text(line, "dim") for line in (f"{legend}.", *(more if top is None else ()))]


def _grid(table: Table, found: board.Grid, top: int | None) -> Grid:
    sections = []
    for section in found.sections:
        rows = [row for row in section.rows if row.line.kind == "ranked"]
        shown = {id(row) for row in (rows if top is None else rows[:top])}
        kept = [row for row in section.rows if id(row) in shown or row.line.kind != "ranked"]
        if top is None or rows:
            sections.append((section.heading, [[_styled(row, cell) for cell in row.cells] for row in kept]))
    return Grid(
        table.title,
        found.titles,
        sections,
        leaving=found.leaving(),
        name_at=found.name_at,
        least_name=board.LEAST_NAME,
        whole=True,
        below=lambda kept: _below(table, found, kept, top),
    )


def _styled(row: board.GridRow, cell: layout.Cell) -> Text:
    return text(cell.text, "bold green" if cell.strong else "dim" if row.line.kind == "reference" else "")


def _page() -> Rich:
    page = Rich.grid(padding=(0, 0, 1, 0))
    page.add_column()
    return page
