r"""``bench report --paper``: what an author must put into a paper, from the records of the runs and nothing else.

``paper.tex``         a fragment to \input: protocol, rows, components, compute; cites ``references.bib``
``paper.md``          the same for readers without LaTeX, with the commands that make the runs again
``paper.json``        the same facts for programs
``references.bib``    every method, component and dataset that is cited, and the benchmark
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from bench.basics.files import write_text
from bench.leaderboard.loading import Frames
from bench.leaderboard.reproduction import commands
from bench.leaderboard.table import Leaderboard, Table
from bench.planning import catalogue
from bench.planning.catalogue import Variant
from bench.records.record import RunRecord, read_record
from bench.reporting.bibliography import Bibliography, Said
from bench.reporting.foreign import visible
from bench.reporting.latex import jinja
from bench.reporting.latex_tables import slug
from bench.reporting.markdown import escape, fence
from bench.reporting.paper_compute import Machine, MoreSeeds, machines, more_seeds, recommendation, spending, unfinished
from bench.reporting.paper_protocol import protocol
from bench.reporting.paper_rows import Component, PaperRow, Parts, paper_rows
from bench.reporting.rendering import environment

FOLDER = "paper"
WIDTHS = (0.27, 0.34, 0.13, 0.12, 0.06)
"""Of the columns of the table, in widths of the text."""
LETTERS = 86
"""Of footnotesize on a line as wide as a page of one column."""
MOST_LINES = 46
"""Of a table on a page."""

UNKNOWN = (
    "Why these settings were chosen, on which data, and how many others were tried outside of these records",
    "Under which licence your code and your trained models are published, and where",
    "What the results do not show: other datasets, other backbones, other lengths of training",
    "Whether the images show people, and who may be harmed by what was made",
)
"""What a reviewer asks for and no record knows."""


@dataclass(frozen=True, slots=True)
class PaperTable:
    """One table of the leaderboard."""

    title: str
    label: str
    protocol: tuple[Said, ...]
    rows: tuple[PaperRow, ...]
    task_lists: Mapping[str, str]
    """Way and shot -> SHA-256."""
    dataset_hash: str
    more_seeds: MoreSeeds | None
    """None where every row has two or more."""
    recommendation: Said | None
    commands: tuple[str, ...]

    @property
    def settings(self) -> list[tuple[list[str], tuple[str, ...]]]:
        """(names of rows, settings of their own), those together that have the same."""
        found: dict[tuple[str, ...], list[str]] = {}
        for row in self.rows:
            if row.settings:
                found.setdefault(row.settings, []).append(row.name)
        return [(names, settings) for settings, names in found.items()]

    @property
    def pages(self) -> list[list[PaperRow]]:
        """Rows that a page of LaTeX has room for."""
        found: list[list[PaperRow]] = [[]]
        lines = 0
        for row in self.rows:
            more = _lines(row)
            if found[-1] and lines + more > MOST_LINES:
                found.append([])
                lines = 0
            found[-1].append(row)
            lines += more
        return found


def _lines(row: PaperRow) -> int:
    """That a row takes in one column of a class of ten points: of letters of four points."""
    texts = (row.name + 5 * " ", ", ".join(row.lengths), row.training_tasks, ", ".join(row.components))
    return max(1 + int(len(text) / (0.8 * width * LETTERS)) for text, width in zip(texts, WIDTHS))


@dataclass(frozen=True, slots=True)
class Paper:
    """Everything that the files say."""

    tables: tuple[PaperTable, ...]
    components: tuple[Component, ...]
    machines: tuple[Machine, ...]
    compute: tuple[Said, ...]
    unfinished: tuple[Said, ...]
    benchmark: tuple[str, ...]
    """The key of the benchmark itself."""


def write_paper(frames: Frames, leaderboard: Leaderboard, folder: Path) -> list[Path]:
    """Write the files to ``folder``; returns them. The same records give the same bytes."""
    bibliography = Bibliography()
    paper = collect(frames, leaderboard, bibliography)
    texts = {
        "paper.tex": _latex(paper, bibliography),
        "paper.md": _markdown(paper, bibliography),
        "paper.json": json.dumps(_plain({**asdict(paper), "unknown": UNKNOWN}), indent=1, ensure_ascii=False) + "\n",
        "references.bib": bibliography.bib(),
    }
    for name, text in texts.items():
        write_text(folder / name, text)
    return [folder / name for name in texts]


def collect(frames: Frames, leaderboard: Leaderboard, bibliography: Bibliography) -> Paper:
    """The facts; what they cite is put into ``bibliography``."""
    records = {int(run): read_record(Path(path)) for run, path in zip(frames.runs["run"], frames.runs["path"])}
    parts = Parts(bibliography)
    made = [table.made for table in leaderboard.tables]
    benchmark = bibliography.benchmark(
        ", ".join(dict.fromkeys(version for one in made for version in one.versions)) or "unknown",
        max(one.last for one in made)[:4],
        f"Leaderboard of {', '.join(dict.fromkeys(table.dataset for table in leaderboard.tables))}",
    )
    known = catalogue.variants()  # looked up once
    tables = tuple(_table(one, frames, records, parts, bibliography, known) for one in leaderboard.tables)
    everything = list(records.values())
    return Paper(
        tables=tables,
        components=tuple(sorted(parts.found.values(), key=lambda one: (one.mark[0], int(one.mark[1:])))),
        machines=tuple(machines(everything)),
        compute=tuple(spending(everything)),
        unfinished=tuple(unfinished(leaderboard)),
        benchmark=benchmark,
    )


def _table(
    table: Table,
    frames: Frames,
    records: Mapping[int, RunRecord],
    parts: Parts,
    bibliography: Bibliography,
    known: Mapping[str, Variant],
) -> PaperTable:
    runs = [run for row in table.rows for run in row.runs]
    notes = {run: records[run].notes for run in runs}
    configs = dict(zip(frames.runs["run"], frames.runs["config"]))
    seeds = more_seeds(table, frames, records, known)
    return PaperTable(
        title=table.title,
        label=slug(table.slug),
        protocol=tuple(protocol(table, {run: configs[run] for run in runs}, list(notes.values()), bibliography)),
        rows=tuple(paper_rows(table, configs, notes, parts)),
        task_lists={str(shape): one.manifest for shape, one in table.manifests.items()},
        dataset_hash=table.dataset_hash,
        more_seeds=seeds,
        recommendation=None if seeds is None else recommendation(table, seeds),
        commands=commands(table, frames, known),
    )


def _latex(paper: Paper, bibliography: Bibliography) -> str:
    found = jinja()
    found.filters["cite"] = lambda keys: rf"~\cite{{{','.join(keys)}}}" if keys else ""
    return found.get_template("paper.tex.j2").render(
        paper=paper, widths=WIDTHS, unknown=UNKNOWN, incomplete=bibliography.incomplete
    )


def _markdown(paper: Paper, bibliography: Bibliography) -> str:
    found = environment(autoescape=False)
    found.filters |= {"md": escape, "fence": fence}
    found.filters["cite"] = lambda keys: f" ({', '.join(f'[@{key}]' for key in keys)})" if keys else ""
    return found.get_template("paper.md.j2").render(
        paper=paper, unknown=UNKNOWN, references=bibliography.plain(), incomplete=bibliography.incomplete
    )


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {visible(str(key)): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return visible(value) if isinstance(value, str) else value
