"""Importing an object of the user's that is, or makes, a network. Naming one runs its code, by the user's choice."""

from __future__ import annotations

import hashlib
import importlib
import inspect
import os
import sys
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from bench.basics.errors import BenchError
from bench.foreign import sources
from bench.foreign.roles import Role


def split(name: Any, role: Role) -> tuple[str, str]:
    """``package.module:attribute`` -> its two halves; the current folder can be imported from then on."""
    module, colon, attribute = name.partition(":") if isinstance(name, str) else ("", "", "")
    if not (colon and module and attribute and all(part.isidentifier() for part in f"{module}.{attribute}".split("."))):
        raise BenchError(
            f"{role.noun}.callable must be package.module:attribute, such as my_package:network, not {name!r}"
        )
    if os.getcwd() not in sys.path and "" not in sys.path:
        sys.path.append(os.getcwd())
    return module, attribute


def digest(name: Any, role: Role) -> str:
    """SHA-256 (hex) of the name and of the code behind it: see :mod:`bench.foreign.sources`. None of it is run."""
    module, _ = split(name, role)
    content = hashlib.sha256(f"{name}\n".encode())
    try:
        for part in sources.of(module):
            content.update(part)
    except BenchError as error:
        raise BenchError(f"{role.noun}.callable={name}: {error}") from error
    except Exception as error:
        raise BenchError(f"{role.noun}.callable={name}: {type(error).__name__}: {error}") from error
    return content.hexdigest()


def imported(name: Any, role: Role, device: torch.device) -> Callable[[Tensor], Any]:
    """The callable itself; of one that needs no argument, what it makes. Modules are put into evaluation mode, on
    ``device``. BenchError where it cannot be had or called.
    """
    module, attribute = split(name, role)
    try:
        found: Any = importlib.import_module(module)
        for part in attribute.split("."):
            found = getattr(found, part)
        if not callable(found):
            raise TypeError(f"{type(found).__name__} cannot be called")
        if inspect.isclass(found) or (not isinstance(found, nn.Module) and _needs_nothing(found)):
            found = found()
            if not callable(found):
                raise TypeError(f"it made {type(found).__name__}, which cannot be called")
    except Exception as error:
        reason = f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}"
        raise BenchError(f"{role.noun}.callable={name} cannot be had ({reason})") from error
    if isinstance(found, nn.Module):
        found = found.to(device).eval().requires_grad_(False)
    return found  # type: ignore[no-any-return]


def _needs_nothing(function: Any) -> bool:
    """Whether a callable can be called without arguments, so that it makes a network instead of being one."""
    parameters = inspect.signature(function).parameters.values()
    variadic = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return not any(one.kind in variadic or one.default is inspect.Parameter.empty for one in parameters)
