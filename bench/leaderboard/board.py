"""The arrangement of a table: tiers of equal length of training, in each one ranked list with a row a method.

Rows of the same method whose settings were changed, or whose generator or encoder was trained for less, are folded
below it. Which row stands for a method is settled before any score is looked at.

How often ranks are right is simulated by :mod:`bench.leaderboard.simulation`. Of equal rows with one seed each some are
ranked behind others on 50 to 100 % of boards: such ranks are of trained models. With two seeds all rows share rank 1,
whatever separates them. The highest of many rows is flattered, by 0.2 to 1.7 points there.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from bench.leaderboard.pairs import Pairs, all_pairs
from bench.leaderboard.rows import GROUPS, Row
from bench.leaderboard.score_table import Shape
from bench.leaderboard.statistics import Difference, paired_difference
from bench.leaderboard.trained import REFERENCES, iterations

SIGNIFICANCE = 0.05

Kind = Literal["ranked", "reference", "variant"]
Standing = Literal["leader", "tied", "behind", "alone", "untested", "reference", "variant"]
"""``tied``: not significantly different from the leader of its tier; ``alone``: nobody to compare with; ``untested``:
behind on a single task, which no test can judge; ``reference``: a floor or a ceiling; ``variant``: folded below a row.
"""


@dataclass(frozen=True, slots=True)
class Preference:
    """Another rule for which row stands for a method."""

    choose: Callable[[Sequence[Row]], Row | None]
    """Of rows of one method and tier, as the usual rule orders them; None where it cannot tell, and that rule holds."""
    sentence: str
    """What the rule is, for readers."""


USUAL = (
    "One row stands for each method and length: that with the fewest changed settings (precision is none), of those "
    "the longest trained generator or encoder, then the most seeds. It is chosen before any score is looked at; the "
    "others are folded below it and have no rank."
)


@dataclass(frozen=True, slots=True)
class Verdict:
    """How a line stands in one column. P-values are two-sided and corrected (Holm) for all pairs of the tier: its
    ranked rows and the floor. Of a variant, and of a reference, see there.
    """

    rank: int | None
    """1 + how many ranked rows of the tier are significantly better; None of what is not ranked, or not tested."""
    standing: Standing
    gap: Difference | None = None
    """The line minus the leader of its tier; None for the leader. A variant minus the row that it is folded below, with
    an uncorrected p-value; a reference below the tiers minus the leader of the whole board."""
    gap_p: float | None = None
    gain: Difference | None = None
    """The line minus the floor; None without one, and of the floor itself."""
    gain_p: float | None = None
    overall: Difference | None = None
    """The line minus the leader of the whole board, where that is in another tier."""
    overall_p: float | None = None
    """Corrected for all pairs of the board."""

    @property
    def below_floor(self) -> bool:
        """Whether it is significantly worse than training from scratch."""
        return self.gain is not None and self.gain.mean < 0 and significant(self.gain_p)

    @property
    def one_seed(self) -> bool:
        """Whether what it says of the gap covers the draw of tasks only, so these trained models, not the methods."""
        return self.gap is not None and not self.gap.covers_seeds


@dataclass(frozen=True, slots=True)
class Line:
    """A row where it stands."""

    row: Row
    kind: Kind
    verdicts: Mapping[Shape, Verdict]
    folded: tuple[Line, ...] = ()
    """Variants of the same method and length."""
    shorter: Row | None = None
    """The same method in the next shorter tier that has it."""
    over_shorter: Mapping[Shape, tuple[Difference, float | None]] = field(default_factory=dict)
    """The line minus that, and its p-value corrected for all pairs of the board."""


@dataclass(frozen=True, slots=True)
class Tier:
    """Rows that were meta-trained equally long, and those that have no meta-training, ranked by the first column."""

    iterations: int
    """0: nothing is meta-trained."""
    budget: str
    """The name of the budget, where configurations do not say what it is."""
    lines: tuple[Line, ...]
    """The floor is among them, at its place."""
    pairs: Mapping[Shape, tuple[tuple[Row, ...], Pairs]] = field(repr=False, compare=False)
    """The ranked rows and the floor of each column, the highest mean first, and what is known of each two."""

    @property
    def title(self) -> str:
        """``1,000 meta-iterations``."""
        if self.budget:
            return f"budget {self.budget}"
        return iterations(self.iterations) if self.iterations else "No meta-training"

    @property
    def ranked(self) -> tuple[Line, ...]:
        """Without the floor."""
        return tuple(line for line in self.lines if line.kind == "ranked")

    def leader(self, shape: Shape) -> Line | None:
        """The highest mean of a column."""
        return next((line for line in self.ranked if _standing(line, shape) in ("leader", "alone")), None)


@dataclass(frozen=True, slots=True)
class Board:
    """A table, arranged."""

    tiers: tuple[Tier, ...] = ()
    """That with the highest accuracy first."""
    references: tuple[Line, ...] = ()
    """Floors, ceilings and what was trained on other images: never ranked."""
    floor: Row | None = None
    """What gains are counted from: training from scratch."""
    common: Mapping[str, str] = field(default_factory=dict)
    """Settings that were changed alike in every row that has them."""
    rule: str = USUAL
    """Which row stands for a method."""
    standing: frozenset[str] = frozenset()
    """Exact names of the rows that stand for a method."""

    def leader(self, shape: Shape) -> tuple[Tier, Line] | None:
        """The highest mean of a column without labels."""
        found = [(tier, line) for tier in self.tiers if (line := tier.leader(shape)) is not None]
        return max(found, key=lambda one: _mean(one[1].row, shape), default=None)

    def lines(self) -> Iterable[Line]:
        """Every line with what is folded below it, in the order of the page."""
        for line in (*(line for tier in self.tiers for line in tier.lines), *self.references):
            yield line
            yield from line.folded

    def name(self, row: Row) -> str:
        """What a row is called on this board: its title with the settings that not every row shares. In which precision
        a row was computed that stands for its method is said below the table.
        """
        common = {**self.common, **({"precision": row.precision} if row.method in self.standing else {})}
        own = [f"{name}={value}" for name, value in row.settings.items() if common.get(name) != value]
        return ", ".join([row.name, *own]) + (f" [{row.variant}]" if row.variant else "")


def significant(p: float | None) -> bool:
    """Whether a difference is one: a known p-value below 0.05."""
    return p is not None and p < SIGNIFICANCE


def arrange(rows: Sequence[Row], shapes: Sequence[Shape], preference: Preference | None = None) -> Board:
    """Tiers and references of a table's rows. ``preference``: which row stands for a method, instead of the rule that
    :data:`USUAL` states.
    """
    families: dict[tuple[str, str, int, str], list[Row]] = {}
    for row in sorted(rows, key=_usual):
        families.setdefault((row.group, row.family, row.trained.iterations, row.trained.budget), []).append(row)
    chosen: dict[tuple[str, str, int, str], tuple[Row, list[Row]]] = {}
    for key, found in families.items():
        first = (preference.choose(found) if preference and len(found) > 1 else None) or found[0]
        chosen[key] = first, [row for row in found if row is not first]
    shown = [row for row, _ in chosen.values()]
    folded = {id(row): rest for row, rest in chosen.values()}
    floor = _floor(shown, shapes)
    whole = _Whole(shown, shapes)
    ranked = [row for row in shown if row.group not in REFERENCES]
    lengths = {_length(row) for row in ranked}
    lengths = {length for length in lengths if length != (0, "")} or lengths
    tiers = [_tier(length, ranked, floor, shapes, folded, whole) for length in lengths]
    best = {shape: _best(ranked, shape) for shape in shapes}
    tiers = [_with_leaders(tier, shapes, best, whole) for tier in tiers]
    references = [
        Line(row, "reference", _beside(row, shapes, best, floor, whole), _variants(row, folded[id(row)], shapes))
        for row in sorted(shown, key=lambda row: (_group(row), [-_mean(row, shape) for shape in shapes]))
        if row.group in REFERENCES
    ]
    return Board(
        tiers=tuple(sorted(tiers, key=lambda tier: _place(tier, shapes))),
        references=tuple(references),
        floor=floor,
        common=_common(rows),
        rule=preference.sentence if preference else USUAL,
        standing=frozenset(row.method for row in shown),
    )


def _usual(row: Row) -> tuple[object, ...]:
    """The rule of :data:`USUAL`; it knows nothing of scores."""
    rounded = row.settings.get("precision") == row.precision
    changed = len(row.settings) - rounded + len(row.variant.split(", ") if row.variant else ())
    return changed, [-count for _, count in row.trained.epochs], -len(row.seeds), rounded, row.method, row.variant


def _floor(rows: Sequence[Row], shapes: Sequence[Shape]) -> Row | None:
    """The floor that has a network which could have been trained; of several the highest."""
    floors = [row for row in rows if row.group == "floor" and "backbone" in row.facets]
    return max(floors, key=lambda row: [_mean(row, shape) for shape in shapes], default=None)


def _length(row: Row) -> tuple[int, str]:
    return row.trained.iterations, row.trained.budget


def _mean(row: Row, shape: Shape) -> float:
    return row.scores[shape].estimate.mean if shape in row.scores else -math.inf


def _best(rows: Iterable[Row], shape: Shape) -> Row | None:
    return max((row for row in rows if shape in row.scores), key=lambda row: _mean(row, shape), default=None)


def _group(row: Row) -> int:
    return list(GROUPS).index(row.group)


def _standing(line: Line, shape: Shape) -> Standing | None:
    return line.verdicts[shape].standing if shape in line.verdicts else None


class _Whole:
    """What is known of each two rows of the board, in every column."""

    def __init__(self, rows: Sequence[Row], shapes: Sequence[Shape]) -> None:
        self.rows = {shape: [row for row in rows if shape in row.scores] for shape in shapes}
        self.pairs = {shape: all_pairs([row.scores[shape].values for row in self.rows[shape]]) for shape in shapes}
        self.index = {shape: {id(row): i for i, row in enumerate(found)} for shape, found in self.rows.items()}

    def among(self, rows: Iterable[Row], shape: Shape) -> tuple[list[Row], Pairs]:
        """The highest mean first, corrected for the pairs of these rows alone."""
        some = sorted((row for row in rows if shape in row.scores), key=lambda row: -_mean(row, shape))
        return some, self.pairs[shape].among([self.index[shape][id(row)] for row in some])

    def apart(self, a: Row, b: Row, shape: Shape) -> tuple[Difference, float | None]:
        """``a`` minus ``b``, and its p-value corrected for all pairs of the board."""
        i, j = self.index[shape][id(a)], self.index[shape][id(b)]
        return self.pairs[shape].difference(i, j), self.pairs[shape].corrected(i, j)


def _tier(
    length: tuple[int, str],
    ranked: Sequence[Row],
    floor: Row | None,
    shapes: Sequence[Shape],
    folded: Mapping[int, Sequence[Row]],
    whole: _Whole,
) -> Tier:
    mine = [row for row in ranked if _length(row) in (length, (0, ""))]
    verdicts: dict[int, dict[Shape, Verdict]] = {id(row): {} for row in [*mine, *([floor] if floor else [])]}
    pairs = {}
    for shape in shapes:
        rows, known = whole.among([*mine, *([floor] if floor else [])], shape)
        pairs[shape] = tuple(rows), known
        for i in range(len(rows)):
            verdicts[id(rows[i])][shape] = _verdict(i, rows, known, floor)
    lines = [
        Line(row, "ranked", verdicts[id(row)], _variants(row, folded[id(row)], shapes), *_shorter(row, ranked, whole))
        for row in mine
    ]
    lines += [Line(floor, "reference", verdicts[id(floor)])] if floor else []
    lines.sort(key=lambda line: ([-_mean(line.row, shape) for shape in shapes], line.row.method))
    return Tier(length[0], length[1], tuple(lines), pairs)


def _verdict(i: int, rows: Sequence[Row], known: Pairs, floor: Row | None) -> Verdict:
    row = rows[i]
    others = [j for j, other in enumerate(rows) if other is not floor and j != i]
    leader = next((j for j, other in enumerate(rows) if other is not floor), None)
    gain, gain_p = None, None
    if floor is not None and row is not floor and (under := _position(floor, rows)) is not None:
        gain, gain_p = known.difference(i, under), known.corrected(i, under)
    apart = None if leader is None or leader == i else known.difference(i, leader)
    p = None if leader is None or leader == i else known.corrected(i, leader)
    if row is floor:
        return Verdict(None, "reference", apart, p)
    standing: Standing
    if apart is None:
        standing = "leader" if others else "alone"
    elif p is None:
        standing = "untested"
    else:
        standing = "behind" if significant(p) else "tied"
    tested = known.tasks > 1
    rank = 1 + sum(known.mean[j, i] > 0 and significant(known.corrected(j, i)) for j in others) if tested else None
    return Verdict(rank, standing, apart, p, gain, gain_p)


def _position(row: Row, rows: Sequence[Row]) -> int | None:
    return next((i for i, other in enumerate(rows) if other is row), None)


def _variants(row: Row, rest: Sequence[Row], shapes: Sequence[Shape]) -> tuple[Line, ...]:
    """The folded rows, each beside the one that stands for it."""
    lines = []
    for variant in rest:
        verdicts = {}
        for shape in (shape for shape in shapes if shape in variant.scores):
            gap = None
            if shape in row.scores:
                gap = paired_difference(variant.scores[shape].values, row.scores[shape].values)
            verdicts[shape] = Verdict(None, "variant", gap, None if gap is None else gap.p)
        lines.append(Line(variant, "variant", verdicts))
    return tuple(sorted(lines, key=lambda line: [-_mean(line.row, shape) for shape in shapes]))


def _shorter(
    row: Row, ranked: Sequence[Row], whole: _Whole
) -> tuple[Row | None, dict[Shape, tuple[Difference, float | None]]]:
    alike = [other for other in ranked if _but_for_length(other) == _but_for_length(row)]
    below = [other for other in alike if 0 < other.trained.iterations < row.trained.iterations]
    if not below:
        return None, {}
    other = max(below, key=lambda one: one.trained.iterations)
    return other, {shape: whole.apart(row, other, shape) for shape in row.scores if shape in other.scores}


def _but_for_length(row: Row) -> tuple[object, ...]:
    """What two rows must have in common for their difference to be that of their meta-iterations."""
    return row.computed_anyhow, row.variant, row.trained.epochs, row.trained.budget


def _with_leaders(tier: Tier, shapes: Sequence[Shape], best: Mapping[Shape, Row | None], whole: _Whole) -> Tier:
    """How far the lines are from the leader of the board, where that stands in another tier."""

    def told(line: Line) -> Line:
        verdicts = dict(line.verdicts)
        for shape in line.verdicts:
            leader = best[shape]
            if leader is None or line.kind != "ranked" or any(one.row is leader for one in tier.ranked):
                continue
            apart, p = whole.apart(line.row, leader, shape)
            verdicts[shape] = replace(verdicts[shape], overall=apart, overall_p=p)
        return replace(line, verdicts=verdicts)

    return replace(tier, lines=tuple(told(line) for line in tier.lines))


def _beside(
    row: Row, shapes: Sequence[Shape], best: Mapping[Shape, Row | None], floor: Row | None, whole: _Whole
) -> dict[Shape, Verdict]:
    found = {}
    for shape in (shape for shape in shapes if shape in row.scores):
        leader = best[shape]
        gap, gap_p = whole.apart(row, leader, shape) if leader is not None else (None, None)
        gain, gain_p = None, None
        if floor is not None and floor is not row and shape in floor.scores:
            gain, gain_p = whole.apart(row, floor, shape)
        found[shape] = Verdict(None, "reference", gap, gap_p, gain, gain_p)
    return found


def _place(tier: Tier, shapes: Sequence[Shape]) -> tuple[object, ...]:
    highest = [max((_mean(line.row, shape) for line in tier.ranked), default=-math.inf) for shape in shapes]
    return [-mean for mean in highest], tier.iterations, tier.budget


def _common(rows: Sequence[Row]) -> dict[str, str]:
    """Settings that rows of two methods or more changed, and every row that has them changed alike."""
    found = {}
    for name in sorted({name for row in rows for name in row.settings}):
        having = [row for row in rows if name.partition(".")[0] in row.has]
        values = {row.settings.get(name) for row in having}
        if len(values) == 1 and None not in values and len({row.family for row in having}) > 1:
            found[name] = str(values.pop())
    return found
