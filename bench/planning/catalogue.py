"""The names a user can type: methods and their variants, datasets, budgets, experiments. Reads YAML only.

Every group is a folder of ``configs``; packages that register the entry-point group ``bench.plugins`` add theirs.
Importing this module imports neither torch nor Hydra, so that ``bench --help`` and ``bench list`` are instant.
"""

from __future__ import annotations

import fnmatch
import importlib.metadata
import importlib.resources
import itertools
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from bench.basics.errors import BenchError, did_you_mean

OWN_PACKAGES = ("bench", "methods", "baselines")

RESERVED = ("_target_", "identity", "card", "uses", "variants", "headline", "recommend", "defaults", "own", "added")
"""Keys of a component's YAML that are not settings of its class.

``identity`` is what stands for the component in the keys of its runs: it stays when the class moves to another module.

``own`` names the setting of a component that the user must give, because it names something of theirs such as a file.
``added`` are settings younger than the component, each with the value that does what was done before: with that value a
run keeps its key, so that records from before still count.
"""


@dataclass(frozen=True, slots=True)
class Variant:
    """One exact method name and what it stands for."""

    name: str
    family: str
    """The file stem, which is also the Hydra option of the group ``method``."""
    title: str
    group: str
    supervised: bool
    reference: bool
    """Whether every leaderboard shows it: a headline variant of a family that says so."""
    outside_data: bool
    cite: str
    overrides: tuple[str, ...]
    """What the name fixes, as Hydra overrides."""
    own: tuple[str, ...] = ()
    """Settings that only the user can give, such as ``generator.path``."""
    own_words: tuple[str, ...] = ()
    """The words of the name that need them: a glob takes the variant only if it has them too."""


@cache
def plugin_packages() -> tuple[str, ...]:
    """Top-level packages that installed plugins bring."""
    return tuple(
        sorted({entry.value.split(":")[0] for entry in importlib.metadata.entry_points(group="bench.plugins")})
    )


def allowed_packages() -> tuple[str, ...]:
    """Packages whose classes a configuration may name."""
    return OWN_PACKAGES + plugin_packages()


@cache
def config_folders() -> tuple[Path, ...]:
    """The project's ``configs`` folder, then those of plugins."""
    folders = [Path(str(importlib.resources.files("configs")))]
    folders += [_configs_of(package) for package in plugin_packages()]
    return tuple(folder for folder in folders if folder.is_dir())


def _configs_of(package: str) -> Path:
    return Path(str(importlib.resources.files(package))) / "configs"


def options(group: str) -> dict[str, Path]:
    """Name -> file of a group; the project's own names win over a plugin's."""
    found: dict[str, Path] = {}
    for folder in config_folders():
        for path in sorted((folder / group).glob("*.yaml")):
            found.setdefault(path.stem, path)
    return found


def groups() -> tuple[str, ...]:
    """The groups that Hydra composes."""
    return tuple(
        sorted({path.name for folder in config_folders() for path in folder.iterdir() if path.is_dir()}
               - {"experiment", "published", "__pycache__"})
    )  # fmt: skip


def raw(group: str, name: str) -> dict[str, Any]:
    """The YAML of one option, not composed. BenchError with a suggestion for an unknown name."""
    known = options(group)
    if name not in known:
        raise BenchError(
            f"unknown {group} {name!r}.{did_you_mean(name, known)} 'bench list {group}s' shows all {len(known)}"
        )
    return read_yaml(known[name])


def identity(group: str, option: str) -> str:
    """What stands for a component in the keys of its runs: what its YAML declares.

    One that declares nothing is known by the package that brings it and by its own name: ``my_package/method/mine``.
    """
    declared = raw(group, option).get("identity")
    return f"{_package_of(options(group)[option].parents[1])}/{group}/{option}" if declared is None else str(declared)


def declares(group: str, identity: str) -> bool:
    """Whether some component of the group declares it."""
    return any(raw(group, option).get("identity") == identity for option in options(group))


def _package_of(folder: Path) -> str:
    return next((name for name in plugin_packages() if _configs_of(name) == folder), "bench")


def of_today(config: Mapping[str, Any]) -> dict[str, Any]:
    """The configuration of a record as it would be written now: with identities, and with settings ``added`` since."""
    return {
        group: {**_since(group, str(node["_target_"])), **node}
        if isinstance(node, Mapping) and "_target_" in node
        else node
        for group, node in config.items()
    }


@cache
def _since(group: str, target: str) -> Mapping[str, Any]:
    """What the options of that class give to a record that does not say it."""
    known = options(group) if group in groups() else {}
    alike = [one for one in known if target in (raw(group, one).get("_target_"), raw(group, one).get("identity"))]
    added: Mapping[str, Any] = next((raw(group, one)["added"] for one in alike if "added" in raw(group, one)), {})
    names = {identity(group, one) for one in alike}
    return {**added, **({"identity": names.pop()} if len(names) == 1 else {})}


