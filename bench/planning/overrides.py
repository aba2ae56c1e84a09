"""Settings as a user types them: ``key=value``, several values at once, and whether a value is of the right type."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bench.basics.errors import BenchError
from bench.planning import catalogue
from bench.planning.values import setting

FLAGS = {
    "dataset": "--dataset",
    "method": "--methods",
    "budget": "--budget",
    "shots": "--shots",
    "seed": "--seeds",
}
"""Keys that have a flag of their own, and so are not accepted as overrides."""

UNNAMED = (
    *("way", "query", "split", "evaluation_seed"),  # the manifest tells these apart
    *("dataset.name", "dataset.path", "dataset.splits", "dataset.data_dir"),  # the content hash does
    *(
        "budget.evaluation_tasks",
        "budget.checkpoint_seconds",
        "budget.validate_every",
        "budget.generator_snapshots",
        "budget.validation_tasks",
    ),
)
"""Overrides that do not make a run another row of a leaderboard."""

MOST_COMBINED = 1000
"""Combinations of swept values in one command; more is a slip of the keyboard."""


@dataclass(frozen=True, slots=True)
class Override:
    """``key=value`` as the user typed it."""

    key: str
    text: str

    @property
    def value(self) -> str:
        """What stands behind the equals sign."""
        return self.text.split("=", 1)[1]

    @property
    def is_group(self) -> bool:
        """Whether it chooses an option of a group, such as ``backbone=conv4``."""
        return self.key in catalogue.groups()


def parse_overrides(texts: Iterable[str]) -> list[Override]:
    """Check the form of ``key=value`` arguments; the last of several for one key wins."""
    found: dict[str, Override] = {}
    for text in texts:
        key, equals, value = text.partition("=")
        key = key.lstrip("+")
        if not equals or not key:
            raise BenchError(f"{text!r} is not an override; write key=value, for example method.alpha=0.4")
        if key in FLAGS:
            raise BenchError(f"{text!r}: use the flag {FLAGS[key]} {value}")
        found[key] = Override(key, f"{key}={value}")
    return list(found.values())


def sweep(overrides: Sequence[Override]) -> list[list[Override]]:
    """Every combination of the values of settings that are given several: ``method.alpha=0.2,0.4``, ``range(1,4)``.

    BenchError for a setting in which the runs of one command cannot differ.
    """
    choices: list[list[Override]] = []
    for override in overrides:
        parsed = _hydra_override(override)
        if not parsed.is_sweep_override():
            choices.append([override])
            continue
        if override.key in UNNAMED or override.key.split(".")[0] == "dataset":
            raise BenchError(f"{override.text!r}: {override.key} is one value for all runs of a command; give one")
        if not (parsed.is_choice_sweep() or parsed.is_discrete_sweep()):
            raise BenchError(f"{override.text!r} names no values; write them out, as in {override.key}=1,2")
        choices.append([Override(override.key, f"{override.key}={one}") for one in parsed.sweep_string_iterator()])
        if (count := math.prod(map(len, choices))) > MOST_COMBINED:
            raise BenchError(f"{override.text!r} makes {count} combinations; at most {MOST_COMBINED} in one command")
    return [list(chosen) for chosen in itertools.product(*choices)]


def check_type(override: Override, values: Mapping[str, Any]) -> None:
    """A value must have the type of the default it replaces; a default of null accepts anything."""
    default = setting(values, override.key)
    if default is None:
        return
    given = _parsed(override)
    kinds: tuple[tuple[type, ...], str]
    if isinstance(default, bool):
        kinds = (bool,), "true or false"
    elif isinstance(default, int):
        # 1.0 is not accepted for an integer: it would be another key for the same run.
        kinds = (int,), "an integer"
    elif isinstance(default, float):
        kinds = (int, float), "a number"
    elif isinstance(default, str):
        kinds = (str,), "a word"
    else:
        kinds = (type(default),), f"a {type(default).__name__}"
    if (isinstance(given, bool) and not isinstance(default, bool)) or not isinstance(given, (*kinds[0], type(None))):
        raise BenchError(f"{override.text!r}: {override.key} takes {kinds[1]} (default {default!r}), not {given!r}")


def check_values(key: str, values: Sequence[str], default: Any) -> None:
    """Refuse a value of ``key`` that is not of the type of ``default``."""
    *parents, last = key.split(".")
    nested: Any = {last: default}
    for part in reversed(parents):
        nested = {part: nested}
    for value in values:
        check_type(Override(key, f"{key}={value}"), nested)


def check_finite(override: Override, values: Mapping[str, Any]) -> None:
    """No setting means anything as nan or inf, and a run could not be named by it."""
    value = setting(values, override.key)
    if any(
        isinstance(one, float) and not math.isfinite(one) for one in (value if isinstance(value, list) else [value])
    ):
        raise BenchError(f"{override.text!r} is not a finite number")


def as_float(key: str, values: dict[str, Any], defaults: Mapping[str, Any]) -> None:
    """``1`` for a setting that is a float is 1.0, also in a list of floats: one number, one key."""
    default, value = setting(defaults, key), setting(values, key)
    *parents, last = key.split(".")
    node = values
    for part in parents:
        node = node[part]
    if isinstance(default, float) and isinstance(value, int):
        node[last] = float(value)
    elif isinstance(default, list) and isinstance(value, list) and default and isinstance(default[0], float):
        node[last] = [float(one) if isinstance(one, int) else one for one in value]


def _parsed(override: Override) -> Any:
    return _hydra_override(override).value()


def _hydra_override(override: Override) -> Any:
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    try:
        return OverridesParser.create().parse_override(override.text)
    except HydraException as error:
        raise BenchError(
            f"{override.text!r} cannot be read: put quotes round a value with special characters"
        ) from error
