"""Instance discrimination that goes on: neighbours in its own embedding, if they are mutual, become one class."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from bench.backbones import Conv4
from bench.basics.errors import BenchError
from bench.contracts import Context, TaskSpec, Views
from bench.datasets.images import UnlabelledImages
from bench.learners.contrast import contrast
from bench.learners.embedding import EmbeddingClassifier
from bench.learners.embeddings import embed_all
from bench.learners.imagewise import Course, Embedding, ImageTraining, Schedule, image_batches
from bench.learners.mutual import mutual_neighbours
from bench.learners.projection import project, projection
from bench.learners.prototypes import Prototypes, unit
from bench.training.optimizers import adamw
from bench.views.sampler import ViewSampler

CHOSEN = "chosen on the labels of glyphs, which are this project's own, and of no other data"


@dataclass(frozen=True)
class Neighbours:
    """Two views of an image are one class; later so are views of an image and of its mutual nearest neighbours.

    In the first part of the training (``alone``, a share) a batch is two views of each of its images, and the loss the
    normalised-temperature cross-entropy (Chen et al. 2020, eq. 1) on the backbone's features and on a projection of
    them, the mean of both. Then ``rounds`` times, at equal distances, all images are embedded, and two of them are
    neighbours where each is among the ``nearest`` of the other by cosine (Zhong et al. 2017, eq. 2; positives from
    nearest neighbours as in Dwibedi et al. 2021). From then on the second view of an image is one of itself
    (probability ``keep``) or of a random neighbour, and neighbours that meet in a batch are positives of each other
    (Khosla et al. 2020, eq. 2) instead of negatives. An image without neighbours stays a class of its own, so nothing
    needs to know how many classes there are or how large they are.

    AdamW, the rate risen in a tenth of the training and then fallen along half a cosine. At test the nearest normalised
    mean of the backbone's normalised features. Temperature, rate, ``nearest`` and what becomes of neighbours in a batch
    were chosen on the glyphs of this project, whose labels are known, and on no other data.
    """

    backbone: Conv4
    views: Views
    batch: int = 512
    temperature: float = 0.1
    projection: int = 128
    lr: float = 3e-3
    weight_decay: float = 0.01
    alone: float = 0.5
    rounds: int = 4
    nearest: int = 10
    keep: float = 0.5

    def __post_init__(self) -> None:
        for name, least in (("batch", 2), ("projection", 0), ("rounds", 0), ("nearest", 1)):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                raise BenchError(f"neighbours: {name} must be an integer of at least {least}, not {value!r}")
        for name in ("temperature", "lr"):
            if not getattr(self, name) > 0:
                raise BenchError(f"neighbours: {name} must be above 0, not {getattr(self, name)}")
        for name in ("alone", "keep"):
            if not 0 <= (value := getattr(self, name)) <= 1:
                raise BenchError(f"neighbours: {name} must be between 0 and 1, not {value}")
        if not self.weight_decay >= 0:
            raise BenchError(f"neighbours: weight_decay must be 0 or more, not {self.weight_decay}")

    def fit(self, images: UnlabelledImages, spec: TaskSpec, context: Context) -> EmbeddingClassifier:
        """Train for ``context.budget.meta_iterations`` batches; ``spec`` is not looked at."""
        batches = image_batches(images, self.batch, context.seed.at("batches"), "neighbours")
        if self.nearest >= len(images):
            raise BenchError(f"neighbours: {len(images)} images have no {self.nearest} others; lower method.nearest")
        net = Embedding.initial(self.backbone, images.shape, context.seed.at("init"), context.device)
        head = projection(net.dim, self.projection, context.seed.at("projection"), context.device)
        learner = EmbeddingClassifier(net.encoder(), Prototypes("cosine"))
        params = {**net.params, **head}
        everyone = torch.arange(len(images), device=images.device)
        table = everyone[:, None].repeat(1, self.nearest)  # [n, k]: the neighbours, an image itself where it has fewer
        found = torch.zeros(max(1, self.rounds), device=images.device)
        starts = self.starts(context.budget.meta_iterations)

        def inputs(i: int, rng: torch.Generator) -> tuple[Tensor, ...]:
            for number in (number for number, start in enumerate(starts) if start == i):
                embedded = embed_all(learner.encoder, images, everyone, images.device, context.progress)
                table.copy_(mutual_neighbours(unit(embedded), self.nearest))
                found[number] = (table != everyone[:, None]).sum(1).float().mean()
            of = batches.at(i)
            ids = torch.cat([of, self.partner(of, table[of], rng)])
            return images.take(ids), ids, table[ids]

        def loss(
            rng: torch.Generator, leaves: Mapping[str, Tensor], batch: Tensor, ids: Tensor, near: Tensor
        ) -> Tensor:
            features = net.features(leaves, self.views(batch, rng))
            parts = [features] + ([project(leaves, features)] if self.projection else [])
            positive = alike(ids, near)
            return torch.stack([contrast(part, positive, self.temperature) for part in parts]).mean()

        training = ImageTraining(
            params,
            {**net.buffers, "neighbours": table, "found": found},
            adamw(params.values(), self.lr, weight_decay=self.weight_decay),
            Schedule(self.lr, warm_up=0.1),
        )
        course = Course.of_run(context, lambda: learner)
        training.run(loss, inputs, course, context, 2 * self.batch, others=lambda total: starts)
        context.note(neighbours=[round(mean, 2) for mean in found.tolist()[: self.rounds]], settings=CHOSEN)
        return learner

    def sampler(self, images: UnlabelledImages, context: Context) -> ViewSampler:
        """Tasks of images and their views, to be looked at; training needs none."""
        return ViewSampler(self.views, images)

    def starts(self, total: int) -> list[int]:
        """The steps before which neighbours are looked for."""
        first = round(self.alone * total)
        return [first + (total - first) * number // max(1, self.rounds) for number in range(self.rounds)]

    def partner(self, of: Tensor, near: Tensor, rng: torch.Generator) -> Tensor:
        """Whose view the second one is: int64 [B]; the image itself, or one of its neighbours ``near`` [B, k]."""
        other = near != of[:, None]
        drawn = torch.rand(near.shape, generator=rng, device=rng.device).masked_fill(~other, -1.0)
        chosen = near.gather(1, drawn.argmax(1, keepdim=True))[:, 0]
        stays = torch.rand(len(of), generator=rng, device=rng.device) < self.keep
        return torch.where(stays, of, chosen)


def alike(ids: Tensor, near: Tensor) -> Tensor:
    """Which rows of a batch are of one class: bool [R, R], symmetric; ids [R], their neighbours ``near`` [R, k].

    Rows of one image, of neighbours, and the two views that were drawn as a pair (rows i and i + R / 2), which are
    either.
    """
    return (near[:, :, None] == ids).any(1) | (ids[:, None] == ids)
