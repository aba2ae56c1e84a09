"""The runs of an experiment in the layout of its paper: every cell ours, the printed number, the difference.

A table holds the runs of one training, see :mod:`bench.leaderboard.trainings`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from omegaconf import OmegaConf

from bench.basics.errors import BenchError
from bench.basics.side import ordered
from bench.leaderboard.loading import Frames
from bench.leaderboard.published import Published, is_dataset, printed
from bench.leaderboard.score_table import Entry, EvaluationSet, ScoreTable, left_out, score_table
from bench.leaderboard.statistics import Scores, estimate
from bench.leaderboard.trainings import (
    LENGTHS,
    PRECISION,
    Answer,
    Chosen,
    changes,
    facts_of,
    longest,
    tell_apart,
    title_of,
    trainings,
    with_changes,
)
from bench.planning import catalogue
from bench.planning.paper_layout import Cell, Line, PaperLayout, Standards, paper_layouts, standards
from bench.planning.values import same, setting

State = Literal["done", "failed", "not run", "not asked"]
"""``not asked``: the run is there, but its learner cannot answer tasks of so many classes."""


@dataclass(frozen=True, slots=True, eq=False)
class PaperCell:
    """One number of the paper beside ours; accuracies in [0, 1]."""

    cell: Cell
    state: State
    printed: Published | None
    facts: Mapping[str, str]
    """What else the paper prints of it, by name."""
    answer: Answer | None = None
    measures: tuple[float | None, ...] = ()
    """Ours, mean over seeds, in the order of the layout's measures."""
    reasons: tuple[str, ...] = ()
    """Why runs of this cell are not finished."""
    samples: Path | None = None
    """Sample images of the run with the lowest seed."""
    left_out: tuple[str, ...] = ()
    """What images or classes its runs did without; sentences."""
    side: tuple[str, ...] = ()
    """Side information of its runs: words of :data:`bench.basics.side.SIDE`."""
    seconds: float | None = None
    """What its training took, everything shared included: the mean over its runs; None where that is not known."""

    @property
    def difference(self) -> float | None:
        """Ours minus the printed number."""
        if self.answer is None or self.answer.estimate is None or self.printed is None:
            return None
        return self.answer.estimate.mean - self.printed.accuracy


@dataclass(frozen=True, slots=True, eq=False)
class PaperTable:
    """One training in the layout of the paper."""

    layout: PaperLayout
    number: int
    """From 1: the longest training, and that which fills most cells, first."""
    dataset: str
    rows: tuple[tuple[PaperCell, ...], ...]
    training: tuple[str, ...]
    """How long what was trained, and what was changed; one phrase each."""
    comparable: bool
    """Whether these are the paper's dataset, split and task shape."""

    @property
    def cells(self) -> Iterator[PaperCell]:
        """Row by row."""
        return (cell for row in self.rows for cell in row)


@dataclass(frozen=True, slots=True, eq=False)
class FilledLayout:
    """An experiment: its tables, and trainings that fill one cell only, which get no table of their own."""

    layout: PaperLayout
    tables: tuple[PaperTable, ...]
    singles: tuple[tuple[PaperCell, tuple[str, ...]], ...]
    """Cell and training."""
    problems: tuple[str, ...] = ()
    """One sentence each."""


