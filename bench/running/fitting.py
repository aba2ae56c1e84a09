"""Training as a run does it: what somebody's code changes is put back, its cost is counted, its learner is checked."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from bench.checks import learners
from bench.checks.finding import demand, noted
from bench.checks.fitting import Kept, without_labels
from bench.checks.probe import probe
from bench.contracts import Context, Learner, Method, TaskSpec
from bench.datasets.images import LabelledImages, UnlabelledImages
from bench.planning import components
from bench.running.containment import contained
from bench.running.ways import for_other_ways
from bench.training.work import Cost, metered

Images = UnlabelledImages | LabelledImages


@dataclass(frozen=True, slots=True)
class Fitted:
    """The learner, those for other ways, and what the training cost."""

    learner: Learner
    others: Mapping[int, Learner]
    cost: Cost


def fit(method: Method, images: Images, values: Mapping[str, Any], context: Context) -> Fitted:
    """Train. BenchError where it asks for labels that it was not given, changes the images, or returns no learner."""
    kept = Kept(images)
    with contained():
        with metered() as spent, without_labels():
            learner = method.fit(images, TaskSpec(**values["train"]), context)
        others = for_other_ways(method, images, values, context)
        count = _parameters(images, values)
    names = demand([learners.is_learner(learner), kept.finding(images)])
    if count is not None:
        context.note(parameters=count)
    context.note(checked=noted((context.notes or {}).get("checked"), "fit", names))
    return Fitted(learner, others, spent.cost)


def _parameters(images: Images, values: Mapping[str, Any]) -> int | None:
    """Of the backbone without its last layer, for a paper; None where there is none."""
    if not isinstance(values.get("backbone"), Mapping):
        return None
    with contextlib.suppress(Exception):  # somebody's backbone that trained well may still know no such request
        backbone = components.build(values["backbone"], values)
        parameters = backbone.init(torch.Generator().manual_seed(0), tuple(images.pixels.shape[1:]), None)
        return sum(int(one.numel()) for one in parameters.values())
    return None


def check_answers(
    fitted: Fitted, images: Images, values: Mapping[str, Any], specs: Sequence[TaskSpec], context: Context
) -> None:
    """BenchError unless every learner answers as it must, before it is asked sealed tasks of these shapes.

    Asked are tasks of meta-train images, of the first shape that each learner is to answer.
    """
    asked: dict[int, TaskSpec] = {}
    for spec in specs:
        asked.setdefault(spec.way if spec.way in fitted.others else 0, spec)
    names: list[str] = []
    with contained():
        for way, spec in asked.items():
            questions = probe(images, spec, values["precision"])
            names = demand(learners.examine(fitted.others.get(way, fitted.learner), questions))
    context.note(checked=noted((context.notes or {}).get("checked"), "learner", names))
