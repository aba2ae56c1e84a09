"""Training from scratch: the same network and the same adaptation, without any meta-training."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from bench.basics.errors import BenchError
from bench.contracts import Context, Learner, MetaLearner, TaskSpec
from bench.datasets.images import UnlabelledImages


@dataclass(frozen=True)
class Scratch:
    """A random network, trained on the support set of every task alone (Khodadadeh et al. 2020, §4.1).

    The paper gives neither steps nor rate for it. Here they are the meta-learner's own: with MAML, its steps
    at evaluation and its inner learning rate, from one random initialisation shared by all tasks.
    """

    learner: MetaLearner

    any_way: ClassVar[bool] = True

    def fit(self, images: UnlabelledImages, spec: TaskSpec, context: Context) -> Learner:
        """``images`` are not looked at."""
        if not isinstance(images, UnlabelledImages):
            raise BenchError(f"scratch takes unlabelled images, not {type(images).__name__}")
        return self.learner.untrained(images.shape, spec, context)
