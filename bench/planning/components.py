"""Components: from a configured name to a class, and what of a configuration can change a result.

:func:`build` is the only way from a name to an object, :func:`component_settings` what a run's key is made of.
"""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import traceback
import types
import typing
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.basics.errors import BenchError, Diverged, did_you_mean
from bench.basics.precision import with_precision
from bench.basics.typed import fitting
from bench.planning import catalogue, code, moved, places
from bench.planning.catalogue import RESERVED
from bench.planning.lines import line_of


def build(node: Mapping[str, Any], values: Mapping[str, Any]) -> Any:
    """The object that a component's configuration describes; the components it ``uses`` are built first.

    Only classes of this project and of installed plugins are accepted; of a plugin whose code was edited since the
    configuration was composed, none is.
    """
    code.check(node)
    settings = {key: value for key, value in node.items() if key not in RESERVED}
    for group in node.get("uses", ()):
        settings[group] = build(values[group], values)
    target = node.get("_target_")
    cls = resolve(str(target))
    if unknown := unknown_setting(cls, settings):
        raise BenchError(f"{catalogue.said_in(str(target), unknown[0])}{target} {unknown[1]}")
    if isinstance(cls, type) and dataclasses.is_dataclass(cls):
        for key, value in settings.items():
            if value is not None or key not in node.get("uses", ()):
                check_annotation(cls, key, value)
    try:
        return cls(**settings)
    except (BenchError, Diverged):
        raise
    except Exception as error:  # classes are other people's, and refuse values in ways of their own
        raise BenchError(f"cannot build {target}: {_told(error)}{_unused(cls, settings)}") from error


def _unused(cls: Any, settings: Mapping[str, Any]) -> str:
    """What to do where a class wants a component that its file does not say it uses; else empty."""
    try:
        taken = inspect.signature(cls).parameters.values()
    except (TypeError, ValueError):
        return ""
    wanted = [one.name for one in taken if one.default is one.empty and one.name not in settings]
    groups = [name for name in wanted if name in catalogue.groups()]
    return f"; add {' and '.join(groups)} to 'uses' in its YAML file" if groups else ""


def unknown_setting(cls: Any, settings: Iterable[str]) -> tuple[str, str] | None:
    """(name, what is wrong with it) of the first of the settings that the class does not take."""
    try:
        taken = inspect.signature(cls).parameters.values()
    except (TypeError, ValueError):  # of a class that is none of Python's
        return None
    if any(one.kind is inspect.Parameter.VAR_KEYWORD for one in taken):
        return None
    names = [one.name for one in taken if one.kind is not inspect.Parameter.POSITIONAL_ONLY]
    wrong = next((key for key in settings if key not in names), None)
    if wrong is None:
        return None
    known = names if wrong in catalogue.groups() else [*names, *RESERVED]
    return wrong, f"has no setting {wrong!r}.{did_you_mean(wrong, known)}"


def check_annotation(cls: type[Any], key: str, value: Any, where: str = "") -> None:
    """BenchError unless ``value`` is what the class says of its setting; only plain types are compared."""
    hint = annotation(cls, key)
    if hint is None or not _is_plain(hint):
        return
    try:
        fitting(hint, value, where or f"{cls.__module__}.{cls.__qualname__}: {key}")
    except ValueError as error:
        raise BenchError(str(error)) from error


def accepts_null(target: str, key: str) -> bool:
    """Whether a class says that a setting of its own may be None."""
    hint = annotation(resolve(target), key)
    return hint in (types.NoneType, Any) or types.NoneType in typing.get_args(hint)


def annotation(cls: type[Any], key: str) -> Any:
    """The type of a setting of a dataclass; None where that cannot be known."""
    if not (isinstance(cls, type) and dataclasses.is_dataclass(cls)):
        return None
    if key not in [f.name for f in dataclasses.fields(cls) if f.init]:
        return None
    try:
        return typing.get_type_hints(cls).get(key)
    except Exception:  # a name that only a type checker knows
        return None


def _is_plain(hint: Any) -> bool:
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if origin in (types.UnionType, typing.Union, tuple, list, Sequence):
        return all(one is ... or _is_plain(one) for one in inner)
    return hint in (bool, int, float, str, types.NoneType)


