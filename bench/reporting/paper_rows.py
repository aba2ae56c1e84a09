"""What each row of a board was made of, for a paper: components, settings, lengths, what was changed."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from bench.basics.side import SIDE
from bench.leaderboard.board import Line
from bench.leaderboard.columns import labels_seen
from bench.leaderboard.rows import Row
from bench.leaderboard.table import Table
from bench.leaderboard.trained import FACETS
from bench.leaderboard.trainings import LENGTHS, changes
from bench.planning import catalogue
from bench.planning.catalogue import RESERVED
from bench.planning.places import OWN_PACKAGES
from bench.planning.values import plain, setting
from bench.reporting.bibliography import Bibliography
from bench.reporting.layout import differs

BY_HAND = "*"
"""Behind a value that was changed by hand, from this program's default or the length of the budget that is named."""


ELSEWHERE = "elsewhere, not on record"


@dataclass(frozen=True, slots=True)
class Component:
    """A backbone, learner, generator or the like, as one or more rows used it."""

    mark: str
    """``B1``."""
    group: str
    title: str
    settings: tuple[str, ...]
    """``inner_lr=0.4``."""
    parameters: int | None
    """Of a backbone without its last layer, where its runs say it."""
    cites: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class PaperRow:
    """One row of a board."""

    method: str
    """Exact."""
    name: str
    group: str
    cites: tuple[str, ...]
    lengths: tuple[str, ...]
    """``1,000* meta-iterations (budget paper: 30,000)``."""
    training_tasks: str
    """``5-way 1-shot, 5 queries`` (per class); empty where nothing is meta-trained on tasks."""
    components: tuple[str, ...]
    """Marks."""
    settings: tuple[str, ...]
    """Of the method itself."""
    labels: str
    side: tuple[str, ...]
    seeds: tuple[int, ...]
    tried: tuple[str, ...]
    """What else was tried of the method at this length."""
    code: str
    """Distribution and digest of an outside method."""


class Parts:
    """The components of all rows, each once."""

    def __init__(self, bibliography: Bibliography) -> None:
        self.bibliography = bibliography
        self.found: dict[str, Component] = {}

    def of(self, config: Mapping[str, Any], row: Row, parameters: int | None) -> tuple[str, ...]:
        """The marks of the components in the configuration of a row; a star where one was chosen by hand."""
        known = [group for group in FACETS if group in config]
        brought = [group for group in config if group not in (*FACETS, "dataset", "method", "budget", "train")]
        told = []
        for group in (*known, *brought):
            node = config[group]
            if isinstance(node, Mapping) and ("_target_" in node or "card" in node):
                mark = self._mark(group, node, row, parameters if group == "backbone" else None)
                told.append(mark + (BY_HAND if group in row.settings else ""))
        return tuple(told)

    def _mark(self, group: str, node: Mapping[str, Any], row: Row, parameters: int | None) -> str:
        own = {key: value for key, value in node.items() if key not in RESERVED}
        card = setting(node, "card") or {}
        title = str(card.get("title") or group)
        by_hand = sorted(key for key in own if f"{group}.{key}" in row.settings)
        key = json.dumps([group, title, node.get("identity", node.get("_target_")), own, by_hand], default=str)
        there = self.found.get(key)
        if there is not None and None in (there.parameters, parameters):  # not every run says it
            self.found[key] = replace(there, parameters=there.parameters or parameters)
        elif there is not None and there.parameters != parameters:
            key += f" {parameters}"  # of images of another size
        if key not in self.found:
            letter = group[:1].upper()
            number = 1 + sum(one.mark.startswith(letter) for one in self.found.values())
            self.found[key] = Component(
                mark=f"{letter}{number}",
                group=group,
                title=title,
                settings=tuple(f"{name}={_text(value)}{BY_HAND * (name in by_hand)}" for name, value in own.items()),
                parameters=parameters,
                cites=self.bibliography.cited(card, trusted(node), title),
            )
        return self.found[key].mark


def trusted(node: Mapping[str, Any]) -> bool:
    """Whether a component is this project's own."""
    return str(node.get("_target_") or "").partition(".")[0] in OWN_PACKAGES


