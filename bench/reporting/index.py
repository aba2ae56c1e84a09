"""One page over a folder of reports: what each says first, and where its pages are."""

from __future__ import annotations

import html.parser
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from bench.basics.errors import BenchError
from bench.basics.files import write_text
from bench.reporting.rendering import environment

HEADLINE = "bench:headline"
"""The name of the ``meta`` elements in which a leaderboard says its sentences."""
PAGE = "leaderboard.html"
FILES = ("leaderboard.csv", "leaderboard.md", "runs.csv", "changes.md")
MOST_BYTES = 64_000_000


@dataclass(frozen=True, slots=True)
class Leader:
    """What a page says of one column of a table."""

    table: str
    column: str
    leader: str
    accuracy: str
    rest: str


@dataclass(frozen=True, slots=True)
class Report:
    """A folder with a leaderboard."""

    name: str
    title: str
    leaders: tuple[Leader, ...]
    """None of a page that an older version wrote."""
    pages: tuple[tuple[str, str], ...]
    """(address, title), the leaderboard first."""
    files: tuple[tuple[str, str], ...]
    """(address, name)."""


def write_index(reports: Path) -> Path:
    """Write ``index.html`` over the folders in ``reports`` that hold a leaderboard; returns its path.

    BenchError where there is no such folder. The same reports give the same bytes.
    """
    found = read_reports(reports)
    if not found:
        raise BenchError(f"no folder in {reports} holds a {PAGE}; 'bench report --out {reports}/NAME' writes one")
    path = reports / "index.html"
    write_text(path, environment(autoescape=True).get_template("index.html.j2").render(reports=found))
    return path


def read_reports(reports: Path) -> list[Report]:
    """Every folder in ``reports`` with a leaderboard, by name. A page that cannot be read has no headline."""
    folders = sorted(one for one in reports.iterdir() if (one / PAGE).is_file()) if reports.is_dir() else []
    return [_report(folder) for folder in folders]


def _report(folder: Path) -> Report:
    pages = sorted(folder.glob("*.html"), key=lambda path: (path.name != PAGE, path.name))
    heads = {path: _read(path) for path in pages}
    first = heads[folder / PAGE]
    titles = {path: (head.title or path.stem) if path.name != PAGE else "Leaderboard" for path, head in heads.items()}
    return Report(
        name=folder.name,
        title=first.title or folder.name,
        leaders=tuple(first.leaders),
        pages=tuple((_address(folder, path.name), title) for path, title in titles.items()),
        files=tuple((_address(folder, name), name) for name in FILES if (folder / name).is_file()),
    )


def _address(folder: Path, name: str) -> str:
    return f"{quote(folder.name)}/{quote(name)}"


def _read(path: Path) -> _Head:
    head = _Head()
    try:
        if path.stat().st_size <= MOST_BYTES:
            head.feed(path.read_text(encoding="utf-8"))
    except _Done:
        pass
    except (OSError, ValueError):
        return _Head()
    return head


class _Done(Exception):
    """The head of a page has been read."""


class _Head(html.parser.HTMLParser):
    """Title and headlines of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.title = ""
        self.leaders: list[Leader] = []
        self._in_title = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        if tag == "meta" and found.get("name") == HEADLINE:
            said = [found.get(f"data-{name}") for name in ("table", "column", "leader", "accuracy", "rest")]
            if all(one is not None for one in said):
                self.leaders.append(Leader(*map(str, said)))
        self._in_title = tag == "title"
        if tag == "body":
            raise _Done

    def handle_endtag(self, tag: str) -> None:
        self._in_title = False

    def handle_data(self, data: str) -> None:
        if self._in_title:
            self.title += data
