"""Where every row has one training seed and more are cheap: that more are recommended, and what they cost."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from pathlib import Path

from bench.basics.progress import for_people
from bench.records.record import RunRecord
from bench.records.spent import three_seeds
from bench.running.expected import Expected

CHEAP = 30 * 60.0
"""Seconds."""
FLOOR = "floor"


def planned(more: Expected, seeds: Sequence[int]) -> str | None:
    """Of a request with one seed. more: what the runs with the two seeds behind it are expected to take."""
    known = all(one.known for one in more.durations)
    trained = any(run.variant.group != FLOOR for run in more.runs)
    if len(seeds) != 1 or not known or not trained or not _alone({run.folder.parent for run in more.runs}, seeds[0]):
        return None
    return _said(more.total(), seeds[0], "by the same estimate")


def finished(records: Iterable[tuple[Path, RunRecord]]) -> str | None:
    """Of the runs of a request, (folder, record) of each that finished."""
    found = list(records)
    seeds = {record.seed for _, record in found}
    trained = any(record.method.group != FLOOR for _, record in found)
    seed = min(seeds, default=0)
    if len(seeds) != 1 or not trained or not _alone({folder.parent for folder, _ in found}, seed):
        return None
    seconds = three_seeds(record for _, record in found)
    return None if seconds is None else _said(seconds, seed, "one after the other, by the times of these runs")


def _alone(folders: Collection[Path], seed: int) -> bool:
    """Whether no row has a run with another seed."""
    there = (run.name.partition("-")[0] for folder in folders if folder.is_dir() for run in folder.iterdir())
    return all(name in (str(seed), "") or not name.isdigit() for name in there)


def _said(seconds: float, seed: int, how: str) -> str | None:
    if not 0 < seconds < CHEAP:
        return None
    return (
        f"every row has one training seed, which says nothing of the luck of a training; more are recommended: --seeds "
        f"{seed}-{seed + 2} takes about {for_people(seconds)} more, {how}"
    )
