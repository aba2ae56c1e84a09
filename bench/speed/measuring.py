"""``python -m bench.speed``: this benchmark's computations against the plain loops of
:mod:`bench.learners.reference`.

Both sides do the same mathematics on the same tensors in one process, in turns: round by round, ours and then
the plain loop. The ratio of a round is what counts; its median over the rounds hardly feels other users of
the machine.

Setting: 5-way, 1 support and 5 query images per class, 28x28x1, ``conv4``, meta-batch 4, 5 inner steps; a
step includes Adam. Classifiers on embeddings are measured against scikit-learn in a loop over tasks. On a
machine that others use too, start it with ``OMP_WAIT_POLICY=passive`` in the environment: a core that is
taken away stalls threads that wait by spinning for milliseconds.
"""

from __future__ import annotations

import argparse
import platform
import random
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from rich import box
from rich.console import Console
from rich.table import Table
from torch import Tensor

from bench.backbones import Conv4, Params, RunningStatistics
from bench.basics.allocator import keep_temporaries
from bench.basics.files import write_json
from bench.contracts import Classifier, Tasks, TaskSpec
from bench.datasets.images import LabelledImages
from bench.learners import reference
from bench.learners.adaptation import adaptation
from bench.learners.embedding import NearestNeighbours
from bench.learners.logistic import LogisticRegression
from bench.learners.maml import MAML
from bench.learners.protonet import ProtoNet, ProtoNetLearner

SPEC = TaskSpec(way=5, shot=1, query=5)
EMBEDDED_TASKS = 1000
META_BATCH, INNER_STEPS, EVAL_STEPS, INNER_LR, META_LR = 4, 5, 50, 0.4, 0.001


@dataclass(frozen=True, slots=True)
class Contest:
    """One row: the same work done twice. ``target`` is the least ratio that we ask of ourselves."""

    name: str
    target: float
    ours: Callable[[], object]
    plain: Callable[[], object]


@dataclass(frozen=True, slots=True)
class Result:
    """Seconds of every round, in the order they were taken."""

    name: str
    target: float
    ours: list[float]
    plain: list[float]

    @property
    def ratios(self) -> list[float]:
        """Round by round, plain / ours: above 1 is faster than the plain loop."""
        return [plain / ours for plain, ours in zip(self.plain, self.ours, strict=True)]


# ------------------------------------------------------------------------------------------------ contests
def contests(device: torch.device) -> list[Contest]:
    """Every row of the table, on ``device``."""
    return [*_maml(device), *_protonet(device), *_sampling(device), *_classifiers(device)]


def _maml(device: torch.device) -> list[Contest]:
    backbone = Conv4()
    tasks = _tasks(META_BATCH, device)
    inner = adaptation(backbone, INNER_STEPS, INNER_LR, inductive=False)

    def step(first_order: bool, plain: bool) -> Callable[[], object]:
        params = _params(backbone, SPEC.way, device)
        optimizer = torch.optim.Adam(list(params.values()), lr=META_LR)

        def run() -> None:
            if plain:
                _, grads = reference.maml_gradient(
                    backbone, params, tasks.support, tasks.query, INNER_STEPS, INNER_LR, first_order
                )
            else:
                _, grads = inner.meta_gradient(params, tasks.support, tasks.query, first_order)
            _apply(optimizer, params, grads)

        return run

    learner = MAML(backbone, INNER_LR, INNER_STEPS, EVAL_STEPS)._learner(
        _params(backbone, SPEC.way, device), EVAL_STEPS, (1, 28, 28)
    )
    images = tasks.query.flatten(1, 2)
    return [
        Contest("MAML, second order", 1.3, step(False, plain=False), step(False, plain=True)),
        Contest("MAML, first order", 1.8, step(True, plain=False), step(True, plain=True)),
        Contest(
            f"MAML, {EVAL_STEPS} steps",
            1.8,
            lambda: learner.predict(tasks.support, images),
            lambda: reference.maml_scores(backbone, learner.params, tasks.support, images, EVAL_STEPS, INNER_LR),
        ),
    ]


