"""Score anything that answers tasks on the sealed ones, and compare two such scores task by task."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from inspect import signature
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from bench.basics.errors import BenchError, Diverged, did_you_mean
from bench.basics.precision import FLOAT32
from bench.contracts import Learner, TaskSpec
from bench.leaderboard.statistics import Difference, Estimate, estimate, paired_difference
from bench.learners.prototypes import Metric
from bench.library import external
from bench.library.answering import FunctionLearner, as_learner, evaluating, name_of
from bench.library.finished import FinishedRun
from bench.library.sealed import SealedTasks, behind, sealed_tasks
from bench.running.environment import environment
from bench.running.evaluate import Behaviour, check_declaration, evaluate
from bench.running.precision import computing_in


@dataclass(frozen=True, eq=False)
class Score:
    """The answers to T sealed tasks, marked. Accuracies are in [0, 1]."""

    correct: NDArray[np.int32]
    """[T]: how many queries of each task were answered with their class."""
    total: NDArray[np.int32]
    """[T]: how many there were."""
    manifest: str
    """SHA-256 of the list of tasks."""
    dataset: str
    content_hash: str
    split: str
    spec: TaskSpec
    evaluation_seed: int
    name: str
    """What answered, for people."""
    transductive: bool | None
    """Whether its answer to a query depends on the other queries of the task, as measured; None is not known."""
    fault: str | None = None
    """What is wrong with how it answers, in one sentence; such a score cannot be saved."""
    seconds: float = 0.0
    """What answering took, by the clock on the wall."""
    environment: dict[str, Any] = field(default_factory=dict, repr=False)
    card: Mapping[str, Any] = field(default_factory=dict, repr=False)
    """Of the dataset: its licence, whom to cite."""

    @cached_property
    def accuracy(self) -> NDArray[np.float64]:
        """[T]: of each task."""
        return np.asarray(self.correct / self.total, dtype=np.float64)

    @cached_property
    def estimate(self) -> Estimate:
        """Mean and interval as the leaderboard has them."""
        return estimate(self.accuracy)

    @property
    def mean(self) -> float:
        """Mean accuracy over tasks."""
        return self.estimate.mean

    @property
    def interval(self) -> float | None:
        """Half of the 95 % interval, 1.96 * sd / sqrt(T); it covers the draw of tasks. None for a single task."""
        return self.estimate.task_ci95

    def __str__(self) -> str:
        half = "" if self.interval is None else f" ± {100 * self.interval:.2f}"
        return f"{100 * self.mean:.2f}{half} % on {len(self.total)} tasks of {self.dataset}/{self.split}, {self.spec}"

    def save(
        self,
        out: str | Path = "runs",
        *,
        method: str,
        title: str | None = None,
        cite: str = "",
        supervised: bool = False,
        side: Sequence[str] = (),
        transductive: bool | None = None,
        meta_iterations: int | None = None,
        seed: int = 0,
    ) -> Path:
        """Keep it as a row that ``bench report`` and ``bench compare`` show; returns the folder of its record.

        Scores of one ``method``, dataset and training ``seed`` (several shots, say) are one record; of the same tasks
        the last counts. method: letters, digits, ``.``, ``_``, ``-``, and no name of ``bench list methods``.
        supervised: whether labels of the meta-train classes were used; the row is then a ceiling. side: what else was
        used beside unlabelled images of the dataset, words of :data:`bench.basics.side.SIDE` such as
        ``outside-data``. transductive: by default as it was measured. meta_iterations: places the row among others
        that were trained as long; without it, it stands apart. BenchError where one of these cannot be.
        """
        declared = external.Declared(
            method, title or method, cite, supervised, tuple(side), transductive, meta_iterations, seed
        )
        return external.save(self, Path(out), declared)


def score(
    answer: Any,
    on: SealedTasks | str | None = None,
    /,
    *,
    numpy: bool = False,
    metric: Metric = "euclidean",
    **which: Any,
) -> Score:
    """Ask ``answer`` the sealed tasks and mark what it says, exactly as ``bench run`` does.

    answer: one of

    - a function of one task, ``(support [N, K, C, H, W], query [M, C, H, W])`` -> scores ``[M, N]``, higher is
      likelier, or labels ``[M]`` from 0 to N - 1; with ``numpy=True`` it is handed arrays;
    - an ``nn.Module`` that embeds images, ``[B, C, H, W] -> [B, d]``, in evaluation mode and without gradient: a query
      is of the class whose mean support embedding is nearest, by Euclidean distance or with ``metric="cosine"``;
    - a learner with ``predict`` as in ``bench.contracts.Learner``, or what :func:`bench.load_run` returns.

    on: tasks of :func:`bench.tasks` (also as ``tasks=``), or a dataset's name with the arguments of that function,
    ``score(f, "omniglot", way=5, shot=1, tasks=100)``.

    BenchError, in one sentence, for answers of other shapes or that are not finite. What ``answer`` itself raises
    passes through.
    """
    if on is None and not isinstance(which.get("tasks"), int):
        on = which.pop("tasks", None)
    if isinstance(on, str):
        tasks = sealed_tasks(on, **_known(which))
    elif not isinstance(on, SealedTasks):
        raise BenchError(f"tasks must come from bench.tasks(...) or be a dataset's name, not {type(on).__name__}")
    elif which:
        raise BenchError(f"{next(iter(which))} belongs to bench.tasks(...), and these tasks are made already")
    else:
        tasks = on
    if isinstance(answer, FinishedRun):
        answer = answer.learner(tasks.spec.way)
    images, manifest = behind(tasks)
    began = time.monotonic()
    with computing_in(FLOAT32), evaluating(answer):
        learner = as_learner(answer, tasks, numpy, metric)
        try:
            correct, total = evaluate(learner, images, manifest, tasks.device)
            behaviour = _behaviour(learner, tasks)
        except Diverged as error:
            raise BenchError(f"{name_of(answer)} cannot be scored: {error}") from error
    transductive, fault = _told(learner, behaviour, name_of(answer))
    return Score(
        correct=correct,
        total=total,
        manifest=manifest.sha256,
        dataset=manifest.dataset,
        content_hash=manifest.content_hash,
        split=manifest.split,
        spec=manifest.spec,
        evaluation_seed=manifest.seed,
        name=name_of(answer),
        transductive=transductive,
        fault=fault,
        seconds=time.monotonic() - began,
        environment=environment(tasks.device),
        card=tasks.card,
    )


def compare(a: Score, b: Score) -> Difference:
    """``a`` minus ``b``, paired task by task: mean, 95 % interval, two-sided p-value. They must be of one manifest."""
    for one in (a, b):
        if not isinstance(one, Score):
            raise BenchError(f"bench.compare takes two scores of bench.score(...), not {type(one).__name__}")
    if a.manifest != b.manifest:
        if a.dataset == b.dataset and a.content_hash != b.content_hash:
            raise BenchError(
                f"the scores are on other images of {a.dataset}, content {a.content_hash[:12]} and "
                f"{b.content_hash[:12]}; score both on images that were prepared alike"
            )
        raise BenchError(
            f"the scores are of different tasks ({a.dataset}, {a.spec}, manifest {a.manifest[:12]}; {b.dataset}, "
            f"{b.spec}, manifest {b.manifest[:12]}); score both on the same ones"
        )
    return paired_difference(a.accuracy, b.accuracy)


def _behaviour(learner: Learner, tasks: SealedTasks) -> Behaviour:
    """On the first few tasks. A function that cannot be asked a single query uses all of them together."""
    try:
        return check_declaration(learner, *behind(tasks), tasks.device)
    except Exception:  # a function of the user's that takes whole tasks only; what it raises for these comes below
        if not isinstance(learner, FunctionLearner):
            raise
    few = tasks.batch(0, min(4, len(tasks)))
    same = torch.equal(learner.predict(*few), learner.predict(*few))
    return Behaviour(unrepeatable=not same, query_order=False, other_queries=True, other_tasks=False)


def _told(learner: Learner, behaviour: Behaviour, name: str) -> tuple[bool, str | None]:
    """Whether it is transductive, and what is wrong with its answers."""
    fault = behaviour.fault(learner)
    if fault is not None:
        fault = name + fault.removeprefix(type(learner).__name__)
    if isinstance(learner, FunctionLearner):  # it declares nothing
        return behaviour.transductive, fault
    return learner.transductive, fault


def _known(which: dict[str, Any]) -> dict[str, Any]:
    """BenchError, with did-you-mean, for an argument that :func:`bench.tasks` has not."""
    names = [name for name in signature(sealed_tasks).parameters if name != "dataset"]
    for name in which:
        if name not in names:
            raise BenchError(
                f"bench.tasks has no argument {name!r}, only {', '.join(names)}.{did_you_mean(name, names)}"
            )
    return which
