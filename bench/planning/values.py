"""Values of settings: where they stand in a nested configuration, when two are one, how one is printed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def setting(config: Mapping[str, Any], key: str) -> Any:
    """``a.b`` of a nested configuration; None where it is not there."""
    found: Any = config
    for part in key.split("."):
        found = found.get(part) if isinstance(found, Mapping) else None
    return found


def ways_of(values: Mapping[str, Any]) -> tuple[int, ...]:
    """Of how many classes the tasks are that a run answers: its ``ways``, or where it has none, its ``way`` alone."""
    return tuple(values.get("ways") or (values["way"],))


def same(a: Any, b: Any) -> bool:
    """Whether two values of a setting are one: 1 is 1.0, but true is not 1."""
    if isinstance(a, bool) or isinstance(b, bool) or a is None or b is None:
        return a is b or str(a).lower() == str(b).lower()
    try:
        return float(a) == float(b)
    except (TypeError, ValueError):
        return str(a) == str(b)


def plain(value: Any) -> str:
    """2.0 -> ``2``; other values as they are."""
    return f"{value:.10g}" if isinstance(value, float) else str(value)
