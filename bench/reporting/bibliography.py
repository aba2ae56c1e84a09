r"""BibTeX: read, found by what a card cites (``Finn et al. 2017``), and written so that no entry can do harm.

Entries of this project's own methods stand in ``configs/published/references.bib``. A card of another package brings
its own as ``bibtex``. Of values letters, braces and accents (``{\"o}``) are kept; other commands are printed as text.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field

from bench.planning.bibtex import Entry, entries, named, own
from bench.reporting.citation import AUTHORS, TITLE
from bench.reporting.foreign import one_line
from bench.reporting.latex_text import escape

FIELDS = (
    *("title", "author", "editor", "booktitle", "journal", "volume", "number", "pages", "series", "edition", "chapter"),
    *("publisher", "organization", "institution", "school", "address", "month", "year", "howpublished", "note"),
    *("eprint", "archiveprefix", "primaryclass", "doi", "url", "key"),
)
"""What is written, in this order."""
AS_THEY_ARE = ("eprint", "archiveprefix", "primaryclass", "doi", "url")
"""Addresses, which styles print verbatim: one with any other mark than these is left out."""
ADDRESS = re.compile(r"[A-Za-z0-9:/._~?=+@,;()-]+")

_ACCENT = r"""\\(?:["'`^~=.]\s*(?:[A-Za-z]|\{[A-Za-z]\}|\\[ij](?![A-Za-z])|\{\\[ij]\})|[cvuHrkdb]\{[A-Za-z]\}|"""
_LETTER = r"(?:oe|OE|ae|AE|aa|AA|ss|o|O|l|L|i|j)(?![A-Za-z])(?:\{\})?|[&%$#_])"
_PIECES = re.compile(rf"({_ACCENT}{_LETTER})|([{{}}])|(~|--+)|([^\\{{}}~-]+|[\\-])")


@dataclass(frozen=True, slots=True)
class Said:
    """A sentence without its full stop, and the keys of what it rests on."""

    text: str
    cites: tuple[str, ...] = ()


@dataclass
class Bibliography:
    """Entries by the key that they are cited by, in the order in which they were asked for."""

    found: dict[str, Entry] = field(default_factory=dict)
    incomplete: list[str] = field(default_factory=list)
    """What cites in words of its own, without an entry: the key of each."""

    def named(self, short: str) -> tuple[str, ...]:
        """The key of one of the project's own."""
        return (self._add(own()[short]),)

    def benchmark(self, version: str, year: str, note: str) -> tuple[str, ...]:
        """The key of this program."""
        known = {"title": TITLE, "author": AUTHORS, "year": year, "note": f"Version {version}. {note}"}
        return (self._add(Entry("misc", "bench", {name: value for name, value in known.items() if value})),)

    def cited(self, card: Mapping[str, object], trusted: bool, title: str) -> tuple[str, ...]:
        """Keys of what a card cites. ``trusted``: it is one of this project, so that its short names are those of the
        project's entries; another's ``Chen et al. 2020`` may be another paper.
        """
        cite, bibtex = str(card.get("cite") or ""), str(card.get("bibtex") or "")
        brought = _readable(bibtex)
        if brought:
            return tuple(dict.fromkeys(self._add(one) for one in brought))
        if trusted:
            return tuple(map(self._add, named(cite)))
        if not cite.strip():
            return ()
        key = self._add(Entry("misc", _key(cite) or "unnamed", {"title": title, "note": cite, "key": cite}))
        if key not in self.incomplete:
            self.incomplete.append(key)
        return (key,)

    def _add(self, entry: Entry) -> str:
        """Its key; two entries of one key are told apart."""
        key = base = _key(entry.key) or "unnamed"
        number = 1
        while key in self.found and self.found[key] != entry:
            number += 1
            key = f"{base}-{number}"
        self.found[key] = entry
        return key

    def bib(self) -> str:
        """The file. An entry that has to be completed says so."""
        return "\n".join(
            f"{'% To complete: its card cites in words, without BibTeX.' + chr(10) if key in self.incomplete else ''}"
            f"{_written(key, one)}"
            for key, one in sorted(self.found.items())
        )

    def plain(self) -> list[tuple[str, str]]:
        """(key, entry in words), for formats without BibTeX."""
        return [(key, _words(one)) for key, one in sorted(self.found.items())]


def _readable(bibtex: str) -> tuple[Entry, ...]:
    """Records were checked when they were made, but may have been edited since."""
    try:
        return entries(bibtex)
    except ValueError:
        return ()


def _key(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9:.+-]+", "-", text).strip("-")[:60]


def _written(key: str, entry: Entry) -> str:
    lines = [f"@{entry.kind}{{{key},"]
    for name in FIELDS:
        value = one_line(entry.fields.get(name, "")).strip()
        if name in AS_THEY_ARE:
            value = value if ADDRESS.fullmatch(value) else ""
        else:
            value = clean(value)
        if value:
            lines.append(f"  {name} = {{{value}}},")
    return "\n".join([*lines, "}", ""])


def clean(value: str) -> str:
    """A value with its letters, accents and braces; whatever else LaTeX would obey is printed."""
    told, open_braces = [], 0
    for accent, brace, mark, text in _PIECES.findall(value):
        if brace:
            open_braces += 1 if brace == "{" else -1
            if open_braces < 0:
                break
        told.append(accent or brace or mark or re.sub(r"\S+", lambda word: escape(word[0]), text))
    # BibTeX counts braces behind a backslash too: of those that do not match none can stay.
    return clean(re.sub("[{}]", "", value)) if open_braces else "".join(told)


_MARKS = {'"': "\u0308", "'": "\u0301", "`": "\u0300", "^": "\u0302", "~": "\u0303", "=": "\u0304", ".": "\u0307"}
_MARKS |= {"c": "\u0327", "v": "\u030c", "u": "\u0306", "H": "\u030b", "r": "\u030a", "k": "\u0328"}


def _words(entry: Entry) -> str:
    """``Author, A. and Other, B. Title. Venue, 2017.``"""
    read = {name: plain(entry.fields.get(name, "")) for name in FIELDS}
    venue = next((read[name] for name in ("journal", "booktitle", "howpublished", "publisher") if read[name]), "")
    place = ", ".join(part for part in (venue, read["year"]) if part)
    return ". ".join(part.rstrip(".") for part in (read["author"], read["title"], place, read["note"]) if part) + "."


def plain(value: str) -> str:
    """A value as people read it: accents put on their letters, braces gone."""

    def letter(found: re.Match[str]) -> str:
        return unicodedata.normalize("NFC", found[2] + _MARKS.get(found[1], ""))

    text = re.sub(r"""\\(["'`^~=.]|[cvuHrk](?=\{))\s*\{?\\?([A-Za-z])\}?""", letter, one_line(value))
    text = re.sub(r"\\(oe|OE|ae|AE|aa|AA|ss|o|O|l|L)(?![A-Za-z])(?:\{\})?", lambda one: _LETTERS[one[1]], text)
    text = re.sub(r"\\([&%$#_])", r"\1", text)
    return one_line(text.replace("{", "").replace("}", "").replace("~", " ").replace("--", "–"))


_LETTERS = dict(zip(("oe", "OE", "ae", "AE", "aa", "AA", "ss", "o", "O", "l", "L"), "œŒæÆåÅßøØłŁ", strict=True))
