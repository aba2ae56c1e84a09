"""ProtoNets as each library writes them: the same network, distances as the mean over the feature's dimensions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from bench.speed.peers.network import ConvNet

Scores = Callable[[ConvNet, Tensor, Tensor, Tensor], Tensor]
"""Network, one task's support [N*K, C, H, W], its labels [N*K], queries [M, C, H, W] -> scores [M, N]."""


def plain(network: ConvNet, support: Tensor, labels: Tensor, query: Tensor) -> Tensor:
    """Written by hand; support and query are one batch."""
    embedded, way = network(torch.cat([support, query])), int(labels.max()) + 1
    prototypes = embedded[: len(support)].reshape(way, -1, embedded.shape[1]).mean(1)
    found: Tensor = -((embedded[len(support) :, None] - prototypes[None]) ** 2).mean(-1)
    return found


def learn2learn(library: Any) -> Scores:
    """Its ``PrototypicalClassifier``, support and query in one batch, as its Lightning module has them."""
    classifier = library.nn.PrototypicalClassifier()

    def scores(network: ConvNet, support: Tensor, labels: Tensor, query: Tensor) -> Tensor:
        embedded = network(torch.cat([support, query]))
        classifier.fit_(embedded[: len(support)], labels)
        found: Tensor = classifier(embedded[len(support) :]) / embedded.shape[1]
        return found

    return scores


def torchmeta(_: Any) -> Scores:
    """Its ``get_prototypes``; the distance as in its ``prototypical_loss``."""
    from torchmeta.utils.prototype import get_prototypes

    def scores(network: ConvNet, support: Tensor, labels: Tensor, query: Tensor) -> Tensor:
        embedded = network(torch.cat([support, query]))
        way = int(labels.max()) + 1
        prototypes = get_prototypes(embedded[None, : len(support)], labels[None], way)
        squared = ((prototypes.unsqueeze(2) - embedded[None, None, len(support) :]) ** 2).sum(-1)  # [1, N, M]
        found: Tensor = -squared[0].T / embedded.shape[1]
        return found

    return scores


def easyfsl(library: Any) -> Scores:
    """Its ``PrototypicalNetworks``, which has the distance itself for a score: squared here, as the others have it.

    Support and query are embedded one after the other, so in training each is a batch with statistics of its own.
    """

    def scores(network: ConvNet, support: Tensor, labels: Tensor, query: Tensor) -> Tensor:
        model = library.PrototypicalNetworks(network)
        model.process_support_set(support, labels)
        found: Tensor = -(model(query) ** 2) / model.prototypes.shape[1]
        return found

    return scores


PEERS: dict[str, Callable[[Any], Scores]] = {"learn2learn": learn2learn, "torchmeta": torchmeta, "easyfsl": easyfsl}
ONE_BATCH = ("plain", "learn2learn", "torchmeta")
"""Those in whose training a task's support and query images share their statistics."""


def gradient(scores: Scores, network: ConvNet, xs: Tensor, ys: Tensor, xq: Tensor, yq: Tensor) -> None:
    """Of the mean query loss, task by task, into ``.grad``; xs, xq [T, B, C, H, W], ys, yq int64 [B]."""
    for support, query in zip(xs, xq, strict=True):
        (F.cross_entropy(scores(network, support, ys, query), yq) / len(xs)).backward()  # type: ignore[no-untyped-call]
