"""``bench explain``: what a method or a component is, whose it is, what can be set in it, and how to run it.

Everything is read from the YAML files and from the source of the classes; nothing is imported. Where meanings come from
is told in :mod:`bench.planning.meanings`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from typing import Any

from bench.basics.errors import BenchError, did_you_mean
from bench.planning import catalogue
from bench.planning.bibtex import Entry, entries
from bench.planning.catalogue import RESERVED, Variant
from bench.planning.meanings import described, meanings, type_words
from bench.planning.side import of_variant, with_options

LENGTHS = {"generator": "generator_epochs", "encoder": "encoder_epochs", "learner": "meta_iterations"}
"""Group -> the setting of the budget that says how long it is trained."""

ORDER = ("method", "generator", "encoder", "learner", "classifier", "backbone", "views")
"""Of the parts of a method: first what is trained first."""


def told(name: str, group: str | None = None) -> dict[str, Any]:
    """Plain values, ``group`` being what the name is an option of; None for a method, else for whatever is called so.

    BenchError, with a suggestion, where nothing is.
    """
    groups = (*catalogue.groups(), "experiment", "executor")
    if group is not None and group not in groups:
        raise BenchError(f"--group {group!r} is none of {', '.join(groups)}.{did_you_mean(group, groups)}")
    known = catalogue.variants()
    alike = [known[name]] if name in known else [one for one in known.values() if one.family == name]
    others = [one for one in groups if one != "method" and name in catalogue.options(one)]
    if alike and group in (None, "method"):
        return _method(name, alike) | {"also": others}
    if group is None and others:
        return _component(others[0], name) | {"also": others[1:]}
    if group in (None, "method"):
        catalogue.expand([name], "")  # says what is wrong with the name
        raise BenchError(f"{name!r} are several methods; 'bench list methods' shows their names, of which give one")
    return _component(group, name) | {"also": []}


def _method(name: str, alike: Sequence[Variant]) -> dict[str, Any]:
    """Of one exact name, or of a family, of which the settings of its own are told."""
    one, exact = alike[0], name == alike[0].name and len(alike) == 1
    file = catalogue.raw("method", one.family)
    values, options = with_options(one) if exact else ({"method": file}, {"method": one.family})
    words = [of_variant(some) for some in alike]
    always = set.intersection(*map(set, words))
    fixed = {text.partition("=")[0] for text in one.overrides} if exact else set()
    needs = {key: _example(key, values) for key in one.own} if exact else {}
    return {
        **_described("method", one.family, file),
        "name": name,
        "title": one.title if exact else str(file.get("card", {}).get("title") or name),
        "family": one.family,
        "group": " or ".join(dict.fromkeys(some.group for some in alike)),
        "supervised": one.supervised,
        "side": [word for word in words[0] if word in always],
        "side_of_some": sorted(set().union(*words) - always),
        "needs": list(needs),
        "parts": _parts(options, values),
        "settings": [
            line for part in sorted(options, key=_place) for line in _settings(part, options[part], values[part], fixed)
        ],
        "names": [some.name for some in alike],
        "headline": list((file.get("headline") or {}).get("default") or ()),
        "run": " ".join(["bench run", name, *(f"{key}={value}" for key, value in needs.items())]),
    }


def _component(group: str, name: str) -> dict[str, Any]:
    """Of any other option."""
    file = catalogue.raw(group, name)
    flags = {
        "dataset": f"umtra --dataset {name}",
        "budget": f"umtra --budget {name}",
        "experiment": f"--experiment {name}",
        "executor": f"umtra --executor {name}",
    }
    fixed = [one for one in catalogue.variants().values() if f"{group}={name}" in one.overrides]
    users = {one.family for one in fixed}
    # A name that fixes this option is run by that name; any other method takes it as a setting.
    if fixed and group not in flags:
        flags[group] = fixed[0].name
    own = f"{group}.{file['own']}" if file.get("own") else None
    needed = f" {own}={_example(own, {group: file})}" if own else ""
    return {
        **_described(group, name, file),
        "name": name,
        "title": str(file.get("title") or file.get("card", {}).get("title") or name),
        "needs": [own] if own else [],
        "settings": [] if group == "experiment" else list(_settings(group, name, file, set())),
        "used_by": sorted(users),
        "run": f"bench run {flags.get(group) or f'METHOD {group}={name}'}{needed}",
    }


def _described(group: str, name: str, file: Mapping[str, Any]) -> dict[str, Any]:
    card = file if group == "experiment" else file.get("card", {})
    target, path = str(file.get("_target_", "")), catalogue.options(group)[name]
    ours = path.parents[1] == catalogue.config_folders()[0]
    return {
        "kind": group,
        "what": described(target).about if target else "",
        "about": str(card.get("about", "")),
        "cite": str(card.get("cite", "")),
        "papers": [_paper(one) for one in _entries(card, ours)],
        "homepage": str(card.get("homepage", "")),
        "licence": str(card.get("licence", "")),
        "class": target,
        "file": str(path),
    }


def _example(key: str, values: Mapping[str, Any]) -> str:
    group = key.partition(".")[0]
    return str(values.get(group, {}).get("card", {}).get("example") or "…")


def _place(group: str) -> int:
    return (*ORDER, group).index(group)


def _parts(options: Mapping[str, str], values: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What a method is made of beside its own class."""
    found = []
    for group in sorted(set(options) - {"method"}, key=_place):
        node = values[group]
        about = described(str(node.get("_target_", ""))).about
        trained = (
            group in LENGTHS and not node.get("own") and not re.search("trains nothing|trained on nothing", about, re.I)
        )
        found.append(
            {
                "group": group,
                "option": options[group],
                "title": str(node.get("card", {}).get("title") or options[group]),
                "what": about,
                "length": f"budget.{LENGTHS[group]}" if trained else None,
            }
        )
    return found


def _settings(group: str, option: str, node: Mapping[str, Any], fixed: set[str]) -> Iterator[dict[str, Any]]:
    """Every line of a component's file that is a setting; ``fixed`` are those that a method's name says."""
    target = str(node.get("_target_", ""))
    said, types = meanings(catalogue.options(group)[option]), described(target).types if target else {}
    for key, value in node.items():
        if key not in RESERVED and (group, key) != ("budget", "name"):
            name = f"{group}.{key}"
            form = type_words(types.get(key), value)
            yield {"name": name, "value": value, "type": form, "meaning": said.get(key, ""), "fixed": name in fixed}


# ------------------------------------------------------------------------------------------------- papers
def _entries(card: Mapping[str, Any], ours: bool) -> list[Entry]:
    """What a card cites: of another package the entries that it brings, its short names may be other papers' here."""
    if card.get("bibtex"):
        return list(entries(str(card["bibtex"])))
    return [one for one in _own() if ours and one.short in str(card.get("cite", ""))]


@cache
def _own() -> tuple[Entry, ...]:
    path = catalogue.config_folders()[0] / "published" / "references.bib"
    return entries(path.read_text(encoding="utf-8")) if path.is_file() else ()


def _paper(one: Entry) -> dict[str, str]:
    """title, and the address where the entry has one."""
    arxiv = re.search(r"\d{4}\.\d{4,5}", one.fields.get("eprint") or one.fields.get("journal", ""))
    doi = one.fields.get("doi")
    url = one.fields.get("url") or (f"https://doi.org/{doi}" if doi else "")
    url = url or (f"https://arxiv.org/abs/{arxiv[0]}" if arxiv else "")
    return {"short": one.short, "title": re.sub(r"[{}]", "", one.fields["title"]), "url": url}
