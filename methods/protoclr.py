"""ProtoCLR and what became of it: prototypical networks on tasks of single images and their views."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from bench.backbones import Conv4
from bench.basics.errors import BenchError
from bench.contracts import Classifier, Context, TaskSpec, Views
from bench.datasets.images import UnlabelledImages
from bench.learners.embedding import EmbeddingClassifier
from bench.learners.imagewise import Course, Embedding, ImageTraining, Schedule, batch_of, image_batches
from bench.learners.prototypes import Prototypes, TunedPrototypes, unit
from bench.tasks.draw import distinct
from bench.training.optimizers import adam
from bench.views.choice import several
from bench.views.sampler import ViewSampler

LEAST_MIXED, MOST_MIXED = 0.0, 0.5  # how much of the query a mixed negative has


@dataclass(frozen=True)
class ProtoCLR:
    """Every image of a batch is a class; one of its views is the support, the others are queries.

    The defaults are ProtoTransfer (Medina et al. 2020, §3.1): one task of all ``images`` images a step, the support is
    the untouched image, scores are minus squared Euclidean distances. The settings lead on to Ye, Han and Zhan 2022:

    episodes: sufficient episodic sampling (SES, §4.2): so many tasks of ``way`` images are drawn from the embeddings of
    one batch; any view may be the support. 0: one task of the whole batch.
    normalise: semi-normalised similarity (SNS, §4.3): scores are inner products of the query as it is with the
    prototype divided by its length; at test too.
    mixed: hard mixed supports (HMS, §5.1): so many more negatives for every query, which are the most similar
    embeddings of other images, moved towards the query by a share ~ U(0, 0.5), divided by their length. Takes SNS.

    tune: ProtoTune at test (Medina et al. 2020, §3.2), else the nearest prototype. untouched: the support is the image
    itself, else a view. cosine: the rate falls along half a cosine to 0, else it is halved every 25,000 steps.
    """

    backbone: Conv4
    views: Views
    images: int = 50
    copies: int = 4
    untouched: bool = True
    episodes: int = 0
    way: int = 5
    normalise: bool = False
    mixed: int = 0
    tune: bool = True
    lr: float = 1e-3
    cosine: bool = False

    def __post_init__(self) -> None:
        for name, least in (("images", 2), ("copies", 2), ("episodes", 0), ("way", 2), ("mixed", 0)):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                raise BenchError(f"protoclr: {name} must be an integer of at least {least}, not {value!r}")
        if self.episodes and self.way > self.images:
            raise BenchError(f"protoclr: {self.images} images are too few for {self.way}-way tasks; set method.images")
        if self.mixed and not (self.normalise and self.episodes):
            raise BenchError("protoclr: mixed negatives need method.normalise=true and method.episodes of at least 1")
        if self.mixed >= self.images * self.copies - self.copies + 1:
            raise BenchError(f"protoclr: a batch has no {self.mixed} views of other images; lower method.mixed")
        if not self.lr > 0:
            raise BenchError(f"protoclr: lr must be above 0, not {self.lr}")

    def fit(self, images: UnlabelledImages, spec: TaskSpec, context: Context) -> EmbeddingClassifier:
        """Train for ``context.budget.meta_iterations`` batches; ``spec`` is not looked at."""
        batches = image_batches(images, self.images, context.seed.at("batches"), "protoclr")
        net = Embedding.initial(self.backbone, images.shape, context.seed.at("init"), context.device)
        learner = EmbeddingClassifier(net.encoder(), self._classifier(context))

        def loss(rng: torch.Generator, leaves: Mapping[str, Tensor], batch: Tensor) -> Tensor:
            views = several(self.views, batch, self.copies - self.untouched, rng)
            if self.untouched:
                views = torch.cat([batch[:, None], views], dim=1)
            features = net.features(leaves, views.flatten(0, 1)).view(len(batch), self.copies, -1)
            return self.of_episodes(features, rng) if self.episodes else self.of_one_task(features)

        schedule = Schedule(self.lr, falling=self.cosine, halve_every=0 if self.cosine else 25_000)
        training = ImageTraining(net.params, net.buffers, adam(net.params.values(), self.lr, eps=1e-8), schedule)
        course = Course.of_run(context, lambda: learner)
        training.run(loss, batch_of(images, batches), course, context, self.images)
        return learner

    def sampler(self, images: UnlabelledImages, context: Context) -> ViewSampler:
        """Tasks of images and their views, to be looked at; training needs none."""
        return ViewSampler(self.views, images, self.untouched)

    def trains_on(self, spec: TaskSpec) -> TaskSpec:
        """The tasks that a batch makes: one of all its images, or episodes of ``way`` of them; no mixed negatives."""
        return TaskSpec(self.way if self.episodes else self.images, 1, self.copies - 1)

    def _classifier(self, context: Context) -> Classifier:
        if self.tune:
            return TunedPrototypes(context.seed.at("tune"))
        return Prototypes("cosine" if self.normalise else "euclidean")

    def of_one_task(self, features: Tensor) -> Tensor:
        """Cross-entropy of the views 1 … V-1 among all images' first views; features [B, V, d]."""
        images, copies, _ = features.shape
        scores = self._scores(features[None, :, 0], features[None, :, 1:])[0]
        target = torch.arange(images, device=features.device).repeat_interleave(copies - 1)
        return F.cross_entropy(scores, target)

    def of_episodes(self, features: Tensor, rng: torch.Generator) -> Tensor:
        """Mean cross-entropy of tasks drawn from features [B, V, d]: V - 1 queries a class."""
        images, copies, dim = features.shape
        of = distinct(self.episodes, self.way, images, rng)[:, :, None]  # [E, N, 1]
        view = torch.rand(self.episodes, self.way, copies, generator=rng, device=rng.device).argsort(2)
        rows = of * copies + view  # [E, N, V]
        drawn = features.reshape(-1, dim)[rows]
        scores = self._scores(drawn[:, :, 0], drawn[:, :, 1:])  # [E, N * (V - 1), N]
        if self.mixed:
            hard = self.hard_negatives(features, rng).view(-1, self.mixed)[rows[:, :, 1:]]
            scores = torch.cat([scores, hard.flatten(1, 2)], dim=2)
        target = torch.arange(self.way, device=features.device).repeat_interleave(copies - 1)
        return F.cross_entropy(scores.flatten(0, 1), target.repeat(self.episodes))

    def _scores(self, support: Tensor, query: Tensor) -> Tensor:
        """Support [E, N, d] and queries [E, N, Q, d] -> scores [E, N * Q, N]."""
        query = query.flatten(1, 2)
        if self.normalise:
            return query @ unit(support).mT
        norms = query.square().sum(2)[:, :, None] + support.square().sum(2)[:, None]
        return 2 * query @ support.mT - norms

    def hard_negatives(self, features: Tensor, rng: torch.Generator) -> Tensor:
        """Scores [B, V, mixed] of every view, as a query, with the mixed negatives made for it."""
        images, copies, dim = features.shape
        flat = features.reshape(-1, dim)
        alike = (unit(flat) @ unit(flat).mT).detach().view(images, copies, images, copies)
        own = torch.eye(images, dtype=torch.bool, device=flat.device)[:, None, :, None]
        nearest = alike.masked_fill(own, -torch.inf).flatten(2).flatten(0, 1).topk(self.mixed).indices
        share = torch.rand(*nearest.shape, 1, generator=rng, device=rng.device)
        share = LEAST_MIXED + (MOST_MIXED - LEAST_MIXED) * share
        mixed = unit((1 - share) * flat[nearest] + share * flat[:, None])
        return (mixed @ flat[:, :, None]).view(images, copies, self.mixed)