def fill(layout: PaperLayout, frames: Frames, everywhere: bool = False) -> FilledLayout | None:
    """The tables of an experiment; None without a run of it on its own dataset (on any, with ``everywhere``).

    Floors and ceilings belong to many experiments, so they alone do not make a table. Neither do runs that were all
    asked tasks of fewer ways than the experiment has.
    """
    defaults = standards(paper_layouts())
    rows = layout.rows(_values(layout, frames, defaults))
    cells = [[layout.cell(row, column) for column in layout.columns] for row in rows]
    flat = [cell for row in cells for cell in row]
    book = score_table(frames)
    answers = {i: _answers(cell, book, frames, defaults, layout.way) for i, cell in enumerate(flat)}
    if not everywhere:
        own = {i: [a for a in found if _is_of(a, layout)] for i, found in answers.items()}
        answers = own
        asked = {cell.way for i, cell in enumerate(flat) if any(a.estimate is not None for a in answers[i])}
        if asked and asked != {cell.way for cell in flat}:
            return None
    answers, shorter = longest(answers, flat) if layout.cost else (answers, [])
    answers = tell_apart(with_changes(answers, flat, (PRECISION,) if layout.cost else ()))
    chosen, small = trainings(answers, [bool(answers[i]) and _counts(cell) for i, cell in enumerate(flat)])
    if not chosen:
        return None
    tables = [_table(layout, cells, one, n + 1, frames) for n, one in enumerate(chosen)]
    alone = [
        (_paper_cell(flat[i], one, layout, frames), _told(layout, [(flat[i], one[0])]))
        for i, one in [*(pair for filled in small for pair in filled.items()), *((i, (one, ())) for i, one in shorter)]
    ]
    return FilledLayout(layout, tuple(tables), tuple(alone))


def _counts(cell: Cell) -> bool:
    return not cell.row.baseline and not all(variant.reference for variant in cell.variants())


def _is_of(answer: Answer, layout: PaperLayout) -> bool:
    """Whether a run is on the paper's dataset, which other images may be named after."""
    dataset = answer.facts["dataset"]
    return dataset.partition(",")[0] == layout.dataset and is_dataset(dataset, answer.config)


def _values(layout: PaperLayout, frames: Frames, defaults: Standards) -> list[Any]:
    """The paper's values of the setting with a row each, and those that records bring besides."""
    each = layout.each
    if each is None:
        return []
    found = list(each.values)
    (line,) = (line for line in layout.lines if line.each is not None)
    for column in layout.columns:
        cell = layout.cell(line, column)
        for method, config in zip(frames.runs["method"], frames.runs["config"]):
            value = setting(config, each.setting)
            if value is None or any(same(value, known) for known in found):
                continue
            if cell.fits(method, config, defaults, besides=each.setting):
                found.append(value)
    numbers = all(isinstance(value, int | float) for value in found)
    return sorted(found) if numbers else found


def _answers(cell: Cell, book: ScoreTable, frames: Frames, defaults: Standards, usual: int) -> list[Answer]:
    found = []
    for entry in book.entries:
        if not cell.fits(entry.method, entry.facts["config"], defaults):
            continue
        facts = facts_of(cell, entry.dataset, entry.dataset_hash, entry.facts["config"])
        if cell.way is not None and (why := entry.facts["unanswered"].get(f"{cell.way}-way")):
            found.append(_not_asked(entry, facts, why))
        for tasks, (seeds, values) in _scored(cell, entry, book, usual):
            found.append(
                Answer(
                    facts={**facts, "tasks": str(tasks.tasks), **_shape_of(cell, tasks)},
                    name=entry.method,
                    budget=f"{entry.budget} {entry.variant}".strip(),
                    runs=_of(entry, seeds),
                    seeds=seeds,
                    config=entry.facts["config"],
                    estimate=estimate(values),
                    tasks=tasks,
                )
            )
    rest = frames.runs[~frames.runs["status"].isin(["done", "superseded"])]
    for run in rest.to_dict("records"):
        if cell.fits(run["method"], run["config"], defaults):
            found.append(
                Answer(
                    facts=facts_of(cell, run["dataset"], run["dataset_hash"], run["config"]),
                    name=run["method"],
                    budget=run["budget"],
                    runs=(int(run["run"]),),
                    seeds=(int(run["seed"]),),
                    config=run["config"],
                    reason=f"{run['status']}: {run['reason']}",
                )
            )
    return found


