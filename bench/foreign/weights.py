"""``bench weights``: public weights of networks that can be named, where they are, and fetching them.

Listing reads YAML only and imports no torch.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from bench.basics.errors import BenchError, did_you_mean
from bench.planning import catalogue

if TYPE_CHECKING:
    from bench.contracts import ProgressCallback

MOST_BYTES = 4 * 2**30


@dataclass(frozen=True, slots=True)
class Published:
    """Weights that somebody put on the web, as the card of a generator or encoder describes them."""

    name: str
    group: str
    setting: str
    """What takes the file, such as ``generator.weights``."""
    what: str
    url: str
    licence: str
    cite: str
    note: str
    sha256: str | None
    """The checksum, or its beginning, where the publisher gives one."""

    @property
    def file(self) -> str:
        """What the file is called."""
        return PurePosixPath(urlsplit(self.url).path).name


def published() -> dict[str, Published]:
    """By name of the option, such as ``vgg19``."""
    found = {}
    for group in catalogue.groups():
        for name in catalogue.options(group):
            values = catalogue.raw(group, name)
            card = values.get("card", {})
            if facts := card.get("published"):
                found[name] = Published(
                    name=name,
                    group=group,
                    setting=f"{group}.{values['own']}",
                    what=" ".join(facts["what"].split()),
                    url=facts["url"],
                    licence=" ".join(facts["licence"].split()),
                    cite=card.get("cite", ""),
                    note=" ".join(facts.get("note", "").split()),
                    sha256=facts.get("sha256"),
                )
    return found


def find(name: str) -> Published:
    """BenchError with a suggestion where there are no weights of that name."""
    known = published()
    if name not in known:
        raise BenchError(f"there are no weights {name!r}.{did_you_mean(name, known)} There are: {', '.join(known)}")
    return known[name]


def fetch(one: Published, folder: Path, sha256: str | None, progress: ProgressCallback) -> Path:
    """Download to ``folder``, or find there; ``sha256`` (or its beginning) pins it. BenchError in one sentence."""
    if sha256 is not None and not re.fullmatch(r"[0-9a-fA-F]{8,64}", sha256):
        raise BenchError(f"--sha256 takes 8 to 64 hexadecimal digits, not {sha256!r}")
    from bench.datasets import archives

    path = folder / one.file
    archives.download(one.url, path, None, progress, sha256=sha256 or one.sha256, most_bytes=MOST_BYTES)
    return path
