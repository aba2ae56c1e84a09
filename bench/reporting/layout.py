"""What every format says beside the board, as plain text: how to read it, what was evaluated, what to keep in mind."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

from bench.basics.precision import FLOAT32
from bench.basics.side import SIDE, legend
from bench.leaderboard import columns as write
from bench.leaderboard.board import USUAL, Line
from bench.leaderboard.columns import BELOW, DASH, NOT_RUN, ONE_SEED, TIED, WALL, p_value, percent
from bench.leaderboard.rows import Row
from bench.leaderboard.score_table import Shape
from bench.leaderboard.table import Leaderboard, Table

HOW_TO_READ = (
    "A section holds the rows that were meta-trained equally long, and those that have no meta-training; lengths of "
    "stages that a row does not have do not count. In each section one row stands for a method; settings and shorter "
    "generators or encoders are folded below it and have no rank. Training from scratch is a line inside the section, "
    "at its place; floors, ceilings and what was trained on other images come last and have no rank.",
    "Accuracy ± is the mean over tasks and half of its 95 % interval: over tasks and training seeds where a row has "
    "two seeds or more, else over tasks alone, 1.96 · sd / √tasks, as papers print it, which says nothing of the luck "
    "of a training run.",
    "Every row of a column answered the same tasks, so differences are paired task by task. They include the spread "
    f"between seeds where both rows have at least two; where one was trained once they carry {ONE_SEED} and describe "
    "these trained models, not the methods. On this board the spread of a row with three seeds or more is steadied by "
    "that of the other rows (moderated variances, Smyth 2004); bench compare takes each as it is.",
    "Rank is 1 + how many rows of the section are significantly better: p < 0.05 in a paired t-test, after Holm's "
    "correction for all pairs of the section, training from scratch included. So ranks are shared, and a rank that "
    "two rows share does not say that they are equal: with two seeds all share it. Bold is the "
    "highest mean of a section and column.",
    "Gap is the difference from the highest of the section, in accuracy points, for references from the highest of "
    "the whole board; gain is the difference from training from scratch.",
    "The highest of many rows is flattered, for it was found on the tasks that it is judged by, and so is a folded "
    "setting that scores above its row. The more rows, the more. --select val chooses the row that stands for a "
    "method on meta-validation tasks instead.",
    "Time is that of all training that a row rests on, a shared generator or encoder included, as CPU or GPU time of "
    f"its processes; with {WALL} by the clock on the wall, on a machine that may have been slower or had other work. "
    "Images are those that went through networks.",
    "Published numbers come from other tasks and other trainings.",
    "Side information is what a row used beside unlabelled images of the dataset, as its method, every component of "
    "it and its learner declare it: "
    + "; ".join(f"{one.mark} {word} ({one.meaning})" for word, one in SIDE.items())
    + ".",
)


@dataclass(frozen=True, slots=True)
class Cell:
    """Plain text; strong where it is the best."""

    text: str
    strong: bool = False


def key(table: Table, hidden: Collection[str] = ()) -> list[str]:
    """What the columns and marks of a table say, of those that occur. ``hidden``: columns that are not shown, of
    ``gap``, ``gain`` and ``cost``.
    """
    board = table.board
    verdicts = [verdict for line in board.lines() if line.kind != "variant" for verdict in line.verdicts.values()]
    gaps = [one.gap for one in verdicts if one.gap is not None and "gap" not in hidden]
    gains = [one.gain for one in verdicts if one.gain is not None and "gain" not in hidden]
    several = f", by {next(iter(table.columns.values()))}" if len(table.columns) > 1 else ""
    standings = {one.standing for one in verdicts}
    told = {
        f"rank: 1 + the number of rows of the section that are significantly better{several} (paired t-test, Holm over "
        "all pairs, p < 0.05)": any(one.rank is not None for one in verdicts),
        "bold: the section's highest": "leader" in standings,
        f"{TIED} not significantly different from the section's highest": "tied" in standings,
        "gap: points from the section's highest": bool(gaps),
        "gain: points over training from scratch": bool(gains),
        f"{ONE_SEED} one of the two was trained once: trained models are compared, not methods": any(
            not one.covers_seeds for one in (*gaps, *gains)
        ),
        f"{BELOW} significantly worse than training from scratch": any(one.below_floor for one in verdicts),
        f"{WALL} by the clock on the wall of a shared machine": "cost" not in hidden
        and any(WALL in write.time(row.cost) for row in table.rows),
        f"times were taken on {len(table.made.hosts)} hosts, so they compare only as far as those are equally fast": (
            len(table.made.hosts) > 1 and "cost" not in hidden
        ),
        **dict.fromkeys(_rounded(table), True),
        f"{NOT_RUN} not answered": any(shape not in row.scores for row in table.rows for shape in table.manifests),
        f"{DASH} no such number": True,
    }
    return [text for text, occurs in told.items() if occurs]


def evaluated(table: Table) -> list[tuple[str, str]]:
    """(what, value): everything that says on which data the numbers of a table were made."""
    facts = [("dataset", f"{table.dataset}, SHA-256 {table.dataset_hash or 'unknown'}")]
    for shape, one in table.manifests.items():
        facts.append((f"{table.columns[shape]} tasks", f"{one.tasks} tasks, manifest SHA-256 {one.manifest}"))
    facts.append(("training seeds", _numbers(table.seeds)))
    facts.append(("training budgets", ", ".join(sorted({budget.partition(",")[0] for budget in table.budgets}))))
    if table.board.common:
        told = ", ".join(f"{name}={value}" for name, value in table.board.common.items())
        facts.append(("settings of every row that has them", told))
    return facts


def provenance(table: Table) -> list[tuple[str, str]]:
    """(what, value): with which versions, on which machines and when, and whose images these are."""
    made = table.made
    days = made.first if made.first == made.last else f"{made.first} to {made.last}"
    facts = [
        ("runs", f"{made.runs}" + (f", {days}" if days else "")),
        ("version", ", ".join(made.versions)),
        ("libraries", ", ".join(made.libraries)),
        ("hardware", "; ".join(made.hardware)),
        ("hosts", ", ".join(made.hosts)),
        ("data", made.about),
        ("licence of the data", made.licence),
        ("source of the data", ", ".join(part for part in (made.cite, made.homepage) if part)),
    ]
    return [(what, value) for what, value in facts if value]


def notes(table: Table) -> list[str]:
    """What a reader must know before comparing two rows of this table."""
    found = []
    if table.number > 1:
        found.append("These are other tasks than those of the table before: numbers of the two must not be compared.")
    found += [*_lengths(table), *_chosen(table)]
    single = sum(len(row.seeds) == 1 for row in table.rows)
    if single:
        found.append(
            f"Rows with one training seed: {single} of {len(table.rows)}. Their spread between seeds is "
            "unknown, and comparisons with them cover the draw of tasks only."
        )
    uneven = [table.board.name(row) for row in table.rows if len({score.seeds for score in row.scores.values()}) > 1]
    if uneven:
        every = "way and shot" if len(table.ways) > 1 else "shot"
        found.append(f"Not every seed answered every {every}: {', '.join(uneven)}.")
    found += [*_computed(table), *_gaps(table)]
    if any(row.variant for row in table.rows):
        found.append("Runs of one name that were trained with different settings are separate rows; brackets say how.")
    if any(row.outside_data for row in table.rows):
        names = ", ".join(table.board.name(row) for row in table.rows if row.outside_data)
        found.append(f"Trained in part on images from outside the dataset: {names}.")
    found += [f"Side information {SIDE[word].mark}, {word}: {meaning}." for word, meaning in side_information(table)]
    printed = [one for row in table.rows for score in row.scores.values() for one in score.published]
    found += dict.fromkeys(f"Published, {one.provenance}: {one.caveat}." for one in printed if one.caveat)
    if any(one.tasks == 1 for one in table.manifests.values()):
        found.append("A single task has no spread: there is no interval and no test where only one was answered.")
    return [*found, *table.left_out]


def _lengths(table: Table) -> Iterator[str]:
    """Where rows were trained for different lengths: what the longer training brought, and how far its leader is."""
    board = table.board
    if len(board.tiers) < 2:
        return
    yield (
        "Rows were trained for different lengths, which the headings name, and are ranked apart. Rows without "
        "meta-training compete in every length."
    )
    longer = [
        f"{board.name(line.row)} {tier.title}, {_brought(table, line)}"
        for tier in board.tiers
        for line in tier.ranked
        if line.over_shorter
    ]
    if longer:
        yield f"What the longer training brought: {'; '.join(longer)}."
    for tier in board.tiers:
        told = [
            f"{title} {board.name(leader.row)} {write.overall(leader.verdicts[shape])}"
            for shape, title in table.columns.items()
            if (leader := tier.leader(shape)) is not None
            and leader.row.trained.iterations
            and leader.verdicts[shape].overall is not None
        ]
        if told:
            yield f"The highest of {tier.title}, from the highest of the board: {'; '.join(told)}."


def _brought(table: Table, line: Line) -> str:
    told = line.over_shorter.items()
    return ", ".join(f"{table.columns[s]} {write.over_shorter(line, s)} (p {p_value(p)})" for s, (_, p) in told)


def _chosen(table: Table) -> Iterator[str]:
    """Which row stands for a method, and what was chosen on the very tasks that judge it."""
    board = table.board
    ranked = {id(line.row): line for tier in board.tiers for line in tier.ranked}
    variants = [(line, one) for line in ranked.values() for one in line.folded]
    if variants:
        yield board.rule
    if len(ranked) > 2:
        with_folded = f", {len(ranked) + len(variants)} with those folded below," if variants else ""
        yield (
            f"The highest of {len(ranked)} rows{with_folded} was found on the tasks that judge it, which flatters it."
            + (" --select val chooses settings on meta-validation tasks." if variants and board.rule == USUAL else "")
        )
    above = [
        f"{board.name(line.row)}: {_better(table, line, one, better)}"
        for line, one in variants
        if (better := [shape for shape in table.columns if _above(line, one, shape)])
    ]
    if above:
        yield (
            "Folded settings that score above the row that stands for their method, which these tasks alone say: "
            f"{'; '.join(above)}."
        )


def _standing(table: Table) -> list[Row]:
    """The rows that stand for a method, and references; each once."""
    return list({id(line.row): line.row for line in table.board.lines() if line.kind != "variant"}.values())


def _otherwise(rows: Sequence[Row]) -> list[str]:
    """Precisions but float32 of some rows, where they are not all of one."""
    found = {row.precision for row in rows}
    return sorted(found - {FLOAT32}) if len(found) > 1 else []


def _rounded(table: Table) -> Iterator[str]:
    """How many rows were computed otherwise than the others; which, the notes say."""
    rows = _standing(table)
    for precision in _otherwise(rows):
        count = sum(row.precision == precision for row in rows)
        yield f"{count} of the {len(rows)} rows with precision={precision}"


def _computed(table: Table) -> Iterator[str]:
    """Which rows were computed otherwise than the others, of those that stand for a method."""
    rows = _standing(table)
    for precision in _otherwise(rows):
        told = []
        for text in dict.fromkeys(row.trained.text for row in rows):
            alike = [row for row in rows if row.trained.text == text]
            names = [table.board.name(row) for row in alike if row.precision == precision]
            told += [f"{'all' if len(names) == len(alike) > 2 else ', '.join(names)} ({text})"] if names else []
        yield f"Computed with precision={precision}: {'; '.join(told)}."


def _above(line: Line, variant: Line, shape: Shape) -> bool:
    ours, other = line.row.scores.get(shape), variant.row.scores.get(shape)
    return ours is not None and other is not None and other.estimate.mean > ours.estimate.mean


def _better(table: Table, line: Line, variant: Line, shapes: Sequence[Shape]) -> str:
    def mean(row: Row, shape: Shape) -> str:
        return percent(row.scores[shape].estimate.mean)

    told = ", ".join(f"{mean(variant.row, s)} over {mean(line.row, s)} ({table.columns[s]})" for s in shapes)
    return f"{differs(line.row, variant.row)} {told}"


def differs(row: Row, variant: Row) -> str:
    """What was changed in ``variant`` that was not in ``row``: settings, lengths of its generator or encoder."""
    names = dict.fromkeys((*variant.settings, *row.settings))
    told = [
        f"{name}={variant.settings[name]}" if name in variant.settings else f"{name} not changed"
        for name in names
        if variant.settings.get(name) != row.settings.get(name)
    ]
    if variant.trained.epochs != row.trained.epochs:
        told += [
            f"{count:,} {'epoch' if count == 1 else 'epochs'} of {title}" for title, count in variant.trained.epochs
        ]
    if variant.variant != row.variant:
        told.append(variant.variant)
    return ", ".join(one for one in told if one) or variant.label


def _gaps(table: Table) -> list[str]:
    """A sentence for each way that some rows did not answer, and for each reason."""
    rows: dict[tuple[int, str], list[str]] = {}
    for row in table.rows:
        for way, why in row.gaps.items():
            rows.setdefault((way, why), []).append(table.board.name(row))
    return [
        f"No {way}-way tasks for {', '.join(dict.fromkeys(names))}: {why}."
        for (way, why), names in sorted(rows.items())
    ]


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
