"""From run folders to a folder of reports. The same records give the same bytes: nothing in a report tells
when it was made.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from bench.basics.errors import BenchError, did_you_mean
from bench.basics.files import replacing, write_text
from bench.leaderboard import loading
from bench.leaderboard.loading import Frames
from bench.leaderboard.paper_tables import FilledLayout, fill
from bench.leaderboard.reproduction import commands
from bench.leaderboard.selection import Wanted, without
from bench.leaderboard.table import Leaderboard, build
from bench.looking.inspection.example import Example
from bench.looking.inspection.records import Inspection
from bench.planning.paper_layout import paper_layout, paper_layouts
from bench.reporting import csv, inspections
from bench.reporting import paper_tables as experiments
from bench.reporting.html import html
from bench.reporting.latex import latex
from bench.reporting.markdown import markdown
from bench.reporting.report_records import damaged, kept

FORMATS = ("md", "html", "tex", "csv", "png")


def write_report(
    outs: Path | Sequence[Path],
    reports: Path,
    formats: Collection[str] = FORMATS,
    experiment: str | None = None,
    records: bool = False,
    warn: Callable[[Sequence[str]], None] = lambda _: None,
    side: Wanted | None = None,
) -> list[Path]:
    """Write the leaderboard of all runs below ``outs`` to the folder ``reports``; returns the files.

    ``leaderboard.md``, ``.html`` (one file with its figures inside), ``.tex`` and ``.csv``, ``runs.csv``,
    ``inspections.csv`` where something was inspected and, for ``png``, ``figures/``; beside them the same for every
    experiment of which there are runs, under its name and in the layout of its paper. ``experiment``: only that
    one, on whatever dataset it was run. ``records``: also write ``records/`` (see
    :mod:`bench.reporting.report_records`), and make the report from these records and nothing else. ``warn`` is told
    what was damaged, which the report says too. ``side``: only rows with such side information; the others are
    named, and their records are kept all the same.
    Raises BenchError for an unknown format, where no run is finished, and where the folder cannot be written to.
    """
    _check(formats)
    if records:
        with kept(outs, reports / "records", experiment) as folder:
            return [*_write_report(folder, reports, formats, experiment, warn, side), reports / "records"]
    return _write_report(outs, reports, formats, experiment, warn, side)


def _write_report(
    outs: Path | Sequence[Path],
    reports: Path,
    formats: Collection[str],
    experiment: str | None,
    warn: Callable[[Sequence[str]], None],
    side: Wanted | None,
) -> list[Path]:
    frames = loading.load(outs)
    frames, excluded = (frames, ()) if side is None else without(frames, side)
    told = [one for out in ([outs] if isinstance(outs, Path) else outs) for one in damaged(out)]
    frames = replace(frames, problems=tuple(dict.fromkeys((*told, *frames.problems))))
    if experiment is not None:
        name = experiment.removeprefix("experiment/")
        found = paper_layout(name)
        if found is None:
            raise BenchError(f"configs/experiment/{name}.yaml has no paper layout; 'bench report' shows its runs")
        filled = fill(found, frames, everywhere=True)
        if filled is None:
            raise BenchError(f"no run of experiment {name!r} among these; make some with bench run --experiment {name}")
        warn(frames.problems)
        return write_paper_tables(
            replace(filled, problems=excluded + frames.problems + filled.problems), reports, formats
        )
    inspected, problems = inspections.load(outs)
    leaderboard = replace(build(frames), excluded=excluded)
    examples: Mapping[str, Example] = {}
    if {"html", "png"} & set(formats):
        from bench.reporting import task_figures

        examples, torn = task_figures.load(outs)
        problems += torn
    leaderboard = replace(leaderboard, problems=tuple(dict.fromkeys((*leaderboard.problems, *problems))))
    warn(leaderboard.problems)
    written = write(frames, leaderboard, reports, formats, inspected, examples)
    for one in paper_layouts():
        filled = fill(one, frames)
        if filled is not None:
            written += write_paper_tables(replace(filled, problems=excluded + filled.problems), reports, formats)
    return written


def write_paper_tables(filled: FilledLayout, reports: Path, formats: Collection[str] = FORMATS) -> list[Path]:
    """One experiment: ``<name>.md``, ``.html``, ``.tex``, ``.csv`` and, where it has one, ``figures/<name>.png``."""
    name = filled.layout.experiment
    pictures: dict[int, bytes] = {}
    if filled.layout.figure is not None and {"html", "png"} & set(formats):
        from bench.reporting.sweep import sweep

        for table in filled.tables:
            picture, problems = sweep(table)
            filled = replace(filled, problems=filled.problems + problems)
            if picture is not None:
                pictures[table.number] = picture
    files = {number: f"{name}{'' if number == 1 else f'-{number}'}.png" for number in pictures}
    links = {number: f"figures/{file}" for number, file in files.items()} if "png" in formats else {}
    texts: dict[str, Callable[[], str]] = {
        "md": lambda: experiments.to_markdown(filled, links),
        "html": lambda: experiments.to_html(filled, pictures),
        "tex": lambda: experiments.to_latex(filled),
        "csv": lambda: experiments.to_csv(filled),
    }
    written = []
    for kind, text in texts.items():
        if kind in formats:
            write_text(reports / f"{name}.{kind}", text())
            written.append(reports / f"{name}.{kind}")
    for number, file in files.items() if "png" in formats else ():
        written.append(_write_bytes(reports / "figures" / file, pictures[number]))
    return written


def write(
    frames: Frames,
    leaderboard: Leaderboard,
    reports: Path,
    formats: Collection[str] = FORMATS,
    inspected: Sequence[Inspection] = (),
    examples: Mapping[str, Example] | None = None,
) -> list[Path]:
    """As :func:`write_report`, for frames and inspections that are read already.

    ``examples``: key of an inspection -> a task of that method, to be drawn.
    """
    _check(formats)
    synthetic = inspections.sections(inspected)
    again = [commands(table, frames) for table in leaderboard.tables]
    pictures: dict[str, bytes] = {}
    if {"html", "png"} & set(formats):
        # Imported here: the other formats need no matplotlib, which takes a second to load.
        from bench.reporting.curves import learning_curves
        from bench.reporting.figures import draw

        shown = {run for table in leaderboard.tables for row in table.rows for run in row.runs}
        curves, problems = learning_curves(frames, shown)
        leaderboard = replace(leaderboard, problems=leaderboard.problems + problems)
        pictures = draw(leaderboard, curves)
        if examples:
            from bench.reporting.task_figures import draw as draw_tasks

            pictures |= draw_tasks(synthetic, examples)
    texts: dict[str, str] = {}
    if "md" in formats:
        links = {name: f"figures/{name}" for name in pictures} if "png" in formats else {}
        texts["leaderboard.md"] = markdown(leaderboard, links, synthetic, again)
    if "html" in formats:
        texts["leaderboard.html"] = html(leaderboard, pictures, synthetic, again)
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
            written.append(_write_bytes(reports / "figures" / name, png))
    return written


def _write_bytes(path: Path, content: bytes) -> Path:
    with replacing(path) as temporary:
        temporary.write_bytes(content)
    return path


def _check(formats: Collection[str]) -> None:
    for name in formats:
        if name not in FORMATS:
            raise BenchError(
                f"unknown report format {name!r}.{did_you_mean(name, FORMATS)} Known: {', '.join(FORMATS)}"
            )
    if not formats:
        raise BenchError(f"no report format given; choose from {', '.join(FORMATS)}")
