"""Which of the libraries that we compare with are here. How to install them: :mod:`bench.speed.measuring`."""

from __future__ import annotations

import importlib
import importlib.metadata
import warnings
from typing import Any

from bench.interop import torchmeta

NAMES = ("learn2learn", "higher", "torchopt", "torchmeta", "easyfsl")
_MODULES = {"easyfsl": "easyfsl.methods"}


def find() -> tuple[dict[str, Any], dict[str, str]]:
    """The libraries that can be imported, and for each of the others the reason why not."""
    found: dict[str, Any] = {}
    missing: dict[str, str] = {}
    for name in NAMES:
        try:
            importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            missing[name] = "not installed"
            continue
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of libraries that are years old
                torchmeta.import_torchvision()  # theirs too: a build that does not fit the torch beside it
                found[name] = (
                    torchmeta.load() if name == "torchmeta" else importlib.import_module(_MODULES.get(name, name))
                )
        except Exception as error:  # a library of years ago may fail in any way beside a torch of today
            missing[name] = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
    return found, missing


def versions(names: list[str]) -> dict[str, str]:
    """Version of each installed library."""
    return {name: importlib.metadata.version(name) for name in names}
