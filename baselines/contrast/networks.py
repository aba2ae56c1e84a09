"""The student of contrastive learning: a backbone and two wide heads, of which the teacher has the first."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from bench.backbones import Params, batch_statistics
from bench.basics.seeds import Seed
from bench.learners.imagewise import ConvEncoder, Embedding
from bench.learners.prototypes import Prototypes

EPS, MOMENTUM = 1e-5, 0.1  # of batch normalisation
PIECE = 8192  # embeddings predicted at a time


@dataclass(frozen=True, slots=True)
class Head:
    """Linear, batch normalisation, ReLU, linear; both without offsets.

    closed: followed by a batch normalisation that learns neither scale nor offset. Weights are U(-a, a), with a = 1 /
    sqrt(inputs), as PyTorch's.
    """

    name: str
    inputs: int
    hidden: int
    outputs: int
    closed: bool

    def init(self, seed: Seed) -> Params:
        """Parameters, drawn on the CPU."""
        rng, found = seed.generator(), {}
        for layer, (rows, columns) in enumerate(((self.hidden, self.inputs), (self.outputs, self.hidden)), 1):
            limit = 1 / math.sqrt(columns)
            found[f"{self.name}{layer}.weight"] = torch.empty(rows, columns).uniform_(-limit, limit, generator=rng)
        norm = {"norm.weight": torch.ones(self.hidden), "norm.bias": torch.zeros(self.hidden)}
        return found | {f"{self.name}.{key}": value for key, value in norm.items()}

    def statistics(self) -> Params:
        """Running statistics before any step."""
        widths = {"norm": self.hidden} | ({"closing": self.outputs} if self.closed else {})
        means = {f"{self.name}.{key}.mean": torch.zeros(width) for key, width in widths.items()}
        return means | {f"{self.name}.{key}.variance": torch.ones(width) for key, width in widths.items()}

    def __call__(
        self, params: Mapping[str, Tensor], x: Tensor, statistics: Mapping[str, Tensor] | None, training: bool
    ) -> Tensor:
        """[B, inputs] -> [B, outputs]. In training by the batch's own statistics, and ``statistics`` follow them, where
        there are any; else by ``statistics``.
        """
        x = x @ params[f"{self.name}1.weight"].mT
        scale, offset = params[f"{self.name}.norm.weight"], params[f"{self.name}.norm.bias"]
        x = self._normalised("norm", x, scale, offset, statistics, training).relu()
        x = x @ params[f"{self.name}2.weight"].mT
        return self._normalised("closing", x, None, None, statistics, training) if self.closed else x

    def _normalised(
        self,
        which: str,
        x: Tensor,
        scale: Tensor | None,
        offset: Tensor | None,
        statistics: Mapping[str, Tensor] | None,
        training: bool,
    ) -> Tensor:
        mean, variance = (None if statistics is None else statistics[f"{self.name}.{which}.{s}"] for s in _BOTH)
        enabled = torch.backends.cudnn.enabled
        return torch.batch_norm(x, scale, offset, mean, variance, training, MOMENTUM, EPS, enabled)


_BOTH = ("mean", "variance")


@dataclass(frozen=True, slots=True)
class Networks:
    """Backbone, projector and perhaps predictor. params: all that is trained; statistics: of the heads."""

    net: Embedding
    projector: Head
    predictor: Head | None
    params: Params
    statistics: Params

    @classmethod
    def initial(cls, net: Embedding, hidden: int, outputs: int, predicts: bool, seed: Seed) -> Networks:
        """``net`` as it is, with random heads, on its device."""
        projector = Head("projector", net.dim, hidden, outputs, closed=True)
        predictor = Head("predictor", outputs, hidden, outputs, closed=False) if predicts else None
        heads = [head for head in (projector, predictor) if head is not None]
        device = next(iter(net.params.values())).device
        params = {name: v.to(device) for head in heads for name, v in head.init(seed.at(head.name)).items()}
        statistics = {name: v.to(device) for head in heads for name, v in head.statistics().items()}
        return cls(net, projector, predictor, {**net.params, **params}, statistics)

    def student(self, leaves: Mapping[str, Tensor], images: Tensor) -> Tensor:
        """Images [B, C, H, W] in training -> projection, or prediction where there is a predictor, [B, outputs]."""
        z = self.projector(leaves, self.net.features(leaves, images), self.statistics, training=True)
        return z if self.predictor is None else self.predictor(leaves, z, self.statistics, training=True)

    def followed(self) -> Params:
        """What a teacher has of the student: the parameters of backbone and projector."""
        return {name: v for name, v in self.params.items() if not name.startswith("predictor")}

    @torch.no_grad()
    def teacher(self, params: Mapping[str, Tensor], images: Tensor) -> Tensor:
        """Images [B, C, H, W] -> projection [B, outputs] by the parameters of a teacher.

        It normalises with the statistics of its own batch, so it has no running ones.
        """
        once = {name: params[name].unsqueeze(0) for name in self.net.params}
        features = self.net.backbone.forward(once, images.unsqueeze(0), batch_statistics)[0]
        return self.projector(params, features, None, training=True)

    def encoder(self) -> ConvEncoder:
        """The backbone as it is now, for inference; shares the tensors."""
        return self.net.encoder()

    def projecting(self) -> Projecting:
        """Backbone and projector as they are now."""
        return Projecting(self.encoder(), self.projector, self.params, self.statistics)

    def predicting(self) -> PredictedQueries:
        """How PsCo answers, with the predictor as it is now."""
        assert self.predictor is not None
        return PredictedQueries(self.predictor, self.params, self.statistics)


@dataclass(frozen=True, slots=True)
class Projecting:
    """A :class:`bench.contracts.Encoder`: the projection of a backbone's features. No gradient."""

    backbone: ConvEncoder
    projector: Head
    params: Params
    statistics: Params

    @property
    def dim(self) -> int:
        """Length of a projection."""
        return self.projector.outputs

    @torch.no_grad()
    def encode(self, x: Tensor) -> Tensor:
        """Images [B, C, H, W] in [0, 1] -> projections [B, dim]."""
        features = torch.split(self.backbone.encode(x), PIECE)
        return torch.cat([self.projector(self.params, part, self.statistics, training=False) for part in features])


@dataclass(frozen=True, slots=True)
class PredictedQueries:
    """PsCo's test (Jang et al. 2023): a query's prediction and the mean of a class's projections, by cosine.

    A :class:`bench.contracts.Classifier` on projections. All are divided by their length, before and after the mean.
    """

    predictor: Head
    params: Params
    statistics: Params

    def state(self) -> dict[str, Tensor]:
        """The predictor."""
        own = f"{self.predictor.name}"
        return {name: v for name, v in {**self.params, **self.statistics}.items() if name.startswith(own)}

    @torch.no_grad()
    def classify(self, support: Tensor, query: Tensor) -> Tensor:
        """Projections [T, N, K, d] and [T, M, d] -> scores [T, M, N]."""
        parts = torch.split(query.flatten(0, 1), PIECE)
        found = torch.cat([self.predictor(self.params, part, self.statistics, training=False) for part in parts])
        return Prototypes("cosine").classify(support, found.view_as(query))
