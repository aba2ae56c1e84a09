"""DeepCluster (Caron et al. 2018) as its authors published it: trained on ImageNet, without labels."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from baselines.encoders.frozen import FrozenEncoder, WhitenedEncoder, check_whole, whitened
from bench.contracts import Context
from bench.datasets.images import UnlabelledImages
from bench.foreign import pretrained
from bench.foreign.pretrained import Checkpoint
from bench.training.work import UNKNOWN, include

VERSION = 1
"""Raised whenever the same settings would make other embeddings."""

LAYOUT = "DeepCluster checkpoint (AlexNet or VGG-16 of facebookresearch/deepcluster)"
SIZE = 224
FORGOTTEN = ("num_batches_tracked", "top_layer.weight", "top_layer.bias")

HALVE = 0
ALEXNET = ((11, 4, 2), HALVE, (5, 1, 2), HALVE, (3, 1, 1), (3, 1, 1), (3, 1, 1), HALVE)  # kernel, stride, padding
VGG16 = (*((3, 1, 1),) * 2, HALVE) * 2 + (*((3, 1, 1),) * 3, HALVE) * 3


@dataclass(frozen=True)
class DeepClusterImageNet:
    """Features of the second dense layer, before its ReLU, as DeepCluster itself clusters them.

    Then, as there, ``dim`` principal components of the meta-train images' features, each of unit variance, the whole
    divided by its length; null leaves the features as they are. ``checkpoint.pth.tar`` of either architecture: AlexNet
    with batch norm, or VGG-16 with batch norm, on the two derivatives of the grey image (Sobel) if it has them. Licence
    of the published weights: CC BY-NC 4.0.

    outside_data: whether it was trained on images from outside the dataset (ImageNet, all classes). sha256: of the
    file; filled in when a run is planned, or given to pin it.
    """

    weights: str | None = None
    dim: int | None = 256
    outside_data: bool = True
    sha256: str | None = None

    def __post_init__(self) -> None:
        if self.dim is not None:
            check_whole("deepcluster_imagenet", "dim", self.dim)

    @staticmethod
    def digest(weights: Any) -> str:
        """SHA-256 (hex) of the file: what makes another file another run."""
        return pretrained.digest(weights)

    def obtain(self, images: UnlabelledImages, context: Context) -> FrozenEncoder | WhitenedEncoder:
        """The encoder; BenchError says in one sentence what is wrong with the file."""
        expected = self.sha256 or self.digest(self.weights)
        network = Network.of(pretrained.load(self.weights, expected, "DeepCluster weights")).to(images.device)
        encoder = FrozenEncoder(network, network.dim, SIZE)
        include(UNKNOWN)
        context.note(encoder={"weights": Path(str(self.weights)).name, "sha256": expected})
        identity = {"network": "deepcluster", "version": VERSION, "sha256": expected}
        return whitened("deepcluster_imagenet", encoder, self.dim, identity, images, context)


class Network(nn.Module):
    """[n, 3, 224, 224], normalised -> features [n, dim].

    plan: the convolutions, each followed by batch norm and ReLU, and where the side is halved. widths: their maps.
    dense: numbers of the two dense layers. gradients: whether it looks at the Sobel derivatives.
    """

    def __init__(self, plan: tuple[Any, ...], widths: list[int], dense: tuple[int, int], gradients: bool) -> None:
        super().__init__()
        alexnet = plan is ALEXNET
        maps, inputs = iter(widths), 2 if gradients else 3
        layers: list[nn.Module] = []
        with torch.device("meta"):
            for step in plan:
                if step == HALVE:
                    layers.append(nn.MaxPool2d(3 if alexnet else 2, 2))
                    continue
                kernel, stride, padding = step
                outputs = next(maps)
                layers += [nn.Conv2d(inputs, outputs, kernel, stride, padding), nn.BatchNorm2d(outputs), nn.ReLU()]
                inputs = outputs
            self.features = nn.Sequential(*layers)
            flat, (first, self.dim) = inputs * (6 if alexnet else 7) ** 2, dense
            # Dropout does nothing here, but its place counts in the names of the layers after it.
            if alexnet:
                self.classifier = nn.Sequential(
                    *(nn.Dropout(), nn.Linear(flat, first), nn.ReLU(), nn.Dropout(), nn.Linear(first, self.dim))
                )
            else:
                self.classifier = nn.Sequential(
                    *(nn.Linear(flat, first), nn.ReLU(), nn.Dropout(), nn.Linear(first, self.dim))
                )
            if gradients:
                self.sobel = nn.Sequential(nn.Conv2d(3, 1, 1), nn.Conv2d(1, 2, 3, padding=1))

    @classmethod
    def of(cls, checkpoint: Checkpoint) -> Network:
        """With the weights of ``checkpoint``; BenchError where they do not fit."""
        state = checkpoint.state("state_dict")
        # The published files come from a network whose convolutions were spread over several GPUs.
        tensors = {key.replace("features.module.", "features."): value for key, value in state.tensors.items()}
        state = state.renamed({key: value for key, value in tensors.items() if not key.endswith(FORGOTTEN)})
        plan = ALEXNET if state.size("features.0.weight", 2, LAYOUT) == 11 else VGG16
        widths, position = [], 0
        for step in plan:
            if step != HALVE:
                widths.append(state.size(f"features.{position}.weight", 0, LAYOUT))
            position += 1 if step == HALVE else 3
        first, second = (
            state.size(f"classifier.{i}.weight", 0, LAYOUT) for i in ((1, 4) if plan is ALEXNET else (0, 3))
        )
        network = cls(plan, widths, (first, second), "sobel.0.weight" in state.tensors)
        state.into(network, LAYOUT, ignored=FORGOTTEN)
        return network

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        if hasattr(self, "sobel"):
            x = self.sobel(x)
        return self.classifier(self.features(x).flatten(1))
