"""Whether a learner answers as :class:`bench.contracts.Learner` says, found by asking it four tasks.

The second call asks the first task again: its queries in another order, another task beside it and, unless the learner
declares ``transductive``, other queries among its own. Where its answers are the same nothing more is asked. Where they
are not, one difference at a time says which of them it was, and the questions are moved by as little as rounding does:
what moves a learner's answers then is no fault of it.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from bench.basics.errors import Diverged
from bench.basics.seeds import Seed
from bench.checks import encoders
from bench.checks.finding import Finding
from bench.checks.probe import PER_CLASS, Probe
from bench.checks.process import Process
from bench.contracts import EmbeddingLearner, Learner

TOLERANCE = 1e-3
"""Of the spread of a task's scores: what is off by less is the same."""

AMPLIFIED = 10.0
"""How many times more than the moved questions did may another order of summation change the scores."""


def examine(learner: Learner, probe: Probe) -> Iterator[Finding]:
    """The checks, one after the other; those that a fault leaves without meaning are left out.

    Raises Diverged where a score is not finite, and whatever the learner raises.
    """
    yield (found := is_learner(learner))
    if found.fault is not None:
        return
    if isinstance(learner, EmbeddingLearner):
        for found in encoders.examine(learner.encoder, probe):
            yield found
            if found.fault is not None:
                return
        probe = probe.through(lambda images: encoders.embedded(learner.encoder, images))
    asked = _Asked(learner, probe)
    before = Process(probe.query.device)
    given = [part.clone() for part in (probe.support, probe.query)]
    first = asked.plainly()
    fault = asked.ill_formed(first)
    yield Finding("shape", "scores [T, M, N] on the device of the queries", fault)
    if fault is not None:
        return
    first = asked.finite(first)
    yield Finding("finite", "scores are finite")
    second, rows = asked.otherwise()
    kept = all(torch.equal(now, then) for now, then in zip((probe.support, probe.query), given, strict=True))
    changed = None if kept else f"{asked.name} changed the images that it was given; work on a copy of them"
    yield Finding("inputs", "the images that it is given stay as they are", changed)
    yield from asked.differences(first, asked.finite(second), rows)
    if drew := before.drew_from():
        fault = (
            f"{asked.name} draws from, or seeds, the global generator of {' and '.join(drew)}; make a generator of its "
            "own from the seed of the run, and leave out what is random in training only (module.eval())"
        )
    yield Finding("global generators", "answers draw from no global generator", fault)
    fault = None
    if others := before.changed():
        fault = f"{asked.name} changed {' and '.join(others)}; whatever answers must leave its process as it was"
    yield Finding("process", "answers leave the process as it was", fault)


def is_learner(learner: object) -> Finding:
    """Whether what ``fit`` returned can be asked anything."""
    name, fault = type(learner).__name__, None
    if not callable(getattr(learner, "predict", None)):
        fault = f"fit returned {name}, which has no predict(support, query); it must return a learner"
    elif not isinstance(getattr(learner, "transductive", None), bool):
        fault = (
            f"{name} does not say whether it uses the queries of a task together; set transductive = False on it, or "
            "True where it does"
        )
    return Finding("learner", "fit returns a learner, which says whether it is transductive", fault)


