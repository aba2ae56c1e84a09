"""A method from outside whose training takes as long as a variable says, so that it can be stopped in the middle."""

from pathlib import Path

from plugin_packages import install

CODE = """
import os
import time
from dataclasses import dataclass

import torch

from bench.contracts import MetaLearner, Tasks


@dataclass(frozen=True)
class Slow:
    learner: MetaLearner
    fails: bool = False

    def fit(self, images, spec, context):
        if self.fails:
            raise ValueError("it is told to fail")
        return self.learner.fit(Sampler(images), spec, context)


@dataclass(frozen=True)
class Sampler:
    images: object

    def sample(self, n, spec, rng):
        time.sleep(float(os.environ.get("SLOW_SECONDS", "0")))
        numbers = torch.randint(len(self.images), (n, spec.way), generator=rng)
        originals = self.images.take(numbers)[:, :, None]
        copies = originals.expand(-1, -1, spec.shot + spec.query, -1, -1, -1)
        copies = (copies + 0.3 * torch.rand(copies.shape, generator=rng)).clamp(0, 1)
        return Tasks(copies[:, :, : spec.shot].contiguous(), copies[:, :, spec.shot :].contiguous())
"""

YAML = """
_target_: slow_plugin.code.Slow
card: {title: Slow}
uses: [learner]
prefers: {learner: protonet}
fails: false
"""


def install_slow(site: Path) -> None:
    """The method ``slow`` in a folder for ``PYTHONPATH``; ``$SLOW_SECONDS`` is what a step of it takes."""
    install(site, "slow_plugin", files={"code.py": CODE, "configs/method/slow.yaml": YAML})
