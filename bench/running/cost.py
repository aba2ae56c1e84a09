"""What a record says of the cost of its training: ``notes["cost"]``, see :mod:`bench.training.work`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from bench.planning.places import OWN_PACKAGES
from bench.training.artifacts import Artifact
from bench.training.work import Cost

DIGITS = 3


def cost_of_run(values: Mapping[str, Any], fitted: Cost, artifacts: Iterable[Artifact]) -> Cost:
    """What the method itself spent and, in full, what every artifact cost that it rests on.

    An artifact of before there was a count makes the whole unknown, and networks of somebody else's code make the
    number of images unknown, for they may not count: a number that is too small would be worse than none.
    """
    whole = sum((Cost.told(one.meta) for one in artifacts), fitted)
    return whole if _all_counted(values) else replace(whole, images=None)


def noted(cost: Cost) -> dict[str, float]:
    """``images``, ``cpu_seconds`` and, where a GPU was held, ``gpu_seconds``; what is unknown is absent."""
    told = cost.facts()
    if not told.get("gpu_seconds"):
        told.pop("gpu_seconds", None)
    return {name: round(value, DIGITS) for name, value in told.items()}


def _all_counted(values: Mapping[str, Any]) -> bool:
    """Whether every component is this project's own. A dataset has no network, so it may be anybody's."""
    nodes = [node for group, node in values.items() if group != "dataset" and isinstance(node, Mapping)]
    return all(str(node.get("_target_", "bench.")).partition(".")[0] in OWN_PACKAGES for node in nodes)
