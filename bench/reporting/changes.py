"""What changed since an earlier report: ``changes.md``, ``changes.csv`` and a few lines for the terminal."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
from rich.console import Group

from bench.basics.errors import BenchError
from bench.basics.files import write_text
from bench.leaderboard import loading
from bench.leaderboard.changes import Changes, ColumnChange, Lead, RowChange, Side, Verdict, changes
from bench.leaderboard.choice import preference
from bench.leaderboard.columns import DASH, ONE_SEED, between, p_value, percent, points
from bench.leaderboard.loading import Frames
from bench.leaderboard.selection import Wanted, without
from bench.leaderboard.table import Leaderboard, build
from bench.reporting.csv import from_frame, without_noise
from bench.reporting.markdown import escape
from bench.reporting.terminal_grid import Grid, text

Board = tuple[Frames, Leaderboard]

WORDS: dict[Verdict, str] = {
    "better": "Better",
    "worse": "Worse",
    "mixed": "Better in one column, worse in another",
    "new": "New",
    "gone": "Gone",
    "not comparable": "Not comparable",
    "tied": "Not significantly different",
    "unchanged": "Unchanged",
}
TABLES: tuple[Verdict, ...] = ("better", "worse", "mixed", "not comparable", "tied")
"""What has a number on both sides; the others are lists."""
NAMED = 8
"""Of more rows that are new or gone the terminal names the first."""

HEADINGS = ("row", "tasks", "before, %", "now, %", "now − before", "95 % interval", "p, Holm", "why")

NOTES = (
    "A row is the same row when dataset, method, settings that were changed, and what was trained agree. It is held "
    "against itself task by task, on the same sealed tasks; better and worse are significant at 5 %, by p-values that "
    "are corrected (Holm) for all comparisons of this page.",
    f"{ONE_SEED} One of the two sides was trained once: the interval covers the draw of tasks only, so it judges "
    "trained models, not the method.",
    "Unchanged: the same training seeds gave the same answer to every task.",
)


def read(folder: Path, side: Wanted | None = None, select: str = "usual") -> Board:
    """The board of the runs below ``folder``, or below its ``records`` where it is a report's. BenchError without."""
    kept = folder / "records"
    if not kept.is_dir() and (folder / "leaderboard.csv").exists():
        raise BenchError(
            f"{folder} is a report without records/; what changed is told from the runs, so name their folder"
        )
    frames = loading.load(kept if kept.is_dir() else folder)
    if side is not None:
        frames, _ = without(frames, side)
    return frames, build(frames, preference(select, frames))


def write(before: Board, now: Board, reports: Path) -> tuple[Changes, list[Path]]:
    """Write both files to the folder of reports."""
    found = changes(before, now)
    files = {"changes.md": to_markdown(found), "changes.csv": to_csv(found)}
    for name, content in files.items():
        write_text(reports / name, content)
    return found, [reports / name for name in files]


def told(found: Changes) -> list[str]:
    """Both boards, and how many rows are what."""
    count = len(found.rows)
    counts = ", ".join(f"{number} {verdict}" for verdict, number in found.counts.items() if number)
    return [
        f"Before: {_side(found.before)}. Now: {_side(found.now)}.",
        f"Of {count} row{'' if count == 1 else 's'} on either board: {counts}; {found.compared} comparisons.",
        *(_lead(lead) for lead in found.leads),
    ]


def to_terminal(found: Changes) -> Group:
    """What a reader looks for first; rows that are new or gone by their names, of many the first."""
    shown = [verdict for verdict in TABLES if verdict != "tied" and found.counts[verdict]]
    sections = [
        (WORDS[verdict], [[text(cell) for cell in cells] for row in _rows(found, verdict) for cells in _cells(row)])
        for verdict in shown
    ]
    grid = [Grid("What changed, accuracy points", HEADINGS, sections)] if sections else []
    lines = told(found)
    for verdict in ("new", "gone"):
        names = [_name(row) for row in _rows(found, verdict)]
        more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
        lines += [f"{WORDS[verdict]}: {'; '.join(names[:NAMED])}{more}."] if names else []
    return Group(*(text(line) for line in lines), *grid)