def _scored(
    cell: Cell, entry: Entry, book: ScoreTable, usual: int
) -> list[tuple[EvaluationSet, tuple[tuple[int, ...], Scores]]]:
    """What an entry answered of the cell's way and shot; of no way in particular, those of ``usual`` if there are any.

    A run of an older experiment that was asked more classes besides has no second table for it.
    """
    sets = [tasks for tasks in book.manifests.values() if tasks.shot == cell.shot]
    found = [(tasks, scores) for tasks in sets if (scores := book.scores(entry, tasks.manifest)) is not None]
    if cell.way is not None:
        return [one for one in found if one[0].way == cell.way]
    return [one for one in found if one[0].way == usual] or found


def _shape_of(cell: Cell, tasks: EvaluationSet) -> dict[str, str]:
    """What the tasks of a table have in common, and which they are."""
    if cell.way is None:
        shape = f"{tasks.way}-way, {tasks.query} queries per class, meta-{tasks.split}"
        return {"shape": shape, f"{tasks.shot}-shot tasks": tasks.manifest}
    return {"shape": f"{tasks.query} queries per class, meta-{tasks.split}", f"{tasks.shape} tasks": tasks.manifest}


def _not_asked(entry: Entry, facts: Mapping[str, str], why: str) -> Answer:
    return Answer(
        facts=facts,
        name=entry.method,
        budget=f"{entry.budget} {entry.variant}".strip(),
        runs=entry.runs,
        seeds=entry.seeds,
        config=entry.facts["config"],
        reason=f"not asked: {why}",
        asked=False,
    )


def _of(entry: Entry, seeds: Sequence[int]) -> tuple[int, ...]:
    return tuple(run for seed, run in zip(entry.seeds, entry.runs) if seed in seeds)


def _table(
    layout: PaperLayout, cells: Sequence[Sequence[Cell]], chosen: Chosen, number: int, frames: Frames
) -> PaperTable:
    width = len(layout.columns)
    rows = [
        tuple(_paper_cell(cell, chosen.get(y * width + x), layout, frames) for x, cell in enumerate(row))
        for y, row in enumerate(cells)
    ]
    flat = [cell for row in cells for cell in row]
    answered = [(flat[i], answer) for i, (answer, _) in sorted(chosen.items())]
    comparable = all(_comparable(layout, cell, answer) for cell, answer in answered)
    return PaperTable(
        layout=layout,
        number=number,
        dataset=answered[0][1].facts["dataset"],
        rows=tuple(row for row in rows if _is_shown(layout, row, comparable)),
        training=_told(layout, answered),
        comparable=comparable,
    )


def _is_shown(layout: PaperLayout, row: Sequence[PaperCell], comparable: bool) -> bool:
    """A value of a setting that was not run has a row where the paper's number stands beside it."""
    each, value = layout.each, row[0].cell.row.value
    if each is None or value is None or any(cell.state != "not run" for cell in row):
        return True
    return comparable and any(same(value, known) for known in each.values)


def _paper_cell(
    cell: Cell, chosen: tuple[Answer, tuple[str, ...]] | None, layout: PaperLayout, frames: Frames
) -> PaperCell:
    number, facts = printed(cell.published, cell.shot or 1, cell.way) if cell.published else (None, {})
    if chosen is None:
        return PaperCell(cell, "not run", number, facts, measures=(None,) * len(layout.measures))
    answer, reasons = chosen
    if not _comparable(layout, cell, answer):
        number, facts = None, {}
    runs = frames.runs.set_index("run").loc[list(answer.runs)]
    measures = []
    for measure in layout.measures:
        noted = [notes.get(measure.note, cell.row.notes.get(measure.note)) for notes in runs["notes"]]
        known = [float(value) for value in noted if isinstance(value, int | float)]
        measures.append(float(np.mean(known)) if known and len(known) == len(noted) else None)
    samples = Path(runs.sort_values("seed")["path"].iloc[0]) / "samples.npy"
    return PaperCell(
        cell=cell,
        state="done" if answer.estimate is not None else "failed" if answer.asked else "not asked",
        printed=number,
        facts=facts,
        answer=answer,
        measures=tuple(measures),
        reasons=reasons,
        samples=samples if answer.estimate is not None and (samples.exists() or samples.is_symlink()) else None,
        left_out=left_out(runs["notes"]),
        side=ordered(word for words in runs["side"] for word in words),
        seconds=None if (mean := runs["train_seconds"].mean()) != mean else float(mean),
    )


