"""The names a user can type: methods and their variants, datasets, budgets, experiments. Reads YAML only.

Every group is a folder of ``configs``; packages that register the entry-point group ``bench.plugins`` add theirs.
Importing this module imports neither torch nor Hydra, so that ``bench --help`` and ``bench list`` are instant.
"""

from __future__ import annotations

import difflib
import fnmatch
import itertools
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from bench.basics.errors import BenchError, did_you_mean
from bench.basics.typed import typed
from bench.planning import cards, places
from bench.planning.lines import line_of, with_line
from bench.planning.places import OWN_PACKAGES, Plugin
from bench.planning.unchanging import once
from bench.planning.yaml_files import read_yaml

RESERVED = (
    *("_target_", "identity", "card", "uses", "prefers", "variants", "headline", "recommend", "defaults", "own"),
    *("added", "_code_", "_distribution_"),
)
"""Keys of a component that are not settings of its class; the last two are no file's to say, see :mod:`code`.

``identity`` is what stands for the component in the keys of its runs: it stays when the class moves to another module.

``own`` names the setting of a component that the user must give, because it names something of theirs such as a file.
``added`` are settings younger than the component, each with the value that does what was done before: with that value a
run keeps its key, so that records from before still count.
"""

NO_GROUPS = ("experiment", "executor", "published")
"""Folders of ``configs`` whose files no configuration is composed of."""


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
def plugins() -> tuple[Plugin, ...]:
    """Every registered plugin, those that cannot be used too."""
    return places.plugins()


@cache
def plugin_packages() -> tuple[str, ...]:
    """The packages that hold the configurations of plugins."""
    return tuple(one.package for one in places.plugins() if one.configs is not None)


def allowed_packages() -> tuple[str, ...]:
    """Packages whose classes a configuration may name."""
    return OWN_PACKAGES + tuple(dict.fromkeys(package.partition(".")[0] for package in plugin_packages()))


def check_allowed(target: str) -> None:
    """BenchError for a class that no configuration may name."""
    if target.partition(".")[0] not in (known := allowed_packages()):
        raise BenchError(
            f"{said_in(target, '_target_')}_target_ {target!r} is refused: only classes of {', '.join(known)} and of "
            "packages that register the entry point 'bench.plugins' can be configured"
        )


@once
def said_in(target: str, key: str) -> str:
    """Where a component with that class says ``key``: ``FILE, line 3: ``, or nothing where that cannot be told."""
    for group in groups():
        for name, path in options(group).items():
            values = raw(group, name)
            if values.get("_target_") == target and (key in values or key in values.get("uses", ())):
                return f"{path}, line {line_of(path, key) or line_of(path, 'uses')}: "
    return ""


@cache
def config_folders() -> tuple[Path, ...]:
    """The project's ``configs`` folder, then those of plugins."""
    return (places.ROOT / "configs", *(one.configs for one in places.plugins() if one.configs is not None))


@dataclass(frozen=True, slots=True)
class Option:
    """A file of a group, and why it cannot be used, if so."""

    name: str
    path: Path
    reason: str | None


@once
def files(group: str) -> tuple[Option, ...]:
    """Every file of a group, the project's own first; of two with one name the second cannot be used."""
    return tuple(_files(group))


def _files(group: str) -> Iterator[Option]:
    taken: dict[str, Path] = {}
    known = groups()
    for folder in config_folders():
        for path in sorted((folder / group).glob("*.yaml")):
            if path.stem in taken:
                yield Option(path.stem, path, f"the name is taken by {taken[path.stem]}")
                continue
            reason = _reason(group, path, known)
            if reason is None:
                taken[path.stem] = path
            yield Option(path.stem, path, reason)


@once
def options(group: str) -> dict[str, Path]:
    """Name -> file of a group, as far as it can be used; the project's own names win over a plugin's."""
    return {one.name: one.path for one in files(group) if one.reason is None}


def _reason(group: str, path: Path, known: tuple[str, ...]) -> str | None:
    try:
        stat = path.stat()
    except OSError as error:
        return error.strerror or str(error)
    return _checked(group, path, (stat.st_mtime_ns, stat.st_size), known)


@cache
def _checked(group: str, path: Path, _: tuple[int, int], known: tuple[str, ...]) -> str | None:
    """Why a file cannot be used; None where it can."""
    try:
        cards.check(group, path.stem, read_yaml(path), known, RESERVED)
    except BenchError as error:
        return str(error).replace(str(path), "it")
    except ValueError as error:
        return with_line(path, str(error))
    return None


@once
def groups() -> tuple[str, ...]:
    """The groups that Hydra composes."""
    found: set[str] = set()
    for folder in config_folders():
        try:
            found |= {one.name for one in folder.iterdir() if one.is_dir() and re.fullmatch(r"[a-z][a-z_]*", one.name)}
        except OSError:  # its files cannot be read either
            continue
    return tuple(sorted(found - set(NO_GROUPS)))


def problems(*only: str) -> list[tuple[str, str]]:
    """(plugin or file, reason) of everything that cannot be used; ``only`` the files of these groups."""
    found = [
        (str(one.path), one.reason)
        for group in only or (*groups(), "experiment")
        for one in files(group)
        if one.reason is not None
    ]
    if not only or "method" in only:
        known, paths = variants(), options("method")
        found += [
            (str(paths[one.family]), f"the name {one.name} is taken by a method of {known[one.name].family}")
            for one in _all_variants()
            if known[one.name].family != one.family
        ]
    plugin = ((f"plugin {one.name} ({one.where})", one.problem) for one in plugins())
    return found + [(name, problem) for name, problem in plugin if problem is not None]


