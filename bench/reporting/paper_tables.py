"""Experiments in the layout of their paper, in every format. Accuracies are percent, except in CSV."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from bench.basics.side import legend
from bench.basics.side import marks as marks_of
from bench.leaderboard.columns import DASH, NOT_RUN, duration, interval, percent, points
from bench.leaderboard.paper_tables import FilledLayout, PaperCell, PaperTable, row_headings
from bench.planning.paper_layout import Measure
from bench.reporting import latex, latex_paper, markdown
from bench.reporting.csv import from_frame, without_noise
from bench.reporting.html import drawing
from bench.reporting.layout import Cell
from bench.reporting.rendering import environment

HOW_TO_READ = (
    "Ours, in bold, is the mean over tasks ± the 95 % interval as papers print it, 1.96 · sd / √tasks. It covers the "
    "draw of tasks only, not the luck of a training run.",
    "With two training seeds or more: the 95 % interval over tasks and seeds, and the standard deviation of the seeds' "
    "means with their number. With one, the spread between runs is unknown.",
    "A letter in brackets is side information, what a run used beside unlabelled images of the dataset; its meaning "
    "stands below the table.",
    f"{DASH} stands for a run that did not finish (the number says why, below the table), {NOT_RUN} for one that was "
    "not made. Published numbers come from other tasks and other trainings.",
)


@dataclass(frozen=True, slots=True)
class Part:
    """One thing said of a cell. ``text`` is plain."""

    title: str
    text: Callable[[PaperCell], str]
    published: bool = False
    """Left out where the paper's numbers cannot be compared."""
    strong: bool = False
    lead: str = ""
    """Goes before the text where the parts of a cell stand below each other."""


def parts(table: PaperTable, marks: Mapping[str, int]) -> list[Part]:
    """What the cells of a table say, leaving out what none of them has."""
    found = [
        Part("ours", lambda cell: _ours(cell, marks), strong=True),
        Part("tasks and seeds", _total, lead="tasks and seeds "),
        Part("seeds: sd (n)", _seeds, lead="sd (n) "),
        Part("published", _published, published=True, lead="published "),
        Part("ours − published", _difference, published=True),
    ]
    if table.layout.cost:
        found.append(Part("training", _training, lead="trained in "))
    for number, measure in enumerate(table.layout.measures):
        found.append(Part(measure.title, _measured(number, measure), lead=f"{measure.title} "))
        if measure.published:
            found.append(Part(f"{measure.title}, published", _printed(measure), published=True, lead="published "))
    kept = [part for part in found if table.comparable or not part.published]
    return [part for part in kept if part.strong or any(part.text(cell) for cell in table.cells)]


def view(filled: FilledLayout, names: Mapping[int, str]) -> dict[str, Any]:
    """The variables of every template. ``names``: number of a table -> its figure."""
    return {
        "title": filled.layout.title,
        "caption": filled.layout.caption,
        "tables": [_view(table, names.get(table.number)) for table in filled.tables],
        "singles": [_single(cell, training) for cell, training in filled.singles],
        "problems": filled.problems,
        "how_to_read": HOW_TO_READ,
    }


def to_markdown(filled: FilledLayout, names: Mapping[int, str]) -> str:
    """For GitHub: parts of a cell stand below each other where there are several columns."""
    jinja = environment(autoescape=False)
    jinja.filters["md"] = markdown.escape
    return jinja.get_template("paper_tables.md.j2").render(**view(filled, names))


def to_html(filled: FilledLayout, figures: Mapping[int, bytes]) -> str:
    """One file that needs nothing else. ``figures``: number of a table -> SVG, which is trusted."""
    names = {number: drawing(svg) for number, svg in figures.items()}
    return environment(autoescape=True).get_template("paper_tables.html.j2").render(**view(filled, names))


def to_latex(filled: FilledLayout) -> str:
    """A ``table*`` for each training, several where one page has no room for it."""
    shown = view(filled, {})
    for one, table in zip(shown["tables"], filled.tables):
        one["pages"] = latex_paper.paper_parts(one, latex_paper.label(filled.layout.experiment, table.number))
    return latex.jinja().get_template("paper_tables.tex.j2").render(**shown)


