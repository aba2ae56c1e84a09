"""Configurations merged out of their files and what a user set: the only caller of Hydra."""

from __future__ import annotations

import copy
import dataclasses
import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from bench.basics.errors import BenchError
from bench.basics.precision import FLOAT32
from bench.planning import catalogue
from bench.planning.overrides import Override, quoted, value_of


@dataclass
class TrainSchema:
    """Shape of the tasks that methods meta-train on."""

    way: int = 5
    shot: int = 1
    query: int = 5


@dataclass
class BudgetSchema:
    """See :class:`bench.contracts.Budget`."""

    name: str = ""
    meta_iterations: int = 0
    generator_epochs: int = 0
    encoder_epochs: int = 0
    generator_snapshots: list[int] = field(default_factory=list)
    evaluation_tasks: int = 1000
    validate_every: int = 0
    validation_tasks: int = 100
    checkpoint_seconds: float = 15.0


@dataclass
class Schema:
    """The root of a composed configuration. Components are checked by their own classes."""

    dataset: dict[str, Any] = field(default_factory=dict)
    method: dict[str, Any] = field(default_factory=dict)
    budget: BudgetSchema = field(default_factory=BudgetSchema)
    way: int = 5
    shots: list[int] = field(default_factory=lambda: [1])
    query: int = 15
    split: str = "test"
    evaluation_seed: int = 0
    precision: str = FLOAT32
    train: TrainSchema = field(default_factory=TrainSchema)


def composed(overrides: Iterable[Override]) -> dict[str, Any]:
    """Compose with Hydra and resolve.

    Hydra takes a tenth of a second, and a sweep has a thousand configurations that differ in a number: values that no
    other setting refers to are put into what Hydra made of all the rest.
    """
    given = list(overrides)
    rest = [o for o in given if not _is_value(o)]
    referred: tuple[str, ...] | None = None
    if len(rest) < len(given) and all(o.is_group for o in rest):
        values, referred = _hydra_texts(tuple(o.text for o in rest))
    if referred is None:
        return copy.deepcopy(_hydra_texts(tuple(o.text for o in given))[0])
    alone = [o for o in given if o not in rest and _stands_alone(o.key, values, referred)]
    found = copy.deepcopy(_hydra_texts(tuple(o.text for o in given if o not in alone))[0])
    for override in alone:
        *parents, last = override.key.split(".")
        node = found
        for part in parents:
            node = node[part]
        node[last] = value_of(override)
    return found


def _is_value(override: Override) -> bool:
    """Whether it gives a setting one plain value."""
    if override.is_group or "${" in override.text or "???" in override.text:
        return False
    value = value_of(override)
    return isinstance(value, bool | int | str) or value is None or (isinstance(value, float) and math.isfinite(value))


def _stands_alone(key: str, values: Mapping[str, Any], referred: Sequence[str]) -> bool:
    """Whether a setting is there, is no group of settings, and nothing in the configuration refers to it."""
    node: Any = values
    for part in key.split("."):
        if not isinstance(node, Mapping) or part not in node:
            return False
        node = node[part]
    near = any(f"{key}.".startswith(f"{one}.") or f"{one}.".startswith(f"{key}.") for one in referred)
    return not isinstance(node, Mapping | list) and not near


def _references(container: Any) -> Iterable[str | None]:
    """Every name in interpolations such as ``${way}``; None for one that counts from where it stands, ``${.way}``."""
    if isinstance(container, dict | list):
        for item in container.values() if isinstance(container, dict) else container:
            yield from _references(item)
    elif isinstance(container, str) and "${" in container:
        yield from re.findall(r"\w+(?:\.\w+)*", container)
        if re.search(r"(?<!\w)\.", container):
            yield None


@lru_cache(maxsize=512)
def _hydra_texts(given: tuple[str, ...]) -> tuple[dict[str, Any], tuple[str, ...] | None]:
    """(what is composed, the settings that others refer to; None where that cannot be told).

    Hydra's global state is entered and left here.
    """
    from hydra import compose as hydra_compose
    from hydra import initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra
    from omegaconf import OmegaConf, open_dict

    own, *others = catalogue.config_folders()
    texts = [*given, f"hydra.searchpath=[{','.join(quoted(f'file://{one}') for one in others)}]"]
    GlobalHydra.instance().clear()
    try:
        with initialize_config_dir(config_dir=str(own), version_base="1.3"):
            config = hydra_compose(config_name="config", overrides=texts, return_hydra_config=True)
            choices = dict(config.hydra.runtime.choices)
            with open_dict(config):
                del config.hydra
            referred = tuple(_references(OmegaConf.to_container(config, resolve=False)))
            container = OmegaConf.to_container(config, resolve=True)
    except BenchError:
        raise
    # Libraries read here what other people wrote, and answer it with exceptions of all kinds.
    except Exception as error:
        first = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
        raise BenchError(f"the configuration cannot be composed: {first}") from error
    assert isinstance(container, dict)
    for group, option in choices.items():
        if group in container and group not in ("dataset", "budget"):  # of a dataset the content counts
            if not isinstance(container[group], dict):
                raise BenchError(f"{group} {option!r} is no mapping once it is composed: {container[group]!r}")
            container[group]["identity"] = catalogue.identity(group, option)
    _refuse_infinite(container)
    names = tuple(one for one in referred if one is not None)
    return {str(key): value for key, value in container.items()}, names if len(names) == len(referred) else None


def _refuse_infinite(value: Any, where: str = "") -> None:
    if isinstance(value, dict):
        for key, item in value.items():
            _refuse_infinite(item, f"{where}.{key}" if where else str(key))
    elif isinstance(value, list):
        for item in value:
            _refuse_infinite(item, where)
    elif isinstance(value, float) and not math.isfinite(value):
        raise BenchError(f"'{where}={value}' is not a finite number")


def check_schema(values: Mapping[str, Any]) -> None:
    """BenchError where the root of a configuration is not as :class:`Schema` says."""
    known = {f.name for f in dataclasses.fields(Schema)}
    told = {key: value for key, value in values.items() if key in known}
    # Of a component anything is accepted here, so that a thousand settings of one are checked once.
    components = {key for key in ("dataset", "method") if _is_plain(told.get(key))}
    try:
        text = json.dumps({key: {} if key in components else value for key, value in told.items()}, sort_keys=True)
    except (TypeError, ValueError):
        _check(told)
    else:
        _checked(text)


def _is_plain(node: Any) -> bool:
    return isinstance(node, dict) and all(isinstance(key, str) for key in node)


@lru_cache(maxsize=512)
def _checked(text: str) -> None:
    _check(json.loads(text))


def _check(told: Mapping[str, Any]) -> None:
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    try:
        OmegaConf.merge(OmegaConf.structured(Schema), dict(told))
    except OmegaConfBaseException as error:
        raise BenchError(f"the configuration is wrong: {str(error).splitlines()[0]}") from error
