"""What a table says in one sentence a column: who leads, by how much, over what floor, below what ceiling, how sure."""

from __future__ import annotations

from dataclasses import dataclass

from bench.leaderboard.board import Board, Line, Tier, significant
from bench.leaderboard.columns import accuracy, p_value, percent, points
from bench.leaderboard.rows import Row
from bench.leaderboard.score_table import Shape
from bench.leaderboard.table import Table

NAMED = 3
"""Of more rows that are not separable from the leader only the first are named."""
FEW = 2
"""With so many seeds nothing is significant; see :mod:`bench.leaderboard.simulation`."""


@dataclass(frozen=True, slots=True)
class Headline:
    """Of one column."""

    column: str
    leader: str
    accuracy: str
    """``85.44 ± 0.53``, in percent."""
    rest: str
    """What follows ``leader accuracy %``: sentences."""

    @property
    def text(self) -> str:
        """The whole."""
        return f"{self.column}: {self.leader} leads without labels at {self.accuracy} %{self.rest}"


def headlines(table: Table) -> tuple[Headline, ...]:
    """One for each column in which anything without labels has a number."""
    found = []
    for shape, title in table.columns.items():
        leading = table.board.leader(shape)
        if leading is not None:
            found.append(_headline(table.board, *leading, shape, title))
    return tuple(found)


def _headline(board: Board, tier: Tier, line: Line, shape: Shape, title: str) -> Headline:
    row, verdict = line.row, line.verdicts[shape]
    told = [tier.title[0].lower() + tier.title[1:]]
    if verdict.gain is not None and board.floor is not None:
        if verdict.below_floor:
            told.append(f"{percent(-verdict.gain.mean)} BELOW {_floor(board.floor)}")
        else:
            sure = "" if significant(verdict.gain_p) else ", which is not significant"
            told.append(f"{points(verdict.gain.mean)} over {_floor(board.floor)}{sure}")
    if (ceiling := _ceiling(board, row, shape)) is not None:
        apart = ceiling.scores[shape].estimate.mean - row.scores[shape].estimate.mean
        same = ceiling.trained.iterations == row.trained.iterations
        length = " of the same length" if same else f" of {ceiling.trained.text}"
        below = f"{percent(apart)} below" if apart >= 0 else f"{percent(-apart)} above"
        told.append(f"{below} {board.name(ceiling)}{length}")
    sentences = [f" ({told[0]})" + (": " + ", ".join(told[1:]) if told[1:] else "")]
    sentences += [_rivals(board, tier, line, shape), _how_sure(tier, line, shape)]
    return Headline(
        title, board.name(row), accuracy(row.scores[shape]), ". ".join(one for one in sentences if one) + "."
    )


def _floor(row: Row) -> str:
    return row.name[0].lower() + row.name[1:]


def _ceiling(board: Board, row: Row, shape: Shape) -> Row | None:
    """The highest with labels, of the same length where there is one."""
    ceilings = [line.row for line in board.references if line.row.group == "ceiling" and shape in line.row.scores]
    alike = [one for one in ceilings if one.trained.iterations == row.trained.iterations]
    return max(alike or ceilings, key=lambda one: one.scores[shape].estimate.mean, default=None)


@dataclass(frozen=True, slots=True)
class _Rival:
    """Another row of the board, and how far the leader is."""

    name: str
    behind: float
    p: float | None

    @property
    def tied(self) -> bool:
        return self.p is not None and not significant(self.p)


def _rivals(board: Board, tier: Tier, leader: Line, shape: Shape) -> str:
    """Who cannot be told from the leader, of its length or another; where nobody, how far the next is."""
    found = []
    for other in board.tiers:
        for line in other.ranked:
            again = other is not tier and line.row.trained.iterations != other.iterations
            again |= line.row.computed_anyhow == leader.row.computed_anyhow  # a method is no rival of its own
            if line is leader or shape not in line.verdicts or again:  # what has no length stands in every tier
                continue
            verdict = line.verdicts[shape]
            apart, p = (verdict.gap, verdict.gap_p) if other is tier else (verdict.overall, verdict.overall_p)
            length = "" if other is tier else f" of {other.title.removesuffix(' meta-iterations')}"
            if apart is not None:
                found.append(_Rival(f"{board.name(line.row)}{length}", -apart.mean, p))
    found.sort(key=lambda one: one.behind)
    tied = [one for one in found if one.tied]
    if tied:
        told = [f"{one.name} ({points(-one.behind)})" for one in tied]
        return f"Not separable from it: {_named(told)}"
    if not found:
        return "Nothing else without labels was run"
    first = found[0]
    sure = "untested" if first.p is None else f"p {p_value(first.p)}"
    return f"The next, {first.name}, is {percent(first.behind)} behind ({sure})"


def _how_sure(tier: Tier, leader: Line, shape: Shape) -> str:
    seeds = [len(line.row.scores[shape].seeds) for line in tier.ranked if shape in line.verdicts]
    if max(seeds) == 1:
        return "One training run each: this ranks trained models, not methods"
    if len(leader.row.scores[shape].seeds) == 1:
        return "The leader was trained once: its place is that of a trained model, not of a method"
    told = []
    if once := seeds.count(1):
        told.append(f"{once} of the {len(seeds)} of this length {'was' if once == 1 else 'were'} trained once")
    if max(seeds) <= FEW:
        told.append("two seeds tell nothing apart: not separable does not mean equal")
    return "; ".join(told)[:1].upper() + "; ".join(told)[1:]


def _named(names: list[str]) -> str:
    shown = names[:NAMED]
    more = len(names) - len(shown)
    return "; ".join(shown) + (f" and {more} more" if more else "")
