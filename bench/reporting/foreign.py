"""Texts that others wrote (names, titles, reasons), made harmless before they are shown: no format may obey them."""

from __future__ import annotations

import re

_HIDDEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ufff9-\ufffb\ud800-\udfff]"
)
"""What is not seen but acts: control characters (but for tabs and line ends), marks that turn the direction of writing
or take no room, and halves of surrogate pairs, which nobody can write to a file."""


def visible(text: str) -> str:
    r"""The text with what cannot be seen written out: a real ESC as ``\x1b``."""
    return _HIDDEN.sub(lambda found: found[0].encode("unicode_escape").decode("ascii"), text)


def one_line(text: str) -> str:
    """As :func:`visible`, all white space single blanks."""
    return visible(" ".join(text.split()))
