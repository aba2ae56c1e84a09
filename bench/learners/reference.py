"""MAML and ProtoNets the way they are usually written: a Python loop over tasks, autograd, one task a batch.

The yardstick of :mod:`bench.speed` and the second opinion of the tests. It shares nothing with the fast paths
but the names of the parameters, and no learner of the benchmark uses it.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.data import default_collate

from bench.backbones import Conv4, Params

Statistics = list[tuple[Tensor, Tensor]]


def network(
    backbone: Conv4,
    params: Mapping[str, Tensor],
    x: Tensor,
    record: Statistics | None = None,
    given: Statistics | None = None,
    buffers: Mapping[str, Tensor] | None = None,
    training: bool = True,
) -> Tensor:
    """Images [B, C, H, W] -> logits [B, N], or features [B, D] without a classifier.

    Convolution, batch normalisation, ReLU, max-pooling, in the order of the textbooks. ``record`` takes the
    (mean, variance) of every layer; ``given`` replaces the batch's own.
    """
    for i in range(1, 5):
        if backbone.padding == "same":
            x = _pad_same(x, backbone.stride)
        x = F.conv2d(x, params[f"conv{i}.weight"], stride=backbone.stride, padding=_inside(backbone))
        bias = params[f"norm{i}.bias"]
        scale = params.get(f"norm{i}.weight", torch.ones_like(bias))
        if record is not None:
            record.append((x.mean((0, 2, 3)), x.var((0, 2, 3), correction=0)))
        if given is not None:
            mean, variance = given[i - 1]
            normal = (x - mean[:, None, None]) / torch.sqrt(variance[:, None, None] + backbone.eps)
            x = normal * scale[:, None, None] + bias[:, None, None]
        elif buffers is not None:
            mean, variance = buffers[f"norm{i}.mean"], buffers[f"norm{i}.variance"]
            x = F.batch_norm(x, mean, variance, scale, bias, training, 0.1, backbone.eps)
        else:
            x = F.batch_norm(x, None, None, scale, bias, training=True, eps=backbone.eps)
        x = F.relu(x)
        if backbone.pool:
            x = F.max_pool2d(x, 2)
    if "head.weight" not in params:
        return x.flatten(1)
    features = x.mean((2, 3)) if backbone.head == "mean" else x.flatten(1)
    return F.linear(features, params["head.weight"], params["head.bias"])


def _inside(backbone: Conv4) -> int:
    """Padding that a convolution can do itself, without a copy."""
    return 1 if backbone.padding == "same" and backbone.stride == 1 else 0


def _pad_same(x: Tensor, stride: int) -> Tensor:
    """TensorFlow's 'same' padding of a 3x3 convolution where the convolution cannot do it itself."""
    if stride == 1:
        return x
    left, top = ((0 if side % 2 == 0 else 1) for side in (x.shape[3], x.shape[2]))
    return F.pad(x, (left, 1, top, 1))


def adapt(
    backbone: Conv4,
    params: Mapping[str, Tensor],
    x: Tensor,
    y: Tensor,
    steps: int,
    lr: float,
    first_order: bool,
    inductive: bool = False,
) -> tuple[Params, Statistics | None]:
    """Inner steps on one task; also the support statistics at the last of them where ``inductive``."""
    fast = dict(params)
    record: Statistics | None = None
    for _ in range(steps):
        record = [] if inductive else None
        loss = F.cross_entropy(network(backbone, fast, x, record), y)
        grads = torch.autograd.grad(
            loss, list(fast.values()), create_graph=not first_order, retain_graph=inductive or None
        )
        fast = {name: p - lr * g for (name, p), g in zip(fast.items(), grads, strict=True)}
    return fast, record


