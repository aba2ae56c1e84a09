"""Public checkpoints: opened without running anything that is in them, and fitted into our networks by name and shape.

A ``.pth`` file is a pickle, which may run any code when it is read. Here torch reads it with ``weights_only``, which
admits tensors and plain containers and nothing else, after its pickles have been looked through for how much they would
make; ``.safetensors`` files hold tensors alone. A checkpoint is known by the SHA-256 of its file, so another file is
another run.
"""

from __future__ import annotations

import hashlib
import io
import pickle
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from bench.basics.errors import BenchError
from bench.datasets.pickle_bounds import Excessive, names_asked_for
from bench.foreign import reading
from bench.foreign.archives import Archive

MOST_STEPS = 2_000_000
"""Instructions of a checkpoint's pickle; large ones have a tenth of that."""
LEGACY_PICKLES = 5
"""Of a file of torch before 1.6: a magic number, a version, facts about the machine, the content, names of storages."""
SHOWN = 3
"""How many names of tensors a message gives."""


class Foreign:
    """What stands for an object of a class that a checkpoint names and nobody needs, such as its training settings."""

    def __setstate__(self, state: Mapping[str, Any]) -> None:
        self.__dict__.update(state)


def digest(weights: Any) -> str:
    """SHA-256 (hex) of the file; nothing of it is opened. BenchError where there is no such file."""
    path = _path(weights)
    try:
        return reading.sha256(path)
    except OSError as error:
        raise _unreadable(path, error) from error


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What a file holds. ``name`` is for messages; ``content`` is one tensor by name, or containers of such."""

    name: str
    content: Mapping[str, Any]

    def state(self, *parts: str, prefix: str = "") -> State:
        """The tensors in the first of ``parts`` that is there, else at the top; those below ``prefix``, without it."""
        found = next((self.content[part] for part in parts if part in self.content), self.content)
        if not isinstance(found, Mapping):
            raise BenchError(f"{self.name} must hold tensors by name there, not {type(found).__name__}")
        tensors = {
            str(key).removeprefix(prefix): value
            for key, value in found.items()
            if isinstance(value, Tensor) and str(key).startswith(prefix)
        }
        return State(self.name, tensors)


@dataclass(frozen=True, slots=True)
class State:
    """Tensors by name, of which a network's widths are read off before it is built."""

    name: str
    tensors: Mapping[str, Tensor]

    def size(self, key: str, axis: int, layout: str) -> int:
        """The length of ``axis`` of a tensor; BenchError, naming ``layout``, where that cannot be read off."""
        if key not in self.tensors:
            have = ", ".join(list(self.tensors)[:SHOWN]) or "none"
            raise BenchError(
                f"{self.name} is no {layout}: {key} is missing (it has {len(self.tensors)} tensors there: {have}"
                f"{', …' if len(self.tensors) > SHOWN else ''})"
            )
        shape = self.tensors[key].shape
        if not -len(shape) <= axis < len(shape):
            raise BenchError(f"{self.name} is no {layout}: {key} has the shape {list(shape)}")
        return shape[axis]

    def count(self, pattern: str) -> int:
        """How many of ``pattern.format(0)``, ``pattern.format(1)``, … there are, up to the first that is not."""
        number = 0
        while pattern.format(number) in self.tensors:
            number += 1
        return number

    def renamed(self, tensors: Mapping[str, Tensor]) -> State:
        """The same file's, under other names."""
        return State(self.name, tensors)

    def into(self, network: nn.Module, layout: str, ignored: Collection[str] = ()) -> None:
        """Put the tensors, as float32, into ``network`` (which may be on the meta device), and freeze it.

        Names and shapes must be exactly those of the network, but for names that end in one of ``ignored``. Else
        BenchError counts what is missing, extra and of another shape, and names the first few of each.
        """
        skipped = tuple(ignored)
        expected = {
            key: value for key, value in network.state_dict().items() if not (skipped and key.endswith(skipped))
        }
        have = {key: value for key, value in self.tensors.items() if not (skipped and key.endswith(skipped))}
        faults = [
            ("missing", [key for key in expected if key not in have]),
            ("too many", [key for key in have if key not in expected]),
            (
                "of another shape",
                [
                    f"{key} is {list(have[key].shape)}, not {list(value.shape)}"
                    for key, value in expected.items()
                    if key in have and have[key].shape != value.shape
                ],
            ),
        ]
        found = [f"{len(keys)} {what} ({_first(keys)})" for what, keys in faults if keys]
        if found:
            raise BenchError(f"{self.name} does not fit {layout}: of its tensors {', '.join(found)}")
        for key in expected:
            _check_numbers(self.name, key, have[key], expected[key])
        network.load_state_dict({key: have[key].detach().float() for key in expected}, strict=not skipped, assign=True)
        network.eval().requires_grad_(False)


