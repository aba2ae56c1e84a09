"""Answers that were made elsewhere, in a file: one row a query, with the label that it was given."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import torch
from numpy.typing import NDArray

from bench.basics.errors import BenchError
from bench.basics.files import check_regular
from bench.library.scoring import Score
from bench.library.sealed import SealedTasks, count_correct

COLUMNS = ("task", "query", "label")
SHOT = "shot"
MANIFEST = "manifest"
UNNAMED = (
    "the answers do not say which list of tasks they are to: a column 'manifest', the SHA-256 of the list in the "
    "metadata of the file that was answered, makes sure that it is this one"
)


def read(path: Path) -> pd.DataFrame:
    """The columns task, query and label, whole numbers, and ``shot`` and ``manifest`` where the file (.parquet or .csv)
    has them.
    """
    if path.suffix not in (".parquet", ".csv"):
        raise BenchError(f"answers are read from .parquet or .csv, not {path.name!r}")
    try:
        check_regular(path)
        frame: pd.DataFrame = pd.read_parquet(path) if path.suffix == ".parquet" else pd.read_csv(path)
    except FileNotFoundError as error:
        raise BenchError(f"cannot read {path}: no such file") from error
    except (OSError, ValueError, pa.ArrowException) as error:
        raise BenchError(f"{path} cannot be read: {' '.join(str(error).split())[:120]}") from error
    if missing := [name for name in COLUMNS if name not in frame]:
        raise BenchError(f"{path} has no column {' or '.join(missing)}; it needs task, query, label, one row a query")
    if frame.empty:
        raise BenchError(f"{path} has no rows; it needs one for each query of each task")
    names = [*COLUMNS, *([SHOT] if SHOT in frame else [])]
    for name in names:
        if not pd.api.types.is_integer_dtype(frame[name]) or frame[name].isna().any():
            raise BenchError(f"column {name} of {path} must have whole numbers only")
    return frame[[*names, *([MANIFEST] if MANIFEST in frame else [])]]


def score(frame: pd.DataFrame, tasks: SealedTasks, name: str) -> Score:
    """Mark answers to these tasks, as :func:`bench.score` does. ``name``: of the file, for sentences.

    BenchError unless every query of every task is answered once, with a label from 0 to N - 1, and where the answers
    say that they are to another list of tasks.
    """
    spec = tasks.spec
    if MANIFEST in frame and (other := set(frame[MANIFEST]) - {tasks.manifest}):
        raise BenchError(
            f"{name} answers tasks with the SHA-256 {str(min(other, key=str))[:12]}, but these have "
            f"{tasks.manifest[:12]} ({len(tasks)} tasks, {spec}, images with content {tasks.content_hash[:12]}): give "
            "the options that the tasks were exported with, or the images prepared here are others"
        )
    queries = spec.way * spec.query
    task, query, label = (frame[column].to_numpy(np.int64) for column in COLUMNS)
    for column, values, most in (("task", task, len(tasks)), ("query", query, queries), ("label", label, spec.way)):
        if (wrong := (values < 0) | (values >= most)).any():
            raise BenchError(f"{name}: {column} {values[wrong][0]} is not from 0 to {most - 1}, as these tasks have it")
    count = np.zeros((len(tasks), queries), dtype=np.int64)
    np.add.at(count, (task, query), 1)
    if (count != 1).any():
        at, which = (int(one) for one in np.argwhere(count != 1)[0])
        how = "no answer" if count[at, which] == 0 else f"{count[at, which]} answers"
        raise BenchError(
            f"{name} has {how} to query {which} of task {at}; each of {len(tasks)} x {queries} queries needs one"
        )
    labels: NDArray[np.int64] = np.empty_like(count)
    labels[task, query] = label
    return Score(
        correct=count_correct(tasks, torch.from_numpy(labels)),
        total=np.full(len(tasks), queries, dtype=np.int32),
        manifest=tasks.manifest,
        dataset=tasks.dataset,
        content_hash=tasks.content_hash,
        split=tasks.split,
        spec=spec,
        evaluation_seed=tasks.evaluation_seed,
        name=name,
        transductive=None,
        card=tasks.card,
    )
