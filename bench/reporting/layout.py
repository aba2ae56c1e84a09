"""What every format shows, as plain text: the grid of a table, how to read it, what was evaluated."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from bench.basics.side import SIDE, legend
from bench.leaderboard.columns import DASH, NOT_RUN, ROW_COLUMNS, SCORE_COLUMNS
from bench.leaderboard.table import GROUPS, Leaderboard, Row, Table

HOW_TO_READ = (
    "Accuracy ± is the mean over tasks and its 95 % interval as papers print it, 1.96 · sd / √tasks "
    "(population sd of the seed-averaged task scores). It covers the draw of tasks only, not the luck of "
    "a training run.",
    "Seeds: sd (n) is the standard deviation of the mean accuracy over n training seeds, in accuracy "
    "points. Tasks and seeds is the half width of the 95 % interval that covers both sources; it needs "
    "two seeds or more.",
    "Every method of a column answered the same tasks, so differences are paired task by task. They "
    "include the spread between seeds where both methods have at least two; otherwise they describe these "
    "trained models, not the methods.",
    "Bold is the highest mean of its group and budget. The mark = says tied: not significantly different "
    "from the best (paired t-test, p ≥ 0.05 after Holm's correction for all comparisons with the best).",
    "Training is how long everything took that a row rests on, a shared generator or encoder included, where it was "
    "trained: a machine that was slower or had other work makes it longer.",
    "· stands for tasks that a row did not answer, – for a number that there is not: none is published, or one seed "
    "has no spread.",
    "Unsupervised methods, floors and ceilings are ranked apart, and so are different training budgets. Published "
    "numbers come from other tasks and other trainings.",
    "Side information is what a row used beside unlabelled images of the dataset, as its method, every component of it "
    "and its learner declare it: " + "; ".join(f"{word} ({one.meaning})" for word, one in SIDE.items()) + ".",
)


@dataclass(frozen=True, slots=True)
class Cell:
    """Plain text; strong where it is the best."""

    text: str
    strong: bool = False


@dataclass(frozen=True, slots=True)
class Section:
    """Rows that are ranked together."""

    heading: str
    rows: tuple[tuple[Cell, ...], ...]


@dataclass(frozen=True, slots=True)
class Grid:
    """A table: titles of the row's own columns, then of each shot's, or of each way's and shot's."""

    row_titles: tuple[str, ...]
    shots: tuple[str, ...]
    shot_titles: tuple[str, ...]
    sections: tuple[Section, ...]

    @property
    def width(self) -> int:
        """Number of columns."""
        return len(self.row_titles) + len(self.shots) * len(self.shot_titles)

    @property
    def flat_titles(self) -> list[str]:
        """One title a column, for formats without column groups."""
        return [*self.row_titles, *(f"{shot} {title}" for shot in self.shots for title in self.shot_titles)]


def grid(table: Table, compact: bool = False) -> Grid:
    """The cells of a table. ``compact`` leaves out what narrow formats have no room for.

    A column with nothing to say (a dash in every row) is left out of each, and the budget where the headings say it.
    """
    several = len(table.budgets) > 1
    row_columns = [
        column for column in ROW_COLUMNS if (column.compact or not compact) and not (several and column.in_headings)
    ]
    scores = [score for row in table.rows for score in row.scores.values()]
    score_columns = [
        column
        for column in SCORE_COLUMNS
        if (column.compact or not compact) and any(column.text(score) != DASH for score in scores)
    ]

    def cells(row: Row) -> tuple[Cell, ...]:
        found = [Cell(column.text(row)) for column in row_columns]
        for shape in table.columns:
            score = row.scores.get(shape)
            if score is None:
                found += [Cell(NOT_RUN), *(Cell("") for _ in score_columns[1:])]
            else:
                found += [Cell(column.text(score), column.strong(score)) for column in score_columns]
        return tuple(found)

    blocks: dict[tuple[str, str], list[tuple[Cell, ...]]] = {}
    for row in table.rows:
        blocks.setdefault((row.group, row.budget), []).append(cells(row))
    return Grid(
        row_titles=tuple(column.title for column in row_columns),
        shots=tuple(table.columns.values()),
        shot_titles=tuple(column.title for column in score_columns),
        sections=tuple(
            Section(GROUPS.get(group, group) + (f", budget {budget}" if several else ""), tuple(rows))
            for (group, budget), rows in blocks.items()
        ),
    )


def evaluated(table: Table) -> list[tuple[str, str]]:
    """(what, value): everything that says on which data the numbers of a table were made."""
    facts = [("dataset", f"{table.dataset}, SHA-256 {table.dataset_hash or 'unknown'}")]
    for shape, one in table.manifests.items():
        facts.append((f"{table.columns[shape]} tasks", f"{one.tasks} tasks, manifest SHA-256 {one.manifest}"))
    facts.append(("training seeds", _numbers(table.seeds)))
    facts.append(("training budgets", ", ".join(table.budgets)))
    return facts


def notes(table: Table) -> list[str]:
    """What a reader must know before comparing two rows of this table."""
    found = []
    if table.number > 1:
        found.append("These are other tasks than those of the table before: numbers of the two must not be compared.")
    if len(table.budgets) > 1:
        found.append("Rows were trained with different budgets, which the headings name, and are ranked apart.")
    single = sum(len(row.seeds) == 1 for row in table.rows)
    if single:
        found.append(
            f"Rows with one training seed: {single} of {len(table.rows)}. Their spread between seeds is "
            "unknown, and comparisons with them cover the draw of tasks only."
        )
    uneven = [row.label for row in table.rows if len({score.seeds for score in row.scores.values()}) > 1]
    if uneven:
        every = "way and shot" if len(table.ways) > 1 else "shot"
        found.append(f"Not every seed answered every {every}: {', '.join(uneven)}.")
    found += _gaps(table)
    if any(row.variant for row in table.rows):
        found.append("Runs of one name that were trained with different settings are separate rows; brackets say how.")
    if any(row.outside_data for row in table.rows):
        names = ", ".join(row.label for row in table.rows if row.outside_data)
        found.append(f"Trained in part on images from outside the dataset: {names}.")
    found += [f"Side information, {word}: {meaning}." for word, meaning in side_information(table)]
    printed = [one for row in table.rows for score in row.scores.values() for one in score.published]
    found += dict.fromkeys(f"Published, {one.provenance}: {one.caveat}." for one in printed if one.caveat)
    if any(one.tasks == 1 for one in table.manifests.values()):
        found.append("A single task has no spread: there is no interval and no test where only one was answered.")
    return [*found, *table.left_out]


def _gaps(table: Table) -> list[str]:
    """A sentence for each way that some rows did not answer, and for each reason."""
    rows: dict[tuple[int, str], list[str]] = {}
    for row in table.rows:
        for way, why in row.gaps.items():
            rows.setdefault((way, why), []).append(row.label)
    return [f"No {way}-way tasks for {', '.join(names)}: {why}." for (way, why), names in sorted(rows.items())]


def side_information(table: Table) -> list[tuple[str, str]]:
    """(word, what it says) of the side information that rows of a table used."""
    return legend(word for row in table.rows for word in row.side)


def accounted(leaderboard: Leaderboard) -> str:
    """On runs that are in no table: what is not in one is unfinished, with a reason, damaged, or was not wanted."""
    rest, damaged = len(leaderboard.unfinished), len(leaderboard.problems)
    if leaderboard.excluded:
        runs, files = _count(rest, "other run"), _count(damaged, "damaged file")
        told = f"In no table for other reasons: {runs}, and {files}." if rest or damaged else ""
        return " ".join(part for part in (*leaderboard.excluded, told) if part)
    if not rest and not damaged:
        return "Every run below the folder is finished and in a table."
    runs, files = _count(rest, "run"), _count(damaged, "damaged file")
    return f"In no table: {runs} for the reasons given, and {files}. No run is hidden."


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _numbers(values: Sequence[int]) -> str:
    """0, 1, 2, 3 -> ``0–3``."""
    if len(values) > 2 and list(values) == list(range(values[0], values[-1] + 1)):
        return f"{values[0]}–{values[-1]}"
    return ", ".join(map(str, values))
