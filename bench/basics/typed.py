"""Dataclasses from JSON or YAML values: every field is checked against its annotation."""

from __future__ import annotations

import contextlib
import dataclasses
import math
import types
import typing
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, TypeVar

from bench.basics.errors import did_you_mean

T = TypeVar("T")

_WORDS = {str: "a text", int: "a whole number", float: "a finite number", bool: "true or false", types.NoneType: "null"}


def typed(kind: type[T], value: Any, where: str = "", *, ignore_unknown: bool = False) -> T:
    """An instance of the dataclass ``kind`` from a mapping; dataclasses in it likewise.

    ValueError, naming the field from ``where`` on, for a value of another type (true is no number, nan none either),
    a missing field, and an unknown one unless ``ignore_unknown``.
    """
    if not isinstance(value, Mapping):
        raise ValueError(f"{where or 'it'} must be a mapping, not {_shown(value)}")
    hints, fields = _hints(kind), {f.name: f for f in dataclasses.fields(kind) if f.init}  # type: ignore[arg-type]
    prefix = f"{where}." if where else ""
    for name in value:
        if name not in fields and not ignore_unknown:
            raise ValueError(f"{prefix}{name} is unknown.{did_you_mean(str(name), fields)}")
    found = {}
    for name, field in fields.items():
        if name in value:
            found[name] = fitting(hints[name], value[name], f"{prefix}{name}", ignore_unknown=ignore_unknown)
        elif field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            raise ValueError(f"{prefix}{name} is missing")
    return kind(**found)


def fitting(hint: Any, value: Any, where: str, *, ignore_unknown: bool = False) -> Any:
    """``value`` as the annotation ``hint`` wants it (lists become tuples). ValueError where it does not fit."""
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any:
        return value
    if origin in (types.UnionType, typing.Union):
        real = [one for one in inner if one is not types.NoneType]
        if value is None and len(real) < len(inner):
            return None
        if len(real) == 1:
            return fitting(real[0], value, where, ignore_unknown=ignore_unknown)
        for one in real:
            with contextlib.suppress(ValueError):
                return fitting(one, value, where, ignore_unknown=ignore_unknown)
        raise ValueError(f"{where} must be {' or '.join(map(_word, inner))}, not {_shown(value)}")
    if origin is typing.Literal:
        if value in inner and type(value) in {type(one) for one in inner}:
            return value
        raise ValueError(
            f"{where} must be one of {', '.join(map(str, inner))}, not {_shown(value)}."
            f"{did_you_mean(value, map(str, inner)) if isinstance(value, str) else ''}".rstrip(".")
        )
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        return typed(hint, value, where, ignore_unknown=ignore_unknown)
    if origin is tuple or origin is Sequence or origin is list:
        if not isinstance(value, list | tuple):
            raise ValueError(f"{where} must be a list, not {_shown(value)}")
        if origin is tuple and inner[1:] != (...,) and len(value) != len(inner):
            raise ValueError(f"{where} must be a list of {len(inner)}, not of {len(value)}")
        kinds = [inner[0]] * len(value) if origin is not tuple or inner[1:] == (...,) else list(inner)
        found = [
            fitting(one, item, f"{where}[{i}]", ignore_unknown=ignore_unknown)
            for i, (one, item) in enumerate(zip(kinds, value))
        ]
        return found if origin is list else tuple(found)
    if origin is Mapping or origin is dict:
        if not isinstance(value, Mapping):
            raise ValueError(f"{where} must be a mapping, not {_shown(value)}")
        return {
            fitting(inner[0], key, f"a key of {where}"): fitting(
                inner[1], item, f"{where}.{key}", ignore_unknown=ignore_unknown
            )
            for key, item in value.items()
        }
    if _is(hint, value):
        return float(value) if hint is float else value
    raise ValueError(f"{where} must be {_word(hint)}, not {_shown(value)}")


def _is(hint: Any, value: Any) -> bool:
    if hint is float:
        with contextlib.suppress(OverflowError):  # a whole number of 400 digits
            return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
        return False
    if hint is int:
        return isinstance(value, int) and not isinstance(value, bool)
    return isinstance(value, hint)


@cache
def _hints(kind: type[Any]) -> dict[str, Any]:
    return typing.get_type_hints(kind)


def _word(hint: Any) -> str:
    return _WORDS.get(hint, getattr(hint, "__name__", str(hint)))


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}…"
