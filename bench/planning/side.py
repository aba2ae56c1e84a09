"""Side information of a run: what the cards of its method and of every component that it uses declare.

A card lists words of :data:`bench.basics.side.SIDE`, each for always or for settings:

    card:
      side: [class-size-prior, "rotations-as-classes if method.turns=true"]

A condition may name any setting of the run (``learner.batch_stats=transductive``, ``train.shot!=1 and method.k=20``):
so a variant or an override declares what it adds, and an override that takes it away is believed. Where that depends on
the images, ``context.note(unused_side=[...])`` takes back what a run did without. Imports no torch, no Hydra.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from functools import cache
from typing import Any

import yaml

from bench.basics.errors import BenchError
from bench.basics.side import OUTSIDE_DATA, OUTSIDE_LABELS, TRANSDUCTION, UNDECLARED, ordered
from bench.planning import catalogue, components
from bench.planning.cards import CONDITION
from bench.planning.values import same, setting
from bench.planning.yaml_files import read_yaml
from bench.records.record import RunRecord

UNUSED = "unused_side"
"""What of the declared a run did without, in the notes of its record."""


def of_run(
    values: Mapping[str, Any], group: str, outside_data: bool, transductive: bool | None, notes: Mapping[str, Any]
) -> tuple[str, ...]:
    """Of a run with that composed configuration and, so far, these notes. The learner that came out knows best whether
    it is transductive; before there is one (None) the cards say it.
    """
    declared = _declared(["method", *components.used_groups(values)], values)
    return _with_facts(declared, group, outside_data, transductive, notes)


def of_variant(one: catalogue.Variant) -> tuple[str, ...]:
    """Of a method by its exact name, at the settings that its files and its name give it, on no particular dataset."""
    values = by_default(one)
    outside = one.outside_data or any(node.get("outside_data", False) is not False for node in values.values())
    return _with_facts(_declared(values, values), one.group, outside, None, {})


def of_record(record: RunRecord) -> tuple[str, ...]:
    """As the record says it. One from before it said so has its settings and what its learner declared: the cards of
    today tell the rest, and :data:`UNDECLARED` stands for those of a method that is not installed.
    """
    card = record.method
    if card.side is not None:
        return ordered(card.side)
    config = catalogue.of_today(record.config)
    try:
        groups = ["method", *components.used_groups(config)]
        known = [_said_today(one, str(config[one].get("identity", config[one].get("_target_")))) for one in groups]
    except (BenchError, KeyError, TypeError, AttributeError):
        known = [None]
    found = {word for said in known for word in _holding(said or (), config)}
    if None in known:
        found.add(UNDECLARED)
    return _with_facts(found, card.group, card.outside_data, card.transductive, record.notes)


def _with_facts(
    found: set[str], group: str, outside_data: bool, transductive: bool | None, notes: Mapping[str, Any]
) -> tuple[str, ...]:
    found = found - set(_list(notes.get(UNUSED)))
    if transductive is not None:
        found = found - {TRANSDUCTION} | ({TRANSDUCTION} if transductive else set())
    facts = {OUTSIDE_DATA: outside_data, OUTSIDE_LABELS: group == "transfer"}
    return ordered(found | {word for word, holds in facts.items() if holds})


@cache
def _said_today(group: str, identity: str) -> tuple[str, ...] | None:
    """What the card of the component of that identity says; None where none of today is it."""
    for option in catalogue.options(group) if group in catalogue.groups() else ():
        values = catalogue.raw(group, option)
        if identity in (catalogue.identity(group, option), values.get("_target_")):
            return tuple(_list(values.get("card", {}).get("side")))
    return None


def by_default(one: catalogue.Variant) -> dict[str, Any]:
    """The components of a method as their files have them, with what its name fixes."""
    return with_options(one)[0]


def with_options(one: catalogue.Variant) -> tuple[dict[str, Any], dict[str, str]]:
    """The same, and group -> option of each."""
    root = read_yaml(catalogue.config_folders()[0] / "config.yaml")
    options = {group: str(name) for line in root["defaults"] if isinstance(line, dict) for group, name in line.items()}
    fixed = dict(text.split("=", 1) for text in one.overrides)
    options |= catalogue.raw("method", one.family).get("prefers") or {}
    options |= {key: option for key, option in fixed.items() if "." not in key} | {"method": one.family}
    values: dict[str, Any] = {"train": dict(root["train"])}
    waiting = ["method"]
    while waiting:
        group = waiting.pop()
        if group not in values and options.get(group) in catalogue.options(group):
            values[group] = catalogue.raw(group, options[group])
            waiting += values[group].get("uses", ())
    for key, text in fixed.items():
        head, _, name = key.partition(".")
        if name and head in values:
            values[head] = {**values[head], name: _read(text)}
    return values, {group: options[group] for group in values if group != "train"}


def _declared(groups: Iterable[str], values: Mapping[str, Any]) -> set[str]:
    """What the cards in a configuration say of it."""
    return {word for one in groups for word in _holding(_list(values[one].get("card", {}).get("side")), values)}


def _holding(items: Iterable[str], values: Mapping[str, Any]) -> set[str]:
    """The words whose conditions hold."""
    found = set()
    for item in items:
        word, _, condition = item.partition(" if ")
        if all(_holds(part, values) for part in condition.split(" and ") if part):
            found.add(word)
    return found


def _holds(condition: str, values: Mapping[str, Any]) -> bool:
    read = CONDITION.fullmatch(condition)
    if read is None:  # of a file that was never checked
        return True
    head, _, name = read["key"].partition(".")
    if name.partition(".")[0] not in (values.get(head) or ()):  # a setting that it does not have has no value
        return False
    return same(setting(values, read["key"]), _read(read["value"])) is not bool(read["differs"])


def _read(text: str) -> Any:
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError:
        return text


def _list(value: Any) -> Collection[str]:
    """Texts of a list that others wrote; none where it is no list."""
    return [one for one in value if isinstance(one, str)] if isinstance(value, list | tuple) else ()
