"""Classifiers on a frozen embedding: nearest neighbours, linear, MLP, cluster matching (Hsu et al. 2019); prototypes.

Each is a :class:`bench.contracts.ClassifierRecipe`; defaults of the first four are those of the scripts of Hsu et al.
where these say anything. Their paper has these settings chosen on meta-validation tasks, but does not print what was
chosen.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from bench.basics.errors import BenchError
from bench.basics.seeds import Seed
from bench.contracts import Context, Encoder
from bench.datasets.images import UnlabelledImages
from bench.learners.clustering import kmeans
from bench.learners.embedding import NearestNeighbours
from bench.learners.embeddings import embed_all
from bench.learners.logistic import LogisticRegression
from bench.learners.prototypes import Metric, Prototypes, TunedPrototypes

VERSION = 1
"""Raised whenever the same settings would give other answers."""

_PIECE = {"cpu": 2**20, "cuda": 2**27}
"""Weights, or distances, at once: on a CPU, about what the cache holds."""


@dataclass(frozen=True)
class KNN:
    """k nearest neighbours, Euclidean, uniform weights. Trains nothing."""

    k: int = 1

    def __post_init__(self) -> None:
        _check_integer("knn", "k", self.k)

    def obtain(self, encoder: Encoder, images: UnlabelledImages, context: Context) -> NearestNeighbours:
        """Neither ``encoder`` nor ``images`` are looked at."""
        return NearestNeighbours(self.k)


@dataclass(frozen=True)
class Linear:
    """Multinomial logistic regression with an L2 penalty, solved to its optimum; C is scikit-learn's."""

    C: float = 1.0

    def __post_init__(self) -> None:
        LogisticRegression(self.C)  # refuses what it cannot use

    def obtain(self, encoder: Encoder, images: UnlabelledImages, context: Context) -> LogisticRegression:
        """Neither ``encoder`` nor ``images`` are looked at."""
        return LogisticRegression(self.C)


@dataclass(frozen=True)
class Prototype:
    """Nearest prototype: a class is the mean of its embeddings (Snell et al. 2017).

    metric: ``cosine``, of embeddings divided by their length before and after the mean, or ``euclidean``. tuned:
    ProtoTune (Medina et al. 2020, §3.2), ``tuning_epochs`` of Adam from Euclidean prototypes.
    """

    metric: Metric = "cosine"
    tuned: bool = False
    tuning_epochs: int = 15
    tuning_lr: float = 1e-3

    def __post_init__(self) -> None:
        Prototypes(self.metric)  # refuses what it cannot use
        if self.tuned and self.metric != "euclidean":
            raise BenchError("prototype: a tuned head begins at Euclidean prototypes; give classifier.metric=euclidean")
        self._tuned(Seed(0))

    def obtain(self, encoder: Encoder, images: UnlabelledImages, context: Context) -> Prototypes | TunedPrototypes:
        """Neither ``encoder`` nor ``images`` are looked at; the order of tuning follows from the training seed."""
        return self._tuned(context.seed.at("classifier", "prototype")) if self.tuned else Prototypes(self.metric)

    def _tuned(self, seed: Seed) -> TunedPrototypes:
        return TunedPrototypes(seed, self.tuning_epochs, self.tuning_lr)


@dataclass(frozen=True)
class MLP:
    """Dense, ReLU, dropout, dense, softmax; trained on the support set by Adam, the whole of it in every step.

    Glorot-uniform weights, zero biases and Adam's epsilon 1e-7, as in Keras, which Hsu et al. used.

    It trains for a fixed number of epochs. Hsu et al. train for at most 500 and stop early by the loss on the
    *query* images, which takes their labels. Here no learner is ever handed these, so that way of stopping
    cannot be had, not even by request: a wall with a door would protect no number of the leaderboard. Numbers
    published for this baseline carry that leak.
    """

    units: int = 128
    dropout: float = 0.5
    epochs: int = 100
    lr: float = 1e-3

    def __post_init__(self) -> None:
        _check_integer("mlp", "units", self.units)
        _check_integer("mlp", "epochs", self.epochs)
        if not 0 <= self.dropout < 1:
            raise BenchError(f"mlp: dropout must be at least 0 and below 1, not {self.dropout!r}")
        if not 0 < self.lr < math.inf:
            raise BenchError(f"mlp: lr must be above 0, not {self.lr!r}")

    def obtain(self, encoder: Encoder, images: UnlabelledImages, context: Context) -> MLPClassifier:
        """Neither ``encoder`` nor ``images`` are looked at; start and dropout follow from the training seed."""
        return MLPClassifier(self, context.seed.at("classifier", "mlp"))


