"""What the HTML page of a leaderboard shows, as plain data: boards, sections, lines, and what stands behind a line."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from bench.basics.side import SIDE
from bench.leaderboard.board import SIGNIFICANCE, Line, Tier
from bench.leaderboard.columns import points
from bench.leaderboard.headline import Headline, headlines
from bench.leaderboard.loading import Frames
from bench.leaderboard.pairs import Pairs
from bench.leaderboard.reproduction import commands
from bench.leaderboard.rows import GROUPS, Row
from bench.leaderboard.score_table import Shape
from bench.leaderboard.table import Table
from bench.planning import catalogue
from bench.planning.catalogue import Variant
from bench.reporting.page_columns import Cell, Column, cells, columns
from bench.reporting.page_details import Fact, details

MOST_PAIRED = 30
"""Rows of a matrix of pairs."""
LONG = ("published", "views")
"""Columns whose texts take several lines."""
MOST_LETTERS = 140
"""Of an anchor."""


@dataclass(frozen=True, slots=True)
class Behind:
    """What opens below a line."""

    facts: tuple[Fact, ...]
    commands: tuple[str, ...]
    records: tuple[str, ...]
    """Folders below that of the records."""


@dataclass(frozen=True, slots=True)
class PageLine:
    """A row of a board."""

    anchor: str
    name: str
    tail: str
    """What follows the name: settings, or what else tells it from the line that it is folded below."""
    kind: str
    """ranked, floor, reference or variant."""
    cells: tuple[Cell, ...]
    """After the name, for every column but that."""
    side: str
    """Words of its side information, which its cell has letters for."""
    behind: Behind | None
    """None where ``elsewhere`` has it."""
    elsewhere: str = ""
    """The anchor of the same row in another section."""
    muted: bool = False
    """Has no meta-training and stands in an earlier section too."""
    under: bool = False
    """Below the floor of its section."""

    @property
    def whole(self) -> str:
        """Its name with what follows it."""
        return f"{self.name}, {self.tail}" if self.tail else self.name


@dataclass(frozen=True, slots=True)
class Group:
    """A line and what is folded below it."""

    line: PageLine
    folded: tuple[PageLine, ...] = ()

    @property
    def lines(self) -> tuple[PageLine, ...]:
        """All of them."""
        return (self.line, *self.folded)


@dataclass(frozen=True, slots=True)
class Matrix:
    """Row minus column, in points, for rows of a section in one column of the board."""

    title: str
    names: tuple[str, ...]
    cells: tuple[tuple[tuple[str, str], ...], ...]
    """(text, ``w`` significantly better, ``l`` worse, ``t`` tied, empty for itself)."""
    left_out: int
    """Further rows for which there is no room."""


@dataclass(frozen=True, slots=True)
class PageSection:
    """Rows that are ranked together, or a group that is not ranked."""

    key: str
    title: str
    about: str
    groups: tuple[Group, ...]
    matrices: tuple[Matrix, ...] = ()


@dataclass(frozen=True, slots=True)
class PageBoard:
    """A table."""

    table: Table
    headlines: tuple[Headline, ...]
    columns: tuple[Column, ...]
    """Without the name of the row, which comes after the rank."""
    sections: tuple[PageSection, ...]

    @property
    def width(self) -> int:
        """Columns that are shown unasked, the name included."""
        return 1 + sum(column.shown for column in self.columns)

    @property
    def looks(self) -> list[tuple[list[int], str]]:
        """(places from 1, style) of columns of words, of those that begin a way and shot, and of those left out."""
        wanted = (
            ([c.text for c in self.columns], "text-align: left;"),
            ([bool(c.over) for c in self.columns], "border-left: 1px solid var(--line);"),
            ([c.key == "rank" for c in self.columns], "color: var(--soft);"),
            ([c.key in LONG for c in self.columns], "white-space: normal; min-width: 13rem;"),
            ([not c.shown for c in self.columns], "display: none;"),
        )
        found = [([self.place(i) for i, one in enumerate(chosen) if one], style) for chosen, style in wanted]
        return [(places, style) for places, style in found if places]

    @property
    def unprinted(self) -> list[int]:
        """Places of the columns for which paper is too narrow; never the accuracies."""
        few = len(self.table.manifests) <= 2
        kept = {"rank", "accuracy", "gap", "gain", "seeds"} if few else {"accuracy"}
        return [self.place(i) for i, column in enumerate(self.columns) if column.key not in kept]

    def place(self, number: int) -> int:
        """Of a column among the cells of a row, from 1: the name follows the rank, or is the first."""
        ranked = self.columns[0].key == "rank"
        return number + 1 if ranked and number == 0 else number + 2

    @property
    def aside(self) -> bool:
        """Whether a cell has a grey line on other lengths of training."""
        return any(cell.below for line in self.lines for cell in line.cells)

    @property
    def lines(self) -> list[PageLine]:
        """Every one, each row once."""
        groups = (group for section in self.sections for group in section.groups)
        return [line for group in groups for line in group.lines if not line.elsewhere]


def boards(tables: Sequence[Table], frames: Frames | None = None) -> tuple[PageBoard, ...]:
    """``frames``: where the tables come from; without it no line has commands or records."""
    anchors = {f"{table.slug}.{part}" for table in tables for part in ("board", "data")}
    known = catalogue.variants() if frames is not None else {}
    return tuple(_board(table, frames, known, anchors) for table in tables)


def safe(text: str) -> str:
    """What an anchor may consist of: letters of any script, digits, and marks that no address takes for more."""
    return re.sub(r"[^\w.-]+", "-", text).strip("-")


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:8]


def _board(table: Table, frames: Frames | None, known: Mapping[str, Variant], anchors: set[str]) -> PageBoard:
    used = columns(table)
    leaders = {shape: found for shape in table.manifests if (found := table.board.leader(shape)) is not None}
    first: dict[int, str] = {}
    maker = _Maker(table, used, frames, known, anchors, first, leaders)
    # References first: the floor has its details there, not in each section.
    references = [maker.references(group, title) for group, title in GROUPS.items()]
    sections = [maker.tier(tier, number) for number, tier in enumerate(table.board.tiers)]
    return PageBoard(table, headlines(table), used, (*sections, *(one for one in references if one.groups)))


@dataclass(frozen=True, slots=True)
class _Maker:
    """Makes the sections of one table."""

    table: Table
    columns: tuple[Column, ...]
    frames: Frames | None
    known: Mapping[str, Variant]
    """Every method by its exact name."""
    anchors: set[str]
    """Those that the page has so far."""
    first: dict[int, str]
    """id of a row -> its anchor in the first section that has it."""
    leaders: Mapping[Shape, tuple[Tier, Line]]

    def tier(self, tier: Tier, number: int) -> PageSection:
        """``number``: 0 for the first of the board."""
        key = str(tier.iterations) if not tier.budget else f"budget-{_digest(tier.budget)}"
        shapes = tuple(self.table.manifests)
        floor = next((i for i, line in enumerate(tier.lines) if line.kind == "reference"), len(tier.lines))
        groups = []
        for i, line in enumerate(tier.lines):
            own = line.row.trained.iterations == tier.iterations
            leads = any(tier.leader(shape) is line for shape in shapes)
            aside = own and (number > 0 or leads)
            groups.append(self.group(line, key, aside=aside, under=i > floor))
        count = len(tier.ranked)
        about = f"{count} method{'' if count == 1 else 's'}"
        about += f", ranked by {next(iter(self.table.columns.values()))}" if len(shapes) > 1 else ""
        found = (_matrix(self.table, tier, shape, title) for shape, title in self.table.columns.items())
        return PageSection(key, tier.title, about, tuple(groups), tuple(one for one in found if one is not None))

    def references(self, group: str, title: str) -> PageSection:
        """Rows of a group that has no rank."""
        about = {
            "floor": "what little or no training reaches; not ranked",
            "ceiling": "trained with labels of meta-train; not ranked",
            "transfer": "trained on other images; not ranked",
        }
        lines = [line for line in self.table.board.references if line.row.group == group]
        return PageSection(group, title, about.get(group, ""), tuple(self.group(line, group) for line in lines))

    def group(self, line: Line, key: str, aside: bool = False, under: bool = False) -> Group:
        """``aside``: with what the longer training brought and how far the leader of the board is."""
        return Group(
            self.line(line, key, aside=aside, under=under),
            tuple(self.line(one, key, under=under, above=line.row) for one in line.folded),
        )

    def line(
        self, line: Line, key: str, aside: bool = False, under: bool = False, above: Row | None = None
    ) -> PageLine:
        row = line.row
        before = self.first.get(id(row), "")
        anchor = self.anchor(row, key)
        self.first.setdefault(id(row), anchor)
        kind: str = line.kind
        if kind == "reference" and key not in GROUPS:
            kind, aside, under = "floor", False, False
        name = self.table.board.name(row)
        others = self.table.board.references if line.kind == "reference" else ()
        alike = [one.row for one in others if one.row is not row] + ([above] if above is not None else [])
        if name in [self.table.board.name(other) for other in alike]:
            name = f"{name}, {row.trained.text}"
        return PageLine(
            anchor=anchor,
            name=row.name,
            tail=name.removeprefix(row.name).lstrip(", "),
            kind=kind,
            cells=tuple(cells(line, self.table, self.columns, self.leaders, aside and not before)),
            side=" ".join(row.side),
            behind=None if before else self.behind(line),
            elsewhere=before,
            muted=bool(before) and kind == "ranked",
            under=under,
        )

    def behind(self, line: Line) -> Behind:
        again, folders = self.made_by(line.row)
        return Behind(tuple(details(line, self.table, self.leaders)), again, folders)

    def made_by(self, row: Row) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """The commands that make a row again, and the folders of its runs."""
        if self.frames is None:
            return (), ()
        folders = tuple(self.frames.facts[run]["folder"] for run in sorted(row.runs))
        return commands(replace(self.table, rows=(row,)), self.frames, self.known), folders

    def anchor(self, row: Row, key: str) -> str:
        """Says which table, section and row; unlike any other of the page, and the same on every page."""
        epochs = [f"{count}-{title}" for title, count in row.trained.epochs]
        whole = ".".join(safe(part) for part in (self.table.slug, key, row.method, row.variant, *epochs) if safe(part))
        exact = "\n".join((self.table.slug, key, row.method, row.variant, row.budget, *epochs))
        found = whole if len(whole) <= MOST_LETTERS else f"{whole[:MOST_LETTERS]}.{_digest(exact)}"
        if found in self.anchors:
            found = f"{found}.{_digest(exact)}"
        self.anchors.add(found)
        return found


def _matrix(table: Table, tier: Tier, shape: Shape, title: str) -> Matrix | None:
    rows, pairs = tier.pairs.get(shape, ((), None))
    if pairs is None or len(rows) < 2 or pairs.tasks < 2:
        return None
    count = min(len(rows), MOST_PAIRED)
    return Matrix(
        title=f"{tier.title}, {title}",
        names=tuple(table.board.name(row) for row in rows[:count]),
        cells=tuple(tuple(_pair(pairs, i, j) for j in range(count)) for i in range(count)),
        left_out=len(rows) - count,
    )


def _pair(pairs: Pairs, i: int, j: int) -> tuple[str, str]:
    if i == j:
        return "", ""
    p = pairs.corrected(i, j)
    significant = p is not None and p < SIGNIFICANCE
    mean = float(pairs.mean[i, j])
    return points(mean), ("w" if mean > 0 else "l") if significant else "t"


def side_words(lines: Collection[PageLine]) -> list[tuple[str, str, str]]:
    """(letter, word, what it says) of the side information of some lines."""
    used = {word for line in lines for word in line.side.split()}
    return [(one.mark, word, one.meaning) for word, one in SIDE.items() if word in used]