def _comparable(layout: PaperLayout, cell: Cell, answer: Answer) -> bool:
    """Whether the paper's number is of the same dataset, split and task shape."""
    if not _is_of(answer, layout):
        return False
    if answer.tasks is None or not cell.published:
        return True
    _, facts = printed(cell.published, cell.shot or 1, cell.way)
    shape = (answer.tasks.split, answer.tasks.way, answer.tasks.query)
    wanted = ("test", int(facts.get("way") or shape[1]), int(facts.get("k_val") or shape[2]))
    return shape == wanted


def _told(layout: PaperLayout, answered: Sequence[tuple[Cell, Answer]]) -> tuple[str, ...]:
    """Phrases on a training: every length, with that of the experiment where it differs; what was changed."""
    told: dict[str, str] = {}
    own = {key for cell, _ in answered for key in cell.settings}
    for cell, answer in answered:
        for group, key, words in LENGTHS:
            name = words.format(title=title_of(answer.config, group))
            if name not in answer.facts or name in told or f"budget.{key}" in own or cell.row.baseline:
                continue
            planned = _planned(layout, key, answer.config)
            there = answer.facts[name]
            told[name] = f"{there} {name.replace('epochs', 'epoch') if there == '1' else name}" + (
                "" if planned in (None, there) else f" instead of {planned}"
            )
    for _, answer in answered:
        told |= {
            f"dataset.{key}": f"dataset.{key}={value}"
            for key, value in changes(answer.facts["dataset"], answer.config).items()
        }
        for name, value in changes(answer.name, answer.config).items():
            if answer.facts.get(name) == value:
                told[name] = f"{name}={value}"
        if "recorded as" in answer.facts:
            told[answer.facts["recorded as"]] = f"recorded as {answer.facts['recorded as']}"
    scored = next((answer for _, answer in answered if answer.tasks is not None), None)
    return (*told.values(), *([_tasks(layout, scored)] if scored is not None else ()))


def _tasks(layout: PaperLayout, answer: Answer) -> str:
    assert answer.tasks is not None
    planned = _planned(layout, "evaluation_tasks", answer.config)
    there = str(answer.tasks.tasks)
    return f"scored on {there} tasks" + ("" if planned in (None, there) else f" instead of {planned}")


def _planned(layout: PaperLayout, key: str, config: Mapping[str, Any]) -> str | None:
    """The length that the experiment itself asks for; None where it cannot be said."""
    given = dict(text.split("=", 1) for text in layout.overrides)
    value = given.get(f"budget.{key}", catalogue.raw("budget", layout.budget).get(key))
    if isinstance(value, str) and "${" in value:
        groups = {group: config.get(group) or {} for group, *_ in LENGTHS}
        try:
            value = OmegaConf.to_container(OmegaConf.create({**groups, "value": value}), resolve=True)
        except Exception as error:
            raise BenchError(f"configs/budget/{layout.budget}.yaml: {key} cannot be resolved: {error}") from error
        value = value["value"] if isinstance(value, Mapping) else None
    return None if value is None else str(value)


def row_headings(table: PaperTable) -> list[tuple[str, list[tuple[Line, tuple[PaperCell, ...]]]]]:
    """Neighbouring rows of one group under its heading; rows without a run stand in the first table only."""
    found: list[tuple[str, list[tuple[Line, tuple[PaperCell, ...]]]]] = []
    for row in table.rows:
        if table.number > 1 and all(cell.state == "not run" for cell in row):
            continue
        line = row[0].cell.row
        if not found or found[-1][0] != line.group:
            found.append((line.group, []))
        found[-1][1].append((line, row))
    return found
