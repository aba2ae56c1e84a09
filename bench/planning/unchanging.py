"""Listing the folders of configurations once for a whole request, however many runs there are in it."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

_kept: ContextVar[dict[Any, Any] | None] = ContextVar("kept", default=None)


@contextmanager
def unchanging() -> Iterator[None]:
    """Within the block the files of configurations are taken to stay as they were found when first looked at."""
    kept = _kept.get()
    token = _kept.set({} if kept is None else kept)
    try:
        yield
    finally:
        _kept.reset(token)


def once(look: Callable[P, T]) -> Callable[P, T]:
    """Within :func:`unchanging`, the same arguments have the same answer, which nobody may change."""

    @functools.wraps(look)
    def told(*arguments: P.args, **named: P.kwargs) -> T:
        kept = _kept.get()
        if kept is None or named:
            return look(*arguments, **named)
        key = (look, *arguments)
        if key not in kept:
            kept[key] = look(*arguments, **named)
        return kept[key]  # type: ignore[no-any-return]

    return told
