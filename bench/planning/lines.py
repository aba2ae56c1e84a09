"""On which line of a YAML file a key stands, for the message that something is wrong with it."""

from __future__ import annotations

import re
from pathlib import Path

import yaml


def line_of(path: Path, key: str) -> int | None:
    """The line, from 1, of ``a.b.c``, or of as much of it as is there; None where nothing of it is."""
    try:
        node = yaml.compose(path.read_text(encoding="utf-8-sig"), Loader=yaml.SafeLoader)
    except (OSError, ValueError, yaml.YAMLError, RecursionError):
        return None
    found, rest = None, key
    while rest and isinstance(node, yaml.MappingNode):
        # A key may itself hold a point.
        inside = [
            (k, v) for k, v in node.value if rest == str(k.value) or rest.startswith((f"{k.value}.", f"{k.value}["))
        ]
        if not inside:
            break
        name, node = inside[0]
        found, rest = name.start_mark.line + 1, rest[len(str(name.value)) + 1 :]
    return found


def with_line(path: Path, reason: str) -> str:
    """``line 3: card.title …`` for a reason that begins with the key that it is about; as it is for any other."""
    key = re.match(r"[\w.-]+(\[\d+\])?", reason)
    line = line_of(path, key[0].rstrip(".")) if key else None
    return reason if line is None else f"line {line}: {reason}"


def yaml_fault(error: Exception) -> str:
    """What a parser says of a file, in one line, with the line that it stumbled over."""
    mark = getattr(error, "problem_mark", None)
    if mark is None:
        return " ".join(str(error).split())
    said = [getattr(error, "problem", None), getattr(error, "context", None)]
    return f"line {mark.line + 1}: {' '.join(' '.join(filter(None, said)).split())}"
