"""What ``bench show`` draws."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from matplotlib.figure import Figure
from torch import Tensor

from bench.contracts import ProgressCallback, TaskSpec
from bench.errors import BenchError, did_you_mean
from bench.inventing import Invention, invent_one
from bench.plan import Request
from bench.showing import task_sheet
from bench.showing_latents import interpolation_sheet, sample_sheet, strategy_sheet

RECONSTRUCTED = 24  # real images shown beside their reconstructions


def picture(request: Request, what: str, count: int | None, cache: Path, progress: ProgressCallback) -> Figure:
    """A picture of the first method of ``request``; ``what`` is a key of :data:`PICTURES`.

    count: how many tasks, latents a class, images or rows; None is a number that fits a page.
    """
    check(what)
    draw, usual = PICTURES[what]
    return draw(invent_one(request, cache, progress), usual if count is None else count)


def check(what: str) -> None:
    """BenchError for a picture that there is not."""
    if what not in PICTURES:
        raise BenchError(f"unknown picture {what!r}.{did_you_mean(what, PICTURES)} Known: {', '.join(PICTURES)}")


def _tasks(invention: Invention, count: int) -> Figure:
    """Khodadadeh et al. 2020, Figures 1 and 2."""
    tasks = invention.sampler.sample(count, invention.spec, invention.rng("show"))
    return task_sheet(tasks, invention.run.title)


def _strategies(invention: Invention, count: int) -> Figure:
    """Khodadadeh et al. 2020, Figure 3: ``count`` latents a class, around the same anchors."""
    sampler, spec = invention.latent_sampler(), invention.spec
    around = TaskSpec(spec.way, 1, count)
    latents = {
        strategy: sampler.latents(1, around, strategy, invention.rng("show strategies"))[0]
        for strategy in sampler.strategies
    }
    return strategy_sheet(latents, f"{invention.run.title}: {count} latents a class, in every way it knows")


def _samples(invention: Invention, count: int) -> Figure:
    generator = invention.needed_generator("samples")
    real = _some_images(invention, RECONSTRUCTED)
    return sample_sheet(generator, real, count, invention.rng("show samples"), invention.run.title)


def _interpolations(invention: Invention, count: int) -> Figure:
    generator = invention.needed_generator("interpolations")
    real = _some_images(invention, 2 * count)
    return interpolation_sheet(generator, real, count, invention.rng("show interpolations"), invention.run.title)


def _some_images(invention: Invention, count: int) -> Tensor:
    """An even number of real images, different ones, at most ``count``."""
    count = min(count, len(invention.images)) // 2 * 2
    order = torch.randperm(len(invention.images), generator=invention.rng("show images"), device=invention.device)
    return invention.images.take(order[:count])


PICTURES: dict[str, tuple[Callable[[Invention, int], Figure], int]] = {
    "tasks": (_tasks, 4),
    "strategies": (_strategies, 40),
    "samples": (_samples, 64),
    "interpolations": (_interpolations, 6),
}
"""Name -> how it is drawn, and how many things it usually shows."""
