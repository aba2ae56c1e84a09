"""UFLST: cluster the images by the embedding, train the embedding on the clusters, and again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from bench.backbones import Conv4
from bench.basics.errors import BenchError, did_you_mean
from bench.basics.seeds import Seed
from bench.contracts import Context, TaskSpec
from bench.datasets.images import UnlabelledImages
from bench.learners.embedding import EmbeddingClassifier
from bench.learners.embeddings import embed_all
from bench.learners.imagewise import Course, Embedding, ImageTraining, Schedule
from bench.learners.prototypes import Prototypes
from bench.learners.reciprocal import NOBODY, Clustering, cluster
from bench.tasks.draw import distinct
from bench.tasks.labelled import LabelledSampler
from bench.training.optimizers import adam

LOSSES = ("triplet", "protonet")
MARGIN = 1.0
LOWEST = 1e-3  # the share of the learning rate that is left at the end of a round


@dataclass(frozen=True)
class UFLST:
    """Unsupervised few-shot learning by clustering and training in turns (Ji et al. 2019, §3 and the authors' code).

    The meta-iterations of the budget are divided into ``rounds`` rounds, fewer where they would be shorter than
    ``shortest_round``. Each begins by embedding all images as in evaluation and clustering them: k-reciprocal distances
    (``k1``, ``k2``), DBSCAN (``min_samples``) with the mean of the smallest distances as its radius; images in no
    cluster of ``least`` are left out. Then it trains on batches of ``clusters_per_batch`` clusters, ``per_cluster``
    images of each; in an epoch every cluster has its turn, a rest too small for a batch left out. Adam goes on from
    round to round; its rate is constant for half a round, then falls exponentially to a thousandth. At test the nearest
    mean, squared Euclidean, in the embedding after the last round.

    loss: ``triplet``, for every image log(1 + exp(1 + p - n)), p its Euclidean distance to the farthest image of its
    cluster in the batch and n to the nearest of another; ``protonet``, one image of every cluster is its support.

    neighbours: how many others an image has within DBSCAN's radius if the distances that were averaged are all: 12 is
    the authors' 0.05 % of all pairs of 24,000 images, and near to their shares for fewer. It takes for granted that
    classes have more than so many images, and so does k1.

    Not as the authors: images are as the dataset has them (theirs 32x32, black on white, normalised), and where there
    are fewer clusters than a batch has, they train on nothing, while here clusters come more than once in a batch; two
    such groups of images count as one class.
    """

    backbone: Conv4
    loss: str = "triplet"
    rounds: int = 20
    shortest_round: int = 10
    k1: int = 20
    k2: int = 6
    neighbours: float = 12.0
    min_samples: int = 4
    least: int = 6
    clusters_per_batch: int = 60
    per_cluster: int = 6
    lr: float = 0.005
    weight_decay: float = 5e-4

    def __post_init__(self) -> None:
        if self.loss not in LOSSES:
            hint = did_you_mean(str(self.loss), LOSSES)
            raise BenchError(f"uflst: loss must be one of {', '.join(LOSSES)}, not {self.loss!r}.{hint}")
        whole = {
            "rounds": 1,
            "shortest_round": 1,
            "k1": 1,
            "k2": 1,
            "min_samples": 1,
            "clusters_per_batch": 2,
            "per_cluster": 2,
        }
        for name, least in {**whole, "least": self.per_cluster}.items():
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                why = " (method.per_cluster)" if name == "least" else ""
                raise BenchError(f"uflst: {name} must be an integer of at least {least}{why}, not {value!r}")
        if self.k2 > self.k1:
            raise BenchError(f"uflst: k2 must be at most k1, not {self.k2} with {self.k1}")
        if not (self.lr > 0 and self.neighbours > 0 and self.weight_decay >= 0):
            raise BenchError("uflst: lr and neighbours must be above 0, and weight_decay 0 or more")

    def fit(self, images: UnlabelledImages, spec: TaskSpec, context: Context) -> EmbeddingClassifier:
        """Train for ``context.budget.meta_iterations`` batches in all; ``spec`` is not looked at."""
        return self._train(images, context)[0]

    def clusterings(self, images: UnlabelledImages, spec: TaskSpec, context: Context) -> Tensor:
        """The clusters of each round, the last one first: int64 [rounds, n], -1 for images in none.

        They are made in training: those of a run that is complete, else of a training of their own.
        """
        saved = context.checkpoint.load()
        if saved is None or not saved[1]["complete"]:
            context = replace(context, checkpoint=context.checkpoint.child("clusters"))
        return self._train(images, context)[1].flip(0).long()

    def sampler(self, images: UnlabelledImages, context: Context) -> LabelledSampler:
        """Tasks of the clusters of all rounds, to be looked at; training draws its batches another way."""
        spec = TaskSpec(2, 1, self.per_cluster - 1)
        return LabelledSampler.of(images.pixels, self.clusterings(images, spec, context), images.device)

    def _train(self, images: UnlabelledImages, context: Context) -> tuple[EmbeddingClassifier, Tensor]:
        """The learner, and the clusters of each round, int32 [rounds, n]."""
        if self.k1 >= len(images):
            raise BenchError(f"uflst: {len(images)} images have no {self.k1} neighbours each; lower method.k1")
        net = Embedding.initial(self.backbone, images.shape, context.seed.at("init"), context.device)
        learner = EmbeddingClassifier(net.encoder(), Prototypes("euclidean"))
        total = context.budget.meta_iterations
        rounds = Rounds(max(1, min(self.rounds, total // self.shortest_round)), total)
        # Among what is trained, so that a checkpoint holds them: a training that goes on makes no clusters anew.
        labels = torch.full((rounds.count, len(images)), NOBODY, dtype=torch.int32, device=context.device)
        radius = torch.zeros(rounds.count, dtype=torch.float64, device=context.device)
        batches: dict[int, ClusterBatches] = {}

        def inputs(i: int, rng: torch.Generator) -> tuple[Tensor, ...]:
            number, step = rounds.of(i)
            if step == 0:
                found = self._cluster(net, images, number, context)
                labels[number].copy_(torch.from_numpy(found.labels))
                radius[number] = found.eps
            if number not in batches:
                batches.clear()
                seed = context.seed.at("clusters", number)
                batches[number] = ClusterBatches(labels[number], self.clusters_per_batch, self.per_cluster, seed)
            index, classes = batches[number].at(step, rng)
            return images.take(index.flatten()), classes

        def loss(rng: torch.Generator, leaves: Mapping[str, Tensor], batch: Tensor, classes: Tensor) -> Tensor:
            features = net.features(leaves, batch).view(len(classes), self.per_cluster, -1)
            return hardest_triplets(features, classes) if self.loss == "triplet" else prototypes(features, classes)

        training = ImageTraining(
            net.params,
            {**net.buffers, "clusters": labels, "eps": radius},
            adam(net.params.values(), self.lr, weight_decay=self.weight_decay),
            RoundSchedule(self.lr, rounds),
        )
        batch = self.clusters_per_batch * self.per_cluster
        training.run(loss, inputs, Course.of_run(context, lambda: learner), context, batch)
        context.note(clusterings=[facts(*one) for one in zip(labels, radius.tolist(), strict=True)])
        return learner, labels

    def _cluster(self, net: Embedding, images: UnlabelledImages, number: int, context: Context) -> Clustering:
        everything = torch.arange(len(images), device=images.device)
        points = embed_all(net.encoder(), images, everything, images.device)
        found = cluster(points, self.k1, self.k2, self.neighbours, self.min_samples, self.least)
        if len(found.sizes) < 2:
            raise BenchError(
                f"uflst: round {number + 1} finds {len(found.sizes)} clusters of {self.least} images or more among "
                f"{len(images)} images, and training takes at least 2; change method.neighbours (now "
                f"{self.neighbours:g}), or lower method.min_samples or method.least"
            )
        return found


@dataclass(frozen=True, slots=True)
class Rounds:
    """``total`` steps in ``count`` rounds that are equally long up to one step."""

    count: int
    total: int

    def of(self, i: int) -> tuple[int, int]:
        """Round and step in it, both from 0, of step ``i``."""
        number = ((i + 1) * self.count - 1) // self.total
        return number, i - self._first(number)

    def share(self, i: int) -> float:
        """How much of its round is over before step ``i``, in [0, 1)."""
        number, step = self.of(i)
        return step / (self._first(number + 1) - self._first(number))

    def _first(self, number: int) -> int:
        return number * self.total // self.count


@dataclass(frozen=True, slots=True)
class RoundSchedule(Schedule):
    """Constant for half a round, then exponentially down to LOWEST, and up again."""

    rounds: Rounds = Rounds(1, 1)

    def at(self, i: int, total: int) -> float:
        """The rate of step ``i``."""
        return self.rate * LOWEST ** max(0.0, 2 * self.rounds.share(i) - 1)


class ClusterBatches:
    """Which images belong to a step of a round. Its clusters are shuffled for every epoch, ``clusters`` to a batch."""

    def __init__(self, labels: Tensor, clusters: int, images: int, seed: Seed) -> None:
        """labels: [n] from 0, NOBODY for none; every cluster has ``images`` images."""
        self._order = labels.argsort(stable=True)
        self._sizes = torch.bincount(labels[labels >= 0].long())
        self._first = (labels < 0).sum() + self._sizes.cumsum(0) - self._sizes
        self._largest = int(self._sizes.max())
        self._clusters, self._images, self._seed = clusters, images, seed

    def at(self, step: int, rng: torch.Generator) -> tuple[Tensor, Tensor]:
        """Images int64 [clusters, images], those of a row different, and the cluster of each row.

        A cluster comes twice only where there are fewer than a batch has.
        """
        present = len(self._sizes)
        epoch, place = divmod(step, max(1, present // self._clusters))
        order = torch.randperm(present, generator=self._seed.at("epoch", epoch).generator())
        order = order.repeat(-(-self._clusters // present))[place * self._clusters : (place + 1) * self._clusters]
        chosen = order.to(self._order.device)
        within = distinct(self._clusters, self._images, self._sizes[chosen], rng, self._largest)
        return self._order[self._first[chosen][:, None] + within], chosen


def hardest_triplets(features: Tensor, classes: Tensor) -> Tensor:
    """The mean, over images, of log(1 + exp(MARGIN + p - n)): p Euclidean to the farthest image of the same class,
    n to the nearest of another (Hermans et al. 2017, §2, with a margin and soft).

    features: [P, K, d], K images of each of P classes. classes: [P]; rows of one number are one class.
    """
    flat, of = features.flatten(0, 1), classes.repeat_interleave(features.shape[1])
    same = of[:, None] == of
    with torch.no_grad():
        squared = flat.square().sum(1) - 2 * flat @ flat.mT  # up to the row's own norm: enough to find the hardest
        farthest = squared.masked_fill(~same, -torch.inf).argmax(1)
        nearest = squared.masked_fill(same, torch.inf).argmin(1)
    positive, negative = ((flat - flat[other]).norm(dim=1) for other in (farthest, nearest))
    return F.softplus(MARGIN + positive - negative).mean()


def prototypes(features: Tensor, classes: Tensor) -> Tensor:
    """Cross-entropy of the images 1 … K-1 of each class by minus the squared Euclidean distance to the images 0.

    features: [P, K, d]. classes: [P]; of rows of one number a query sees its own only.
    """
    support, query = features[:, 0], features[:, 1:].flatten(0, 1)
    squared = query.square().sum(1, keepdim=True) - 2 * query @ support.mT + support.square().sum(1)
    own = torch.arange(len(support), device=support.device).repeat_interleave(features.shape[1] - 1)
    twin = (classes[own][:, None] == classes) & (own[:, None] != torch.arange(len(support), device=support.device))
    return F.cross_entropy((-squared).masked_fill(twin, -torch.inf), own)


def facts(labels: Tensor, eps: float) -> dict[str, Any]:
    """What the record says of a clustering."""
    sizes = torch.bincount(labels[labels >= 0].long()).tolist()
    return {
        "clusters": len(sizes),
        "images": sum(sizes),
        "largest": max(sizes, default=0),
        "smallest": min(sizes, default=0),
        "eps": round(eps, 6),
    }
