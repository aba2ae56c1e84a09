"""What ``bench show`` draws."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from matplotlib.figure import Figure
from torch import Tensor

from bench.basics.errors import BenchError, did_you_mean
from bench.contracts import ProgressCallback, TaskSpec
from bench.looking.cluster_sheet import cluster_sheet
from bench.looking.latent_sheets import (
    blend_sheet,
    interpolation_sheet,
    reconstruction_sheet,
    sample_sheet,
    strategy_sheet,
)
from bench.looking.subject import Subject, look_one, uses_encoder
from bench.looking.task_sheet import task_sheet
from bench.planning.plan import Request
from bench.running.precision import computing_in

RECONSTRUCTED = 24  # real images shown beside their reconstructions


def picture(request: Request, what: str, count: int | None, cache: Path, progress: ProgressCallback) -> Figure:
    """A picture of the first method of ``request``; ``what`` is a key of :data:`PICTURES`.

    count: how many tasks, latents a class, images or rows; None is a number that fits a page.
    """
    check(what)
    draw, usual = PICTURES[what]
    subject = look_one(request, cache, progress, what in OF_ENCODERS)
    with computing_in(subject.run.values["precision"]):
        return draw(subject, usual if count is None else count)


def check(what: str) -> None:
    """BenchError for a picture that there is not."""
    if what not in PICTURES:
        raise BenchError(f"unknown picture {what!r}.{did_you_mean(what, PICTURES)} Known: {', '.join(PICTURES)}")


def _tasks(subject: Subject, count: int) -> Figure:
    """Khodadadeh et al. 2020, Figures 1 and 2."""
    source = subject.source()
    tasks = source.sampler.sample(count, source.spec, subject.rng("show"))
    return task_sheet(tasks, subject.run.title)


def _strategies(subject: Subject, count: int) -> Figure:
    """Khodadadeh et al. 2020, Figure 3: ``count`` latents a class, around the same anchors."""
    source = subject.source()
    sampler = source.latent_sampler()
    around = TaskSpec(source.spec.way, 1, count)
    latents = {
        strategy: sampler.latents(1, around, strategy, subject.rng("show strategies"))[0]
        for strategy in sampler.strategies
    }
    return strategy_sheet(latents, f"{subject.run.title}: {count} latents a class, in every way it knows")


def _samples(subject: Subject, count: int) -> Figure:
    generator = subject.source().needed_generator("samples")
    real = _some_images(subject, RECONSTRUCTED)
    return sample_sheet(generator, real, count, subject.rng("show samples"), subject.run.title)


def _interpolations(subject: Subject, count: int) -> Figure:
    """Of a generator between draws of its prior, of an encoder that decodes between real images."""
    real = _some_images(subject, 2 * count)
    if uses_encoder(subject.run.values):
        coder = subject.autoencoder("interpolations")
        return blend_sheet(coder.encode, coder.decode, real, subject.run.title)
    generator = subject.source().needed_generator("interpolations")
    return interpolation_sheet(generator, real, count, subject.rng("show interpolations"), subject.run.title)


def _reconstructions(subject: Subject, count: int) -> Figure:
    coder = subject.autoencoder("reconstructions")
    return reconstruction_sheet(coder.encode, coder.decode, _some_images(subject, count), subject.run.title)


def _clusters(subject: Subject, count: int) -> Figure:
    """``count`` clusters of the first clustering."""
    labels = subject.clusterings()[0]
    kept = len(torch.bincount(labels[labels >= 0]).nonzero())
    title = f"{subject.run.title}: some of {kept} clusters"
    return cluster_sheet(subject.images, labels, count, subject.rng("show clusters"), title)


def _some_images(subject: Subject, count: int) -> Tensor:
    """An even number of real images, different ones, at most ``count``."""
    images = subject.images
    count = min(count, len(images)) // 2 * 2
    order = torch.randperm(len(images), generator=subject.rng("show images"), device=images.device)
    return images.take(order[:count])


PICTURES: dict[str, tuple[Callable[[Subject, int], Figure], int]] = {
    "tasks": (_tasks, 4),
    "strategies": (_strategies, 40),
    "samples": (_samples, 64),
    "interpolations": (_interpolations, 6),
    "reconstructions": (_reconstructions, 48),
    "clusters": (_clusters, 12),
}
"""Name -> how it is drawn, and how many things it usually shows."""

OF_ENCODERS = ("interpolations", "reconstructions", "clusters")
"""Pictures that a method may have which makes no tasks, but sees images through an encoder."""
