"""The runs of an experiment in the arrangement of its paper: every cell ours, the printed number, the difference.

A *training* is what runs of one table have in common: dataset and tasks, how long generators and meta-learners were
trained, settings changed by hand. Two trainings of one cell never share a table.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from omegaconf import OmegaConf

from bench import catalogue
from bench.arrangement import Arrangement, Cell, Line, Standards, arrangements, same, setting, standards
from bench.errors import BenchError
from bench.leaderboard.loading import Frames
from bench.leaderboard.published import Published, printed
from bench.leaderboard.scorebook import Entry, EvaluationSet, ScoreBook
from bench.leaderboard.statistics import Estimate, estimate

LENGTHS = (
    ("learner", "meta_iterations", "meta-iterations"),
    ("generator", "generator_epochs", "epochs of {title}"),
    ("encoder", "encoder_epochs", "epochs of {title}"),
)
"""Group, its length in the budget, and what people call it."""

Facts = Mapping[str, str]
State = Literal["done", "failed", "not run"]


@dataclass(frozen=True, slots=True, eq=False)
class Answer:
    """The runs of one cell and one training: finished ones of several seeds, or one that is not finished."""

    facts: Facts
    name: str
    """Exact method name, with what was changed."""
    budget: str
    runs: tuple[int, ...]
    seeds: tuple[int, ...]
    config: Mapping[str, Any]
    estimate: Estimate | None = None
    tasks: EvaluationSet | None = None
    reason: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class ArrangedCell:
    """One number of the paper beside ours; accuracies in [0, 1]."""

    cell: Cell
    state: State
    printed: Published | None
    facts: Mapping[str, str]
    """What else the paper prints of it, by name."""
    answer: Answer | None = None
    measures: tuple[float | None, ...] = ()
    """Ours, mean over seeds, in the order of the arrangement's measures."""
    reasons: tuple[str, ...] = ()
    """Why runs of this cell are not finished."""
    samples: Path | None = None
    """Sample images of the run with the lowest seed."""

    @property
    def difference(self) -> float | None:
        """Ours minus the printed number."""
        if self.answer is None or self.answer.estimate is None or self.printed is None:
            return None
        return self.answer.estimate.mean - self.printed.accuracy


@dataclass(frozen=True, slots=True, eq=False)
class ArrangedTable:
    """One training in the arrangement of the paper."""

    arrangement: Arrangement
    number: int
    """From 1: the longest training, and that which fills most cells, first."""
    dataset: str
    rows: tuple[tuple[ArrangedCell, ...], ...]
    training: tuple[str, ...]
    """How long what was trained, and what was changed; one phrase each."""
    comparable: bool
    """Whether these are the paper's dataset, split and task shape."""

    @property
    def cells(self) -> Iterator[ArrangedCell]:
        """Row by row."""
        return (cell for row in self.rows for cell in row)


@dataclass(frozen=True, slots=True, eq=False)
class Arranged:
    """An experiment: its tables, and trainings that fill one cell only, which get no table of their own."""

    arrangement: Arrangement
    tables: tuple[ArrangedTable, ...]
    singles: tuple[tuple[ArrangedCell, tuple[str, ...]], ...]
    """Cell and training."""
    problems: tuple[str, ...] = ()
    """One sentence each."""