def to_csv(filled: FilledLayout) -> str:
    """One line per cell with ten digits: fractions, not percent. Cells in no table have table 0."""
    cost = filled.layout.cost
    lines = [
        _line(cell, table.number, table.training, table.comparable, cost)
        for table in filled.tables
        for cell in table.cells
    ]
    lines += [_line(cell, 0, training, cell.printed is not None, cost) for cell, training in filled.singles]
    measures = filled.layout.measures
    for line, cell in zip(lines, [*(c for t in filled.tables for c in t.cells), *(c for c, _ in filled.singles)]):
        for measure, ours in zip(measures, cell.measures):
            line[measure.note] = ours
            if measure.published:
                line[f"published_{measure.published}"] = cell.facts.get(measure.published)
    frame = pd.DataFrame(lines).convert_dtypes()
    return from_frame(frame)


def _line(cell: PaperCell, table: int, training: Sequence[str], comparable: bool, cost: bool) -> dict[str, Any]:
    answer = cell.answer
    found = None if answer is None else answer.estimate
    number = cell.printed if comparable else None
    return {
        "table": table,
        "training": "; ".join(training),
        "group": cell.cell.row.group,
        "row": cell.cell.row.title,
        "column": cell.cell.column.title,
        **({} if cell.cell.way is None else {"way": cell.cell.way}),
        "shot": cell.cell.shot,
        "state": cell.state,
        "reason": "; ".join(cell.reasons),
        "method": None if answer is None else answer.name,
        "budget": None if answer is None else answer.budget,
        "dataset": None if answer is None else answer.facts["dataset"],
        "manifest": None if answer is None or answer.tasks is None else answer.tasks.manifest,
        "tasks": None if found is None else found.tasks,
        "seeds": None if answer is None else " ".join(map(str, answer.seeds)),
        "accuracy": None if found is None else found.mean,
        "task_ci95": None if found is None else found.task_ci95,
        "seed_sd": None if found is None else found.seed_sd,
        "total_ci95": None if found is None else found.total_ci95,
        "side": " ".join(cell.side) or None,
        **({"train_seconds": cell.seconds} if cost else {}),
        "published_accuracy": None if number is None else number.accuracy,
        "published_ci95": None if number is None else number.ci95,
        "published_source": None if number is None else number.provenance,
        "difference": without_noise(cell.difference) if comparable else None,
    }


def _view(table: PaperTable, figure: str | None) -> dict[str, Any]:
    reasons = list(dict.fromkeys(reason for cell in table.cells for reason in cell.reasons))
    marks = {reason: number + 1 for number, reason in enumerate(reasons)}
    said = parts(table, marks)
    side = [(marks_of([word]), f"{word}: {meaning}") for word, meaning in legend(_side(table))]
    columns = [column.title for column in table.layout.columns]
    return {
        "training": "; ".join(table.training),
        "corner": table.layout.corner,
        "columns": columns,
        "parts": said,
        "stacked": len(columns) > 1 and len(said) > 1,
        "width": 1 + len(columns) * len(said),
        "sections": [
            (heading, [(line.title, [[_cell(part, cell) for part in said] for cell in row]) for line, row in rows])
            for heading, rows in row_headings(table)
        ],
        "reasons": [*((str(number), reason) for reason, number in marks.items()), *side],
        "notes": _notes(table),
        "facts": _facts(table),
        "figure": figure,
    }


def _cell(part: Part, cell: PaperCell) -> Cell:
    return Cell(part.text(cell), strong=part.strong and cell.state == "done")


def _notes(table: PaperTable) -> list[str]:
    found = []
    if not table.comparable:
        found.append(f"The paper's numbers are of other tasks than these of {table.dataset}, and are left out.")
    done = [cell.answer for cell in table.cells if cell.answer is not None and cell.answer.estimate is not None]
    single = sum(len(answer.seeds) == 1 for answer in done)
    if single:
        found.append(f"Cells with one training seed: {single} of {len(done)}.")
    counts = [sum(cell.state == state for cell in table.cells) for state in ("done", "failed", "not run")]
    not_asked = sum(cell.state == "not asked" for cell in table.cells)
    told = f", {not_asked} not asked" if not_asked else ""
    found.append(
        f"{len(list(table.cells))} cells: {counts[0]} done, {counts[1]} not finished, {counts[2]} not run{told}."
    )
    if sum(len(rows) for _, rows in row_headings(table)) < len(table.rows):
        found.append("Rows of which nothing was run are left out here; the first table has all.")
    if any(answer.tasks is not None and answer.tasks.tasks == 1 for answer in done):
        found.append("A single task has no spread, so there is no interval where only one was answered.")
    return [
        *found,
        *_lengths(table),
        *_sources(table),
        *dict.fromkeys(sentence for cell in table.cells for sentence in cell.left_out),
    ]