@dataclass(frozen=True, slots=True)
class MLPClassifier:
    """See :class:`MLP`. Every task starts from the same random weights and meets the same dropout masks.

    So an answer does not depend on which tasks are scored together, or where in the list a task stands. What
    the start and the masks are worth shows in the spread over training seeds.
    """

    settings: MLP
    seed: Seed

    def classify(self, support: Tensor, query: Tensor) -> Tensor:
        """Embeddings [T, N, K, d] and [T, M, d] -> logits [T, M, N]."""
        weights = support.shape[3] * self.settings.units
        piece = max(1, _PIECE.get(support.device.type, 2**20) // weights)
        pairs = zip(support.split(piece), query.split(piece), strict=True)
        return torch.cat([self._classify(some, asked) for some, asked in pairs])

    def start(self, dim: int, way: int, like: Tensor) -> list[Tensor]:
        """Weights [dim, units] and [units, way], each with biases [1, columns]; type and place of ``like``."""
        found = []
        units = self.settings.units
        for layer, (rows, columns) in enumerate(((dim, units), (units, way))):
            rng = self.seed.at("weights", layer).generator()
            limit = math.sqrt(6 / (rows + columns))
            weight = torch.empty(rows, columns).uniform_(-limit, limit, generator=rng)
            found += [weight.to(like), torch.zeros(1, columns).to(like)]
        return found

    def mask(self, epoch: int, images: int, like: Tensor) -> Tensor:
        """Dropout factors [images, units], 0 or 1 / (1 - dropout), for all tasks."""
        keep = 1 - self.settings.dropout
        rng = self.seed.at("dropout", epoch).generator()
        return (torch.rand(images, self.settings.units, generator=rng) < keep).to(like) / keep

    @torch.no_grad()
    def _classify(self, support: Tensor, query: Tensor) -> Tensor:
        tasks, way, shot, dim = support.shape
        x = support.flatten(1, 2)
        targets = torch.eye(way, dtype=x.dtype, device=x.device).repeat_interleave(shot, 0)
        shared = self.start(dim, way, x)
        w1, b1, w2, b2 = params = [value.repeat(tasks, 1, 1) for value in shared]
        adam = torch.optim.Adam(params, lr=self.settings.lr, eps=1e-7, fused=True)
        for epoch in range(self.settings.epochs):
            mask = self.mask(epoch, way * shot, x)
            hidden = torch.baddbmm(b1, x, w1).relu_()
            dropped = hidden * mask
            # The gradient of the cross-entropy, mean over the images of a task; tasks do not touch one another.
            g_logits = (torch.baddbmm(b2, dropped, w2).softmax(2) - targets) / (way * shot)
            g_hidden = (g_logits @ w2.mT) * mask * (hidden > 0)
            w1.grad, b1.grad = x.mT @ g_hidden, g_hidden.sum(1, keepdim=True)
            w2.grad, b2.grad = dropped.mT @ g_logits, g_logits.sum(1, keepdim=True)
            adam.step()
        return torch.baddbmm(b2, torch.baddbmm(b1, query, w1).relu_(), w2)


@dataclass(frozen=True)
class ClusterMatching:
    """Cluster the unlabelled embeddings once; a support set then only says which cluster is which class.

    k-means with ``clusters`` centroids on the meta-train embeddings (k-means++, the best of ``restarts``). In
    a task, every support image falls into its nearest cluster; a cluster takes the class that most of its
    support images have, of several the first. A query takes the class of the nearest centroid among those
    clusters.
    """

    clusters: int = 500
    restarts: int = 10
    max_iter: int = 3000

    def __post_init__(self) -> None:
        for name in ("clusters", "restarts", "max_iter"):
            _check_integer("cluster", name, getattr(self, name))

    def obtain(self, encoder: Encoder, images: UnlabelledImages, context: Context) -> MatchedClusters:
        """The centroids, from the artifact store where they are there already."""
        if self.clusters > len(images):
            raise BenchError(
                f"cluster matching: {self.clusters} clusters need at least as many images, but meta-train has "
                f"{len(images)}; set classifier.clusters"
            )
        embeddings = embed_all(encoder, images, torch.arange(len(images)), images.device, context.progress)
        seed = context.seed.at("classifier", "clusters")
        return MatchedClusters(
            kmeans(embeddings, self.clusters, context, seed, restarts=self.restarts, max_iter=self.max_iter)
        )


@dataclass(frozen=True, slots=True)
class MatchedClusters:
    """See :class:`ClusterMatching`. centroids: [clusters, d]."""

    centroids: Tensor

    def state(self) -> dict[str, Tensor]:
        """The centroids."""
        return {"centroids": self.centroids}

    def classify(self, support: Tensor, query: Tensor) -> Tensor:
        """Embeddings [T, N, K, d] and [T, M, d] -> scores [T, M, N]: 1 for the class of the nearest cluster, else 0."""
        per_task = (support[0, ..., 0].numel() + query.shape[1]) * len(self.centroids) + query[0].numel()
        piece = max(1, 16 * _PIECE.get(support.device.type, 2**20) // per_task)
        pairs = zip(support.split(piece), query.split(piece), strict=True)
        return torch.cat([self._classify(some, asked) for some, asked in pairs])

    def _classify(self, support: Tensor, query: Tensor) -> Tensor:
        _, way, shot, _ = support.shape
        points, centroids = support.flatten(1, 2), self.centroids.double()
        cluster = _distance(points.flatten(0, 1), centroids).argmin(1).unflatten(0, points.shape[:2])
        together = (cluster[:, :, None] == cluster[:, None, :]).to(query.dtype)
        votes = together.unflatten(2, (way, shot)).sum(3)  # of the cluster of every support image, per class
        chosen = _distance(query, centroids[cluster]).argmin(2)  # a support image, standing for its cluster
        label = votes.argmax(2).gather(1, chosen)
        return torch.nn.functional.one_hot(label, way).to(query.dtype)


def _distance(x: Tensor, y: Tensor) -> Tensor:
    """Euclidean, in float64 and pair by pair, so that it does not depend on what else is in the batch."""
    return torch.cdist(x.double(), y.double(), compute_mode="donot_use_mm_for_euclid_dist")


def _check_integer(who: str, name: str, value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise BenchError(f"{who}: {name} must be an integer of at least 1, not {value!r}")