def arrange(arrangement: Arrangement, frames: Frames, everywhere: bool = False) -> Arranged | None:
    """The tables of an experiment; None without a run of it on its own dataset (on any, with ``everywhere``).

    Floors and ceilings belong to many experiments, so they alone do not make a table.
    """
    defaults = standards(arrangements())
    rows = arrangement.rows(_values(arrangement, frames, defaults))
    cells = [[arrangement.cell(row, column) for column in arrangement.columns] for row in rows]
    flat = [cell for row in cells for cell in row]
    book = ScoreBook(frames)
    answers = {i: _answers(cell, book, frames, defaults) for i, cell in enumerate(flat)}
    if not everywhere:
        own = {i: [a for a in found if _is_of(a.facts["dataset"], arrangement)] for i, found in answers.items()}
        answers = own
    answers = _tell_apart(_with_changes(answers, flat))
    trainings, small = _trainings(answers, [_counts(cell) for cell in flat])
    if not trainings:
        return None
    tables = [_table(arrangement, cells, chosen, n + 1, frames) for n, chosen in enumerate(trainings)]
    alone = [
        (_arranged(flat[i], one, arrangement, frames), _told(arrangement, [(flat[i], one[0])]))
        for chosen in small
        for i, one in chosen.items()
    ]
    return Arranged(arrangement, tuple(tables), tuple(alone))


def _counts(cell: Cell) -> bool:
    return not cell.row.baseline and not all(variant.reference for variant in cell.variants())


def _is_of(dataset: str, arrangement: Arrangement) -> bool:
    return dataset.partition(",")[0] == arrangement.dataset


def _values(arrangement: Arrangement, frames: Frames, defaults: Standards) -> list[Any]:
    """The paper's values of the setting with a row each, and those that records bring besides."""
    each = arrangement.each
    if each is None:
        return []
    found = list(each.values)
    (line,) = (line for line in arrangement.lines if line.each is not None)
    for column in arrangement.columns:
        cell = arrangement.cell(line, column)
        for method, config in zip(frames.runs["method"], frames.runs["config"]):
            value = setting(config, each.setting)
            if value is None or any(same(value, known) for known in found):
                continue
            if cell.fits(method, config, defaults, besides=each.setting):
                found.append(value)
    numbers = all(isinstance(value, int | float) for value in found)
    return sorted(found) if numbers else found


def _answers(cell: Cell, book: ScoreBook, frames: Frames, defaults: Standards) -> list[Answer]:
    found = []
    for entry in book.entries:
        if not cell.fits(entry.method, entry.facts["config"], defaults):
            continue
        for manifest, tasks in book.manifests.items():
            scores = book.scores(entry, manifest)
            if scores is None or tasks.shot != cell.shot:
                continue
            seeds, values = scores
            found.append(
                Answer(
                    facts={
                        **_facts(cell, entry.dataset, entry.dataset_hash, entry.facts["config"]),
                        "tasks": str(tasks.tasks),
                        "shape": f"{tasks.way}-way, {tasks.query} queries per class, meta-{tasks.split}",
                        f"{tasks.shot}-shot tasks": manifest,
                    },
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
                    facts=_facts(cell, run["dataset"], run["dataset_hash"], run["config"]),
                    name=run["method"],
                    budget=run["budget"],
                    runs=(int(run["run"]),),
                    seeds=(int(run["seed"]),),
                    config=run["config"],
                    reason=f"{run['status']}: {run['reason']}",
                )
            )
    return found


def _of(entry: Entry, seeds: Sequence[int]) -> tuple[int, ...]:
    return tuple(run for seed, run in zip(entry.seeds, entry.runs) if seed in seeds)


def _facts(cell: Cell, dataset: str, dataset_hash: str, config: Mapping[str, Any]) -> dict[str, str]:
    """What every run of a table must agree on, as far as it has it and the cell does not set it."""
    facts = {"dataset": dataset}
    if dataset_hash:
        facts["content"] = dataset_hash
    for group, key, words in LENGTHS:
        length = setting(config, f"budget.{key}")
        if group in config and length is not None and f"budget.{key}" not in cell.settings:
            facts[words.format(title=_title(config, group))] = str(length)
    return facts


def _title(config: Mapping[str, Any], group: str) -> str:
    return str(setting(config, f"{group}.card.title") or group)


def changes(name: str) -> dict[str, str]:
    """``a,b.c=1`` -> {b.c: 1}: the settings that the user changed, which a run's name tells."""
    return dict(part.split("=", 1) for part in re.split(r",(?=[\w.]+=)", name)[1:])