def to_markdown(found: Changes) -> str:
    """Every row of either board."""
    lines = ["# What changed", ""]
    lines += [f"- {escape(line)}" for line in told(found)]
    for verdict, words in WORDS.items():
        rows = _rows(found, verdict)
        if not rows:
            continue
        lines += ["", f"## {words}: {len(rows)}", ""]
        if verdict not in TABLES:
            lines += [f"- {escape(_listed(row))}" for row in rows]
            continue
        lines += [f"| {' | '.join(HEADINGS)} |", f"|{' --- |' * len(HEADINGS)}"]
        lines += [f"| {' | '.join(escape(cell) for cell in cells)} |" for row in rows for cells in _cells(row)]
    return "\n".join([*lines, "", "## How to read this", "", *(f"- {escape(note)}" for note in NOTES), ""])


def to_csv(found: Changes) -> str:
    """A line for every row and list of tasks; accuracies and differences are fractions."""
    return from_frame(pd.DataFrame([_record(row, one) for row in found.rows for one in row.columns]))


def _record(row: RowChange, one: ColumnChange) -> dict[str, Any]:
    apart = one.difference
    return {
        "row": row.verdict,
        "verdict": one.verdict,
        "dataset": row.dataset,
        **{name: getattr(one.tasks, name) for name in ("split", "way", "shot", "query", "tasks", "manifest")},
        "method": row.method,
        "title": row.title,
        "trained": row.trained,
        "seeds_before": len(one.seeds[0]),
        "seeds_now": len(one.seeds[1]),
        "accuracy_before": one.before,
        "accuracy_now": one.now,
        "difference": None if apart is None else without_noise(apart.mean),
        "low": None if apart is None else without_noise(apart.low),
        "high": None if apart is None else without_noise(apart.high),
        "p": None if apart is None else apart.p,
        "p_holm": one.p_holm,
        "covers_seeds": None if apart is None else apart.covers_seeds,
        "reason": one.reason or row.reason,
    }


def _rows(found: Changes, verdict: Verdict) -> list[RowChange]:
    return [row for row in found.rows if row.verdict == verdict]


def _cells(row: RowChange) -> Iterator[list[str]]:
    name = _name(row)
    for one in row.columns:
        apart, verdict = one.difference, "" if one.verdict == row.verdict else one.verdict
        yield [
            name,
            _asked(one),
            DASH if one.before is None else percent(one.before),
            DASH if one.now is None else percent(one.now),
            DASH if apart is None else points(apart.mean) + ("" if apart.covers_seeds else f" {ONE_SEED}"),
            DASH if apart is None else between(apart),
            p_value(one.p_holm),
            ": ".join(part for part in (verdict, one.reason or row.reason) if part),
        ]
        name = ""


def _name(row: RowChange) -> str:
    return f"{row.title} ({row.trained})"


def _listed(row: RowChange) -> str:
    numbers = [(one, one.now if one.before is None else one.before) for one in row.columns]
    scores = ", ".join(f"{_asked(one)} {DASH if mean is None else percent(mean)} %" for one, mean in numbers)
    return ": ".join(part for part in (_name(row), scores, row.reason) if part)


def _asked(one: ColumnChange | Lead) -> str:
    where = one.tasks
    split = "" if where.split == "test" else f", meta-{where.split}"
    return f"{where.dataset} {where.shape}{split}"


def _side(side: Side) -> str:
    apart = f" and {side.apart} in no table" if side.apart else ""
    made = f", by version {', '.join(side.versions)}" if side.versions else ""
    return f"{side.rows} rows of {side.runs} runs{apart}{made}"


def _lead(lead: Lead) -> str:
    if not lead.before:
        return f"{_asked(lead)}, which nobody was asked before: {lead.now} leads without labels."
    if lead.before == lead.now:
        return f"{_asked(lead)}: {lead.now} leads without labels, as before."
    return f"{_asked(lead)}: {lead.now} leads without labels; before it was {lead.before}."
