"""What a row trained, and for how long: only the stages that it has count, whatever else its budget says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from bench.leaderboard.trainings import LENGTHS, changes, title_of
from bench.planning.catalogue import RESERVED
from bench.planning.places import OWN_PACKAGES
from bench.planning.values import setting

FACETS = ("learner", "generator", "encoder", "classifier", "backbone", "views")
"""Components by which rows can be filtered."""

_LEARNING = frozenset({"learner", "backbone"})
"""What a method uses that is trained for meta-iterations."""

REFERENCES = ("floor", "ceiling", "transfer")
"""Groups of rows that others are held against; they have no rank."""


@dataclass(frozen=True, slots=True)
class Trained:
    """Lengths of the stages that a row trained."""

    iterations: int
    """Meta-iterations; 0 where nothing is meta-trained, and of training from scratch."""
    epochs: tuple[tuple[str, int], ...] = ()
    """Of a generator or an encoder: its title and how many."""
    budget: str = ""
    """The name of the budget where the configuration does not say what it is."""

    @property
    def text(self) -> str:
        """``1,000 meta-iterations, 10 epochs of VAE``."""
        told = [iterations(self.iterations)] if self.iterations else []
        told += [f"{count:,} {'epoch' if count == 1 else 'epochs'} of {title}" for title, count in self.epochs]
        told += [f"budget {self.budget}"] if self.budget else []
        return ", ".join(told) or "nothing is trained"


def iterations(count: int) -> str:
    """``1,000 meta-iterations``."""
    return f"{count:,} meta-iteration{'' if count == 1 else 's'}"


def trained(config: Mapping[str, Any], group: str, budget: str) -> Trained:
    """Read off a run's configuration. A method that does not say what it uses is taken to use its meta-iterations, and
    a component to be trained unless it comes from a file or has nothing to set. A method of another package may train
    a network of its own, so it uses its meta-iterations too unless it rests on an encoder.
    """
    length = setting(config, "budget.meta_iterations")
    if not isinstance(length, int):
        return Trained(0, (), budget)
    uses = setting(config, "method.uses")
    learns = uses is None or bool(_LEARNING & set(uses)) or ("encoder" not in uses and _is_outside(config))
    epochs = []
    for component, key, _ in LENGTHS:
        count = setting(config, f"budget.{key}")
        here = component != "learner" and group not in REFERENCES and _is_trained(config.get(component))
        if here and isinstance(count, int):
            epochs.append((title_of(config, component), count))
    # A floor may have a network for its answers, and trains none of it.
    return Trained(length if learns and group != "floor" else 0, tuple(epochs))


def _is_outside(config: Mapping[str, Any]) -> bool:
    target = setting(config, "method._target_")
    return isinstance(target, str) and target.partition(".")[0] not in OWN_PACKAGES


def _is_trained(component: Any) -> bool:
    return isinstance(component, Mapping) and "own" not in component and bool(set(component) - set(RESERVED))


def facets(config: Mapping[str, Any]) -> dict[str, str]:
    """Component -> its title, of those that a run has."""
    return {group: title_of(config, group) for group in FACETS if isinstance(config.get(group), Mapping)}


def own_settings(method: str, title: str, config: Mapping[str, Any]) -> tuple[str, dict[str, str]]:
    """The title without the settings that were changed, and these: ``("UMTRA-MAML", {"backbone": "conv4"})``."""
    changed = changes(method, config)
    told = "".join(f", {name}={value}" for name, value in changed.items())
    return title.removesuffix(told), changed