def _protonet(device: torch.device) -> list[Contest]:
    backbone = Conv4()
    recipe = ProtoNet(backbone)
    tasks, many = _tasks(META_BATCH, device), _tasks(32, device)

    def learner() -> tuple[ProtoNetLearner, torch.optim.Optimizer]:
        params = _params(backbone, None, device)
        buffers = {name: value.to(device) for name, value in backbone.buffers().items()}
        made = ProtoNetLearner(backbone, params, buffers, "mean", False, 4)
        return made, torch.optim.Adam(list(params.values()), lr=META_LR)

    (ours, our_adam), (plain, plain_adam) = learner(), learner()
    running = RunningStatistics(ours.buffers, recipe.momentum, training=True)
    labels = torch.arange(SPEC.way, device=device).repeat_interleave(SPEC.query)

    def our_step() -> None:
        _, grads = recipe.gradient(ours.params, tasks, running)
        _apply(our_adam, ours.params, grads)

    def plain_step() -> None:
        leaves = {name: value.detach().requires_grad_() for name, value in plain.params.items()}
        for support, query in zip(tasks.support, tasks.query, strict=True):
            scores = reference.protonet_scores(
                lambda x: reference.network(backbone, leaves, x, buffers=plain.buffers),
                support,
                query.flatten(0, 1),
                mean_distance=True,
            )
            (F.cross_entropy(scores, labels) / META_BATCH).backward()  # type: ignore[no-untyped-call]
        _apply(plain_adam, plain.params, {n: leaf.grad for n, leaf in leaves.items() if leaf.grad is not None})

    @torch.no_grad()
    def plain_evaluation() -> list[Tensor]:
        return [
            reference.protonet_scores(
                lambda x: reference.network(backbone, plain.params, x, buffers=plain.buffers, training=False),
                support,
                query.flatten(0, 1),
                mean_distance=True,
            )
            for support, query in zip(many.support, many.query, strict=True)
        ]

    return [
        Contest("ProtoNets, step", 1.6, our_step, plain_step),
        Contest(
            "ProtoNets, 32 tasks",
            2.7,
            lambda: ours.predict(many.support, many.query.flatten(1, 2)),
            plain_evaluation,
        ),
    ]


def _sampling(device: torch.device) -> list[Contest]:
    from bench.tasks.labelled import LabelledSampler

    classes, each = 1200, 20
    rng = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (classes * each, 1, 28, 28), generator=rng, dtype=torch.uint8).to(device)
    ids = torch.arange(classes).repeat_interleave(each)
    images = LabelledImages(pixels, ids, [str(i) for i in range(classes)], "random pixels")
    sampler, ours = LabelledSampler(images), torch.Generator(device=device).manual_seed(0)
    plain = reference.PlainSampler(pixels, ids.tolist(), random.Random(0))

    def repeated(n: int, times: int) -> Contest:
        """A fifth of a millisecond is timed as people time it, in a row: not with cold caches and sleeping threads."""

        def batched() -> None:
            for _ in range(times):
                sampler.sample(n, SPEC, ours)

        def looped() -> None:
            for _ in range(times * n):
                plain.sample(SPEC.way, SPEC.shot, SPEC.query)

        return Contest(f"sampling {n} tasks, {times} times", 10, batched, looped)

    return [repeated(META_BATCH, 50), repeated(64, 5)]


def _classifiers(device: torch.device) -> list[Contest]:
    """1000 tasks with 15 queries per class and embeddings of 256 dimensions, against scikit-learn in a loop.

    scikit-learn has its default settings (its logistic regression stops at a gradient of 1e-4, ours at the
    optimum), float32 NumPy arrays, and one thread: problems of this size
    are slower with more.
    """
    from sklearn.linear_model import LogisticRegression as SklearnLogisticRegression
    from sklearn.neighbors import KNeighborsClassifier
    from threadpoolctl import threadpool_limits

    def contest(name: str, target: float, shot: int, ours: Classifier, theirs: Callable[[], Any]) -> Contest:
        tasks, dim = EMBEDDED_TASKS, 256
        rng = torch.Generator().manual_seed(3)
        centres = torch.randn(tasks, SPEC.way, 1, dim, generator=rng) / 32
        support = centres + torch.randn(tasks, SPEC.way, shot, dim, generator=rng) / 16  # of length about 1
        query = (centres + torch.randn(tasks, SPEC.way, 15, dim, generator=rng) / 16).flatten(1, 2)
        arrays = support.flatten(1, 2).numpy(), query.numpy()
        labels = np.repeat(np.arange(SPEC.way), shot)
        support, query = support.to(device), query.to(device)

        def looped() -> NDArray[np.int64]:
            with threadpool_limits(1):
                return np.stack([theirs().fit(s, labels).predict(q) for s, q in zip(*arrays, strict=True)])

        return Contest(f"{name}, {shot}-shot", target, lambda: ours.classify(support, query), looped)

    return [
        contest("nearest neighbour", 50, 1, NearestNeighbours(), lambda: KNeighborsClassifier(1)),
        contest("nearest neighbour", 10, 5, NearestNeighbours(), lambda: KNeighborsClassifier(1)),
        contest("logistic regression", 30, 1, LogisticRegression(), SklearnLogisticRegression),
        contest("logistic regression", 5, 5, LogisticRegression(), SklearnLogisticRegression),
    ]


