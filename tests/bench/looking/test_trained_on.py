"""The tasks that are looked at are those that a method trains on, not those of the settings."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
import torch

from bench.backbones import Conv4
from bench.basics.progress import Reporter
from bench.basics.seeds import Seed
from bench.contracts import Budget, Context, MetaLearner, Tasks, TaskSpec
from bench.learners.protonet import ProtoNet
from bench.looking.inspection import inspect as module
from bench.looking.trained_on import trained_on
from bench.planning.plan import Request
from bench.training.artifacts import ArtifactStore
from bench.training.checkpoint import Checkpoint
from bench.training.loop import train
from methods.umtra import Umtra

SPEC, OWN = TaskSpec(5, 1, 5), TaskSpec(7, 2, 3)


@dataclass(frozen=True)
class FixedShape:
    """Answers with 7-way tasks whatever it is asked for."""

    image_shape = (1, 16, 16)

    def sample(self, n: int, spec: TaskSpec, rng: torch.Generator) -> Tasks:
        shape = (n, OWN.way)
        return Tasks(torch.rand(*shape, OWN.shot, 1, 16, 16), torch.rand(*shape, OWN.query, 1, 16, 16))


@dataclass(frozen=True)
class Mine:
    """A method whose training asks for tasks of its own shape, or for none, or fails."""

    how: str
    learner: MetaLearner = field(default_factory=lambda: ProtoNet(Conv4(4)))

    def sampler(self, images, context):
        return FixedShape()

    def fit(self, images, spec, context):
        if self.how == "another":  # its sampler() is not what it trains on
            return self.learner.fit(Another(), spec, context)
        if self.how == "changed":
            return replace(self.learner, meta_batch=2).fit(Another(), OWN, context)
        sampler = self.sampler(images, context)
        assert sampler.image_shape == (1, 16, 16)
        if self.how == "fails":
            raise RuntimeError("no")
        if self.how == "alone":
            context.progress("embed", 1, 1000, {})  # a preparation
            context.progress("mine", 1, 1000, {})
        if self.how == "loop":
            train(impossible, {"x": torch.zeros(1)}, None, 9, context.checkpoint, context.progress, "mine")
        if self.how in ("own", "asked"):
            sampler.sample(4, OWN if self.how == "own" else spec, torch.Generator())
        raise AssertionError("its training would go on")


class Another(FixedShape):
    """Not what sampler() gives."""


class Episodic(Mine):
    def trains_on(self, spec):
        return OWN


def impossible(i):
    raise AssertionError("its training would go on")


@pytest.mark.parametrize(
    ("method", "sampler", "spec", "asked"),
    [
        (Mine("own"), FixedShape, OWN, True),
        (Mine("asked"), FixedShape, SPEC, True),
        (Mine("another"), Another, SPEC, True),
        (Mine("changed"), Another, OWN, True),
        (Mine("alone"), FixedShape, SPEC, False),
        (Mine("loop"), FixedShape, SPEC, False),
        (Episodic("loop"), FixedShape, OWN, True),
        (Mine("fails"), FixedShape, SPEC, False),
    ],
    ids=lambda one: getattr(one, "how", None),
)
def test_training_ends_at_its_first_task(method, sampler, spec, asked, tmp_path):
    context = Context(
        Seed(0),
        torch.device("cpu"),
        Budget("b", 1, 1, 1),
        ArtifactStore(tmp_path),
        Checkpoint(tmp_path / "own"),
        lambda *_: None,
    )
    kinds = type(method), type(method.learner)
    found = trained_on(method, None, SPEC, context)
    assert (type(found.sampler), found.spec, found.asked) == (sampler, spec, asked)
    assert (type(method), type(method.learner)) == kinds
    assert list(tmp_path.iterdir()) == [], "nothing is kept"


@pytest.fixture
def inspected(tmp_path, cache, glyphs):
    def run() -> tuple[module.Result, str]:
        told: list[str] = []
        reporter = Reporter()
        reporter.say = told.append  # type: ignore[method-assign]
        request = Request(
            methods="umtra-protonet",
            dataset="glyphs",
            budget="smoke",
            seeds=(0,),
            references=False,
            overrides=("backbone.filters=8", "budget.meta_iterations=2"),
            out=Path(tmp_path),
            device="cpu",
        )
        with reporter:
            (result,) = module.inspect(request, 4, cache, reporter)
        return result, "\n".join(told)

    return run


def test_an_inspection_is_of_the_tasks_that_the_method_trains_on(inspected, monkeypatch):
    fit = Umtra.fit
    usual, told = inspected()
    assert usual.inspection is not None
    assert "trains on" not in told
    shape = (usual.inspection.way, usual.inspection.shot, usual.inspection.query)
    monkeypatch.setattr(
        Umtra, "fit", lambda self, images, spec, context: fit(self, images, replace(spec, way=12), context)
    )
    usual.path.unlink()
    result, told = inspected()
    assert (result.inspection.way, result.inspection.shot, result.inspection.query) == (12, *shape[1:])
    assert "umtra-protonet" in told
    assert f"trains on 12-way {shape[1]}-shot tasks" in told
    assert inspected()[0].inspection == result.inspection, "it is read, not measured again"
