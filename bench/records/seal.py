"""Seals: a digest inside a JSON document over the rest of it, so that an edit or a flipped bit does not pass for data.

It guards against accidents, not against somebody who seals anew what he has changed.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from bench.basics.keys import content_key

FIELD = "seal"


def plain(value: Any) -> Any:
    """A JSON value of what a method notes: other things become texts, numbers that are none too."""
    if isinstance(value, Mapping):
        return {_text(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, float):
        return value if value == value and abs(value) != float("inf") else str(value)
    if isinstance(value, str):
        return _text(value)
    single = getattr(value, "item", None)  # a number of NumPy or PyTorch, or an array of one
    if callable(single) and getattr(value, "size", None) is not None:
        try:
            return plain(single())
        except (TypeError, ValueError, RuntimeError):
            pass
    return _text(repr(value)[:200])


def _text(value: Any) -> str:
    """Half a surrogate pair, as file names may hold, is no text that can be written."""
    return str(value).encode("utf-8", "backslashreplace").decode("utf-8")


def sealed(value: Mapping[str, Any]) -> dict[str, Any]:
    """The document with its seal. ValueError for values that JSON does not know."""
    document = json.loads(json.dumps({key: item for key, item in value.items() if key != FIELD}, allow_nan=False))
    return {**document, FIELD: content_key(document)}


def check_seal(value: Mapping[str, Any]) -> None:
    """ValueError unless the document is as it was when it was sealed."""
    rest = {key: item for key, item in value.items() if key != FIELD}
    if value.get(FIELD) != content_key(rest):
        raise ValueError("it was changed after it was written: its content does not match its seal")
