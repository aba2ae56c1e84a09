"""Any ``nn.Module`` in the places of our own networks: under MAML and ProtoNets, and as a frozen encoder."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call, vmap
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.dropout import _DropoutNd
from torch.nn.parameter import is_lazy

from bench.backbones import (
    GivenStatistics,
    ImageShape,
    Normalise,
    Params,
    RecordedStatistics,
    RunningStatistics,
    Statistics,
    batch_statistics,
    glorot,
)
from bench.basics.errors import BenchError
from bench.training.initial import initialised
from bench.training.work import count

INSIDE = "module"
"""Under this name the parameters of the module stand beside ``head.weight`` and ``head.bias``."""


class ModuleBackbone(ABC):
    """A :class:`bench.backbones.EmbeddingBackbone` out of any module: write :meth:`network`, and nothing else.

    A subclass is a frozen dataclass, its fields are the settings of the YAML file. Its module turns images [B, C, H, W]
    in [0, 1] into features [B, ...], which are flattened; for MAML a linear classifier is added. T tasks are one
    program (``torch.func.functional_call`` under ``torch.func.vmap``) that is differentiable twice, so that MAML's
    gradient is exact.

    Batch normalisation (``BatchNorm1d`` … ``3d``) is done as in our own networks, by the meta-learner: with statistics
    of the batch, of the support images, or with the running ones that ProtoNets keep, whose momentum is a setting of
    theirs. A module's own running statistics and momentum are not used; ``eps``, weight and bias are.

    Buffers, and parameters that want no gradient, stay what :meth:`network` makes them (with a seed of their own where
    they are random). Refused in one sentence: dropout and whatever else draws random numbers in its forward, buffers
    that it changes, parameters without a use, a batch normalisation that is applied twice, lazy modules.
    """

    @abstractmethod
    def network(self, image_shape: ImageShape) -> nn.Module:
        """A fresh module for images (C, H, W). Its weights may be drawn from PyTorch's global generator, which is
        seeded by the harness.
        """

    def init(self, rng: torch.Generator, image_shape: ImageShape, outputs: int | None) -> Params:
        """See :class:`bench.backbones.Backbone`. The classifier begins as that of Conv4: Glorot-uniform, offset 0."""
        features = self._skeleton(image_shape).dim  # refuses what cannot be used
        module = initialised(lambda: self.network(image_shape), int(torch.randint(2**62, (), generator=rng)))
        named = module.named_parameters()
        params = {f"{INSIDE}.{name}": value.detach().clone() for name, value in named if value.requires_grad}
        if outputs is not None:
            params |= {"head.weight": glorot((outputs, features), rng), "head.bias": torch.zeros(outputs)}
        return params

    def dim(self, image_shape: ImageShape) -> int:
        """Length of the flattened feature."""
        return self._skeleton(image_shape).dim

    def buffers(self, image_shape: ImageShape) -> Params:
        """Fresh running statistics: mean 0, variance 1."""
        start = {"mean": torch.zeros, "variance": torch.ones}
        norms = enumerate(self._skeleton(image_shape).norms, 1)
        return {f"norm{i}.{name}": make(norm.features) for i, norm in norms for name, make in start.items()}

    def forward(self, params: Mapping[str, Tensor], images: Tensor, normalise: Normalise) -> Tensor:
        """See :class:`bench.backbones.Backbone`."""
        tasks, batch, *shape = images.shape
        count(tasks * batch)
        skeleton = self._skeleton((shape[0], shape[1], shape[2]))
        recorded = isinstance(normalise, RecordedStatistics)
        given = normalise.statistics if isinstance(normalise, GivenStatistics) else []

        def one(params: Params, x: Tensor, given: Statistics) -> tuple[Tensor, Statistics]:
            how, seen = normalise, RecordedStatistics()
            if recorded:
                how = seen
            elif given:
                how = GivenStatistics(given)
            x = skeleton.features({n: v for n, v in params.items() if not n.startswith("head.")}, x, how)
            if "head.weight" in params:
                x = F.linear(x, params["head.weight"], params["head.bias"])
            return x, seen.seen

        if tasks == 1:  # as the module is written, which may update statistics in place
            x, seen = one({name: value[0] for name, value in params.items()}, images[0], given)
            x = x[None]
        else:
            each = {name: value.expand(tasks, *value.shape[1:]) for name, value in params.items()}
            apart = [(mean.view(tasks, -1), variance.view(tasks, -1)) for mean, variance in given]
            x, seen = vmap(one, randomness="error")(each, images, apart)
        if isinstance(normalise, RecordedStatistics):
            normalise.seen += [(mean.flatten(), variance.flatten()) for mean, variance in seen]
        return x

    def embed(self, params: Mapping[str, Tensor], buffers: Mapping[str, Tensor], images: Tensor) -> Tensor:
        """Features [B, D] of images [B, C, H, W] with running statistics, for inference."""
        fixed = RunningStatistics(buffers, 0.0, training=False)
        return self.forward({name: value[None] for name, value in params.items()}, images[None], fixed)[0]

    def _skeleton(self, image_shape: ImageShape) -> _Skeleton:
        """Made once; not among the fields, which are what the object is compared and stored by."""
        kept: dict[ImageShape, _Skeleton] = vars(self).setdefault("_skeletons", {})
        if image_shape not in kept:
            kept[image_shape] = _Skeleton(type(self).__name__, initialised(lambda: self.network(image_shape), 0))
            kept[image_shape].examine(image_shape)
        return kept[image_shape]


class _Norm(nn.Module):
    """In place of a batch normalisation: how to normalise is said at every call. ``layer``: when it comes, from 0."""

    def __init__(self, norm: _BatchNorm) -> None:
        super().__init__()
        self.weight, self.bias = norm.weight, norm.bias
        self.features, self.eps = norm.num_features, norm.eps
        self.layer = -1
        self.how: Normalise = batch_statistics

    def forward(self, z: Tensor) -> Tensor:
        maps = z if z.ndim == 4 else z.reshape(*z.shape[:2], -1, 1)
        weight = z.new_ones(self.features) if self.weight is None else self.weight
        bias = z.new_zeros(self.features) if self.bias is None else self.bias
        return self.how(self.layer, maps, weight, bias, self.eps).reshape(z.shape)


class _Skeleton:
    """A module whose parameters come from outside at every call."""

    def __init__(self, name: str, module: nn.Module) -> None:
        self.name = name
        self.module = nn.Sequential(OrderedDict({INSIDE: module}))
        self.norms: list[_Norm] = []
        """In the order in which they are applied."""
        self.dim = 0
        self._copies: dict[tuple[torch.device, torch.dtype], Params] = {}

    def features(self, params: Params, x: Tensor, how: Normalise) -> Tensor:
        """Images [B, C, H, W] -> [B, D], with these parameters and that normalisation."""
        for norm in self.norms:
            norm.how = how
        found: Tensor = functional_call(self.module, {**self._placed(x.device, x.dtype), **params}, (x,))
        return found.flatten(1)

    def _placed(self, device: torch.device, dtype: torch.dtype) -> Params:
        """What stays as it is, copied there once."""
        if (device, dtype) not in self._copies:
            self._copies[device, dtype] = {
                name: value.detach().to(device, dtype if value.is_floating_point() else None)
                for name, value in self._constants()
            }
        return self._copies[device, dtype]

    def _constants(self) -> Iterator[tuple[str, Tensor]]:
        yield from self.module.named_buffers()
        yield from ((name, value) for name, value in self.module.named_parameters() if not value.requires_grad)

    def examine(self, image_shape: ImageShape) -> None:
        """Find the normalisations, and refuse what cannot be a pure function of its parameters."""
        self._refuse_kinds()
        norms = [self._replaced(parent, name, norm) for parent, name, norm in self._batch_norms()]
        applied: list[_Norm] = []

        def noted(norm: _Norm) -> Normalise:
            def how(layer: int, z: Tensor, weight: Tensor, bias: Tensor, eps: float) -> Tensor:
                applied.append(norm)
                return batch_statistics(layer, z, weight, bias, eps)

            return how

        for norm in norms:
            norm.how = noted(norm)
        before, state = {name: value.clone() for name, value in self._constants()}, torch.get_rng_state()
        x = torch.rand(2, *image_shape, generator=torch.Generator().manual_seed(0))
        try:
            with torch.enable_grad():
                found = self.module(x)
        except Exception as error:
            why = (str(error).splitlines() or [type(error).__name__])[0]
            raise BenchError(f"backbone {self.name}: its module cannot take images {list(x.shape)}: {why}") from error
        if not torch.equal(state, torch.get_rng_state()):
            torch.set_rng_state(state)
            self._refuse("draws random numbers in its forward", "leave dropout and the like out")
        for name, value in self._constants():
            if not torch.equal(before[name], value):
                self._refuse(f"changes its buffer {name.removeprefix(f'{INSIDE}.')!r} in its forward", "keep no state")
        if not isinstance(found, Tensor) or found.ndim < 2 or len(found) != 2 or not found.is_floating_point():
            got = list(found.shape) if isinstance(found, Tensor) else type(found).__name__
            self._refuse(f"turns images {list(x.shape)} into {got}", "return features [B, ...] of floating point")
        self.dim = found.flatten(1).shape[1]
        if len(set(applied)) != len(applied) or len(applied) != len(norms):
            what = "more than once" if len(applied) > len(set(applied)) else "never"
            self._refuse(f"applies a batch normalisation {what}", "give every place one of its own")
        self.norms = applied
        for layer, norm in enumerate(applied):
            norm.layer = layer
        named = {name: value for name, value in self.module.named_parameters() if value.requires_grad}
        grads = torch.autograd.grad(found.sum(), list(named.values()), allow_unused=True) if named else ()
        without = [name.removeprefix(f"{INSIDE}.") for name, g in zip(named, grads, strict=True) if g is None]
        if without:
            self._refuse(f"does not use its parameters {', '.join(without[:3])}", "take what is not used out of it")

    def _refuse_kinds(self) -> None:
        for name, one in self.module.named_modules():
            place = f"{type(one).__name__} {name.removeprefix(f'{INSIDE}.')!r}"
            if any(map(is_lazy, (*one.parameters(recurse=False), *one.buffers(recurse=False)))):
                self._refuse(f"has the lazy module {place}", "give it its sizes")
            if isinstance(one, _DropoutNd) and one.p > 0:
                self._refuse(f"has dropout ({place})", "set p=0 or leave it out")
            if isinstance(one, nn.modules.instancenorm._InstanceNorm) and one.track_running_stats:
                self._refuse(f"keeps running statistics in {place}", "set track_running_stats=False")

    def _batch_norms(self) -> list[tuple[nn.Module, str, _BatchNorm]]:
        found = ((parent, *child) for parent in self.module.modules() for child in parent.named_children())
        return [(parent, name, norm) for parent, name, norm in found if isinstance(norm, _BatchNorm)]

    @staticmethod
    def _replaced(parent: nn.Module, name: str, norm: _BatchNorm) -> _Norm:
        new = _Norm(norm)
        setattr(parent, name, new)
        return new

    def _refuse(self, what: str, instead: str) -> None:
        raise BenchError(f"backbone {self.name}: its module {what}; {instead}")


class ModuleEncoder(nn.Module):
    """A :class:`bench.contracts.Encoder` around any module from images to features [B, ...], which are flattened.

    Images of the dataset ([B, C, H, W] in [0, 1]) become what the module expects: ``channels`` 1 or 3 (grey images are
    repeated, colour images turned grey by ITU-R 601), ``size`` pixels a side (bilinear), and then (x - mean) / std, by
    channel or alike for all: 0.5 and 0.5 make [-1, 1] of [0, 1]. What is None, or not given, leaves images as they are.

    While it embeds, the module is in evaluation mode and nothing tracks a gradient; it is put back afterwards, so a
    module in training may be looked at. BenchError for a module that makes no batch of vectors.
    """

    def __init__(
        self,
        module: nn.Module,
        image_shape: ImageShape,
        channels: int | None = None,
        size: int | None = None,
        mean: float | Sequence[float] = 0.0,
        std: float | Sequence[float] = 1.0,
        at_once: int = 64,
    ) -> None:
        super().__init__()
        if channels not in (None, 1, 3):
            raise BenchError(f"an encoder takes channels 1 or 3, or those of the dataset (None), not {channels!r}")
        self.module, self.channels, self.size, self.at_once = module, channels, size, at_once
        self.mean, self.std = mean, std
        device = next(module.parameters(), torch.empty(0)).device
        found = self._embedded(torch.zeros(2, *image_shape, device=device))
        if not isinstance(found, Tensor) or found.ndim < 2 or len(found) != 2:
            got = list(found.shape) if isinstance(found, Tensor) else type(found).__name__
            raise BenchError(f"encoder {type(module).__name__}: 2 images must become features [2, ...], not {got}")
        self.dim = found.flatten(1).shape[1]

    def encode(self, x: Tensor) -> Tensor:
        """Images [B, C, H, W] in [0, 1] -> embeddings [B, dim], float32, no gradient."""
        count(len(x))
        return torch.cat([self._embedded(part).flatten(1).float() for part in torch.split(x, self.at_once)])

    def forward(self, x: Tensor) -> Tensor:
        """As :meth:`encode`."""
        return self.encode(x)

    @torch.no_grad()
    def _embedded(self, x: Tensor) -> Tensor:
        modes = [(one, one.training) for one in self.module.modules()]
        self.module.eval()
        try:
            found: Tensor = self.module(self.prepared(x))
        finally:
            for one, training in modes:
                one.training = training
        return found

    def prepared(self, x: Tensor) -> Tensor:
        """Images of the dataset in [0, 1] -> as the module expects them."""
        if self.channels == 1 and x.shape[1] == 3:
            x = (x * x.new_tensor(GREY).view(1, 3, 1, 1)).sum(1, keepdim=True)
        elif self.channels == 3 and x.shape[1] == 1:
            x = x.expand(-1, 3, -1, -1)
        if self.size is not None and x.shape[2:] != (self.size, self.size):
            x = F.interpolate(x, (self.size, self.size), mode="bilinear", align_corners=False)
        mean, std = (x.new_tensor(value).reshape(1, -1, 1, 1) for value in (self.mean, self.std))
        return (x - mean) / std


GREY = (0.299, 0.587, 0.114)  # ITU-R 601, as Pillow turns a dataset's colour images grey