def _with_changes(answers: Mapping[int, list[Answer]], cells: Sequence[Cell]) -> dict[int, list[Answer]]:
    """Settings that some run of the experiment changed tell the others apart from it: they have the default."""
    names: set[str] = set()
    for i, found in answers.items():
        own = {key.removeprefix("method.") for key in cells[i].settings}
        names |= {key for answer in found for key in changes(answer.name) if key not in own}
    told = {}
    for i, found in answers.items():
        own = {key.removeprefix("method.") for key in cells[i].settings}
        told[i] = [
            _with(answer, {key: changes(answer.name).get(key, "default") for key in names - own if _has(answer, key)})
            for answer in found
        ]
    return told


def _has(answer: Answer, key: str) -> bool:
    """Whether the run has the setting, which a name tells without ``method.`` or ``dataset.``."""
    return key in changes(answer.name) or any(
        setting(answer.config, full) is not None for full in (key, f"method.{key}")
    )


def _with(answer: Answer, facts: Facts) -> Answer:
    return replace(answer, facts={**answer.facts, **facts})


def _tell_apart(answers: Mapping[int, list[Answer]]) -> dict[int, list[Answer]]:
    """Finished runs of one cell that agree on everything known but are two rows of a leaderboard."""
    told: dict[int, list[Answer]] = {}
    for i, found in answers.items():
        alike: dict[Bundle, list[Answer]] = defaultdict(list)
        for answer in found:
            if answer.estimate is not None:
                alike[_key(answer.facts)].append(answer)
        told[i] = []
        for answer in found:
            others = alike[_key(answer.facts)] if answer.estimate is not None else []
            if len(others) > 1:
                by_budget = len({other.budget for other in others}) == len(others)
                answer = _with(
                    answer, {"recorded as": answer.budget if by_budget else f"{answer.name}, {answer.budget}"}
                )
            told[i].append(answer)
    return told


def _key(facts: Facts) -> Bundle:
    return tuple(sorted(facts.items()))


def _agree(a: Facts, b: Facts) -> bool:
    return all(b.get(name, value) == value for name, value in a.items())


Bundle = tuple[tuple[str, str], ...]
"""The facts of a training, in a fixed order."""
Chosen = dict[int, tuple[Answer, tuple[str, ...]]]
"""Cell -> its answer, and the reasons of its runs that are not finished."""


def _trainings(answers: Mapping[int, list[Answer]], counts: Sequence[bool]) -> tuple[list[Chosen], list[Chosen]]:
    """Answers in as few tables as agree, the fullest first; and those that fill one cell only, if others fill more.

    What agrees with several tables and holds no cell against another answer stands in each of them. Floors and ceilings
    that fit none are single cells.
    """
    bundles: dict[Bundle, dict[int, list[Answer]]] = defaultdict(lambda: defaultdict(list))
    for i, found in answers.items():
        for answer in found:
            bundles[_key(answer.facts)][i].append(answer)

    def weight(filled: Iterable[int]) -> int:
        return sum(counts[i] for i in filled)

    def order(key: Bundle) -> tuple[Any, ...]:
        done = any(answer.estimate is not None for found in bundles[key].values() for answer in found)
        return (not done, -weight(bundles[key]), [-float(value) for _, value in key if value.isdigit()], key)

    tables: list[tuple[dict[str, str], dict[int, list[Answer]]]] = []

    def join(key: Bundle, facts: dict[str, str], filled: dict[int, list[Answer]]) -> None:
        facts.update(key)
        for i, found in bundles[key].items():
            filled.setdefault(i, []).extend(found)

    def fits(key: Bundle, facts: Facts, filled: Mapping[int, list[Answer]]) -> bool:
        # A run that is not finished joins those that are: its cell shows both.
        finished = {i for i, found in bundles[key].items() if any(answer.estimate is not None for answer in found)}
        return _agree(dict(key), facts) and not finished & set(filled)

    ordered = sorted(bundles, key=order)
    homes: dict[Bundle, int] = {}
    for key in (key for key in ordered if weight(bundles[key])):
        homes[key] = next((n for n, table in enumerate(tables) if fits(key, *table)), len(tables))
        if homes[key] == len(tables):
            tables.append(({}, {}))
        join(key, *tables[homes[key]])
    several = any(weight(filled) > 1 for _, filled in tables)
    small = [n for n, (_, filled) in enumerate(tables) if several and weight(filled) <= 1]
    for key in ordered:
        for n, table in enumerate(tables):
            if n not in small and homes.get(key) != n and fits(key, *table) and not set(bundles[key]) & set(table[1]):
                join(key, *table)
                homes.setdefault(key, n)
    chosen = [{i: _choice(found) for i, found in filled.items()} for _, filled in tables]
    apart = [{i: _choice(found) for i, found in bundles[key].items()} for key in ordered if key not in homes]
    return [one for n, one in enumerate(chosen) if n not in small], [chosen[n] for n in small] + apart


