"""Settings as a user types them: ``key=value``, several values at once, and whether a value is of the right type."""

from __future__ import annotations

import itertools
import math
import re
import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import lru_cache
from typing import Any

from bench.basics.errors import BenchError
from bench.planning import catalogue, components
from bench.planning.values import setting

FLAGS = {
    "dataset": "--dataset",
    "method": "--methods",
    "budget": "--budget",
    "ways": "--ways",
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
        if not text.isprintable() and any("\ud800" <= letter <= "\udfff" for letter in text):
            raise BenchError(f"{text!a} is not in UTF-8; rename what it names")
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
            mend = f"--ways {override.value}" if override.key == "way" else "one"
            raise BenchError(f"{override.text!r}: {override.key} is one value for all runs of a command; give {mend}")
        if not (parsed.is_choice_sweep() or parsed.is_discrete_sweep()):
            raise BenchError(f"{override.text!r} names no values; write them out, as in {override.key}=1,2")
        texts = list(itertools.islice(_swept(parsed), 10 * MOST_COMBINED))
        choices.append([Override(override.key, f"{override.key}={one}") for one in texts])
        if (count := math.prod(map(len, choices))) > MOST_COMBINED:
            more = "more than " if len(texts) == 10 * MOST_COMBINED else ""
            raise BenchError(
                f"{override.text!r} makes {more}{count} combinations; at most {MOST_COMBINED} in one command"
            )
        if not count:
            raise BenchError(f"{override.text!r} names no values; write them out, as in {override.key}=1,2")
    return [list(chosen) for chosen in itertools.product(*choices)]


def _swept(parsed: Any) -> Iterator[str]:
    """The values of a sweep as texts. A range is counted in decimals: 0.1 and two steps of 0.1 are 0.3."""
    value = parsed.value()
    bounds = [getattr(value, name, None) for name in ("start", "stop", "step")]
    if not (parsed.is_range_sweep() and any(isinstance(one, float) for one in bounds)) or value.shuffle:
        yield from parsed.sweep_string_iterator()
        return
    start, stop, step = (Decimal(repr(one)) for one in bounds)
    if not step or not all(one.is_finite() for one in (start, stop, step)):
        return
    for count in itertools.count():
        at = start + count * step
        if not (at < stop if step > 0 else at > stop):
            return
        yield str(float(at))


def values_of(override: Override) -> list[str]:
    """Each of several values: ``key=1,2``, ``key=[1,2]``, ``key=range(1,3)``."""
    if not _hydra_override(override).is_sweep_override():
        return [part.strip() for part in override.value.strip("[]").split(",") if part.strip()]
    return [one.value for (one,) in sweep([override])]


def check_type(override: Override, values: Mapping[str, Any]) -> None:
    """A value must have the type of the default it replaces, and of what the class says where the default is null.

    Null is a value only where it is the default, or where the class says so.
    """
    default, given = setting(values, override.key), value_of(override)
    if default is None:
        if given is not None:
            _check_annotation(override, values, given)
        return
    key, text, wanted = override.key, override.text[:200], f"{_kind(default)} (default {default!r})"
    if given is None:
        head, _, rest = key.partition(".")
        target = setting(values, f"{head}._target_")
        if target is None or not components.accepts_null(str(target), rest):
            raise BenchError(f"{text!r}: {key} takes {wanted}, not null")
        return
    if not _like(default, given):
        raise BenchError(f"{text!r}: {key} takes {wanted}, not {_shown(given)}")
    for one in given if isinstance(default, list) and default else ():
        if not _like(default[0], one):
            wanted = f"a list, each of {_kind(default[0])} (default {default!r})"
            raise BenchError(f"{text!r}: {key} takes {wanted}, not {_shown(one)}")


def _shown(value: Any) -> str:
    whole = repr(value)
    return whole if len(whole) <= 60 else f"{whole[:19]}…, which is too large"


def _like(default: Any, given: Any) -> bool:
    if isinstance(given, bool) or isinstance(default, bool):
        return isinstance(given, bool) and isinstance(default, bool)
    if isinstance(default, float):
        # A whole number of 400 digits is none that a computation could take.
        return isinstance(given, float) or (isinstance(given, int) and abs(given) < 2**1000)
    # 1.0 is not accepted for an integer: it would be another key for the same run.
    return isinstance(given, type(default)) and not (isinstance(given, int) and abs(given) >= 2**63)


def _kind(default: Any) -> str:
    kinds = {bool: "true or false", int: "an integer", float: "a number", str: "a word", list: "a list"}
    return kinds.get(type(default), f"a {type(default).__name__}")


def _check_annotation(override: Override, values: Mapping[str, Any], given: Any) -> None:
    """Of a setting whose default is null: what the class says."""
    head, _, rest = override.key.partition(".")
    if (target := setting(values, f"{head}._target_")) is None:
        return
    try:
        components.check_annotation(components.resolve(str(target)), rest, given, override.key)
    except BenchError as error:
        name = f"; write {override.key}={quoted(str(given))} for a name"
        hint = name if "a text" in str(error) and isinstance(given, int | float) else ""
        raise BenchError(f"{override.text!r}: {error}{hint}") from error


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


def quoted(text: str) -> str:
    """Any text in the grammar of Hydra's overrides, where a backslash counts as such except before a quote."""
    return "'" + re.sub(r"(\\*)('|$)", lambda found: 2 * found[1] + ("\\'" if found[2] else ""), text) + "'"


def setting_text(key: str, text: str) -> str:
    """``key=text`` as Hydra reads it, with quotes only where it needs them."""
    return f"{key}={text if re.fullmatch(r'[A-Za-z0-9_./@:~-]+', text) else quoted(text)}"


def value_of(override: Override) -> Any:
    """The value as Hydra reads it: a number, a word, a list, a switch, null, or several for a sweep."""
    return _hydra_override(override).value()


@lru_cache(maxsize=4096)
def _hydra_override(override: Override) -> Any:
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    try:
        return OverridesParser.create().parse_override(override.text)
    except Exception as error:  # HydraException, and ValueError for an integer of 5000 digits
        example = shlex.quote(f"{override.key}={quoted(override.value)}")
        mend = f", as in {example}" if isinstance(error, HydraException) and "\n" not in override.text else ""
        raise BenchError(
            f"{override.text[:200]!r} cannot be read: put quotes round a value with special characters{mend[:300]}"
        ) from error
