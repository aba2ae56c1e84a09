"""``bench new``: a package with a method or component of one's own that works at once, to change from there."""

from __future__ import annotations

import importlib.util
import itertools
import keyword
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from bench.basics.errors import BenchError, did_you_mean
from bench.planning import catalogue
from bench.planning.places import BESIDE, OWN_PACKAGES

KINDS = ("method", "generator", "encoder", "dataset", "backbone")
TEMPLATES = Path(__file__).parent / "templates"
MOST_LETTERS = 50


def write(kind: str, name: str, out: Path) -> tuple[Path, str]:
    """(folder that was written, the command that runs what is in it).

    BenchError for an unknown kind, a name that cannot be used or is taken, and a folder that is there already.
    """
    if kind not in KINDS:
        raise BenchError(f"there is no kind {kind!r}.{did_you_mean(kind, KINDS)} There are {', '.join(KINDS)}")
    package = _package(kind, name)
    folder = out / name
    if folder.exists():
        raise BenchError(f"{folder} is there already; choose another name, or --out another folder")
    users = {f"{name}-{family}": values for family, values in _users(kind, name)}
    words = re.split(r"[-_]", name)
    facts = {
        "kind": kind,
        "a_kind": f"{'an' if kind[0] in 'aeiou' else 'a'} {kind}",
        "name": name,
        "package": package,
        "title": " ".join(word.capitalize() for word in words),
        "cls": "".join(word.capitalize() for word in words),
        "tested": (tested := f"{name}-maml" if kind == "method" else name),
        "checks": "method_tests" if kind == "method" else "component_tests",
        "asked": f'"{tested}"' if kind == "method" else f'"{kind}", "{tested}"',
        "run": _run(kind, name, [values["headline"]["default"][0] for values in users.values()]),
    }
    files = {
        "pyproject.toml": _filled("pyproject.toml", facts),
        "README.md": _filled("README.md", facts),
        f"tests/test_{package}.py": _filled("test.py", facts),
        f"{package}/__init__.py": f'"""{facts["title"]}, {facts["a_kind"]} for bench."""\n',
        f"{package}/{kind}.py": _filled(f"{kind}.py", facts),
        f"{package}/configs/{kind}/{name}.yaml": _filled(f"{kind}.yaml", facts),
    }
    for user, values in users.items():
        files[f"{package}/configs/method/{user}.yaml"] = _yaml(values)
    try:
        for path, text in files.items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_text(text, encoding="utf-8")
    except OSError as error:
        raise BenchError(f"cannot write to {folder}: {error.strerror or error}") from error
    return folder, facts["run"]


def _package(kind: str, name: str) -> str:
    """The package for a name that can be used."""
    if not re.fullmatch(r"[a-z][a-z0-9]*([-_][a-z0-9]+)*", name) or len(name) > MOST_LETTERS:
        raise BenchError(
            f"{name[:80]!r} cannot be the name of a package; use lower-case letters and digits, words parted by '-' or "
            f"'_', beginning with a letter, {MOST_LETTERS} at most, for example my-{kind}"
        )
    package = name.replace("-", "_")
    if keyword.iskeyword(package) or package in sys.stdlib_module_names or package in (*OWN_PACKAGES, *BESIDE):
        raise BenchError(f"{package!r} is a name of Python's or of this program's own; choose another: my-{name}, say")
    names = catalogue.options(kind)
    taken = names if kind != "method" else {**names, **dict.fromkeys(catalogue.variants())}
    if name in taken:
        article = "an" if kind[0] in "aeiou" else "a"
        raise BenchError(f"there is {article} {kind} {name!r} already; choose another name, for example my-{name}")
    try:
        there = importlib.util.find_spec(package) is not None
    except Exception:  # something of that name is there, and cannot even be looked for
        there = True
    if there:
        raise BenchError(f"a package {package!r} is installed already; choose another name, for example my-{name}")
    return package


def _filled(name: str, facts: Mapping[str, str]) -> str:
    import jinja2

    text = (TEMPLATES / f"{name}.j2").read_text(encoding="utf-8")
    environment = jinja2.Environment(undefined=jinja2.StrictUndefined, keep_trailing_newline=True, autoescape=False)
    return environment.from_string(text).render(facts)


def _yaml(values: Mapping[str, Any]) -> str:
    return yaml.safe_dump(dict(values), sort_keys=False, allow_unicode=True, default_flow_style=None, width=120)


def _run(kind: str, name: str, users: list[str]) -> str:
    head = "bench run --budget smoke"
    if kind == "dataset":
        return f"{head} --dataset {name} --methods {_first_with_learner()}"
    if kind == "backbone":
        return f"{head} --methods {_first_with_learner()} backbone={name}"
    return f"{head} --methods {','.join(users or [name])}"


def _first_with_learner() -> str:
    """A method that trains a meta-learner and nothing else."""
    return next(
        one.name
        for one in catalogue.variants().values()
        if set(catalogue.raw("method", one.family).get("uses", ())) == {"learner"} and one.group == "unsupervised"
    )


def _users(kind: str, name: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """(family, its file with the new component instead of a choice) of every method of ours that chooses such a one."""
    ours = catalogue.config_folders()[0]
    for family, path in catalogue.options("method").items():
        values = catalogue.raw("method", family)
        axes: Mapping[str, Mapping[str, list[str]]] = values.get("variants") or {}
        axis = next((one for one, words in axes.items() if _chooses(kind, words)), None)
        if path.parents[1] == ours and axis is not None and values["card"].get("group") == "unsupervised":
            yield family, _with_it(values, family, kind, axis, name)


def _chooses(kind: str, words: Mapping[str, list[str]]) -> bool:
    return all(any(item.startswith(f"{kind}=") for item in items) for items in words.values())


def _with_it(values: Mapping[str, Any], family: str, kind: str, axis: str, name: str) -> dict[str, Any]:
    axes = dict(values["variants"])
    kept = {one: words for one, words in axes.items() if one != axis}
    words = {word for words in kept.values() for word in words}
    titles = {word: title for word, title in values["card"].get("titles", {}).items() if word in words}
    card = {**values["card"], "title": values["card"]["title"].replace(f"{{{axis}}}", name), "titles": titles}
    found = {key: value for key, value in values.items() if key not in ("identity", "added", "headline", "variants")}
    found |= {"card": card, "prefers": {**values.get("prefers", {}), kind: name}}
    if kept:
        found["variants"] = kept
    named = {"-".join([family, *words]): words for words in itertools.product(*axes.values())}
    headline = [named[one] for one in (values.get("headline") or {}).get("default", list(named)[:1])]
    place = list(axes).index(axis)
    shorter = ("-".join([f"{name}-{family}", *words[:place], *words[place + 1 :]]) for words in headline)
    found["headline"] = {"default": list(dict.fromkeys(shorter))}
    return found
