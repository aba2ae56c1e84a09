"""The protocol of a board in sentences, for the appendix of a paper. Every number is one of its records."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from bench.basics.side import SIDE
from bench.leaderboard.board import USUAL, Line
from bench.leaderboard.columns import labels_seen
from bench.leaderboard.moderation import LEAST_ROWS, LEAST_SEEDS
from bench.leaderboard.rows import Row
from bench.leaderboard.table import Table
from bench.planning.catalogue import RESERVED
from bench.planning.values import plain, setting
from bench.reporting.bibliography import Bibliography, Said
from bench.reporting.paper_rows import trusted

PLACES = ("data_dir", "name", "path", "splits", "allow_partial")
"""Settings of a dataset that say where it is, not what."""
DIGITS = 16
"""Of a SHA-256 in a sentence; the lists have all."""

Config = Mapping[str, Any]


def protocol(
    table: Table, of_runs: Mapping[int, Config], notes: Sequence[Any], bibliography: Bibliography
) -> list[Said]:
    """Data, tasks, statistics, choice, labels. of_runs: the configuration of each run of the table; notes: theirs."""
    configs = list(of_runs.values())
    rows = list({id(line.row): line.row for line in table.board.lines() if line.kind != "variant"}.values())
    return [
        *_data(table, configs, notes, bibliography),
        *_tasks(table, configs),
        *_statistics(table, rows, bibliography),
        *_choice(table, configs),
        *_labels(table, rows, [row for row in rows if of_runs[row.runs[0]].get("external")]),
        *(Said(text.rstrip(".")) for text in table.left_out),
    ]


def _data(table: Table, configs: Sequence[Config], notes: Sequence[Any], bibliography: Bibliography) -> Iterator[Said]:
    node = next((found for one in configs if isinstance(found := one.get("dataset"), Mapping)), {})
    card = setting(node, "card") or {}
    title = str(card.get("title") or table.dataset)
    cites = bibliography.cited(card, trusted(node), title)
    named = "" if title.lower() == table.dataset.lower() else f" ({table.dataset})"
    yield Said(f"The data set is {title}{named}", cites)
    if about := str(card.get("about") or "").strip():
        yield Said(about.rstrip("."))
    if sizes := _sizes(notes):
        yield Said(f"Classes are disjoint between its parts: {sizes}")
    told = [f"{key}={plain(value)}" for key, value in node.items() if key not in (*RESERVED, *PLACES)]
    how = "".join(f"; {step}: {said}" for step, said in _steps(notes))
    if told or how:
        yield Said(f"Images were prepared with {', '.join(told) or 'no settings'}{how}; methods see float32 in [0, 1]")
    terms = [f"its licence is {card['licence']}" if card.get("licence") else "its licence is not on record"]
    terms += [f"it comes from {card['homepage']}"] if card.get("homepage") else []
    content = (
        f"SHA-256 of its content {table.dataset_hash[:DIGITS]}" if table.dataset_hash else "its content has no hash"
    )
    yield Said(f"Of the data, {' and '.join(terms)}; {content}")


def _steps(notes: Sequence[Any]) -> list[tuple[str, str]]:
    """What was done to a raw file, step by step, as a run noted it."""
    noted = (one.get("preprocessing") for one in notes if isinstance(one, Mapping))
    found = next((one for one in noted if isinstance(one, Mapping)), {})
    return [(str(step), str(how)) for step, how in found.items()]


def _sizes(notes: Sequence[Any]) -> str:
    """``meta-train 1,200 classes with 24,000 images, …`` as a run counted them; empty where none did."""
    parts = {"train": "meta-train", "val": "meta-validation", "test": "meta-test"}
    for one in notes:
        found = one.get("splits") if isinstance(one, Mapping) else None
        if isinstance(found, Mapping):
            told = [
                f"{word} {_count(pair[0], 'class', 'classes')} with {pair[1]:,} images"
                for split, word in parts.items()
                if isinstance(pair := found.get(split), list | tuple) and [type(x) for x in pair] == [int, int]
            ]
            return ", ".join(told)
    return ""


def _count(number: int, one: str, several: str) -> str:
    return f"{number:,} {one if number == 1 else several}"


def _tasks(table: Table, configs: Sequence[Config]) -> Iterator[Said]:
    several = len({one.tasks for one in table.manifests.values()}) > 1
    shapes = [f"{one.tasks:,} tasks of {shape}" for shape, one in table.manifests.items()]
    asked = _and(shapes) if several else f"{shapes[0].partition(' of ')[0]} of {_and(map(str, table.manifests))}"
    seeds = sorted({str(one["evaluation_seed"]) for one in configs if one.get("evaluation_seed") is not None})
    drawn = f" with evaluation seed {' or '.join(seeds)}" if seeds else ""
    yield Said(
        f"Every row answers the same {asked}, with {table.query} queries per class, which were drawn once from the "
        f"meta-{table.split} classes{drawn}, before and independently of any training; a row that did not answer all "
        "of them has a gap"
    )
    lists = [f"{one.manifest[:DIGITS]} ({shape})" for shape, one in table.manifests.items()]
    yield Said(f"Their lists have the SHA-256 {_and(lists)}; the labels of queries are never handed to a method")


def _statistics(table: Table, rows: Sequence[Row], bibliography: Bibliography) -> Iterator[Said]:
    if all(one.tasks == 1 for one in table.manifests.values()):
        return
    one, several = sum(len(row.seeds) == 1 for row in rows), sum(len(row.seeds) > 1 for row in rows)
    alone = "1.96 times the standard deviation over tasks, divided by the root of their number"
    both = "over tasks and training seeds, each source of variance with the t quantile of its own degrees of freedom"
    if not several:
        yield Said(
            f"Accuracy is the mean over tasks, ± half of its 95 % interval: {alone}; every row was trained with one "
            "seed, so that it says nothing of the spread between trainings"
        )
    else:
        rest = f", and of the {one} with one seed over tasks alone: {alone}" if one else ""
        yield Said(
            "Accuracy is the mean over tasks and training seeds, ± half of its 95 % interval: of the "
            f"{several} rows with two seeds or more {both}{rest}",
            bibliography.named("Zou & Donner 2008"),
        )
    yield Said(
        "Rows are compared task by task: paired two-sided t-tests at 5 %, corrected for all pairs of rows that were "
        "meta-trained equally long, training from scratch included, by Holm's procedure; where both rows have two "
        "seeds or more the spread between seeds is in the test, elsewhere it compares trained models, not methods",
        bibliography.named("Holm 1979"),
    )
    if sum(len(row.seeds) >= LEAST_SEEDS for row in table.rows) >= LEAST_ROWS:
        yield Said(
            f"Spreads between {LEAST_SEEDS} seeds or more are moderated by those of the other rows",
            bibliography.named("Smyth 2004"),
        )


def _choice(table: Table, configs: Sequence[Config]) -> Iterator[Said]:
    folded = sum(len(line.folded) for line in _once(table))
    if folded:
        were = "setting or length was tried and is" if folded == 1 else "settings and lengths were tried and are"
        yield Said(f"{folded} further {were} listed beside the rows")
        yield Said(table.board.rule.rstrip("."))
    budgets = [found for one in configs if isinstance(found := one.get("budget"), Mapping)]
    looked = {(one.get("validate_every"), one.get("validation_tasks")) for one in budgets if one.get("validate_every")}
    trained = any(row.trained.iterations for row in table.rows)
    if trained:
        told = " or ".join(f"every {every} iterations on {tasks} tasks" for every, tasks in sorted(looked, key=str))
        chose = "nothing" if table.board.rule == USUAL else "between settings only"
        seen = f"; accuracy on labelled meta-validation tasks was recorded {told} and chose {chose}" if looked else ""
        yield Said(f"What is scored is the learner as its training left it{seen}")


def _labels(table: Table, rows: Sequence[Row], elsewhere: Sequence[Row]) -> Iterator[Said]:
    seen = {
        what: [table.board.name(row) for row in rows if labels_seen(row) == what]
        for what in ("meta-train", "other images")
    }
    none = [row for row in rows if labels_seen(row) == "none" and row not in elsewhere]
    if none:
        who = f"{len(none)} of {len(rows)}" if len(none) < len(rows) else "All"
        yield Said(f"{who} rows were given images of the meta-train classes without labels, in shuffled order")
    if elsewhere:
        whose = _and(table.board.name(row) for row in elsewhere)
        yield Said(
            f"Trained elsewhere: {whose}; what is said of their labels and side information is their authors' word"
        )
    for what, where in (("meta-train", "of the meta-train classes"), ("other images", "of images of other data sets")):
        if seen[what]:
            yield Said(f"Labels {where} were used by {_and(seen[what])}, which have no rank")
    words = dict.fromkeys(word for row in rows for word in row.side)
    for word in (word for word in SIDE if word in words):
        names = [table.board.name(row) for row in rows if word in row.side]
        who = "all rows" if len(names) == len(rows) else _and(names)
        yield Said(f"Side information {word} ({SIDE[word].meaning}) is that of {who}")
    if any(not row.side and labels_seen(row) == "none" for row in rows):
        yield Said("The others used nothing beside these images")
    for way in table.ways:
        gaps = [table.board.name(row) for row in rows if way in row.gaps]
        if gaps:
            yield Said(f"No {way}-way tasks were answered by {_and(gaps)}")


def _once(table: Table) -> list[Line]:
    return list({id(line.row): line for line in table.board.lines() if line.kind != "variant"}.values())


def _and(parts: Iterable[str]) -> str:
    *first, last = dict.fromkeys(parts)  # a row has the name of another that was trained longer
    return f"{', '.join(first)} and {last}" if first else last
