"""BibTeX entries as a card or a file gives them: read strictly, values as they are written."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache

from bench.basics.errors import did_you_mean
from bench.planning import places

KINDS = (
    *("article", "book", "booklet", "inbook", "incollection", "inproceedings", "manual", "mastersthesis", "misc"),
    *("phdthesis", "proceedings", "techreport", "unpublished", "online", "dataset", "software"),
)
MOST_LETTERS = 20_000


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry."""

    kind: str
    key: str
    fields: Mapping[str, str]
    """Lower-case name -> value without its outer braces."""

    @property
    def short(self) -> str:
        """``Finn et al. 2017``: how a text cites it."""
        authors = re.split(r"\s+and\s+", self.fields.get("author", ""))
        families = [re.sub(r"[{}]", "", one.partition(",")[0] if "," in one else one.split(" ")[-1]) for one in authors]
        several = {1: families[0], 2: " & ".join(families)}
        return f"{several.get(len(families), f'{families[0]} et al.')} {self.fields.get('year', '')}"


NAME = re.compile(r"[^\W\d_][\w’'-]*(?: (?:et al\.|& [^\W\d_][\w’'-]*))? \d{4}")
"""``Finn et al. 2017``, ``Donahue & Simonyan 2019``, ``Smyth 2004``."""


@cache
def own() -> Mapping[str, Entry]:
    """``Finn et al. 2017`` -> its entry, of everything that this project's own cards cite."""
    text = (places.ROOT / "configs" / "published" / "references.bib").read_text(encoding="utf-8")
    return {one.short: one for one in _entries(text)}


def named(cite: str) -> tuple[Entry, ...]:
    """The project's own entries that a text cites, ``Chen et al. 2020; Jang et al. 2023``, in its order, each once."""
    return tuple(own()[name] for name in dict.fromkeys(NAME.findall(cite)) if name in own())


def entries(text: str) -> tuple[Entry, ...]:
    """All of a text. ValueError, in words, for what is none: ``@string``, a value without braces or quotes."""
    if len(text) > MOST_LETTERS:
        raise ValueError(f"it has more than {MOST_LETTERS:,} letters")
    return tuple(_entries(text))


def _entries(text: str) -> Iterator[Entry]:
    at = 0
    while (begins := _WORDS.match(text, at)) and begins.end() < len(text):
        head = _HEAD.match(text, begins.end())
        if head is None:
            found = text[begins.end() :].split("\n", 1)[0][:40]
            raise ValueError(f"no entry begins at {found!r}; write @article{{key, title = {{…}}, …}}")
        kind = head[1].lower()
        if kind not in KINDS:
            raise ValueError(f"there is no entry @{kind}.{did_you_mean(kind, KINDS)} There are {', '.join(KINDS)}")
        fields, at = _fields(text, head.end(), head[2])
        if "title" not in fields:
            raise ValueError(f"entry {head[2]} has no title")
        yield Entry(kind, head[2], fields)


_WORDS = re.compile(r"\s*(?:%[^\n]*(?:\n\s*|$))*")
_HEAD = re.compile(r"@([A-Za-z]+)\s*\{\s*([^\s,{}\\%#~\"'()=]+)\s*")
_FIELD = re.compile(r"\s*,\s*(?:([A-Za-z][\w-]*)\s*=\s*)?")
_NUMBER = re.compile(r"\d+")


def _fields(text: str, at: int, key: str) -> tuple[dict[str, str], int]:
    """The fields behind the key, and where the entry ends."""
    found: dict[str, str] = {}
    while (name := _FIELD.match(text, at)) and name[1]:
        value, at = _value(text, name.end(), f"entry {key}: {name[1]}")
        found[name[1].lower()] = " ".join(value.split())
    end = re.compile(r"\s*,?\s*\}").match(text, at)
    if end is None:
        raise ValueError(f"entry {key} is not closed, or a comma is missing, behind {text[:at][-30:]!r}")
    return found, end.end()


def _value(text: str, at: int, where: str) -> tuple[str, int]:
    """In braces, in quotes, or a number."""
    if number := _NUMBER.match(text, at):
        return number[0], number.end()
    closing = {"{": "}", '"': '"'}.get(text[at : at + 1])
    if closing is None:
        raise ValueError(f"{where} must stand in braces")
    depth = 0
    for i in range(at + 1, len(text)):
        letter = text[i]
        if letter == closing and depth == 0 and text[i - 1] != "\\":
            return text[at + 1 : i], i + 1
        depth += {"{": 1, "}": -1}.get(letter, 0)
        if depth < 0:
            break
    raise ValueError(f"{where} has braces that do not match")