@cache
def _read(path: Path, _: float) -> Any:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def read_yaml(path: Path) -> dict[str, Any]:
    """A YAML mapping from a file; BenchError names the file when it is not one."""
    try:
        value = _read(path, path.stat().st_mtime)
    except OSError as error:
        raise BenchError(f"cannot read {path}: {error.strerror or error}") from error
    except yaml.YAMLError as error:
        raise BenchError(f"{path} is not valid YAML: {' '.join(str(error).split())}") from error
    if not isinstance(value, dict):
        raise BenchError(f"{path} must hold a YAML mapping")
    return value


def variants() -> dict[str, Variant]:
    """Every exact method name."""
    found: dict[str, Variant] = {}
    for family in options("method"):
        for variant in _variants_of(family, raw("method", family)):
            found[variant.name] = variant
    return found


def _variants_of(family: str, config: Mapping[str, Any]) -> list[Variant]:
    axes: Mapping[str, Mapping[str, Sequence[str]]] = config.get("variants") or {}
    card = config.get("card", {})
    titles = card.get("titles", {})
    group = card.get("group", "unsupervised")  # or transfer, where a chosen option has seen labels of other images
    headline = config.get("headline") or {}
    own_setting, saw_labels = cache(_own_setting), cache(_saw_labels)  # files may change, but not meanwhile
    found = []
    for values in itertools.product(*(axis.items() for axis in axes.values())):
        words = [value for value, _ in values]
        name = "-".join([family, *words])
        shown = {axis: titles.get(word, word.upper()) for axis, word in zip(axes, words)}
        own = {word: key for word, items in values for key in map(own_setting, items) if key}
        found.append(
            Variant(
                name=name,
                family=family,
                title=card.get("title", family).format(**shown),
                group="transfer"
                if group != "ceiling" and any(saw_labels(i) for _, items in values for i in items)
                else group,
                supervised=bool(card.get("supervised", False)),
                reference=bool(card.get("reference", False)) and name in headline.get("default", [name]),
                outside_data=bool(card.get("outside_data", False)),
                cite=str(card.get("cite", "")),
                overrides=(*config.get("recommend", ()), *(item for _, items in values for item in items)),
                own=tuple(own.values()),
                own_words=tuple(own),
            )
        )
    return found


def _saw_labels(item: str) -> bool:
    """Whether ``encoder=vgg19`` names an option whose card says ``outside_labels``."""
    group, _, option = item.partition("=")
    path = options(group).get(option) if group in groups() else None
    return path is not None and bool(read_yaml(path).get("card", {}).get("outside_labels"))


def _own_setting(item: str) -> str | None:
    """``generator=file`` -> ``generator.path``, where the option of that group says ``own: path``."""
    group, _, option = item.partition("=")
    path = options(group).get(option) if group in groups() else None
    own = read_yaml(path).get("own") if path else None
    return f"{group}.{own}" if own else None


def expand(text: str | Iterable[str], dataset: str) -> list[Variant]:
    """``lasium,umtra-maml,'lasium-*-protonet'`` -> variants, in the order given, each once.

    A family name stands for its headline variants on ``dataset``; a glob for every exact name it matches. Variants
    that need something of the user's own come by their exact name, or by a glob with the word for it:
    ``lasium-*-file-*``.
    """
    known = variants()
    families = options("method")
    words = text.split(",") if isinstance(text, str) else list(text)
    chosen: dict[str, Variant] = {}
    for word in (word.strip() for word in words):
        if not word:
            continue
        if word in known:
            names = [word]
        elif word in families:
            headline = raw("method", word).get("headline") or {}
            names = headline.get(dataset) or headline.get("default") or []
            names = names or [n for n, variant in known.items() if variant.family == word and not variant.own]
        elif any(mark in word for mark in "*?["):
            said = set(re.split(r"[^A-Za-z0-9_]+", word))
            matched = fnmatch.filter(known, word)
            names = [name for name in matched if said.issuperset(known[name].own_words)]
            if matched and not names:
                needed = known[matched[0]]
                raise BenchError(
                    f"{word!r} matches only methods that need {' and '.join(needed.own)} of your own; say so with "
                    f"{' and '.join(map(repr, needed.own_words))} in the pattern"
                )
            if not names:
                raise BenchError(f"no method matches {word!r}; 'bench list methods' shows all {len(known)}")
        else:
            hint = did_you_mean(word, [*known, *families])
            raise BenchError(f"unknown method {word!r}.{hint} 'bench list methods' shows all {len(known)}")
        for name in names:
            if name not in known:
                raise BenchError(f"configs/method/{word}.yaml names {name!r} as a headline, which is no variant of it")
            chosen[name] = known[name]
    if not chosen:
        raise BenchError("no methods given; for example --methods lasium,umtra")
    return list(chosen.values())


def references() -> list[Variant]:
    """The floors and ceilings that every leaderboard shows."""
    return [variant for variant in variants().values() if variant.reference]
