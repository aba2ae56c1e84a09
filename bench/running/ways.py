"""Of a request for tasks of several numbers of classes: which of them a method is asked, and who answers them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from bench.basics.errors import BenchError
from bench.contracts import Context, Learner, Method, TaskSpec
from bench.datasets.images import LabelledImages, UnlabelledImages
from bench.planning.composing import RunConfig
from bench.planning.plan import PlannedRun
from bench.planning.values import ways_of


def asked_what_it_can(one: RunConfig, method: Method) -> RunConfig:
    """The configuration with those ways that its learner can answer. BenchError where that is none of them."""
    trained, asked = TaskSpec(**one.values["train"]).way, ways_of(one.values)
    fixed = getattr(getattr(method, "learner", None), "fixed_way", False) and not getattr(method, "any_way", False)
    can = [way for way in asked if way <= trained or not fixed]
    if not can:
        named = any(text.startswith("train.way=") for text in one.variant.overrides)
        mend = "choose another method" if named else f"give train.way={max(asked)}"
        what = ",".join(map(str, asked))
        raise BenchError(
            f"{one.method_name} trains on {trained}-way tasks, so that it cannot answer way={what}; {mend}"
        )
    values = {key: value for key, value in one.values.items() if key != "ways"}
    if can != [values["way"]]:
        values["ways"] = can
    return replace(one, values=values, unanswered=tuple(way for way in asked if way not in can))


def answered(configs: Sequence[RunConfig]) -> tuple[int, ...]:
    """The ways of the tasks that some method of a request answers, ascending."""
    return tuple(sorted({way for one in configs for way in ways_of(one.values)}))


def unanswered(configs: Sequence[RunConfig]) -> Iterator[str]:
    """A sentence for each way that some methods are not asked."""
    names: dict[tuple[int, int], dict[str, None]] = {}
    for one in configs:
        for way in one.unanswered:
            names.setdefault((way, one.values["train"]["way"]), {})[one.method_name] = None
    for (way, trained), found in sorted(names.items()):
        yield f"no {way}-way tasks for {', '.join(found)}: {_why(trained)} (one trained with train.way={way} can)"


def noted(run: PlannedRun) -> Mapping[str, Any]:
    """The same for the notes of a record: way -> why the run does not answer such tasks."""
    told = {f"{way}-way": _why(run.values["train"]["way"]) for way in run.unanswered}
    return {"unanswered": told} if told else {}


def _why(trained: int) -> str:
    return f"a classifier that is trained on {trained}-way tasks cannot answer them"


def for_other_ways(
    method: Method, images: UnlabelledImages | LabelledImages, values: Mapping[str, Any], context: Context
) -> Mapping[int, Learner]:
    """Way -> its own learner, for ways of more classes than a training task, of a method that trains on none.

    Empty for all others, whose one learner answers everything that they are asked.
    """
    if not getattr(method, "any_way", False):
        return {}
    train = TaskSpec(**values["train"])
    return {way: method.fit(images, replace(train, way=way), context) for way in ways_of(values) if way > train.way}