def _unusable(group: str, wanted: str) -> str:
    """What an unknown name of the group may stand in, the likeliest first. Starts with a semicolon; empty where all can
    be used.
    """
    names = [name for name, _ in problems(group)]
    names.sort(key=lambda name: -difflib.SequenceMatcher(None, Path(name).stem, wanted.partition("-")[0]).ratio())
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return f"; 'bench list plugins' says why {', '.join(names[:3])}{more} cannot be used" if names else ""


@once
def raw(group: str, name: str) -> dict[str, Any]:
    """The YAML of one option, not composed. BenchError with a suggestion for an unknown name."""
    known: dict[str, Path] = {}
    for one in files(group):
        if one.reason is None:
            known[one.name] = one.path
        elif one.name == name and name not in known:
            raise BenchError(f"{group} {name!r} cannot be used: {one.path}: {one.reason}")
    if name not in known:
        hint = did_you_mean(name, known)
        raise BenchError(
            f"unknown {group} {name!r}.{hint} 'bench list {group.removesuffix('s')}s' shows all "
            f"{len(known)}{_unusable(group, name)}"
        )
    return read_yaml(known[name])


@once
def is_own(group: str, option: str) -> bool:
    """Whether an option is of this project, and not of a plugin."""
    return options(group)[option].is_relative_to(places.ROOT)


@once
def identity(group: str, option: str) -> str:
    """What stands for a component in the keys of its runs: what its YAML declares.

    One that declares nothing is known by the package that brings it and by its own name: ``my_package/method/mine``.
    """
    declared = raw(group, option).get("identity")
    return f"{_package_of(options(group)[option].parents[1])}/{group}/{option}" if declared is None else str(declared)


def _package_of(folder: Path) -> str:
    return next((one.package for one in plugins() if one.configs == folder), "bench")


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


@once
def variants() -> dict[str, Variant]:
    """Every exact method name. Of two with one name the first counts, and the project's own come first."""
    found: dict[str, Variant] = {}
    for variant in _all_variants():
        found.setdefault(variant.name, variant)
    return found


def _all_variants() -> Iterator[Variant]:
    chosen = cache(_chosen)  # files may change, but not meanwhile
    for family, path in options("method").items():
        yield from _variants_of(family, read_yaml(path), chosen)


def _variants_of(
    family: str, config: Mapping[str, Any], chosen: Callable[[str], tuple[str | None, bool]]
) -> list[Variant]:
    file = typed(cards.MethodFile, {key: value for key, value in config.items() if key in RESERVED})
    axes, card = file.variants or {}, file.card
    headline = file.headline or {}
    found = []
    for values in itertools.product(*(axis.items() for axis in axes.values())):
        words = [value for value, _ in values]
        name = "-".join([family, *words])
        shown = {axis: card.titles.get(word, word.upper()) for axis, word in zip(axes, words)}
        own = {word: key for word, items in values for key, _ in map(chosen, items) if key}
        group = card.placed()  # or transfer, where a chosen option has seen labels of other images
        if group != "ceiling" and any(chosen(item)[1] for _, items in values for item in items):
            group = "transfer"
        found.append(
            Variant(
                name=name,
                family=family,
                title=(card.title or family).format(**shown),
                group=group,
                supervised=card.supervised,
                reference=card.reference and name in headline.get("default", [name]),
                outside_data=card.outside_data,
                cite=card.cite,
                overrides=(*file.recommend, *(item for _, items in values for item in items)),
                own=tuple(own.values()),
                own_words=tuple(own),
            )
        )
    return found


def _chosen(item: str) -> tuple[str | None, bool]:
    """Of a component such as ``encoder=vgg19``: the setting that is the user's own (``own: weights`` makes it
    ``encoder.weights``), and whether its card says ``outside_labels``. (None, False) for any other setting.
    """
    group, _, option = item.partition("=")
    path = options(group).get(option) if "." not in group and group in groups() else None
    if path is None:
        return None, False
    values = read_yaml(path)
    own = values.get("own")
    return (f"{group}.{own}" if own else None), bool(values.get("card", {}).get("outside_labels"))


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
                shown = f"'bench list methods' shows all {len(known)}{_unusable('method', word)}"
                raise BenchError(f"no method matches {word!r}; {shown}")
        else:
            for one in files("method"):
                if one.reason is not None and f"{word}-".startswith(f"{one.name}-"):
                    raw("method", one.name)  # says why, unless another of that name can be used
            hint = did_you_mean(word, [*known, *families])
            raise BenchError(
                f"unknown method {word!r}.{hint} 'bench list methods' shows all {len(known)}{_unusable('method', word)}"
            )
        chosen |= {name: known[name] for name in names}
    if not chosen:
        raise BenchError("no methods given; for example --methods lasium,umtra")
    return list(chosen.values())


def references() -> list[Variant]:
    """The floors and ceilings that every leaderboard shows: ours, so that no plugin joins requests of others."""
    ours = {family for family, path in options("method").items() if path.parents[1] == config_folders()[0]}
    return [variant for variant in variants().values() if variant.reference and variant.family in ours]
