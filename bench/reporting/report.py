"""From run folders to a folder of reports. The same records give the same bytes: nothing in a report tells
when it was made.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from bench.basics.errors import BenchError, did_you_mean
from bench.basics.files import replacing, write_text
from bench.leaderboard import loading
from bench.leaderboard.choice import preference
from bench.leaderboard.loading import Frames
from bench.leaderboard.paper_tables import FilledLayout, fill
from bench.leaderboard.reproduction import commands
from bench.leaderboard.selection import Wanted, without
from bench.leaderboard.table import Leaderboard, build
from bench.looking.inspection.example import Example
from bench.looking.inspection.records import Inspection
from bench.planning.paper_layout import paper_layout, paper_layouts
from bench.planning.unchanging import unchanging
from bench.reporting import csv, inspections
from bench.reporting import paper_tables as experiments
from bench.reporting.curves import Curves
from bench.reporting.html import Beside, html
from bench.reporting.latex import latex
from bench.reporting.markdown import markdown
from bench.reporting.paper_part import FOLDER, write_paper
from bench.reporting.report_records import damaged, kept

if TYPE_CHECKING:
    from bench.reporting.figures_style import Caption

FORMATS = ("md", "html", "tex", "csv", "png", "svg")
PICTURES = ("png", "svg")


def write_report(
    outs: Path | Sequence[Path],
    reports: Path,
    formats: Collection[str] = FORMATS,
    experiment: str | None = None,
    records: bool = False,
    warn: Callable[[Sequence[str]], None] = lambda _: None,
    side: Wanted | None = None,
    select: str = "usual",
    show: Callable[[Leaderboard], None] = lambda _: None,
    paper: bool = False,
) -> list[Path]:
    """Write the leaderboard of all runs below ``outs`` to the folder ``reports``; returns the files.

    ``leaderboard.md``, ``.html`` (one file with its figures inside), ``.tex`` and ``.csv``, ``runs.csv``,
    ``published.csv`` where papers print numbers of these rows, ``inspections.csv`` where something was inspected
    and, for ``png`` and ``svg``, ``figures/``; beside them the same for every experiment of which there are runs,
    under its name and in the layout of its paper. ``experiment``: only that one, on whatever dataset it was run.
    ``records``: also write ``records/`` (see :mod:`bench.reporting.report_records`), and make the report from these
    records and nothing else. ``warn`` is told what was damaged, which the report says too. ``side``: only rows with
    such side information; the others are named, and their records are kept all the same. ``select``: which row
    stands for a method, see :func:`bench.leaderboard.choice.preference`. ``paper``: also write ``paper/`` (see
    :mod:`bench.reporting.paper_part`). ``show`` is given what was written; of an experiment alone it is not called.
    Raises BenchError for an unknown format, where no run is finished, and where the folder cannot be written to.
    """
    _check(formats)
    with unchanging():
        if records:
            with kept(outs, reports / "records", experiment) as folder:
                written = _write_report(
                    folder, reports, formats, experiment, warn, side, select, show, "records/", paper
                )
                return [*written, reports / "records"]
        return _write_report(outs, reports, formats, experiment, warn, side, select, show, _below(outs, reports), paper)


def _write_report(
    outs: Path | Sequence[Path],
    reports: Path,
    formats: Collection[str],
    experiment: str | None,
    warn: Callable[[Sequence[str]], None],
    side: Wanted | None,
    select: str,
    show: Callable[[Leaderboard], None],
    beside: str,
    paper: bool,
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
    leaderboard = replace(build(frames, preference(select, frames)), excluded=excluded)
    examples: Mapping[str, Example] = {}
    if {"html", "png"} & set(formats):
        from bench.reporting import task_figures

        examples, torn = task_figures.load(outs)
        problems += torn
    leaderboard = replace(leaderboard, problems=tuple(dict.fromkeys((*leaderboard.problems, *problems))))
    warn(leaderboard.problems)
    papers = [filled for one in paper_layouts() if (filled := fill(one, frames)) is not None]
    pages = tuple((f"{one.layout.experiment}.html", one.layout.title) for one in papers)
    written = write(frames, leaderboard, reports, formats, inspected, examples, Beside(pages, records=beside))
    for filled in papers:
        written += write_paper_tables(replace(filled, problems=excluded + filled.problems), reports, formats)
    if paper:
        written += write_paper(frames, leaderboard, reports / FOLDER)
    show(leaderboard)
    return written


def write_paper_tables(filled: FilledLayout, reports: Path, formats: Collection[str] = FORMATS) -> list[Path]:
    """One experiment: ``<name>.md``, ``.html``, ``.tex``, ``.csv`` and, where it has one, ``figures/<name>.png`` and
    ``.svg``.
    """
    name = filled.layout.experiment
    pictures: dict[int, Mapping[str, bytes]] = {}
    if filled.layout.figure is not None and {"html", *PICTURES} & set(formats):
        from bench.reporting.sweep import sweep

        for table in filled.tables:
            drawn, problems = sweep(table)
            filled = replace(filled, problems=filled.problems + problems)
            if drawn:
                pictures[table.number] = drawn
    files = {number: f"{name}{'' if number == 1 else f'-{number}'}" for number in pictures}
    kinds = [kind for kind in PICTURES if kind in formats]
    links = {number: f"figures/{file}.{kinds[0]}" for number, file in files.items()} if kinds else {}
    texts: dict[str, Callable[[], str]] = {
        "md": lambda: experiments.to_markdown(filled, links),
        "html": lambda: experiments.to_html(filled, {number: one["svg"] for number, one in pictures.items()}),
        "tex": lambda: experiments.to_latex(filled),
        "csv": lambda: experiments.to_csv(filled),
    }
    written = []
    for kind, text in texts.items():
        if kind in formats:
            write_text(reports / f"{name}.{kind}", text())
            written.append(reports / f"{name}.{kind}")
    for number, file in files.items():
        for kind in kinds:
            written.append(_write_bytes(reports / "figures" / f"{file}.{kind}", pictures[number][kind]))
    return written


def write(
    frames: Frames,
    leaderboard: Leaderboard,
    reports: Path,
    formats: Collection[str] = FORMATS,
    inspected: Sequence[Inspection] = (),
    examples: Mapping[str, Example] | None = None,
    beside: Beside | None = None,
) -> list[Path]:
    """As :func:`write_report`, for frames and inspections that are read already.

    ``examples``: key of an inspection -> a task of that method, to be drawn. ``beside``: what the page may link to
    besides the files that are written here.
    """
    _check(formats)
    synthetic = inspections.sections(inspected)
    again = [commands(table, frames) for table in leaderboard.tables]
    pictures: dict[str, bytes] = {}
    told: dict[str, Caption] = {}
    curves: Curves = {}
    kinds = [kind for kind in PICTURES if kind in formats]
    if {"html", *PICTURES} & set(formats):
        # Imported here: the other formats need no matplotlib, which takes a second to load.
        from bench.reporting.curves import learning_curves
        from bench.reporting.figures import captions, draw

        shown = {run for table in leaderboard.tables for row in table.rows for run in row.runs}
        curves, problems = learning_curves(frames, shown)
        leaderboard = replace(leaderboard, problems=leaderboard.problems + problems)
        told = captions(leaderboard)
        pictures = draw(leaderboard, curves, {*kinds, *(["svg"] if "html" in formats else [])})
        if examples:
            from bench.reporting.task_figures import draw as draw_tasks

            pictures |= draw_tasks(synthetic, examples)
    texts: dict[str, str] = {}
    if "md" in formats:
        links = {name: f"figures/{name}" for name in pictures if kinds and name.endswith(kinds[0])}
        said = {name: told[name[:-4]].alt for name in links if name[:-4] in told}
        texts["leaderboard.md"] = markdown(leaderboard, links, synthetic, again, said)
    if "tex" in formats:
        texts["leaderboard.tex"] = latex(leaderboard)
    if "csv" in formats:
        texts["leaderboard.csv"] = csv.scores(leaderboard, frames)
        texts["runs.csv"] = csv.runs(frames)
        if printed := csv.published(leaderboard):
            texts["published.csv"] = printed
        if inspected:
            texts["inspections.csv"] = inspections.csv(inspected)
    if "html" in formats:
        links_to = replace(beside or Beside(), files=tuple(texts))
        texts["leaderboard.html"] = html(
            leaderboard, pictures, synthetic, again, frames=frames, curves=curves, captions=told, beside=links_to
        )
    written = []
    for name, text in texts.items():
        write_text(reports / name, text)
        written.append(reports / name)
    for name, picture in pictures.items():
        if name[-3:] in kinds:
            written.append(_write_bytes(reports / "figures" / name, picture))
    return written


def _below(outs: Path | Sequence[Path], reports: Path) -> str:
    """The address of the runs as seen from the report; empty unless they are one folder inside its own."""
    place = reports.resolve()
    out = outs.resolve() if isinstance(outs, Path) else place
    return f"{quote(out.relative_to(place).as_posix())}/" if place in out.parents else ""


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