def paper_rows(
    table: Table, configs: Mapping[int, Mapping[str, Any]], notes: Mapping[int, Any], parts: Parts
) -> list[PaperRow]:
    """Every row that stands on the board, in its order; a row of several sections once.

    configs, notes: run -> what its record says.
    """
    lines = {id(line.row): line for line in table.board.lines() if line.kind != "variant"}
    return [_row(line, table, configs[line.row.runs[0]], notes, parts) for line in lines.values()]


def _row(line: Line, table: Table, config: Mapping[str, Any], notes: Mapping[int, Any], parts: Parts) -> PaperRow:
    row, method = line.row, config.get("method")
    own = method if isinstance(method, Mapping) else {}
    card = setting(own, "card") or {"cite": row.cite}
    counts = [notes[run].get("parameters") for run in row.runs if isinstance(notes[run], Mapping)]
    parameters = next((one for one in counts if isinstance(one, int) and not isinstance(one, bool)), None)
    return PaperRow(
        method=row.method,
        name=table.board.name(row),
        group=row.group,
        cites=parts.bibliography.cited({"cite": row.cite, **card}, trusted(own), row.name),
        lengths=tuple(_lengths(row, config)),
        training_tasks=_training_tasks(row, config),
        components=parts.of(config, row, parameters),
        settings=tuple(
            f"{name}={_text(value)}{BY_HAND * (name in row.settings or f'method.{name}' in row.settings)}"
            for name, value in own.items()
            if name not in RESERVED
        ),
        labels=labels_seen(row),
        side=tuple(word for word in row.side if word in SIDE),
        seeds=row.seeds,
        tried=tuple(dict.fromkeys(differs(row, one.row) for one in line.folded)),
        code=_code(own),
    )


def _lengths(row: Row, config: Mapping[str, Any]) -> Sequence[str]:
    """Of each stage that it trained; what its budget or its paper has where that is another."""
    if config.get("external"):
        return [ELSEWHERE]
    changed, base = changes(row.budget, config), row.budget.partition(",")[0]
    planned = catalogue.raw("budget", base) if base in catalogue.options("budget") else {}
    told = []
    if row.trained.iterations:
        usual = planned.get("meta_iterations")
        by_hand = BY_HAND * ("meta_iterations" in changed)
        instead = f" (budget {base}: {usual:,})" if by_hand and isinstance(usual, int) else ""
        told.append(f"{row.trained.iterations:,}{by_hand} meta-iterations{instead}")
    for group, key, _ in LENGTHS:
        title = setting(config, f"{group}.card.title") or group
        count = dict(row.trained.epochs).get(str(title)) if group != "learner" else None
        if count is not None:
            papers = setting(config, f"{group}.card.paper_epochs")
            instead = f" (its paper: {papers:,})" if isinstance(papers, int) and papers != count else ""
            epochs = "epoch" if count == 1 else "epochs"
            told.append(f"{count:,}{BY_HAND * (key in changed)} {epochs} of {title}{instead}")
    return told or ([row.trained.text] if row.trained.text != "nothing is trained" else [])


def _training_tasks(row: Row, config: Mapping[str, Any]) -> str:
    shape = config.get("train")
    if not row.trained.iterations or "learner" not in config or not isinstance(shape, Mapping):
        return ""
    marks = {name: BY_HAND * (f"train.{name}" in row.settings) for name in ("way", "shot", "query")}
    way, shot, query = (f"{shape.get(name, '?')}{marks[name]}" for name in ("way", "shot", "query"))
    return f"{way}-way {shot}-shot, {query} queries"


def _code(node: Mapping[str, Any]) -> str:
    distribution, digest = (str(node.get(name) or "") for name in ("_distribution_", "_code_"))
    return ", ".join(part for part in (distribution, f"SHA-256 of its code {digest}" if digest else "") if part)


def _text(value: Any) -> str:
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_text, value))}]"
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key}: {_text(item)}" for key, item in value.items()) + "}"
    return plain(value)
