"""Answers to sealed tasks that an interrupted execution had given: an evaluation can take minutes, so they are kept."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from numpy.typing import NDArray

from bench.basics.errors import BenchError
from bench.basics.files import Replacing
from bench.training.checkpoint import load_tensors, save_tensors

Answers = tuple[NDArray[Any], NDArray[Any], float]
"""Queries answered rightly and queries asked, both [tasks], and the seconds that it took."""


def keep_answers(kept: Path, owner: str, answers: Answers, how: Replacing) -> None:
    """``owner``: the key of the run and the hash of the tasks."""
    correct, total, seconds = answers
    tensors = {"correct": torch.from_numpy(correct), "total": torch.from_numpy(total)}
    save_tensors(kept, tensors, {"seconds": seconds}, owner, how)


def kept_answers(kept: Path, owner: str, weights: Path, log: Callable[[str], None]) -> Answers | None:
    """What was kept, unless the learner was trained since; damage is no loss, and is logged."""
    newest = weights.stat().st_mtime if weights.exists() else 0.0
    if not kept.exists() or kept.stat().st_mtime < newest:
        return None
    try:
        tensors, meta = load_tensors(kept, owner)
        return tensors["correct"].numpy(), tensors["total"].numpy(), float(meta["seconds"])
    except (BenchError, KeyError) as error:
        log(f"answered again: {error}")
        return None
