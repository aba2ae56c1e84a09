"""What a network of the user's is there for, and one that has been opened."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from bench.basics.errors import BenchError


@dataclass(frozen=True, slots=True)
class Role:
    """The words of a network's messages, and the dimensions of its input."""

    noun: str
    """Also the configuration group that its settings are in."""
    takes: str
    takes_shape: str
    gives: str
    gives_shape: str
    dimensions: int


GENERATOR = Role("generator", "latents", "[n, latent_dim]", "images", "[n, C, H, W]", 2)
ENCODER = Role("encoder", "images", "[n, C, H, W]", "embeddings", "[n, d]", 4)


@dataclass(frozen=True, slots=True)
class Opened:
    """A network: ``run`` takes a float32 batch; ``shape`` of it is declared, with None for what is left open."""

    run: Callable[[Tensor], Any]
    shape: tuple[int | None, ...] | None = None


def declared(name: str, role: Role, shape: list[Any]) -> tuple[int | None, ...]:
    """A declared input shape; a dynamic size is None. BenchError where it has other dimensions than the role's."""
    if len(shape) != role.dimensions:
        shown = ", ".join(str(size) if isinstance(size, int) else "n" for size in shape)
        raise BenchError(
            f"{name} takes inputs [{shown}]; it must take {role.takes} {role.takes_shape}: export it in a wrapper"
        )
    return tuple(size if isinstance(size, int) else None for size in shape)


@contextmanager
def quiet() -> Iterator[None]:
    """Without the warnings of torch's loaders and of a stranger's network: what is wrong becomes one sentence."""
    log = logging.getLogger("torch.export")
    before = log.disabled
    log.disabled = True
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        log.disabled = before