def _sources(table: PaperTable) -> list[str]:
    """Where the published numbers of other papers than the table's own come from, and what they are worth."""
    rows: dict[str, list[str]] = {}
    shown = [cell for _, lines in row_headings(table) for _, row in lines for cell in row] if table.comparable else []
    for cell in shown:
        if cell.printed is not None and cell.printed.caveat:
            titles = rows.setdefault(f"{cell.printed.provenance}: {cell.printed.caveat}", [])
            titles += [title] if (title := cell.cell.row.title) not in titles else []
    return [f"Published, {', '.join(titles)}: {told}." for told, titles in rows.items()]


def _facts(table: PaperTable) -> list[tuple[str, str]]:
    known: dict[str, str] = {}
    for cell in table.cells:
        if cell.answer is not None:
            facts = cell.answer.facts
            known["dataset"] = f"{table.dataset}, SHA-256 {facts.get('content', 'unknown')}"
            for name, value in facts.items():
                if name.endswith("-shot tasks"):
                    known[name] = f"{facts['tasks']} tasks, {facts['shape']}, manifest SHA-256 {value}"
    seeds = sorted({seed for cell in table.cells if cell.answer is not None for seed in cell.answer.seeds})
    return [*known.items(), ("training seeds", ", ".join(map(str, seeds)))]


def _single(cell: PaperCell, training: Sequence[str]) -> list[str]:
    where = ", ".join(part for part in (cell.cell.row.group, cell.cell.row.title, cell.cell.column.title) if part)
    ours = f"{DASH} ({'; '.join(cell.reasons)})" if cell.state == "failed" else _ours(cell, {})
    return [where, "; ".join(training), ours, _published(cell) or DASH, _difference(cell) or DASH]


def _ours(cell: PaperCell, marks: Mapping[str, int]) -> str:
    told = "".join(f" [{marks[reason]}]" for reason in cell.reasons if reason in marks)
    if cell.answer is None:
        return NOT_RUN
    found = cell.answer.estimate
    used = "" if found is None else "".join(f" [{marks_of([word])}]" for word in cell.side)
    return (DASH if found is None else f"{percent(found.mean)} {interval(found.task_ci95)}") + used + told


def _side(table: PaperTable) -> list[str]:
    return [word for cell in table.cells if cell.state == "done" for word in cell.side]


def _total(cell: PaperCell) -> str:
    found = cell.answer.estimate if cell.answer is not None else None
    return "" if found is None or found.total_ci95 is None else interval(found.total_ci95)


def _training(cell: PaperCell) -> str:
    return "" if cell.state != "done" or cell.seconds is None else duration(cell.seconds)


def _lengths(table: PaperTable) -> list[str]:
    """Which rows were trained with which budget, where a table has several."""
    rows: dict[str, dict[str, None]] = {}
    for cell in table.cells:
        if cell.answer is not None and cell.state == "done":
            rows.setdefault(cell.answer.budget, {})[cell.cell.row.title] = None
    return [f"Budget {budget}: {'; '.join(titles)}." for budget, titles in rows.items()] if table.layout.cost else []


def _seeds(cell: PaperCell) -> str:
    found = cell.answer.estimate if cell.answer is not None else None
    return "" if found is None or found.seed_sd is None else f"{percent(found.seed_sd)} ({found.seeds})"


def _published(cell: PaperCell) -> str:
    if cell.printed is None:
        return DASH if cell.facts else ""  # the paper prints a dash
    printed = "" if cell.printed.ci95 is None else f" {interval(cell.printed.ci95)}"
    return f"{percent(cell.printed.accuracy)}{printed}{' (quoted)' if cell.printed.quoted_by else ''}"


def _difference(cell: PaperCell) -> str:
    return "" if cell.difference is None else points(cell.difference)


def _measured(number: int, measure: Measure) -> Callable[[PaperCell], str]:
    def text(cell: PaperCell) -> str:
        value = cell.measures[number]
        if value is None:
            return ""
        return f"{100 * value:.3g}" if measure.percent else f"{value:,.0f}"

    return text


def _printed(measure: Measure) -> Callable[[PaperCell], str]:
    def text(cell: PaperCell) -> str:
        value = cell.facts.get(measure.published, "")
        return f"{int(value):,}" if value.isdigit() else value.lower()

    return text