def _tasks(n: int, device: torch.device) -> Tasks:
    rng = torch.Generator().manual_seed(1)
    support = torch.rand(n, SPEC.way, SPEC.shot, 1, 28, 28, generator=rng)
    query = torch.rand(n, SPEC.way, SPEC.query, 1, 28, 28, generator=rng)
    return Tasks(support.to(device), query.to(device))


def _params(backbone: Conv4, outputs: int | None, device: torch.device) -> Params:
    params = backbone.init(torch.Generator().manual_seed(2), (1, 28, 28), outputs)
    return {name: value.to(device) for name, value in params.items()}


def _apply(optimizer: torch.optim.Optimizer, params: Params, grads: Params) -> None:
    for name, value in params.items():
        value.grad = grads[name]
    optimizer.step()


# --------------------------------------------------------------------------------------------- measurement
def measure(contest: Contest, rounds: int, device: torch.device) -> Result:
    """One untimed turn of both, then ``rounds`` timed ones, taken in turns."""
    result = Result(contest.name, contest.target, [], [])
    for i in range(rounds + 1):
        for run, seconds in ((contest.ours, result.ours), (contest.plain, result.plain)):
            taken = _seconds(run, device)
            if i > 0:
                seconds.append(taken)
    return result


def _seconds(run: Callable[[], object], device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    began = time.perf_counter()
    run()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - began


def table(results: Sequence[Result], title: str) -> Table:
    """Medians in milliseconds, and the ratio with its range over the rounds."""
    shown = Table(title=title, box=box.SIMPLE)
    shown.add_column("milliseconds", no_wrap=True)
    for column in ("ours", "plain", "ratio", "min–max", "target"):
        shown.add_column(column, justify="right", no_wrap=True)
    for result in results:
        ratio = statistics.median(result.ratios)
        shown.add_row(
            result.name,
            f"{1e3 * statistics.median(result.ours):.1f}",
            f"{1e3 * statistics.median(result.plain):.1f}",
            f"{ratio:.2f}",
            f"{min(result.ratios):.2f}–{max(result.ratios):.2f}",
            f"{result.target:g} {'met' if ratio >= result.target else 'missed'}",
        )
    return shown


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print the table, and write every round to ``--json``."""
    parser = argparse.ArgumentParser(prog="python -m bench.speed", description="Ours against plain loops.")
    parser.add_argument("--rounds", type=int, default=7, help="timed rounds of every row (7)")
    parser.add_argument("--threads", type=int, default=2, help="CPU threads (2)")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--rows", default="", help="only rows whose name contains this text")
    parser.add_argument("--json", type=Path, help="also write every round's seconds to this file")
    chosen = parser.parse_args(arguments)
    if chosen.rounds < 1 or chosen.threads < 1:
        parser.error("--rounds and --threads must be at least 1")
    if chosen.device.startswith("cuda") and not torch.cuda.is_available():
        parser.error("this PyTorch sees no CUDA device; use --device cpu")
    kept = keep_temporaries()
    torch.set_num_threads(chosen.threads)
    device = torch.device(chosen.device)
    title = f"{SPEC}, {chosen.threads} threads, {device}, torch {torch.__version__}"
    results = [measure(contest, chosen.rounds, device) for contest in contests(device) if chosen.rows in contest.name]
    Console().print(table(results, title))
    if chosen.json:
        facts = {"torch": torch.__version__, "machine": platform.machine(), "keeps_freed_memory": kept}
        settings = {"threads": chosen.threads, "device": str(device), "rounds": chosen.rounds}
        write_json(chosen.json, {**facts, **settings, "results": [asdict(result) for result in results]})
