"""From run folders to a folder of reports. The same records give the same bytes: nothing in a report tells
when it was made.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path

from bench.errors import BenchError, did_you_mean
from bench.files import replacing, write_text
from bench.inspection.records import Inspection
from bench.leaderboard import loading
from bench.leaderboard.loading import Frames
from bench.leaderboard.table import Leaderboard, build
from bench.reporting import csv, inspections
from bench.reporting.html import html
from bench.reporting.latex import latex
from bench.reporting.markdown import markdown

FORMATS = ("md", "html", "tex", "csv", "png")


def write_report(outs: Path | Sequence[Path], reports: Path, formats: Collection[str] = FORMATS) -> list[Path]:
    """Write the leaderboard of all runs below ``outs`` to the folder ``reports``; returns the files.

    ``leaderboard.md``, ``.html`` (one file with its figures inside), ``.tex`` and ``.csv``, ``runs.csv``,
    ``inspections.csv`` where something was inspected and, for ``png``, ``figures/``. Raises BenchError for an
    unknown format, where no run is finished, and where the folder cannot be written to.
    """
    _check(formats)
    frames = loading.load(outs)
    inspected, problems = inspections.load(outs)
    leaderboard = build(frames)
    leaderboard = replace(leaderboard, problems=(*leaderboard.problems, *problems))
    return write(frames, leaderboard, reports, formats, inspected)


def write(
    frames: Frames,
    leaderboard: Leaderboard,
    reports: Path,
    formats: Collection[str] = FORMATS,
    inspected: Sequence[Inspection] = (),
) -> list[Path]:
    """As :func:`write_report`, for frames and inspections that are read already."""
    _check(formats)
    invented = inspections.sections(inspected)
    pictures: dict[str, bytes] = {}
    if {"html", "png"} & set(formats):
        # Imported here: the other formats need no matplotlib, which takes a second to load.
        from bench.reporting.curves import learning_curves
        from bench.reporting.figures import draw

        shown = {run for table in leaderboard.tables for row in table.rows for run in row.runs}
        curves, problems = learning_curves(frames, shown)
        leaderboard = replace(leaderboard, problems=leaderboard.problems + problems)
        pictures = draw(leaderboard, curves)
    texts: dict[str, str] = {}
    if "md" in formats:
        links = {name: f"figures/{name}" for name in pictures} if "png" in formats else {}
        texts["leaderboard.md"] = markdown(leaderboard, links, invented)
    if "html" in formats:
        texts["leaderboard.html"] = html(leaderboard, pictures, invented)
    if "tex" in formats:
        texts["leaderboard.tex"] = latex(leaderboard)
    if "csv" in formats:
        texts["leaderboard.csv"] = csv.scores(leaderboard)
        texts["runs.csv"] = csv.runs(frames)
        if inspected:
            texts["inspections.csv"] = inspections.csv(inspected)
    written = []
    for name, text in texts.items():
        write_text(reports / name, text)
        written.append(reports / name)
    if "png" in formats:
        for name, png in pictures.items():
            with replacing(reports / "figures" / name) as temporary:
                temporary.write_bytes(png)
            written.append(reports / "figures" / name)
    return written


def _check(formats: Collection[str]) -> None:
    for name in formats:
        if name not in FORMATS:
            raise BenchError(
                f"unknown report format {name!r}.{did_you_mean(name, FORMATS)} Known: {', '.join(FORMATS)}"
            )
    if not formats:
        raise BenchError(f"no report format given; choose from {', '.join(FORMATS)}")
