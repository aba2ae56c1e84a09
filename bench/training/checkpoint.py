"""Training state on disk: tensors in safetensors, small facts as JSON in its header. Nothing is ever unpickled.

A file carries a digest over all that is in it, and says whose it is, so that neither a flipped bit nor the file of
another training is ever taken for what was trained.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from bench.basics.errors import BenchError
from bench.basics.files import Replacing, check_regular, replacing


def save_tensors(
    path: Path, tensors: Mapping[str, Tensor], meta: Mapping[str, Any], owner: str = "", how: Replacing = replacing
) -> None:
    """Write named tensors and JSON facts atomically. ``owner``: the key of what they belong to."""
    whole = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    facts = {"meta": json.dumps(dict(meta), sort_keys=True), "owner": owner}
    with how(path) as temporary:
        save_file(whole, temporary, metadata={**facts, "sha256": _digest(whole, facts)})


def load_tensors(path: Path, owner: str = "") -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read what :func:`save_tensors` wrote; BenchError names the file when it is damaged or of another ``owner``.

    Files of version 0.1 have no digest and no owner, and are taken as they are.
    """
    try:
        check_regular(path)
        with safe_open(path, framework="pt") as file:
            facts = dict(file.metadata() or {})
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        meta = json.loads(facts["meta"])
        if not isinstance(meta, dict):
            raise ValueError("its facts are no mapping")
        if set(facts) != {"meta"} and facts.pop("sha256", None) != _digest(tensors, facts):
            raise ValueError("its content does not match its checksum")
    except FileNotFoundError as error:
        raise BenchError(f"cannot read {path}: no such file") from error
    except OSError as error:
        raise BenchError(f"cannot read {path}: {error.strerror or error}") from error
    except (SafetensorError, ValueError, KeyError, RecursionError) as error:
        raise BenchError(f"{path} is damaged ({error}); delete it and run again") from error
    if owner and facts.get("owner", owner) not in (owner, ""):
        raise BenchError(f"{path} belongs to another training than this one; delete it and run again")
    return tensors, meta


def _digest(tensors: Mapping[str, Tensor], facts: Mapping[str, str]) -> str:
    """SHA-256 over the facts and every tensor with its name, type and shape."""
    digest = hashlib.sha256(json.dumps(dict(facts), sort_keys=True).encode())
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(f"\n{name} {tensor.dtype} {list(tensor.shape)}\n".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


class Checkpoint:
    """The resumable state of one training.

    ``tensors`` is everything that training changes (weights, optimiser state, losses so far), ``meta`` is JSON.
    A saved state with ``meta["complete"]`` is a finished training. ``owner``: the key of what is trained; the state of
    another is refused. ``how``: of whoever has a claim on the training, so that nobody else saves.
    """

    def __init__(self, path: Path, every_seconds: float = 15.0, owner: str = "", how: Replacing = replacing) -> None:
        self.path = path
        self.every_seconds = every_seconds
        self.owner = owner
        self._how = how
        self._last = time.monotonic()

    def load(self) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
        """The saved state, or None. A damaged file is an error, never silently ignored."""
        return load_tensors(self.path, self.owner) if self.path.exists() else None

    def due(self) -> bool:
        """Whether enough time has passed since the last save."""
        return time.monotonic() - self._last >= self.every_seconds

    def save(self, tensors: Mapping[str, Tensor], meta: Mapping[str, Any]) -> None:
        """Replace the saved state."""
        save_tensors(self.path, tensors, meta, self.owner, self._how)
        self._last = time.monotonic()

    def child(self, name: str) -> Checkpoint:
        """A checkpoint for another stage of the same run, in a file of its own."""
        path = self.path.with_name(f"{self.path.stem}-{name}{self.path.suffix}")
        return Checkpoint(path, self.every_seconds, f"{self.owner}/{name}" if self.owner else "", self._how)
