"""What somebody's code changed in its process, which is everybody's."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch


class Process:
    """The state of this process at one moment: the global generators, and what is set for all of PyTorch."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._drawn, self._set = _generators(device), _settings()

    def drew_from(self) -> list[str]:
        """The global generators that stand elsewhere than they did."""
        return [name for name, state in _generators(self._device).items() if not _same(state, self._drawn[name])]

    def changed(self) -> list[str]:
        """``the number of threads of PyTorch from 2 to 7``, and so on."""
        return [
            f"{name} from {self._set[name]} to {now}" for name, now in _settings().items() if now != self._set[name]
        ]


def _generators(device: torch.device) -> dict[str, Any]:
    found: dict[str, Any] = {
        "PyTorch": torch.get_rng_state(),
        "NumPy": np.random.get_state(),  # noqa: NPY002
        "Python": random.getstate(),
    }
    if device.type == "cuda":
        found["PyTorch on the GPU"] = torch.cuda.get_rng_state(device)
    return found


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, torch.Tensor):
        return torch.equal(one, other)
    return all(np.array_equal(mine, yours) for mine, yours in zip(one, other, strict=True))


def _settings() -> dict[str, Any]:
    return dict(_each_setting())


def _each_setting() -> Iterator[tuple[str, Any]]:
    yield "the number of threads of PyTorch", torch.get_num_threads()
    yield "the default dtype of PyTorch", str(torch.get_default_dtype())
    yield "the default device of PyTorch", str(torch.get_default_device())
    yield "whether gradients are on", torch.is_grad_enabled()
    yield "whether algorithms are deterministic", torch.are_deterministic_algorithms_enabled()
