"""Components: from a configured name to a class, and what of a configuration can change a result.

:func:`build` is the only way from a name to an object, :func:`component_settings` what a run's key is made of.
"""

from __future__ import annotations

import dataclasses
import importlib
from collections.abc import Mapping
from typing import Any

from bench.basics.errors import BenchError, did_you_mean
from bench.planning import catalogue, moved
from bench.planning.catalogue import RESERVED


def build(node: Mapping[str, Any], values: Mapping[str, Any]) -> Any:
    """The object that a component's configuration describes; the components it ``uses`` are built first.

    Only classes of this project and of installed plugins are accepted.
    """
    settings = {key: value for key, value in node.items() if key not in RESERVED}
    for group in node.get("uses", ()):
        settings[group] = build(values[group], values)
    target = node.get("_target_")
    cls = resolve(str(target))
    names = [f.name for f in dataclasses.fields(cls) if f.init] if dataclasses.is_dataclass(cls) else None
    if names is not None:
        for key in settings:
            if key not in names:
                raise BenchError(f"{target} has no setting {key!r}.{did_you_mean(key, names)}")
    try:
        return cls(**settings)
    except TypeError as error:
        raise BenchError(f"cannot build {target}: {error}") from error


def resolve(target: str) -> Any:
    """``package.module.Class`` -> the class, from an accepted package only."""
    module, _, name = target.rpartition(".")
    package = module.split(".")[0]
    if package not in catalogue.allowed_packages():
        raise BenchError(
            f"_target_ {target!r} is refused: only classes of {', '.join(catalogue.allowed_packages())} and of "
            "packages that register the entry point 'bench.plugins' can be configured"
        )
    try:
        return getattr(importlib.import_module(module), name)
    except ImportError as error:
        raise BenchError(f"_target_ {target!r} cannot be imported: {error}.{moved.hint(error)}") from error
    except AttributeError as error:
        raise BenchError(f"_target_ {target!r} cannot be found: {error}") from error


def component_settings(node: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """What of a component can change a result: identity, settings, version, and the same of all it uses.

    Of something of the user's own, such as a file, that is the content (``sha256``), not the place. A setting that was
    added to a component counts once it has another value than the one that changes nothing.
    """
    added = node.get("added", {})
    settings = {
        key: value
        for key, value in node.items()
        if key not in RESERVED and key != node.get("own") and not (key in added and value == added[key])
    }
    settings["_target_"] = node.get("identity", node.get("_target_"))
    settings["version"] = code_version(str(node.get("_target_")))
    for group in node.get("uses", ()):
        settings[group] = component_settings(values[group], values)
    return settings


def code_version(target: str) -> int:
    """``VERSION`` of the module of a class: its author raises it when the same settings give another result."""
    resolve(target)
    return int(getattr(importlib.import_module(target.rpartition(".")[0]), "VERSION", 1))


def used_groups(values: Mapping[str, Any]) -> set[str]:
    """The groups that the method needs, through those that its components need."""
    found: set[str] = set()
    waiting = list(values["method"].get("uses", ()))
    while waiting:
        group = waiting.pop()
        if group not in found:
            found.add(group)
            waiting += values[group].get("uses", ())
    return found


def artifact_groups(values: Mapping[str, Any]) -> list[str]:
    """The groups of a method whose training is kept in the artifact store and shared."""
    return sorted(group for group in used_groups(values) & {"generator", "encoder"} if not values[group].get("own"))


def outside_data(values: Mapping[str, Any]) -> bool:
    """Whether a component says that it was trained on images from outside the dataset."""
    return any(values[group].get("outside_data") is True for group in used_groups(values))
