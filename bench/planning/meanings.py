"""What a component is and what its settings mean, read from where its author says it; nothing is imported.

A setting is a line of the component's YAML file, and the comment behind its value says what it means, in which unit and
range. Comments that follow on lines of their own, indented, go on with it:

    alpha: 0.2    # how far towards the other latent, 0 to 1;
                  # below 0 away from it

What the component is, is the first paragraph of its class's docstring; the type of a setting is the annotation there.
"""

from __future__ import annotations

import ast
import importlib.util
import inspect
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from bench.planning import places
from bench.planning.places import OWN_PACKAGES

MOST_BASES = 10

_WORDS = {"bool": "true or false", "int": "whole number", "float": "number", "str": "text", "None": "null"}


def meanings(path: Path) -> dict[str, str]:
    """Key -> the comment behind its value, in one line, of every key on the outermost level that has one."""
    try:
        text = path.read_text(encoding="utf-8-sig")
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except (OSError, ValueError, yaml.YAMLError, RecursionError):
        return {}
    lines, found = text.splitlines(), {}
    for key, value in node.value if isinstance(node, yaml.MappingNode) else ():
        said = " ".join(_comments(lines, value.end_mark.line, value.end_mark.column))
        if said:
            found[str(key.value)] = said
    return found


def _comments(lines: list[str], line: int, column: int) -> Iterator[str]:
    behind = lines[line][column:].strip() if line < len(lines) else ""
    if not behind.startswith("#"):
        return
    yield behind.lstrip("# ")
    for later in lines[line + 1 :]:
        if not re.match(r"\s+#", later):
            return
        yield later.strip().lstrip("# ")


@dataclass(frozen=True, slots=True)
class Described:
    """about: one paragraph; empty where the class says nothing. types: setting -> its annotation, as it is written."""

    about: str = ""
    types: Mapping[str, str] = field(default_factory=dict)


@cache
def described(target: str, deep: int = 0) -> Described:
    """``package.module.Class`` as its source has it, its bases' fields included; empty where that cannot be read."""
    module, _, name = target.rpartition(".")
    file = _file(module)
    try:
        tree = ast.parse(file.read_bytes()) if file is not None else None
    except (OSError, SyntaxError, ValueError, RecursionError):
        tree = None
    if tree is None or deep > MOST_BASES:
        return Described()
    elsewhere = {
        one.asname or one.name: f"{node.module}.{one.name}"
        for node in tree.body
        if isinstance(node, ast.ImportFrom) and not node.level
        for one in node.names
    }
    cls = next((one for one in tree.body if isinstance(one, ast.ClassDef) and one.name == name), None)
    if cls is None:
        return described(elsewhere[name], deep + 1) if name in elsewhere else Described()
    types: dict[str, str] = {}
    for base in reversed([one.id for one in cls.bases if isinstance(one, ast.Name)]):
        types |= described(elsewhere.get(base, f"{module}.{base}"), deep + 1).types
    for one in cls.body:
        if isinstance(one, ast.AnnAssign) and isinstance(one.target, ast.Name):
            types[one.target.id] = ast.unparse(one.annotation)
    return Described(_paragraph(ast.get_docstring(cls) or ""), types)


def _file(module: str) -> Path | None:
    """The source of a module, without importing the packages round it."""
    top, *rest = module.split(".")
    if top in OWN_PACKAGES:
        folders = [places.ROOT / top]
    else:
        try:
            spec = importlib.util.find_spec(top)
        except Exception:  # finders are code of other packages
            return None
        folders = [Path(one) for one in (spec.submodule_search_locations or ())] if spec is not None else []
    for folder in folders:
        place = folder.joinpath(*rest)
        for file in (place.with_name(f"{place.name}.py"), place / "__init__.py"):
            if file.is_file():
                return file
    return None


def _paragraph(docstring: str) -> str:
    """The first paragraph in one line, as people read it."""
    text = " ".join(inspect.cleandoc(docstring).split("\n\n")[0].split())
    text = re.sub(r":\w+:`~?([^`]*)`", r"\1", text)
    return text.replace("``", "")


def type_words(annotation: str | None, value: Any) -> str:
    """``int | None`` -> ``whole number or null``; where the annotation is no plain type, the type of the value."""
    parts = [one.strip() for one in (annotation or "").split("|")]
    if all(one in _WORDS for one in parts):
        return " or ".join(_WORDS[one] for one in parts)
    if re.fullmatch(r"Literal\[[^\[\]]*\]", annotation or ""):
        return " or ".join(re.findall(r"['\"]?([^'\",\[\]]+)['\"]?(?:, |\])", (annotation or "")[len("Literal[") :]))
    if isinstance(value, list | tuple):
        return "list"
    return _WORDS.get(type(value).__name__, "null" if value is None else "mapping")