def _check_numbers(name: str, key: str, value: Tensor, expected: Tensor) -> None:
    """BenchError unless ``value`` holds each of its numbers, and floating-point ones where those are expected."""
    if value.layout != torch.strided or value.is_nested:
        kind = f"a {str(value.layout).removeprefix('torch.').replace('_', ' ')} tensor"
    elif value.is_quantized:
        kind = "quantised"
    elif value.is_complex() or (expected.is_floating_point() and not value.is_floating_point()):
        kind = str(value.dtype).removeprefix("torch.")
    elif not value.is_meta and value.untyped_storage().nbytes() < value.numel() * value.element_size():
        kind = "a few numbers that stand for many"
    else:
        return
    raise BenchError(
        f"{name}: {key} is {kind}; plain dense floating-point numbers are needed, as state_dict() has them"
    )


def load(weights: Any, sha256: str | None, what: str, foreign: Collection[str] = ()) -> Checkpoint:
    """Open a checkpoint on the CPU. ``what`` it is to be, for messages, such as ``VGG-19 weights``.

    sha256: of the file, as it was when the run was planned. foreign: classes (``package.module.Class``) whose objects
    in the file are read as inert :class:`Foreign`; any other class is refused. BenchError in one sentence for a
    file that is missing, changed, damaged, no checkpoint, or one that would need code to be run.
    """
    path = _path(weights)
    name = f"{what} {path}"
    try:
        with reading.open_regular(path) as file:
            if sha256 is not None and hashlib.file_digest(file, "sha256").hexdigest() != sha256:
                raise BenchError(f"{name} has changed since this run was planned; run the same command again")
            file.seek(0)
            content = _open(file, path, name, foreign)
    except BenchError:
        raise
    except OSError as error:
        raise _unreadable(path, error) from error
    except Excessive as error:
        raise BenchError(f"{name} is not opened: it {error}, and no checkpoint needs that") from error
    except pickle.UnpicklingError as error:
        asked = re.search(r"GLOBAL ([\w.]+)", str(error))
        reason = f"names the class or function {asked[1]}" if asked else "holds more than tensors"
        raise BenchError(
            f"{name} {reason}, which would run code of its author when it is read, so it is not opened; where you "
            "trust it, save its tensors alone: torch.save(network.state_dict(), 'weights.pth')"
        ) from error
    except Exception as error:
        first = (str(error).splitlines() or [type(error).__name__])[0][:160]
        raise BenchError(f"{name} is damaged or no checkpoint ({first}); get it again") from error
    if not isinstance(content, Mapping):
        raise BenchError(f"{name} must hold tensors by name (a state dict), not {type(content).__name__}")
    if _any_meta(content):
        raise BenchError(f"{name} was saved from the meta device, so it holds shapes without numbers; get it again")
    return Checkpoint(name, content)


def _any_meta(content: Any) -> bool:
    """Whether a tensor in mappings within each other has no numbers."""
    if isinstance(content, Mapping):
        return any(_any_meta(value) for value in content.values())
    return isinstance(content, Tensor) and content.is_meta


def _open(file: BufferedReader, path: Path, name: str, foreign: Collection[str]) -> Any:
    if path.suffix == ".safetensors":
        from safetensors.torch import load as load_safetensors

        return load_safetensors(file.read())
    _vet(file, name)
    file.seek(0)
    inert: list[Any] = [(Foreign, name) for name in foreign]
    with torch.serialization.safe_globals(inert):
        return torch.load(file, map_location="cpu", weights_only=True)


def _vet(file: BufferedReader, name: str) -> None:
    """BenchError or Excessive for a file that would unpack to, or make, far more than it holds."""
    head = file.read(512)
    file.seek(0)
    if head[:2] == b"PK":
        again = "get it again, or save it again with torch.save"
        names_asked_for(io.BytesIO(Archive(name, file, again).read("data.pkl")), MOST_STEPS)
    elif head[257:262] == b"ustar":
        raise BenchError(
            f"{name} is a tar archive, which is not opened; unpack it, or, if it is a checkpoint of torch before 0.2, "
            "save its tensors again with a later torch"
        )
    else:
        for _ in range(LEGACY_PICKLES):
            names_asked_for(file, MOST_STEPS)


def _first(names: list[str]) -> str:
    return ", ".join(names[:SHOWN]) + (", …" if len(names) > SHOWN else "")


def _path(weights: Any) -> Path:
    if not isinstance(weights, str):
        raise BenchError(f"weights must name a file such as weights.pth, not {weights!r}")
    return reading.user_path(weights)


def _unreadable(path: Path, error: OSError) -> BenchError:
    if isinstance(error, FileNotFoundError):
        where = "" if path.is_absolute() else f" in {Path.cwd()}"
        return BenchError(f"there is no file {path}{where}; 'bench weights' says where public weights can be had")
    return BenchError(f"cannot read {path}: {error.strerror or error}")
