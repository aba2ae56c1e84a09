"""Training state on disk: tensors in safetensors, small facts as JSON in its header. Nothing is ever unpickled."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from bench.basics.errors import BenchError
from bench.basics.files import replacing


def save_tensors(path: Path, tensors: Mapping[str, Tensor], meta: Mapping[str, Any]) -> None:
    """Write named tensors and JSON facts atomically."""
    whole = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    with replacing(path) as temporary:
        save_file(whole, temporary, metadata={"meta": json.dumps(dict(meta), sort_keys=True)})


def load_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read what :func:`save_tensors` wrote; BenchError names the file when it is damaged."""
    try:
        with safe_open(path, framework="pt") as file:
            meta = json.loads((file.metadata() or {})["meta"])
            return {name: file.get_tensor(name) for name in file.keys()}, meta  # noqa: SIM118
    except FileNotFoundError as error:
        raise BenchError(f"cannot read {path}: no such file") from error
    except (SafetensorError, OSError, ValueError, KeyError) as error:
        raise BenchError(f"{path} is damaged ({error}); delete it and run again") from error


class Checkpoint:
    """The resumable state of one training.

    ``tensors`` is everything that training changes (weights, optimiser state, losses so far), ``meta`` is JSON.
    A saved state with ``meta["complete"]`` is a finished training.
    """

    def __init__(self, path: Path, every_seconds: float = 15.0) -> None:
        self.path = path
        self.every_seconds = every_seconds
        self._last = time.monotonic()

    def load(self) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
        """The saved state, or None. A damaged file is an error, never silently ignored."""
        return load_tensors(self.path) if self.path.exists() else None

    def due(self) -> bool:
        """Whether enough time has passed since the last save."""
        return time.monotonic() - self._last >= self.every_seconds

    def save(self, tensors: Mapping[str, Tensor], meta: Mapping[str, Any]) -> None:
        """Replace the saved state."""
        save_tensors(self.path, tensors, meta)
        self._last = time.monotonic()

    def child(self, name: str) -> Checkpoint:
        """A checkpoint for another stage of the same run, in a file of its own."""
        return Checkpoint(self.path.with_name(f"{self.path.stem}-{name}{self.path.suffix}"), self.every_seconds)
