"""DeepCluster (Caron et al. 2018): a network taught by the clusters of its own features."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from baselines.encoders.deepcluster_networks import AlexNet, Conv, initialise
from baselines.encoders.whitening import Whitening
from bench.basics.errors import BenchError, did_you_mean
from bench.basics.seeds import Seed
from bench.contracts import Context
from bench.datasets.images import UnlabelledImages
from bench.learners import lloyd
from bench.learners.clustering import algorithm
from bench.training.checkpoint import Checkpoint
from bench.training.loop import train
from bench.training.rehearsal import is_rehearsal
from bench.training.steps import Step

VERSION = 1
"""Raised whenever the same settings would train another encoder."""

NETWORKS = ("auto", "conv", "alexnet")
SMALL_SIDE = 32  # up to here ``auto`` is ``conv``
CHUNK = {"cpu": 128, "cuda": 2048}  # images embedded at a time
KMEANS_BATCH, KMEANS_EPOCHS = 4096, 10
KMEANS_ON_GPU = 20  # iterations over all points, as in the authors' code
SPLIT = 1e-3  # how far, in units of the features' length, a split cluster's two centres are moved apart
ASPECT = (3 / 4, 4 / 3)

Labels = NDArray[np.int64]


@dataclass(frozen=True)
class DeepCluster:
    """Every epoch cluster the features of all images, then learn to tell these clusters apart.

    Before each epoch (Caron et al. 2018, §3, and the authors' code) the features of all images are reduced to
    ``dim`` principal components, whitened, divided by their length, and clustered by k-means (scikit-learn's
    MiniBatchKMeans; on a GPU Lloyd's algorithm) into ``clusters``. A cluster left empty takes a share of one that is
    not: its centre is that of the other, moved a little, and the members go to the nearer of the two. The last layer
    begins anew, and the epoch's images are drawn so that every cluster has equally many. Loss: cross-entropy of the
    clusters; SGD with momentum and weight decay.

    The network sees the vertical and horizontal derivative of the grey image (Sobel), of a random part of it:
    ``least_area`` to all of its area, sides of 3:4 to 4:3. ``flip``: the probability that it is mirrored; null is
    0.5 for colour, as in the paper, and 0 for grey images, where a mirrored letter would be another letter.

    ``alexnet``: with batch norm, on 64x64 pixels with a first kernel of 5 and stride 1, as Hsu et al. 2019 took for
    miniImageNet; 64 ``maps`` is its published size. ``conv``, for smaller images and processors: 3x3 convolutions
    of 1, 2, 4 … times ``maps`` maps with batch norm and 2x2 max-pooling until 4 pixels are left, and a dense layer
    of 16 ``maps`` numbers. ``auto``: conv up to 32 pixels a side, else alexnet.

    The embedding is made as for clustering, from the features of the meta-train images after the last epoch. Hsu et
    al. do not say how many clusters they trained with; Caron et al. took ten times as many as classes.
    """

    network: str = "auto"
    maps: int | None = None
    clusters: int = 500
    dim: int = 256
    lr: float = 0.05
    momentum: float = 0.9
    weight_decay: float = 1e-5
    batch_size: int = 256
    least_area: float = 0.3
    flip: float | None = None

    def __post_init__(self) -> None:
        if self.network not in NETWORKS:
            hint = did_you_mean(str(self.network), NETWORKS)
            raise BenchError(f"deepcluster: network must be one of {', '.join(NETWORKS)}, not {self.network!r}.{hint}")
        for name, least in (("maps", 1), ("clusters", 2), ("dim", 1), ("batch_size", 2)):
            if (value := getattr(self, name)) is not None and value < least:
                raise BenchError(f"deepcluster: {name} must be at least {least}, not {value}")
        if not self.lr > 0 or not 0 <= self.momentum < 1 or not self.weight_decay >= 0:
            raise BenchError(
                "deepcluster: lr must be above 0, momentum in [0, 1) and weight_decay 0 or more, not "
                f"{self.lr}, {self.momentum}, {self.weight_decay}"
            )
        if not 0 < self.least_area <= 1 or not (self.flip is None or 0 <= self.flip <= 1):
            raise BenchError("deepcluster: least_area must be above 0 and at most 1, and flip between 0 and 1 or null")

    def obtain(self, images: UnlabelledImages, context: Context) -> TrainedDeepCluster:
        """The encoder of ``images`` for ``context.budget.encoder_epochs`` epochs, stored or trained.

        Raises BenchError for fewer images than clusters, and Diverged when the loss becomes non-finite or all
        images get the same features.
        """
        if self.clusters > len(images):
            raise BenchError(
                f"encoder deepcluster: {len(images)} images cannot make {self.clusters} clusters; "
                "lower encoder.clusters"
            )
        network = self._network(images.shape)
        size = min(self.batch_size, len(images))
        recipe = {
            "encoder": "deepcluster",
            "version": VERSION,
            **asdict(self),
            "network": type(network).__name__,
            "maps": network.maps,
            "flip": self._flip(images.shape),
            "images": images.fingerprint,
            "shape": list(images.shape),
            "seed": context.seed.at("encoder").value(),
            **algorithm(images.device),
        }
        artifact = context.artifacts.grow(
            "encoder-deepcluster",
            recipe,
            context.budget.encoder_epochs,
            len(images) // size,
            lambda checkpoint, epochs: self._train(network, images, context, checkpoint, epochs, size),
            checkpoint_seconds=context.budget.checkpoint_seconds,
        )
        found = artifact.tensors
        network.load_state_dict({name: value for name, value in found.items() if name not in KEPT_BESIDES})
        noted = ("loss", "epochs", "seconds", "program")
        context.note(deepcluster={name: artifact.meta[name] for name in noted if name in artifact.meta})
        device = images.device
        whitening = Whitening(found["whitening.mean"].to(device), found["whitening.projection"].to(device))
        return TrainedDeepCluster(network.to(device), whitening, found["clusters"])

    def _network(self, shape: tuple[int, int, int]) -> Conv | AlexNet:
        kind = self.network
        if kind == "auto":
            kind = "conv" if max(shape[1:]) <= SMALL_SIDE else "alexnet"
        return Conv(shape, self.maps or 32) if kind == "conv" else AlexNet(self.maps or 64)

    def _flip(self, shape: tuple[int, int, int]) -> float:
        return self.flip if self.flip is not None else 0.5 if shape[0] == 3 else 0.0

    def _train(
        self,
        network: Conv | AlexNet,
        images: UnlabelledImages,
        context: Context,
        checkpoint: Checkpoint,
        epochs: int,
        size: int,
    ) -> tuple[Mapping[str, Tensor], Mapping[str, Any]]:
        seed, device, per_epoch = context.seed.at("encoder"), images.device, len(images) // size
        initialise(network, seed.at("weights").generator())
        network.to(device, memory_format=torch.channels_last)
        head = nn.Parameter(torch.zeros(self.clusters, network.features, device=device))
        bias = nn.Parameter(torch.zeros(self.clusters, device=device))
        # Which cluster an image is in changes with training, so it is part of what is saved and resumed.
        clusters = torch.zeros(len(images), dtype=torch.int64, device=device)
        optimizer = torch.optim.SGD(
            [*network.parameters(), head, bias],
            lr=self.lr,
            momentum=self.momentum,
            weight_decay=self.weight_decay,
        )
        order: tuple[int, Tensor] = (-1, torch.empty(0))

        def begin(epoch: int) -> None:
            _, labels = self._cluster(network, images, context, seed.at("clusters", epoch))
            clusters.copy_(torch.from_numpy(labels))
            rng = seed.at("head", epoch).generator()
            with torch.no_grad():
                head.copy_(torch.randn(head.shape, generator=rng) * 0.01)  # as the authors' code
                bias.zero_()
            for parameter in (head, bias):
                if parameter in optimizer.state:
                    optimizer.state[parameter]["momentum_buffer"].zero_()

        def inputs(i: int) -> tuple[Tensor, Tensor]:
            nonlocal order
            epoch, position = divmod(i, per_epoch)
            if position == 0:
                begin(epoch)
            if order[0] != epoch:
                drawn = evenly(clusters.cpu().numpy(), seed.at("epoch", epoch).numpy())
                order = epoch, torch.from_numpy(drawn).to(device)
            index = order[1][position * size : (position + 1) * size]
            return images.take(index), clusters[index]

        def step(rng: torch.Generator, x: Tensor, cluster: Tensor) -> Tensor:
            x = random_parts(x, self.least_area, self._flip(images.shape), rng)
            network.train()
            optimizer.zero_grad(set_to_none=True)
            features = F.relu(network(x, rng))
            loss = F.cross_entropy(F.linear(features, head, bias), cluster)
            loss.backward()
            optimizer.step()
            return loss.detach()

        outcome = train(
            Step(lambda i: seed.at("part", i).value(), inputs, step, others=lambda total: range(0, total, per_epoch)),
            {**network.state_dict(), "head.weight": head, "head.bias": bias, "clusters": clusters},
            optimizer,
            total=epochs * per_epoch,
            checkpoint=checkpoint,
            progress=context.progress,
            stage="deepcluster",
            items=size,
            growing=True,
        )
        whitening, labels = self._cluster(network, images, context, seed.at("clusters", epochs))
        last = outcome["loss"][-per_epoch:]
        tensors = {
            **network.state_dict(),
            "losses": torch.tensor(outcome["loss"]),
            "clusters": torch.from_numpy(labels),
            "whitening.mean": whitening.mean,
            "whitening.projection": whitening.projection,
        }
        loss = sum(last) / len(last) if last else None
        return tensors, {"loss": loss, "epochs": epochs, "seconds": outcome["seconds"], **outcome["facts"]}

    def _cluster(
        self, network: Conv | AlexNet, images: UnlabelledImages, context: Context, seed: Seed
    ) -> tuple[Whitening, Labels]:
        """The features' whitening, and the cluster of every image, int64 [n]."""
        features = embedded(network, images)
        whitening = Whitening.of("deepcluster", features, self.dim)
        if is_rehearsal():  # no image goes through a network from here on: any clusters do
            return whitening, np.arange(len(features)) % self.clusters
        whitened = whitening.apply(features)
        points = whitened.cpu().numpy()
        if whitened.is_cuda:
            rng = torch.Generator(whitened.device).manual_seed(seed.value())
            found = lloyd.kmeans(whitened, self.clusters, rng, start="random", max_iter=KMEANS_ON_GPU)
            labels = found.labels.cpu().numpy()
        else:
            labels = minibatch_kmeans(points, self.clusters, seed)
        return whitening, fill_empty(points, labels, self.clusters, seed.at("empty").numpy())


KEPT_BESIDES = ("losses", "clusters", "whitening.mean", "whitening.projection")
"""Tensors of the artifact that are not the network's."""


def minibatch_kmeans(points: NDArray[np.float32], clusters: int, seed: Seed) -> Labels:
    """The cluster of every point [n, d] by scikit-learn's MiniBatchKMeans; some may be empty.

    It starts from random points, as the k-means that the authors used: k-means++ takes ten times as long as the rest.
    """
    from sklearn.cluster import MiniBatchKMeans
    from sklearn.exceptions import ConvergenceWarning
    from threadpoolctl import threadpool_limits

    model = MiniBatchKMeans(
        clusters,
        init="random",
        n_init=1,
        batch_size=max(KMEANS_BATCH, clusters),
        max_iter=KMEANS_EPOCHS,
        random_state=seed.value() % 2**32,
    )
    with threadpool_limits(1), warnings.catch_warnings():  # several threads add up in no fixed order
        warnings.simplefilter("ignore", ConvergenceWarning)  # fewer distinct images than clusters
        labels: Labels = model.fit_predict(points).astype(np.int64)
    return labels


def fill_empty(points: NDArray[np.float32], labels: Labels, clusters: int, rng: np.random.Generator) -> Labels:
    """The same clusters, but each empty one has taken members of another (Caron et al. 2018, §3.3).

    One with at least 2 members is drawn; its centre and the same moved by a little noise are the two new centres.
    Clusters of equal points cannot be divided; after 10 tries for each, empty ones stay empty.
    """
    labels = labels.copy()
    sizes = np.bincount(labels, minlength=clusters)
    empty = list(np.flatnonzero(sizes == 0))
    for _ in range(10 * len(empty)):
        divisible = np.flatnonzero(sizes >= 2)
        if not empty or not len(divisible):
            break
        chosen = int(rng.choice(divisible))
        members = np.flatnonzero(labels == chosen)
        centre = points[members].astype(np.float64).mean(0)
        moved = centre + SPLIT * rng.standard_normal(points.shape[1])
        # Nearer to `moved` than to `centre`: beyond the plane in the middle of the two.
        beyond = (points[members] - (centre + moved) / 2) @ (moved - centre) > 0
        if beyond.any() and not beyond.all():
            target = empty.pop(0)
            labels[members[beyond]] = target
            sizes[target], sizes[chosen] = beyond.sum(), (~beyond).sum()
    return labels


def evenly(labels: Labels, rng: np.random.Generator) -> Labels:
    """As many indices as there are labels, in random order, with equally many (up to one) from every cluster.

    A cluster with fewer members than that gives some several times (Caron et al. 2018, §3.3).
    """
    present, sizes = np.unique(labels, return_counts=True)
    share = -(-len(labels) // len(present))
    members = np.split(labels.argsort(kind="stable"), sizes.cumsum()[:-1])
    drawn = [rng.choice(one, share, replace=len(one) < share) for one in members]
    # The first of every cluster, then the second …: what is cut off is at most one of each.
    table = np.stack(drawn, axis=1)
    table[-1] = rng.permutation(table[-1])
    found: Labels = rng.permutation(table.reshape(-1)[: len(labels)])
    return found


def random_parts(x: Tensor, least_area: float, flip: float, rng: torch.Generator) -> Tensor:
    """A random part of each image [B, C, H, W], enlarged to the whole; ``rng`` is on the images' device."""
    area, aspect, left, top, mirror = torch.rand(5, len(x), generator=rng, device=x.device)
    area = least_area + (1 - least_area) * area
    low, high = (torch.tensor(one).log() for one in ASPECT)
    root = torch.exp((float(low) + float(high - low) * aspect) / 2)
    width, height = (area.sqrt() * root).clamp(max=1), (area.sqrt() / root).clamp(max=1)
    theta = torch.zeros(len(x), 2, 3, device=x.device)  # in coordinates from -1 to 1
    theta[:, 0, 0] = torch.where(mirror < flip, -width, width)
    theta[:, 1, 1] = height
    theta[:, 0, 2] = (2 * left - 1) * (1 - width)
    theta[:, 1, 2] = (2 * top - 1) * (1 - height)
    grid = F.affine_grid(theta, list(x.shape), align_corners=False)
    return F.grid_sample(x, grid, mode="bilinear", padding_mode="border", align_corners=False)


@torch.no_grad()
def embedded(network: Conv | AlexNet, images: UnlabelledImages) -> Tensor:
    """The features of all images [n, f]; running averages stand in for batch statistics."""
    network.eval()
    chunk = CHUNK.get(images.device.type, 128)
    parts = torch.arange(len(images), device=images.device).split(chunk)
    return torch.cat([network(images.take(part)) for part in parts])


class TrainedDeepCluster:
    """A :class:`bench.contracts.Encoder`: whitened components of the features, of length 1. Tracks no gradients.

    clusters: the cluster of every image that it was trained on, int64 [n], on the CPU.
    """

    def __init__(self, network: Conv | AlexNet, whitening: Whitening, clusters: Tensor) -> None:
        self.network = network.eval().requires_grad_(False)
        self.whitening, self.clusters = whitening, clusters
        self.dim = whitening.projection.shape[1]

    @torch.no_grad()
    def encode(self, x: Tensor) -> Tensor:
        """Images [B, C, H, W] in [0, 1] -> embeddings [B, dim]."""
        chunk = CHUNK.get(x.device.type, 128)
        return torch.cat([self.whitening.apply(self.network(part)) for part in x.split(chunk)])