def _choice(found: Sequence[Answer]) -> tuple[Answer, tuple[str, ...]]:
    best = next((answer for answer in found if answer.estimate is not None), found[0])
    finished = set(best.seeds) if best.estimate is not None else set()
    seeds: dict[str, list[int]] = defaultdict(list)
    for answer in sorted(found, key=lambda answer: answer.seeds):
        if answer.reason and answer.seeds[0] not in finished:
            seeds[answer.reason].append(answer.seeds[0])
    if len(seeds) == 1 and not finished:
        return best, tuple(seeds)
    return best, tuple(f"training seed {', '.join(map(str, which))} {reason}" for reason, which in seeds.items())


def _table(
    arrangement: Arrangement, cells: Sequence[Sequence[Cell]], chosen: Chosen, number: int, frames: Frames
) -> ArrangedTable:
    width = len(arrangement.columns)
    rows = [
        tuple(_arranged(cell, chosen.get(y * width + x), arrangement, frames) for x, cell in enumerate(row))
        for y, row in enumerate(cells)
    ]
    flat = [cell for row in cells for cell in row]
    answered = [(flat[i], answer) for i, (answer, _) in sorted(chosen.items())]
    comparable = all(_comparable(arrangement, cell, answer) for cell, answer in answered)
    return ArrangedTable(
        arrangement=arrangement,
        number=number,
        dataset=answered[0][1].facts["dataset"],
        rows=tuple(row for row in rows if _is_shown(arrangement, row, comparable)),
        training=_told(arrangement, answered),
        comparable=comparable,
    )


def _is_shown(arrangement: Arrangement, row: Sequence[ArrangedCell], comparable: bool) -> bool:
    """A value of a setting that was not run has a row where the paper's number stands beside it."""
    each, value = arrangement.each, row[0].cell.row.value
    if each is None or value is None or any(cell.state != "not run" for cell in row):
        return True
    return comparable and any(same(value, known) for known in each.values)


def _arranged(
    cell: Cell, chosen: tuple[Answer, tuple[str, ...]] | None, arrangement: Arrangement, frames: Frames
) -> ArrangedCell:
    number, facts = printed(cell.published, cell.shot or 1) if cell.published else (None, {})
    if chosen is None:
        return ArrangedCell(cell, "not run", number, facts, measures=(None,) * len(arrangement.measures))
    answer, reasons = chosen
    if not _comparable(arrangement, cell, answer):
        number, facts = None, {}
    runs = frames.runs.set_index("run").loc[list(answer.runs)]
    measures = []
    for measure in arrangement.measures:
        noted = [notes.get(measure.note, cell.row.notes.get(measure.note)) for notes in runs["notes"]]
        known = [float(value) for value in noted if isinstance(value, int | float)]
        measures.append(float(np.mean(known)) if known and len(known) == len(noted) else None)
    samples = Path(runs.sort_values("seed")["path"].iloc[0]) / "samples.npy"
    return ArrangedCell(
        cell=cell,
        state="done" if answer.estimate is not None else "failed",
        printed=number,
        facts=facts,
        answer=answer,
        measures=tuple(measures),
        reasons=reasons,
        samples=samples if answer.estimate is not None and samples.exists() else None,
    )