def resolve(target: str) -> Any:
    """``package.module.Class`` -> the class, from an accepted package only."""
    catalogue.check_allowed(target)
    module, _, name = target.rpartition(".")
    package = module.split(".")[0]
    if package in places.BESIDE:
        places.claim(package)
    try:
        found = importlib.import_module(module)
    # Modules of other people may fail in any way; one that ends the program would end it for all methods.
    except (Exception, SystemExit) as error:
        hint = moved.hint(error) if isinstance(error, ImportError) else ""
        where = catalogue.said_in(target, "_target_")
        raise BenchError(f"{where}_target_ {target!r} cannot be imported: {_told(error)}.{hint}") from error
    try:
        return getattr(found, name)
    except AttributeError as error:
        hint = did_you_mean(name, [one for one, value in vars(found).items() if isinstance(value, type)])
        where = catalogue.said_in(target, "_target_")
        raise BenchError(f"{where}_target_ {target!r} cannot be found: {error}.{hint}") from error


def _told(error: BaseException) -> str:
    """An exception in one line, with the place in the code that raised it where that is not this program's."""
    text = " ".join(str(error).split())
    said = text if isinstance(error, ImportError | TypeError) and text else f"{type(error).__name__}: {text}"
    if isinstance(error, SyntaxError):
        return said
    loaders = ("<frozen", str(importlib.__file__))
    frames = [one for one in traceback.extract_tb(error.__traceback__) if not one.filename.startswith(loaders)]
    where = frames[-1] if frames else None
    if where is None or Path(where.filename).is_relative_to(places.ROOT / "bench"):
        return said
    return f"{said} ({where.filename}, line {where.lineno})"


def component_settings(node: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """What of a component can change a result: identity, settings, version, and the same of all it uses.

    Of something of the user's own, such as a file, that is the content (``sha256``), not the place. A setting that was
    added to a component counts once it has another value than the one that changes nothing. Of a component from outside
    its code counts too.
    """
    added = node.get("added", {})
    settings = {
        key: value
        for key, value in node.items()
        if key not in RESERVED and key != node.get("own") and not (key in added and value == added[key])
    }
    settings["_target_"] = node.get("identity", node.get("_target_"))
    settings["version"] = code_version(str(node.get("_target_")))
    if code.CODE in node:
        settings[code.CODE] = node[code.CODE]
    for group in node.get("uses", ()):
        settings[group] = component_settings(values[group], values)
    return settings


def code_version(target: str) -> int:
    """``VERSION`` of the module of a class: its author raises it when the same settings give another result."""
    resolve(target)
    version = getattr(importlib.import_module(target.rpartition(".")[0]), "VERSION", 1)
    if not isinstance(version, int):
        raise BenchError(f"VERSION of {target.rpartition('.')[0]} must be a whole number, not {version!r}")
    return version


def check_choices(family: str) -> None:
    """BenchError, with the line, for a variant of a method that chooses a component that there is not."""
    path = catalogue.options("method")[family]
    for axis, words in (catalogue.raw("method", family).get("variants") or {}).items():
        for word, items in words.items():
            for group, _, option in (item.partition("=") for item in items):
                if group in catalogue.groups() and option not in (known := catalogue.options(group)):
                    where = f"variants.{axis}.{word}"
                    hint = did_you_mean(option, known)
                    raise BenchError(
                        f"{path}, line {line_of(path, where)}: {where}: there is no {group} {option!r}.{hint}"
                    )


def used_groups(values: Mapping[str, Any]) -> set[str]:
    """The groups that the method needs, through those that its components need. BenchError for a circle."""
    found: set[str] = set()

    def add(group: str, users: tuple[str, ...]) -> None:
        node = values.get(group)
        if not isinstance(node, Mapping):
            raise BenchError(f"{users[-1]} uses {group!r}, for which nothing is chosen; choose it in its 'variants'")
        if group in users:
            raise BenchError(f"{' uses '.join((*users, group))}: components cannot use each other in a circle")
        found.add(group)
        for one in node.get("uses", ()):
            add(one, (*users, group))

    for group in values["method"].get("uses", ()):
        add(group, ("method",))
    return found


def artifact_groups(values: Mapping[str, Any]) -> list[str]:
    """The groups of a method whose training is kept in the artifact store and shared."""
    return sorted(group for group in used_groups(values) & {"generator", "encoder"} if not values[group].get("own"))


def artifact_settings(group: str, values: Mapping[str, Any]) -> dict[str, Any]:
    """What of a configuration can change what a group of :func:`artifact_groups` trains, but images, length, seed."""
    return with_precision(component_settings(values[group], values), values["precision"])


def artifact_code(values: Mapping[str, Any]) -> dict[str, Mapping[str, str]]:
    """What an artifact store must know of other people's code in a run: see :class:`bench.training.artifacts`."""
    trained = used_groups({**values, "method": {"uses": artifact_groups(values)}})
    return {"code": code.behind(values), "trained_by": code.behind({group: values[group] for group in trained})}


def outside_data(values: Mapping[str, Any]) -> bool:
    """Whether a component says that it was trained on images from outside the dataset."""
    return any(values[group].get("outside_data") is True for group in used_groups(values))
