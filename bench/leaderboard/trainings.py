"""Which runs of an experiment share a table: those of one training.

A *training* is what runs of one table have in common: dataset and tasks, how long generators and meta-learners were
trained, settings changed by hand. Two trainings of one cell never share a table.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import PurePath
from typing import Any

from bench.leaderboard.score_table import EvaluationSet
from bench.leaderboard.statistics import Estimate
from bench.planning.paper_layout import Cell
from bench.planning.values import setting

LENGTHS = (
    ("learner", "meta_iterations", "meta-iterations"),
    ("generator", "generator_epochs", "epochs of {title}"),
    ("encoder", "encoder_epochs", "epochs of {title}"),
)
"""Group, its length in the budget, and what people call it."""

PRECISION = "precision"

Facts = Mapping[str, str]


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
    asked: bool = True
    """Whether it was asked the tasks of the cell; not where its learner cannot answer them."""


def facts_of(cell: Cell, dataset: str, dataset_hash: str, config: Mapping[str, Any]) -> dict[str, str]:
    """What every run of a table must agree on, as far as it has it and the cell does not set it."""
    facts = {"dataset": dataset}
    if dataset_hash:
        facts["content"] = dataset_hash
    for group, key, words in LENGTHS:
        length = setting(config, f"budget.{key}")
        if group == "learner" and setting(config, "method.card.group") == "floor":
            continue  # training from scratch begins at test: it fits a table of any length
        if group in config and length is not None and f"budget.{key}" not in cell.settings:
            facts[words.format(title=title_of(config, group))] = str(length)
    return facts


def longest(
    answers: Mapping[int, list[Answer]], cells: Sequence[Cell]
) -> tuple[dict[int, list[Answer]], list[tuple[int, Answer]]]:
    """The same answers, not told apart by how long what was trained, nor in which precision: of each cell that with the
    fewest changed settings, of those the longest, then the most seeds; and all others.
    """

    def changed(i: int, one: Answer) -> set[str]:
        return changes(one.name, one.config).keys() - _own(cells[i]) - {PRECISION}

    def order(i: int, one: Answer) -> tuple[Any, ...]:
        return -len(changed(i, one)), _length(one), len(one.seeds)

    kept: dict[int, list[Answer]] = {}
    shorter = []
    for i, found in answers.items():
        kept[i] = []
        seen = set()
        for one in sorted(found, key=lambda one: order(i, one), reverse=True):
            lengths = {words.format(title=title_of(one.config, group)) for group, _, words in LENGTHS}
            precision = changes(one.name, one.config).get(PRECISION)
            bare = replace(
                one,
                facts={name: told for name, told in one.facts.items() if name not in lengths},
                budget=f"{one.budget}, {PRECISION}={precision}" if precision else one.budget,
            )
            if one.estimate is None or _key(bare.facts) not in seen:
                kept[i].append(bare)
            else:
                recorded = f"{one.name}, {one.budget}" if changed(i, one) else one.budget
                shorter.append((i, _with(bare, {"recorded as": recorded})))
            seen |= {_key(bare.facts)} if one.estimate is not None else set()
    return kept, shorter


def _length(answer: Answer) -> tuple[float, ...]:
    """Of what was trained: meta-training first; what a method does not train counts nothing."""
    lengths = [setting(answer.config, f"budget.{key}") for _, key, _ in LENGTHS]
    used = [group == "learner" or group in answer.config for group, *_ in LENGTHS]
    return tuple(float(one) if use and isinstance(one, int | float) else 0.0 for one, use in zip(lengths, used))


def title_of(config: Mapping[str, Any], group: str) -> str:
    return str(setting(config, f"{group}.card.title") or group)


_CHANGE = re.compile(r",([\w.]+)=")


def changes(name: str, config: Mapping[str, Any]) -> dict[str, str]:
    """``a,b.c=1`` -> {b.c: 1}: the settings that the user changed, which a run's name tells.

    A value may itself look like a change (a file ``enc,v=2.pt2``); the configuration says where it ends.
    """
    found: dict[str, str] = {}
    here = _CHANGE.search(name)
    while here is not None:
        known = [text for text in _texts(here[1], config) if name.startswith(text, here.end())]
        following = _CHANGE.search(name, here.end() + max(map(len, known), default=0))
        found[here[1]] = name[here.end() : len(name) if following is None else following.start()]
        here = following
    return found


def _texts(key: str, config: Mapping[str, Any]) -> Iterable[str]:
    """What a name may say of a setting, which it writes without ``method.``, ``dataset.`` or ``budget.``."""
    for full in (key, *(f"{group}.{key}" for group in ("method", "dataset", "budget"))):
        if isinstance(value := setting(config, full), str):
            yield from (value, PurePath(value).name)


def with_changes(
    answers: Mapping[int, list[Answer]], cells: Sequence[Cell], but: Collection[str] = ()
) -> dict[int, list[Answer]]:
    """Settings that some run of the experiment changed tell the others apart from it: they have the default.

    but: settings that tell nothing apart.
    """
    names: set[str] = set()
    for i, found in answers.items():
        own = _own(cells[i])
        names |= {key for answer in found for key in changes(answer.name, answer.config) if key not in own}
    names -= set(but)
    told = {}
    for i, found in answers.items():
        own = _own(cells[i])
        told[i] = [
            _with(
                answer,
                {
                    key: changes(answer.name, answer.config).get(key, "default")
                    for key in names - own
                    if _has(answer, key)
                },
            )
            for answer in found
        ]
    return told


def _own(cell: Cell) -> set[str]:
    """What a cell says itself, in the words of a run's name: settings, and the components that these are of."""
    components = {key.partition(".")[0] for key in cell.settings}
    return {key.removeprefix("method.") for key in cell.settings} | components - {"method"}


def _has(answer: Answer, key: str) -> bool:
    """Whether the run has the setting, which a name tells without ``method.`` or ``dataset.``."""
    return key in changes(answer.name, answer.config) or any(
        setting(answer.config, full) is not None for full in (key, f"method.{key}")
    )


def _with(answer: Answer, facts: Facts) -> Answer:
    return replace(answer, facts={**answer.facts, **facts})


def tell_apart(answers: Mapping[int, list[Answer]]) -> dict[int, list[Answer]]:
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


def trainings(answers: Mapping[int, list[Answer]], counts: Sequence[bool]) -> tuple[list[Chosen], list[Chosen]]:
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