def _comparable(arrangement: Arrangement, cell: Cell, answer: Answer) -> bool:
    """Whether the paper's number is of the same dataset, split and task shape."""
    if not _is_of(answer.facts["dataset"], arrangement):
        return False
    if answer.tasks is None or not cell.published:
        return True
    _, facts = printed(cell.published, cell.shot or 1)
    shape = (answer.tasks.split, answer.tasks.way, answer.tasks.query)
    wanted = ("test", int(facts.get("way") or shape[1]), int(facts.get("k_val") or shape[2]))
    return shape == wanted


def _told(arrangement: Arrangement, answered: Sequence[tuple[Cell, Answer]]) -> tuple[str, ...]:
    """Phrases on a training: every length, with that of the experiment where it differs; what was changed."""
    told: dict[str, str] = {}
    own = {key for cell, _ in answered for key in cell.settings}
    for cell, answer in answered:
        for group, key, words in LENGTHS:
            name = words.format(title=_title(answer.config, group))
            if name not in answer.facts or name in told or f"budget.{key}" in own or cell.row.baseline:
                continue
            planned = _planned(arrangement, key, answer.config)
            there = answer.facts[name]
            told[name] = f"{there} {name.replace('epochs', 'epoch') if there == '1' else name}" + (
                "" if planned in (None, there) else f" instead of {planned}"
            )
    for _, answer in answered:
        told |= {f"dataset.{key}": f"dataset.{key}={value}" for key, value in changes(answer.facts["dataset"]).items()}
        for name, value in changes(answer.name).items():
            if answer.facts.get(name) == value:
                told[name] = f"{name}={value}"
        if "recorded as" in answer.facts:
            told[answer.facts["recorded as"]] = f"recorded as {answer.facts['recorded as']}"
    scored = next((answer for _, answer in answered if answer.tasks is not None), None)
    return (*told.values(), *([_tasks(arrangement, scored)] if scored is not None else ()))


def _tasks(arrangement: Arrangement, answer: Answer) -> str:
    assert answer.tasks is not None
    planned = _planned(arrangement, "evaluation_tasks", answer.config)
    there = str(answer.tasks.tasks)
    return f"scored on {there} tasks" + ("" if planned in (None, there) else f" instead of {planned}")


def _planned(arrangement: Arrangement, key: str, config: Mapping[str, Any]) -> str | None:
    """The length that the experiment itself asks for; None where it cannot be said."""
    given = dict(text.split("=", 1) for text in arrangement.overrides)
    value = given.get(f"budget.{key}", catalogue.raw("budget", arrangement.budget).get(key))
    if isinstance(value, str) and "${" in value:
        groups = {group: config.get(group) or {} for group, *_ in LENGTHS}
        try:
            value = OmegaConf.to_container(OmegaConf.create({**groups, "value": value}), resolve=True)
        except Exception as error:
            raise BenchError(f"configs/budget/{arrangement.budget}.yaml: {key} cannot be resolved: {error}") from error
        value = value["value"] if isinstance(value, Mapping) else None
    return None if value is None else str(value)


def row_headings(table: ArrangedTable) -> list[tuple[str, list[tuple[Line, tuple[ArrangedCell, ...]]]]]:
    """Neighbouring rows of one group under its heading; rows without a run stand in the first table only."""
    found: list[tuple[str, list[tuple[Line, tuple[ArrangedCell, ...]]]]] = []
    for row in table.rows:
        if table.number > 1 and all(cell.state == "not run" for cell in row):
            continue
        line = row[0].cell.row
        if not found or found[-1][0] != line.group:
            found.append((line.group, []))
        found[-1][1].append((line, row))
    return found
