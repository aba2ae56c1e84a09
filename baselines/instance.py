"""Instance discrimination: every image is a class, and its deformations are the members."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from bench.backbones import Conv4
from bench.basics.errors import BenchError
from bench.contracts import Context, TaskSpec, Views
from bench.datasets.images import UnlabelledImages
from bench.learners.contrast import nt_xent
from bench.learners.embedding import EmbeddingClassifier
from bench.learners.imagewise import Course, Embedding, ImageTraining, Schedule, batch_of, image_batches
from bench.learners.projection import project, projection
from bench.learners.prototypes import Prototypes
from bench.training.optimizers import adamw
from bench.views.choice import quarter_turns, several
from bench.views.sampler import ViewSampler

CHOSEN = "chosen on the labels of glyphs, which are this project's own, and of no other data"


@dataclass(frozen=True)
class Instance:
    """A plain embedding: a batch of images, two views of each, and the views of an image are to be found again.

    Dosovitskiy et al. 2014 (an image and its transformations are a class), with the loss of Chen et al. 2020, §2.1: the
    normalised-temperature cross-entropy, once on the backbone's features and once on a projection of them (a hidden
    layer of ReLU), the mean of both. AdamW, its rate risen in a tenth of the training and then fallen along half a
    cosine. At test the nearest normalised mean of the backbone's normalised features.

    turns: of square drawings (one channel) every image is turned by a random multiple of 90 degrees before its views
    are made: the four turns of an image are four classes. Temperature, rate and turns were chosen on the glyphs of this
    project, whose labels are known, and on no other data.
    """

    backbone: Conv4
    views: Views
    batch: int = 512
    copies: int = 2
    temperature: float = 0.1
    projection: int = 128
    lr: float = 3e-3
    weight_decay: float = 0.01
    turns: bool = False

    def __post_init__(self) -> None:
        for name, least in (("batch", 2), ("copies", 2), ("projection", 0)):
            value = getattr(self, name)
            if not isinstance(value, int) or value < least:
                raise BenchError(f"instance: {name} must be an integer of at least {least}, not {value!r}")
        for name in ("temperature", "lr"):
            if not getattr(self, name) > 0:
                raise BenchError(f"instance: {name} must be above 0, not {getattr(self, name)}")
        if not self.weight_decay >= 0:
            raise BenchError(f"instance: weight_decay must be 0 or more, not {self.weight_decay}")

    def fit(self, images: UnlabelledImages, spec: TaskSpec, context: Context) -> EmbeddingClassifier:
        """Train for ``context.budget.meta_iterations`` batches; ``spec`` is not looked at."""
        batches = image_batches(images, self.batch, context.seed.at("batches"), "instance")
        net = Embedding.initial(self.backbone, images.shape, context.seed.at("init"), context.device)
        head = projection(net.dim, self.projection, context.seed.at("projection"), context.device)
        learner = EmbeddingClassifier(net.encoder(), Prototypes("cosine"))
        params = {**net.params, **head}
        turned = self.turns and images.shape[0] == 1 and images.shape[1] == images.shape[2]
        if self.turns and not turned:
            context.note(unused_side=["rotations-as-classes"])

        def loss(rng: torch.Generator, leaves: Mapping[str, Tensor], batch: Tensor) -> Tensor:
            if turned:
                batch = quarter_turns(batch, torch.randint(4, (len(batch),), generator=rng, device=rng.device))
            views = several(self.views, batch, self.copies, rng)
            return self.loss(net, leaves, views)

        training = ImageTraining(
            params,
            net.buffers,
            adamw(params.values(), self.lr, weight_decay=self.weight_decay),
            Schedule(self.lr, warm_up=0.1),
        )
        course = Course.of_run(context, lambda: learner)
        context.note(settings=CHOSEN)
        training.run(loss, batch_of(images, batches), course, context, self.batch)
        return learner

    def sampler(self, images: UnlabelledImages, context: Context) -> ViewSampler:
        """Tasks of images and their views, to be looked at; training needs none."""
        return ViewSampler(self.views, images)

    def loss(self, net: Embedding, leaves: Mapping[str, Tensor], views: Tensor) -> Tensor:
        """Of views [B, V, C, H, W]."""
        features = net.features(leaves, views.flatten(0, 1))
        parts = [features] + ([project(leaves, features)] if self.projection else [])
        losses = [nt_xent(part.view(len(views), -1, part.shape[1]), self.temperature) for part in parts]
        return torch.stack(losses).mean()
