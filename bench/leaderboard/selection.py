"""A part of all runs: those of one command, or of one dataset."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from pathlib import Path

import pandas as pd

from bench.leaderboard.loading import Frames


def select(frames: Frames, folders: Collection[Path], manifests: Collection[str]) -> Frames:
    """Only the runs in ``folders``, with their scores on ``manifests`` (SHA-256)."""
    runs = frames.runs[frames.runs["path"].isin(list(folders))]
    kept = set(runs["run"])

    def part(frame: pd.DataFrame) -> pd.DataFrame:
        return frame[frame["run"].isin(kept) & frame["manifest"].isin(list(manifests))].reset_index(drop=True)

    return replace(frames, runs=runs, evaluations=part(frames.evaluations), scores=part(frames.scores), problems=())
