"""``--json``: one document on the standard output, and nothing else there."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import math
import sys
from collections.abc import Iterator, Mapping
from typing import Annotated, Any

import typer

FLAG = "--json"

Json = Annotated[
    bool,
    typer.Option(
        FLAG, help="Write one JSON document to the standard output, and nothing else there; see bench/README.md."
    ),
]


@contextlib.contextmanager
def alone(asked: bool) -> Iterator[None]:
    """While something is found out for a document, what other people's code prints goes to the standard error."""
    with contextlib.redirect_stdout(sys.stderr) if asked else contextlib.nullcontext():
        yield


def write(document: Any) -> None:
    """To the standard output: numbers as they are, what is no finite number as null."""
    typer.echo(json.dumps(plain(document), indent=2))


def plain(value: Any) -> Any:
    """Dataclasses as objects, tuples as lists, paths and other things as their texts."""
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {one.name: plain(getattr(value, one.name)) for one in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(one) for one in value]
    return str(value)
