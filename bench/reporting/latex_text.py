"""Texts of others, as LaTeX prints them."""

from __future__ import annotations

import re
import unicodedata

from bench.reporting.foreign import one_line

_SPECIAL = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"\symbol{34}",
    "`": r"\textasciigrave{}",
    "±": r"$\pm$",
    "×": r"$\times$",
    "−": r"$-$",
    "–": "--",
    "—": "---",
    "…": r"\ldots{}",
    "’": "'",
    "‘": "`",
    "“": "``",
    "”": "''",
    "·": r"$\cdot$",
    "°": r"$^{\circ}$",
    "†": r"\dag{}",
    "↓": r"$\downarrow$",
    "√": r"$\surd$",
    "≤": r"$\leq$",
    "≥": r"$\geq$",
    "→": r"$\rightarrow$",
    "²": r"$^2$",
    "ß": r"\ss{}",
    "ø": r"\o{}",
    "Ø": r"\O{}",
    "ł": r"\l{}",
    "Ł": r"\L{}",
    "æ": r"\ae{}",
    "Æ": r"\AE{}",
    "œ": r"\oe{}",
    "Œ": r"\OE{}",
    "µ": r"$\mu$",
    "α": r"$\alpha$",
    "β": r"$\beta$",
    "γ": r"$\gamma$",
    "δ": r"$\delta$",
    "ε": r"$\epsilon$",
    "η": r"$\eta$",
    "θ": r"$\theta$",
    "λ": r"$\lambda$",
    "μ": r"$\mu$",
    "π": r"$\pi$",
    "ρ": r"$\rho$",
    "σ": r"$\sigma$",
    "τ": r"$\tau$",
    "φ": r"$\phi$",
    "ω": r"$\omega$",
}

_ACCENTS = {
    "\u0300": "`",
    "\u0301": "'",
    "\u0302": "^",
    "\u0303": "~",
    "\u0304": "=",
    "\u0306": "u",
    "\u0307": ".",
    "\u0308": '"',
    "\u030a": "r",
    "\u030b": "H",
    "\u030c": "v",
    "\u0327": "c",
}
"""Combining mark -> the command that sets it over or under a letter."""


def escape(text: str) -> str:
    """Text that LaTeX prints as it is, in ASCII and with the fonts of every installation.

    A letter that these do not have is named by its number: ``[U+4E2D]``.
    """
    found = "".join(map(_letter, one_line(unicodedata.normalize("NFC", text))))
    found = re.sub("-(?=-)", "-{}", found) if "--" in text else found  # or two hyphens are one dash
    # What follows the end of a row in brackets, or as a star, is taken for its argument.
    return f"{{{found[0]}}}{found[1:]}" if found[:1] in ("[", "*") else found


def breakable(text: str, letters: int = 14) -> str:
    """Escaped text whose long words may be broken behind a mark, or where there is none, after so many letters."""
    pieces = []
    for word in one_line(text).split(" "):
        found = (
            re.findall(rf"[^-._=,@/:|]{{1,{letters}}}[-._=,@/:|]*|[-._=,@/:|]+", word)
            if len(word) > letters
            else [word]
        )
        pieces.append(r"\allowbreak{}".join(map(escape, found)).replace(r"-\allowbreak{}", "-"))  # TeX breaks there
    return " ".join(pieces)


def _letter(character: str) -> str:
    if character in _SPECIAL:
        return _SPECIAL[character]
    if " " <= character <= "~":
        return character
    base, *marks = list(unicodedata.normalize("NFD", character))
    if len(marks) == 1 and marks[0] in _ACCENTS and base.isascii() and base.isalpha():
        return rf"\{_ACCENTS[marks[0]]}{{{base}}}"
    return f"[U+{ord(character):04X}]"
