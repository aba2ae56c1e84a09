"""A part of all runs: those of one command, of one dataset, or without some side information."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd

from bench.basics.errors import BenchError, did_you_mean
from bench.basics.side import ON_RECORD, SIDE, UNDECLARED
from bench.leaderboard.loading import Frames, of_runs


def select(frames: Frames, folders: Collection[Path], manifests: Collection[str]) -> Frames:
    """Only the runs in ``folders``, with their scores on ``manifests`` (SHA-256)."""
    runs = frames.runs[frames.runs["path"].isin(list(folders))]
    kept = set(runs["run"])

    def part(frame: pd.DataFrame) -> pd.DataFrame:
        return frame[frame["run"].isin(kept) & frame["manifest"].isin(list(manifests))].reset_index(drop=True)

    return replace(frames, runs=runs, evaluations=part(frames.evaluations), scores=part(frames.scores), problems=())


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which side information rows may have. ``text`` is the flag as it was typed."""

    text: str
    excluded: frozenset[str]

    def takes(self, side: Collection[str]) -> bool:
        """Whether a row with that side information is wanted. What is not known of a row may be any word but those
        that every record tells.
        """
        unknown = UNDECLARED in side and not self.excluded <= ON_RECORD
        return not unknown and self.excluded.isdisjoint(side)


def wanted(side: str | None, without: str | None) -> Wanted | None:
    """``side``: ``none``, or the only words that rows may have; ``without``: words that they may not have. None where
    every row is wanted; BenchError for an unknown word, and for both at once.
    """
    if side is not None and without is not None:
        raise BenchError("--side says what rows may use, --without what they may not; give one of them")
    if side is not None:
        allowed = set() if side.strip() == "none" else _words(side, "--side", ["none", *SIDE])
        return Wanted(f"--side {side}", frozenset(set(SIDE) - allowed))
    if without is not None:
        return Wanted(f"--without {without}", frozenset(_words(without, "--without", list(SIDE))))
    return None


def _words(text: str, flag: str, known: Collection[str]) -> set[str]:
    words = {word.strip() for word in text.split(",")} - {""}
    for word in sorted(words):
        if word not in SIDE:
            hint = did_you_mean(word, known)
            raise BenchError(f"{flag}: there is no side information {word!r}.{hint} There are {', '.join(known)}")
    if not words:
        raise BenchError(f"{flag} takes words such as {flag} transduction; there are {', '.join(known)}")
    return words


def without(frames: Frames, asked: Wanted) -> tuple[Frames, tuple[str, ...]]:
    """The runs that are wanted, and sentences that name the others. BenchError where no finished one is left."""
    kept = frames.runs["side"].map(asked.takes).astype(bool)
    gone = frames.runs[~kept]
    if not (frames.runs[kept]["status"] == "done").any() and len(gone):
        raise BenchError(f"{asked.text} leaves no finished run; all {len(gone)} use what it excludes")
    sentences = []
    reasons = gone["side"].map(lambda side: ", ".join(word for word in side if word in asked.excluded) or UNDECLARED)
    for (dataset, reason), runs in gone.groupby(["dataset", reasons.rename("reason")], sort=True):
        names = "; ".join(dict.fromkeys(runs["title"]))
        sentences.append(f"Left out of {dataset} by {asked.text}, for {reason}: {names}.")
    runs = frames.runs[kept].reset_index(drop=True)

    def part(frame: pd.DataFrame) -> pd.DataFrame:
        return of_runs(frame, set(runs["run"]))

    left = replace(frames, runs=runs, evaluations=part(frames.evaluations), scores=part(frames.scores))
    return left, tuple(sentences)
