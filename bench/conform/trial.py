"""One training of a method on the miniature, and everything that it did besides."""

from __future__ import annotations

import multiprocessing
import os
import sys
import traceback
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from bench.basics.errors import BenchError, Diverged
from bench.basics.seeds import Seed
from bench.checks.finding import Finding
from bench.checks.fitting import Kept, without_labels
from bench.checks.process import Process
from bench.contracts import Budget, Context, Learner, ProgressCallback, TaskSpec
from bench.datasets.images import LabelledImages, UnlabelledImages
from bench.planning import components
from bench.planning.composing import RunConfig
from bench.running.containment import contained
from bench.training.artifacts import ArtifactStore
from bench.training.checkpoint import Checkpoint

CPU = torch.device("cpu")
HELPERS = ("resource_tracker", "forkserver", "semaphore_tracker", "compile_worker")
"""Processes that Python's and PyTorch's own libraries keep."""


class Interrupted(Exception):
    """Raised by the progress callback of a trial, as a time limit is in a run."""


@dataclass
class Trial:
    """What came of it. Exceptions of the method pass through :func:`trained`."""

    learner: Learner
    context: Context
    calls: int
    """Of the progress callback."""
    changed: list[str] = field(default_factory=list)
    drew: list[str] = field(default_factory=list)
    left: list[str] = field(default_factory=list)
    """Processes that it left behind."""
    images: Finding | None = None


def trained(
    config: RunConfig,
    images: UnlabelledImages | LabelledImages,
    folder: Path,
    seed: int = 0,
    stop_at: int | None = None,
) -> Trial:
    """Train as a run does, and save after every step. Raises Interrupted at the progress call ``stop_at``."""
    calls = 0

    def progress(stage: str, done: int, total: int, metrics: Mapping[str, float]) -> None:
        nonlocal calls
        calls += 1
        if calls == stop_at:
            raise Interrupted

    context = context_in(config, folder, seed, progress)
    method = components.build(config.values["method"], config.values)
    kept, there = Kept(images), _children()
    with contained():
        before = Process(CPU)
        with without_labels():
            learner = method.fit(images, TaskSpec(**config.values["train"]), context)
        changed, drew = before.changed(), before.drew_from()
    left = [name for pid, name in _children().items() if pid not in there]
    return Trial(learner, context, calls, changed, drew, left, kept.finding(images))


def context_in(config: RunConfig, folder: Path, seed: int = 0, progress: ProgressCallback = lambda *_: None) -> Context:
    """A context whose store and checkpoint are in ``folder``; everything is saved after every step."""
    folder.mkdir(parents=True, exist_ok=True)
    return Context(
        seed=Seed(seed),
        device=CPU,
        budget=Budget(**{**config.values["budget"], "checkpoint_seconds": 0.0}),
        artifacts=ArtifactStore(folder / "artifacts", config.values["precision"]),
        checkpoint=Checkpoint(folder / "weights.safetensors", 0.0),
        progress=progress,
        notes={},
    )


def what_it_learned(trial: Trial, scores: Tensor) -> dict[str, bytes]:
    """Every tensor that tells one learner from another: its state, its checkpoint, its answers."""
    told: dict[str, Tensor] = {"its answers": scores}
    for part in (trial.learner, getattr(trial.learner, "encoder", None)):
        if callable(state := getattr(part, "state", None)):
            told |= {f"its {name}": value for name, value in state().items() if isinstance(value, Tensor)}
    saved, _ = trial.context.checkpoint.load() or ({}, {})
    told |= {f"its {name}": value for name, value in saved.items() if name.startswith("tensor.")}
    return {name: value.detach().cpu().contiguous().numpy().tobytes() for name, value in told.items()}


def said(error: BaseException) -> str:
    """An exception in one sentence, with the place in somebody's code where it came from."""
    if isinstance(error, BenchError | Diverged):
        return str(error)
    text = " ".join(str(error).split())
    where = next((one for one in reversed(traceback.extract_tb(error.__traceback__)) if _theirs(one.filename)), None)
    at = f" ({where.filename}, line {where.lineno})" if where is not None else ""
    if isinstance(error, SystemExit):
        return f"its code ended the process, sys.exit({error.code!r}){at}"
    return f"{type(error).__name__}: {text}{at}" if text else f"{type(error).__name__}{at}"


def _theirs(file: str) -> bool:
    own = Path(__file__).parents[1]
    return not Path(file).is_relative_to(own) and "site-packages" not in file and not file.startswith("<")


def _children() -> dict[int, str]:
    """Processes that this one started and that still run: number -> name."""
    if not sys.platform.startswith("linux"):
        return {one.pid or 0: one.name for one in multiprocessing.active_children()}
    found: dict[int, str] = {}
    for entry in os.scandir("/proc"):
        if not entry.name.isdigit():
            continue
        try:
            name, _, rest = Path(entry.path, "stat").read_text().partition(" (")[2].rpartition(") ")
            command = Path(entry.path, "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue  # it ended meanwhile
        state, parent = rest.split()[:2]
        if int(parent) == os.getpid() and state != "Z" and not any(one in command for one in HELPERS):
            found[int(entry.name)] = name
    return found