class _Asked:
    """A learner and what it is asked."""

    def __init__(self, learner: Learner, probe: Probe) -> None:
        self._learner, self._probe = learner, probe
        self.method = "predict_embedded" if isinstance(learner, EmbeddingLearner) else "predict"
        self.name = f"{type(learner).__name__}.{self.method}"
        self._queries = probe.query.shape[1]
        self._kept = self._queries // PER_CLASS  # of the first task's, those that stay when others are replaced
        self._order = _everybody_moves(self._queries)

    def _ask(self, probe: Probe, tasks: tuple[int, int], queries: Tensor) -> Tensor:
        scores = getattr(self._learner, self.method)(probe.support[list(tasks)], queries)
        return scores.detach() if isinstance(scores, Tensor) else scores

    def plainly(self, probe: Probe | None = None) -> Tensor:
        """The first two tasks."""
        probe = probe or self._probe
        # Views, not copies: what the learner writes there is seen.
        scores = getattr(self._learner, self.method)(probe.support[:2], probe.query[:2])
        return scores.detach() if isinstance(scores, Tensor) else scores

    def otherwise(self) -> tuple[Tensor, int]:
        """The scores [rows, N] of the first rows of the first task, everything else about them changed; how many."""
        return self._changed(order=True, queries=not self._learner.transductive, tasks=True)

    def _changed(self, order: bool = False, queries: bool = False, tasks: bool = False) -> tuple[Tensor, int]:
        probe, rows = self._probe, self._kept if queries else self._queries
        which = (0, 2 if tasks else 1)
        asked = probe.query[list(which)]
        if queries:
            asked[0, rows:] = probe.others[rows:]
        places = self._order if order else torch.arange(self._queries)
        scores = self._ask(probe, which, asked[:, places.to(asked.device)])
        return scores[0, places.argsort()[:rows].to(scores.device)], rows

    def ill_formed(self, scores: object) -> str | None:
        """What is wrong with an answer."""
        expected = [2, self._queries, self._probe.support.shape[1]]
        if not isinstance(scores, Tensor) or list(scores.shape) != expected:
            got = list(scores.shape) if isinstance(scores, Tensor) else type(scores).__name__
            return f"{self.name} must return scores of shape {expected}, not {got}"
        if scores.dtype == torch.bool or scores.is_complex():
            return f"{self.name} must return scores that are real numbers, not {scores.dtype}"
        if scores.device != self._probe.query.device:
            return f"{self.name} must return scores on {self._probe.query.device}, where the queries are"
        return None

    def finite(self, scores: Tensor) -> Tensor:
        """The scores; Diverged where one is not finite."""
        if not bool(scores.isfinite().all()):
            raise Diverged(f"{self.name} gives scores that are not finite, asked tasks of meta-train images")
        return scores if scores.dtype == torch.float64 else scores.float()

    def differences(self, first: Tensor, second: Tensor, rows: int) -> Iterator[Finding]:
        """What the answers depend on that they must not: one finding for each such thing."""
        spread = first.amax((1, 2)) - first.amin((1, 2))
        strict = TOLERANCE * spread + 1e-9
        faults: dict[str, str] = {}
        if _rows_apart(first[0, :rows], second, strict[0]):
            faults = self._faults(first, strict)
        told = None
        if self._learner.transductive:
            told = "declares that it uses the queries of a task together"
        yield Finding("repeatable", "asked the same twice it answers the same", faults.get("repeatable"))
        yield Finding("other tasks", "an answer does not depend on the other tasks asked", faults.get("tasks"))
        yield Finding("order", "an answer does not depend on the order of the queries", faults.get("order"))
        wanted = "an answer depends on the other queries only where that is declared"
        yield Finding("other queries", wanted, faults.get("queries"), told)

    def _faults(self, first: Tensor, strict: Tensor) -> dict[str, str]:
        """Name -> sentence. Asked one thing at a time, and with as much allowed as rounding does."""
        again = self.finite(self.plainly())
        # On a GPU sums of equal numbers may differ from call to call; what is random differs in most of the scores.
        apart = (20 if first.is_cuda else 1) * strict[:, None, None]
        if float(((again - first).abs() > apart).any(2).float().mean()) > 0.1:
            return {
                "repeatable": f"{self.name} gives different scores when asked the same twice; leave out what is random "
                "in training only, such as dropout (module.eval()), and seed the rest from the run"
            }
        noise = (self.finite(self.plainly(self._probe.blurred())) - first).abs().amax((1, 2))
        allowed = torch.maximum(strict, AMPLIFIED * noise)[0]

        def depends_on(**what: bool) -> bool:
            scores, rows = self._changed(**what)
            # A single row may be a near tie that rounding decided.
            return _rows_apart(first[0, :rows], self.finite(scores), allowed) >= 2

        faults = {}
        if depends_on(tasks=True):
            faults["tasks"] = (
                f"{self.name} lets the tasks asked at once influence one another; compute every task's numbers over "
                "its own images, not over the whole batch of tasks"
            )
        if depends_on(order=True):
            faults["order"] = (
                f"{self.name} answers by the order of the queries; score each query by its image, not by its place"
            )
        elif not self._learner.transductive and depends_on(queries=True):
            faults["queries"] = (
                f"{self.name} uses the other queries of a task but does not declare it; set transductive = True on "
                f"{type(self._learner).__name__}, or answer every query on its own"
            )
        return faults


def _rows_apart(one: Tensor, other: Tensor, allowed: Tensor) -> int:
    return int(((one - other).abs() > allowed).any(1).sum())


def _everybody_moves(count: int) -> Tensor:
    """An order in which nothing is where it was."""
    rng = Seed(0).at("another order").generator()
    while bool(((order := torch.randperm(count, generator=rng)) == torch.arange(count)).any()):
        pass
    return order
