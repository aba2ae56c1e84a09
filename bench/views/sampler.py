"""Tasks whose classes are images and whose members are views of them."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from bench.basics.errors import BenchError
from bench.contracts import Tasks, TaskSpec, Views
from bench.datasets.images import UnlabelledImages
from bench.tasks.draw import distinct
from bench.views.choice import several


@dataclass(frozen=True)
class ViewSampler:
    """A :class:`bench.contracts.TaskSampler` over unlabelled images: what a method that tells images apart learns from.

    untouched: the first support image of a class is the image itself, else a view like the others.
    """

    views: Views
    images: UnlabelledImages
    untouched: bool = False

    def sample(self, n: int, spec: TaskSpec, rng: torch.Generator) -> Tasks:
        """``n`` tasks of ``spec.way`` different images each. BenchError where there are fewer images."""
        if len(self.images) < spec.way:
            raise BenchError(f"{len(self.images)} images are too few for {spec.way}-way tasks of single images")
        originals = self.images.take(distinct(n, spec.way, len(self.images), rng))
        count = spec.shot + spec.query - self.untouched
        views = several(self.views, originals.flatten(0, 1), count, rng)
        made = views.view(n, spec.way, *views.shape[1:])
        if self.untouched:
            made = torch.cat([originals[:, :, None], made], dim=2)
        return Tasks(made[:, :, : spec.shot].contiguous(), made[:, :, spec.shot :].contiguous())
