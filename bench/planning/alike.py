"""What makes two runs alike in how long they take, and how much work there is in one. Imports no torch."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from bench.basics.keys import content_key
from bench.planning import components
from bench.planning.catalogue import RESERVED

BACKWARD = 3  # a gradient step on an image costs about three forward passes


class Shape(NamedTuple):
    """Of a task, as in :class:`bench.contracts.TaskSpec`, which is not to be had without PyTorch."""

    way: int
    shot: int
    query: int


def has_learner(values: Mapping[str, Any]) -> bool:
    """Whether it is trained on tasks, or could be."""
    return "learner" in components.used_groups(values)


def work(values: Mapping[str, Any], task: Shape, steps_of: str = "eval_steps") -> float:
    """What answering one task costs, in forward passes of an image."""
    steps = values["learner"].get(steps_of) if has_learner(values) else None
    return float(task.way * (task.shot * (BACKWARD * steps if steps else 1) + task.query))


def validation(values: Mapping[str, Any]) -> float:
    """The same for all looks at meta-validation tasks."""
    budget = values["budget"]
    if not budget.get("validate_every") or not has_learner(values):
        return 0.0
    looks = math.ceil(budget["meta_iterations"] / budget["validate_every"])
    task = Shape(values["way"], 1, values["train"]["query"])
    return float(looks * budget["validation_tasks"] * work(values, task, "inner_steps"))


def _costly(values: Mapping[str, Any], groups: Sequence[str]) -> dict[str, dict[str, Any]]:
    """The settings that can cost time. How often a learner adapts at evaluation is part of the work of a task."""
    found: dict[str, dict[str, Any]] = {}
    for group in groups:
        node = values[group]
        found[group] = {
            name: value
            for name, value in node.items()
            if name not in (*RESERVED, "eval_steps") and isinstance(value, bool | int | str)
        }
        found[group]["is"] = node.get("identity", node.get("_target_"))
    return found


def flat(values: Mapping[str, Any]) -> dict[str, Any]:
    """What else brings a record nearer: every setting of what the method is made of, and the precision."""
    found = {"precision": values.get("precision"), "name": values["method"].get("identity")}
    for group in ("method", *sorted(components.used_groups(values))):
        found |= {f"{group}.{name}": value for name, value in values[group].items() if name not in RESERVED}
    return found


def trained_part(values: Mapping[str, Any], group: str) -> str:
    """Equal for trainings of a generator or encoder that take as long, epoch by epoch."""
    return content_key({"part": group, "is": _costly(values, (group,))})


def derived_part(values: Mapping[str, Any]) -> str:
    """Equal where what is made from the embeddings, such as clusters, takes as long."""
    return content_key({"part": "derived", "is": _costly(values, _of_embeddings(values))})


def deriving(values: Mapping[str, Any]) -> str:
    """Equal for methods that make such a thing all or none."""
    return content_key({one: values[one].get("identity") for one in _of_embeddings(values) if one != "encoder"})


def _of_embeddings(values: Mapping[str, Any]) -> list[str]:
    return sorted({"method"} | components.used_groups(values) & {"encoder", "classifier"})


def fit_part(values: Mapping[str, Any], family: str, supervised: bool) -> str:
    """Equal for runs whose learners take as long, meta-iteration by meta-iteration."""
    used = components.used_groups(values)
    groups = used - {"encoder", "classifier"} if "learner" in used else used | {"method"}
    what = {"family": family, "supervised": supervised, "train": dict(values["train"])}
    return content_key({"part": "fit", **what, "is": _costly(values, sorted(groups))})


def evaluate_part(values: Mapping[str, Any]) -> str:
    """Equal for learners that take as long for equal work; those of one meta-learner do, whatever trained them."""
    used = components.used_groups(values)
    groups = used & {"learner", "backbone"} if "learner" in used else used | {"method"}
    return content_key({"part": "evaluate", "is": _costly(values, sorted(groups))})


def identity(values: Mapping[str, Any], group: str, epochs: int | None, seed: int) -> str:
    """Equal for runs that share a training; without ``epochs``, for those that share its beginning."""
    if group:
        nodes: dict[str, Any] = {group: components.artifact_settings(group, values)}
    else:
        nodes = {one: components.component_settings(values[one], values) for one in _of_embeddings(values)}
        nodes["method"].pop("learner", None)
        nodes["length"] = values["budget"]["encoder_epochs"]
    return content_key({"is": nodes, "epochs": epochs, "seed": seed})
