"""Every random draw has a name. No global random state anywhere.

A :class:`Seed` is a root number and a path of named axes; its value is a hash of both. Two draws with different
names are independent, and a draw never depends on which other draws were made before it, in what order, on what
device, or in which process. (Python's own ``hash`` is not used: it changes with ``PYTHONHASHSEED``.)
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:  # this module is also used by code that must not import torch
    import torch


@dataclass(frozen=True, slots=True)
class Seed:
    """A named source of randomness.

    >>> Seed(0).at("meta-train", 17) == Seed(0).at("meta-train").at(17)
    True
    """

    root: int
    path: tuple[str | int, ...] = ()

    def at(self, *axes: str | int) -> Seed:
        """The seed for a purpose below this one."""
        return Seed(self.root, (*self.path, *axes))

    def value(self) -> int:
        """An integer in [0, 2^63)."""
        # The type tag keeps the string "1" and the number 1 apart; the length keeps ("a", "b") and ("ab",) apart.
        parts = (f"{type(part).__name__}:{len(str(part))}:{part}" for part in (self.root, *self.path))
        digest = hashlib.sha256("/".join(parts).encode()).digest()
        return int.from_bytes(digest[:8], "big") >> 1

    def numpy(self) -> np.random.Generator:
        """A fresh NumPy generator."""
        return np.random.default_rng(self.value())

    def generator(self, device: str | torch.device = "cpu") -> torch.Generator:
        """A fresh torch generator on ``device``."""
        import torch

        return torch.Generator(device=device).manual_seed(self.value())
