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
    sentences += [_rivals(board, tier, line, shape)]
    sentences += [_others(board, tier, line, shape)]
    sentences += [_how_sure(tier, line, shape)]
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


def _rivals(board: Board, tier: Tier, leader: Line, shape: Shape) -> str:
    """Who in the tier cannot be told from the leader; or how far the next is."""
    others = [line for line in tier.ranked if line is not leader and shape in line.verdicts]
    tied = [line for line in others if line.verdicts[shape].standing == "tied"]
    if tied:
        return f"Not separable from it: {_named([board.name(line.row) for line in tied])}"
    behind = [line for line in others if line.verdicts[shape].gap is not None]
    if not behind:
        return "Nothing else of this length was run"
    last = max(behind, key=lambda line: line.row.scores[shape].estimate.mean)
    verdict = last.verdicts[shape]
    assert verdict.gap is not None
    p = "untested" if verdict.gap_p is None else f"p {p_value(verdict.gap_p)}"
    return f"The next, {board.name(last.row)}, is {percent(-verdict.gap.mean)} behind ({p})"


def _others(board: Board, tier: Tier, leader: Line, shape: Shape) -> str:
    """Leaders of other lengths that cannot be told from it."""
    told = []
    for other in board.tiers:
        line = other.leader(shape) if other is not tier else None
        if line is None or line.row.trained.iterations != other.iterations:
            continue
        verdict = line.verdicts[shape]
        if verdict.overall is not None and verdict.overall_p is not None and not significant(verdict.overall_p):
            told.append(f"{board.name(line.row)} of {line.row.trained.iterations:,} ({points(verdict.overall.mean)})")
    return f"Of other lengths, neither is {_named(told)}" if told else ""


def _how_sure(tier: Tier, leader: Line, shape: Shape) -> str:
    once = sum(len(line.row.seeds) == 1 for line in tier.ranked if shape in line.verdicts)
    count = sum(shape in line.verdicts for line in tier.ranked)
    if once == count:
        return "One training run each: this ranks trained models, not methods"
    if len(leader.row.seeds) == 1:
        return "The leader was trained once: its place is that of a trained model, not of a method"
    return f"{once} of {count} were trained once, and are compared as trained models" if once else ""


def _named(names: list[str]) -> str:
    shown = names[:NAMED]
    more = len(names) - len(shown)
    return "; ".join(shown) + (f" and {more} more" if more else "")
