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

    A round begins by embedding all images as in evaluation and clustering them: k-reciprocal distances (``k1``,
    ``k2``), DBSCAN (``min_samples``) with the mean of the smallest distances as its radius; images in no cluster of
    ``least`` are left out. Then it trains for ``epochs`` epochs on batches of ``clusters_per_batch`` clusters,
    ``per_cluster`` images of each; in an epoch every cluster has its turn, a rest too small for a batch left out. So
    rounds are short while there are few clusters, which are poor then. Adam goes on from round to round; its rate is
    constant for half a round, then falls exponentially to a thousandth. There are as many rounds as the meta-iterations
    of the budget have room for (the authors have 20). At test the nearest mean, squared Euclidean, in the last
    embedding.

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
    epochs: int = 50
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
            "epochs": 1,
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
        """The clusters of the last round: int64 [1, n], -1 for images in none.

        They are made in training: those of a run that is complete, else of a training of their own.
        """
        saved = context.checkpoint.load()
        if saved is None or not saved[1]["complete"]:
            context = replace(context, checkpoint=context.checkpoint.child("clusters"))
        return self._train(images, context)[1][None].long()

    def sampler(self, images: UnlabelledImages, context: Context) -> LabelledSampler:
        """Tasks of the clusters of the last round, to be looked at; training draws its batches another way."""
        spec = TaskSpec(2, 1, self.per_cluster - 1)
        return LabelledSampler.of(images.pixels, self.clusterings(images, spec, context), images.device)

    def _train(self, images: UnlabelledImages, context: Context) -> tuple[EmbeddingClassifier, Tensor]:
        """The learner, and the clusters of the last round, int32 [n]."""
        if self.k1 >= len(images):
            raise BenchError(f"uflst: {len(images)} images have no {self.k1} neighbours each; lower method.k1")
        net = Embedding.initial(self.backbone, images.shape, context.seed.at("init"), context.device)
        learner = EmbeddingClassifier(net.encoder(), Prototypes("euclidean"))
        # Among what is trained, so that a checkpoint holds them: a training that goes on makes no clusters anew.
        labels = torch.full((len(images),), NOBODY, dtype=torch.int32, device=context.device)
        rounds = Rounds(context.budget.meta_iterations // self.epochs + 1, context.device)
        batches: dict[int, ClusterBatches] = {}

        def inputs(i: int, rng: torch.Generator) -> tuple[Tensor, ...]:
            if i == rounds.end:
                found = self._cluster(net, images, rounds.number + 1, context)
                labels.copy_(torch.from_numpy(found.labels))
                steps = self.epochs * max(1, len(found.sizes) // self.clusters_per_batch)
                rounds.begin(i, steps, found)
            if rounds.number not in batches:
                batches.clear()
                seed = context.seed.at("clusters", rounds.number)
                batches[rounds.number] = ClusterBatches(labels, self.clusters_per_batch, self.per_cluster, seed)
            index, classes = batches[rounds.number].at(i - rounds.first, rng)
            return images.take(index.flatten()), classes

        def loss(rng: torch.Generator, leaves: Mapping[str, Tensor], batch: Tensor, classes: Tensor) -> Tensor:
            features = net.features(leaves, batch).view(len(classes), self.per_cluster, -1)
            return hardest_triplets(features, classes) if self.loss == "triplet" else prototypes(features, classes)

        training = ImageTraining(
            net.params,
            {**net.buffers, "clusters": labels, "rounds": rounds.table},
            adam(net.params.values(), self.lr, weight_decay=self.weight_decay),
            RoundSchedule(self.lr, rounds),
        )
        batch = self.clusters_per_batch * self.per_cluster
        # A round is as long as there are clusters, so nobody knows beforehand how often all images are embedded.
        training.run(loss, inputs, Course.of_run(context, lambda: learner), context, batch, others=lambda total: None)
        context.note(clusterings=rounds.facts())
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


class Rounds:
    """Which rounds there have been. ``table`` is what a checkpoint holds of them; the rest is read from it.

    first, end: the steps of the present round, from ``first`` to before ``end``. number: of the round, from 0.
    """

    COLUMNS = ("first", "end", "clusters", "images", "largest", "smallest", "eps")

    def __init__(self, most: int, device: torch.device) -> None:
        self.table = torch.full((most, len(self.COLUMNS)), -1.0, dtype=torch.float64, device=device)
        self._known: list[list[float]] | None = None

    def _rows(self) -> list[list[float]]:
        if self._known is None:  # only now: until its first step a training may be given the table of another
            self._known = [row for row in self.table.tolist() if row[0] >= 0]
        return self._known

    @property
    def number(self) -> int:
        """-1 before there is one."""
        return len(self._rows()) - 1

    @property
    def first(self) -> int:
        """Of the present round."""
        return int(self._rows()[-1][0])

    @property
    def end(self) -> int:
        """Of the present round, 0 before there is one."""
        return int(self._rows()[-1][1]) if self._rows() else 0

    def begin(self, i: int, steps: int, found: Clustering) -> None:
        """A round of ``steps`` steps from step ``i``, on these clusters."""
        sizes = found.sizes
        row = [i, i + steps, len(sizes), int(sizes.sum()), int(sizes.max()), int(sizes.min()), found.eps]
        self.table[len(self._rows())] = torch.tensor(row, dtype=torch.float64)
        self._rows().append([float(value) for value in row])

    def facts(self) -> list[dict[str, Any]]:
        """What the record says of each round."""
        told = [dict(zip(self.COLUMNS, row, strict=True)) for row in self._rows()]
        return [{**{k: int(v) for k, v in one.items()}, "eps": round(one["eps"], 6)} for one in told]


@dataclass(frozen=True, slots=True)
class RoundSchedule(Schedule):
    """Constant for half a round, then exponentially down to LOWEST, and up again."""

    rounds: Rounds | None = None

    def at(self, i: int, total: int) -> float:
        """The rate of step ``i``, of which the round may not have begun: then it is its first."""
        if self.rounds is None or i == self.rounds.end:
            return self.rate
        share = (i - self.rounds.first) / (self.rounds.end - self.rounds.first)
        return self.rate * LOWEST ** max(0.0, 2 * share - 1)


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