def maml_gradient(
    backbone: Conv4,
    params: Mapping[str, Tensor],
    support: Tensor,
    query: Tensor,
    steps: int,
    lr: float,
    first_order: bool,
    inductive: bool = False,
) -> tuple[Tensor, Params]:
    """support [T, N, K, C, H, W], query [T, N, Q, C, H, W] -> mean query loss and its gradient."""
    leaves = {name: value.detach().requires_grad_() for name, value in params.items()}
    xs, ys = _flat(support)
    xq, yq = _flat(query)
    total = torch.zeros((), dtype=support.dtype, device=support.device)
    for task in range(len(support)):
        fast, given = adapt(backbone, leaves, xs[task], ys, steps, lr, first_order, inductive)
        loss = F.cross_entropy(network(backbone, fast, xq[task], given=given), yq) / len(support)
        loss.backward()  # type: ignore[no-untyped-call]
        total += loss.detach()
    return total, {name: leaf.grad for name, leaf in leaves.items() if leaf.grad is not None}


def maml_scores(
    backbone: Conv4,
    params: Mapping[str, Tensor],
    support: Tensor,
    images: Tensor,
    steps: int,
    lr: float,
    inductive: bool = False,
) -> Tensor:
    """Adapt to every task and score its images [T, M, C, H, W] -> [T, M, N]."""
    xs, ys = _flat(support)
    scores = []
    for task in range(len(support)):
        fast = {name: value.detach().requires_grad_() for name, value in params.items()}
        given: Statistics | None = None
        for _ in range(steps):
            fast, given = adapt(backbone, fast, xs[task], ys, 1, lr, True, inductive)
            fast = {name: value.detach().requires_grad_() for name, value in fast.items()}
        with torch.no_grad():
            scores.append(network(backbone, fast, images[task], given=given))
    return torch.stack(scores)


def protonet_scores(
    features: Callable[[Tensor], Tensor], support: Tensor, images: Tensor, mean_distance: bool
) -> Tensor:
    """One task: support [N, K, C, H, W], images [M, C, H, W] -> minus squared distances [M, N]."""
    way, shot = support.shape[:2]
    embedded = features(torch.cat([support.flatten(0, 1), images]))
    prototypes = embedded[: way * shot].reshape(way, shot, -1).mean(1)
    squared = (embedded[way * shot :, None] - prototypes[None]) ** 2
    return -(squared.mean(-1) if mean_distance else squared.sum(-1))


def _flat(images: Tensor) -> tuple[Tensor, Tensor]:
    """[T, N, K, ...] -> [T, N*K, ...] and the labels [N*K]."""
    way, shot = images.shape[1:3]
    return images.flatten(1, 2), torch.arange(way, device=images.device).repeat_interleave(shot)


class PlainSampler:
    """Tasks one at a time, image by image, as the samplers that wrap a dataset do: look up, convert,
    collate, relabel.
    """

    def __init__(self, pixels: Tensor, class_ids: Sequence[int], rng: random.Random) -> None:
        self.pixels, self.class_ids, self.rng = pixels, class_ids, rng
        self.members: dict[int, list[int]] = {}
        for index, label in enumerate(class_ids):
            self.members.setdefault(label, []).append(index)
        self.labels = list(self.members)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        """A dataset's item: image [C, H, W] in [0, 1] and its label."""
        return self.pixels[index].float().div(255), self.class_ids[index]

    def sample(self, way: int, shot: int, query: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Support images and labels, query images and labels of one task."""
        chosen = self.rng.sample(self.labels, way)
        indices = [i for label in chosen for i in self.rng.sample(self.members[label], shot + query)]
        images, labels = default_collate([self[i] for i in indices])
        for new, old in enumerate(chosen):  # class ids are at least 0, so -1, -2, … cannot collide with one
            labels[labels == old] = -1 - new
        labels = -1 - labels
        support = torch.zeros(len(indices), dtype=torch.bool, device=images.device)
        for k in range(shot):
            support[torch.arange(way, device=images.device) * (shot + query) + k] = True
        return images[support], labels[support.to(labels.device)], images[~support], labels[~support.to(labels.device)]
