"""Learning curves of finished runs, thinned to what a figure can show."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from bench.leaderboard.loading import Frames
from bench.records.arrays import read_curve

BINS = 100
"""Points of a curve: means over equal stretches of steps."""

Curve = NDArray[np.float64]
"""[2, n]: steps and values."""
Curves = Mapping[int, Mapping[str, Curve]]
"""Run -> ``loss`` or ``validation`` -> curve."""


def learning_curves(frames: Frames, runs: Iterable[int]) -> tuple[Curves, tuple[str, ...]]:
    """Meta-training curves of ``runs``, and one sentence per damaged file.

    The stage that was validated is taken for meta-training, else the first that is not the training of a
    shared generator or encoder. Runs without such a stage have no curve, which is no problem.
    """
    found: dict[int, Mapping[str, Curve]] = {}
    problems = []
    shown = frames.finished[frames.finished["run"].isin(set(runs))]
    for run, path, folder, artifacts in zip(*(shown[name] for name in ("run", "path", "folder", "artifacts"))):
        file = Path(path) / "train.parquet"
        if not file.exists() and not file.is_symlink():
            continue
        try:
            found[int(run)] = _read(file, set(artifacts))
        except (OSError, ValueError, KeyError, TypeError, MemoryError, pa.ArrowException) as error:
            reason = " ".join(str(error).split())[:120]
            problems.append(f"{folder}/train.parquet is damaged ({reason}); its learning curve is left out")
    return found, tuple(problems)


def _read(path: Path, artifacts: set[str]) -> dict[str, Curve]:
    table = read_curve(path).combine_chunks()
    stage, name = table["stage"], table["name"]
    step, value = (table[column].cast(pa.float64()).to_numpy() for column in ("step", "value"))
    validated = stage.filter(pc.equal(name, "validation")).unique().to_pylist()
    stages = validated + [one for one in stage.unique().to_pylist() if one not in artifacts]
    curves = {}
    for kind in ("loss", "validation"):
        rows = pc.and_(pc.equal(stage, stages[0]), pc.equal(name, kind)).to_numpy() if stages else []
        curve = np.stack([step[rows], value[rows]]) if stages else np.empty((2, 0))
        curve = curve[:, np.isfinite(curve).all(axis=0)]
        if curve.shape[1]:
            curves[kind] = _thin(curve[:, np.argsort(curve[0], kind="stable")])
    return curves


def _thin(curve: Curve) -> Curve:
    count = curve.shape[1]
    if count <= BINS:
        return curve
    edges = np.linspace(0, count, BINS + 1).astype(int)
    means: Curve = np.add.reduceat(curve, edges[:-1], axis=1) / np.diff(edges)
    return means
