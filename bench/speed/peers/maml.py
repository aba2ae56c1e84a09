"""MAML as the examples of each library write it: task by task, the same network, the same tensors.

``gradient`` adds the gradient of the mean meta-loss to ``network.parameters()``; ``scores`` adapts for evaluation.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bench.backbones import Conv4, Params
from bench.speed.peers.network import ConvNet, Norm, convolution, features, fill, padded, pooled


class Peer(Protocol):
    """xs, xq [T, B, C, H, W] of support and query, ys, yq int64 [B]."""

    @property
    def network(self) -> nn.Module:
        """What is trained."""
        ...

    def gradient(self, xs: Tensor, ys: Tensor, xq: Tensor, yq: Tensor, first_order: bool) -> None:
        """Of the mean over tasks of the query loss, into ``.grad``."""
        ...

    def scores(self, xs: Tensor, ys: Tensor, images: Tensor, steps: int) -> Tensor:
        """Adapt for ``steps`` steps and score images [T, M, C, H, W] -> [T, M, N]."""
        ...


class Learn2Learn:
    """``MAML(model).clone()`` and ``adapt()``."""

    def __init__(self, library: Any, backbone: Conv4, params: Params, steps: int, lr: float) -> None:
        self.library, self.steps, self.lr = library, steps, lr
        self.network = ConvNet(backbone, params)

    def gradient(self, xs: Tensor, ys: Tensor, xq: Tensor, yq: Tensor, first_order: bool) -> None:
        """See :class:`Peer`."""
        maml = self.library.algorithms.MAML(self.network, lr=self.lr, first_order=first_order)
        for support, query in zip(xs, xq, strict=True):
            clone = maml.clone()
            for _ in range(self.steps):
                clone.adapt(F.cross_entropy(clone(support), ys))
            (F.cross_entropy(clone(query), yq) / len(xs)).backward()  # type: ignore[no-untyped-call]

    def scores(self, xs: Tensor, ys: Tensor, images: Tensor, steps: int) -> Tensor:
        """See :class:`Peer`."""
        maml, found = self.library.algorithms.MAML(self.network, lr=self.lr, first_order=True), []
        for support, query in zip(xs, images, strict=True):
            clone = maml.clone()
            for _ in range(steps):
                clone.adapt(F.cross_entropy(clone(support), ys))
            with torch.no_grad():
                found.append(clone(query))
        return torch.stack(found)


class Higher:
    """``innerloop_ctx``. Of first order its inner loop is not tracked, and the last gradient is that of the start."""

    def __init__(self, library: Any, backbone: Conv4, params: Params, steps: int, lr: float) -> None:
        self.library, self.steps, self.lr = library, steps, lr
        self.network = ConvNet(backbone, params)

    def _inner(self, track: bool) -> Any:
        optimizer = torch.optim.SGD(self.network.parameters(), lr=self.lr)
        return self.library.innerloop_ctx(self.network, optimizer, copy_initial_weights=False, track_higher_grads=track)

    def gradient(self, xs: Tensor, ys: Tensor, xq: Tensor, yq: Tensor, first_order: bool) -> None:
        """See :class:`Peer`."""
        for support, query in zip(xs, xq, strict=True):
            with self._inner(not first_order) as (fast, optimizer):
                for _ in range(self.steps):
                    optimizer.step(F.cross_entropy(fast(support), ys))
                loss = F.cross_entropy(fast(query), yq) / len(xs)
                if not first_order:
                    loss.backward()  # type: ignore[no-untyped-call]
                    continue
                grads = torch.autograd.grad(loss, list(fast.parameters()))
                for parameter, grad in zip(self.network.parameters(), grads, strict=True):
                    parameter.grad = grad if parameter.grad is None else parameter.grad + grad

    def scores(self, xs: Tensor, ys: Tensor, images: Tensor, steps: int) -> Tensor:
        """See :class:`Peer`."""
        found = []
        for support, query in zip(xs, images, strict=True):
            with self._inner(False) as (fast, optimizer):
                for _ in range(steps):
                    optimizer.step(F.cross_entropy(fast(support), ys))
                with torch.no_grad():
                    found.append(fast(query))
        return torch.stack(found)


class TorchOpt:
    """``MetaSGD`` with the states taken and given back; of first order its functional ``sgd``."""

    def __init__(self, library: Any, backbone: Conv4, params: Params, steps: int, lr: float) -> None:
        self.library, self.steps, self.lr = library, steps, lr
        self.network = ConvNet(backbone, params)

    def gradient(self, xs: Tensor, ys: Tensor, xq: Tensor, yq: Tensor, first_order: bool) -> None:
        """See :class:`Peer`."""
        if first_order:
            for support, query in zip(xs, xq, strict=True):
                fast = self._adapted(dict(self.network.named_parameters()), support, ys, self.steps)
                (F.cross_entropy(self._call(fast, query), yq) / len(xs)).backward()  # type: ignore[no-untyped-call]
            return
        inner = self.library.MetaSGD(self.network, lr=self.lr)
        start, state = self.library.extract_state_dict(self.network), self.library.extract_state_dict(inner)
        for support, query in zip(xs, xq, strict=True):
            for _ in range(self.steps):
                inner.step(F.cross_entropy(self.network(support), ys))
            (F.cross_entropy(self.network(query), yq) / len(xs)).backward()  # type: ignore[no-untyped-call]
            self.library.recover_state_dict(self.network, start)
            self.library.recover_state_dict(inner, state)

    def scores(self, xs: Tensor, ys: Tensor, images: Tensor, steps: int) -> Tensor:
        """See :class:`Peer`."""
        found = []
        for support, query in zip(xs, images, strict=True):
            fast = self._adapted(dict(self.network.named_parameters()), support, ys, steps)
            with torch.no_grad():
                found.append(self._call(fast, query))
        return torch.stack(found)

    def _call(self, params: Params, x: Tensor) -> Tensor:
        logits: Tensor = torch.func.functional_call(self.network, params, (x,))
        return logits

    def _adapted(self, params: Params, x: Tensor, y: Tensor, steps: int) -> Params:
        optimizer = self.library.sgd(lr=self.lr)
        state = optimizer.init(params)
        for _ in range(steps):
            grads = torch.autograd.grad(F.cross_entropy(self._call(params, x), y), list(params.values()))
            updates, state = optimizer.update(dict(zip(params, grads, strict=True)), state, inplace=False)
            params = self.library.apply_updates(params, updates, inplace=False)
        return params


class Torchmeta:
    """A ``MetaModule`` and ``gradient_update_parameters``."""

    def __init__(self, library: Any, backbone: Conv4, params: Params, steps: int, lr: float) -> None:
        self.steps, self.lr = steps, lr
        self.network: Any = _meta_network(backbone, params)
        from torchmeta.utils.gradient_based import gradient_update_parameters

        self.update: Callable[..., Any] = gradient_update_parameters

    def gradient(self, xs: Tensor, ys: Tensor, xq: Tensor, yq: Tensor, first_order: bool) -> None:
        """See :class:`Peer`."""
        outer = torch.zeros((), dtype=xs.dtype, device=xs.device)
        for support, query in zip(xs, xq, strict=True):
            fast = self._adapted(support, ys, self.steps, first_order)
            outer += F.cross_entropy(self.network(query, params=fast), yq) / len(xs)
        outer.backward()  # type: ignore[no-untyped-call]  # once, for every inner step clears the gradients

    def scores(self, xs: Tensor, ys: Tensor, images: Tensor, steps: int) -> Tensor:
        """See :class:`Peer`."""
        found = []
        for support, query in zip(xs, images, strict=True):
            fast = self._adapted(support, ys, steps, True)
            with torch.no_grad():
                found.append(self.network(query, params=fast))
        return torch.stack(found)

    def _adapted(self, x: Tensor, y: Tensor, steps: int, first_order: bool) -> Any:
        params = None
        for _ in range(steps):
            loss = F.cross_entropy(self.network(x, params=params), y)
            self.network.zero_grad()
            params = self.update(self.network, loss, params=params, step_size=self.lr, first_order=first_order)
        return params


def _meta_network(backbone: Conv4, params: Params) -> nn.Module:
    """:class:`ConvNet` of torchmeta's modules, which take the parameters as an argument."""
    from torchmeta.modules import MetaConv2d, MetaLinear, MetaModule

    class MetaNorm(Norm, MetaModule):  # type: ignore[misc]
        def forward(self, x: Tensor, params: Any = None) -> Tensor:
            return self.normalise(x, self.bias if params is None else params["bias"])

    class MetaConvNet(MetaModule):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            inputs = params["conv1.weight"].shape[1]
            for i in range(1, 5):
                self.add_module(f"conv{i}", MetaConv2d(**convolution(backbone, inputs)))
                self.add_module(f"norm{i}", MetaNorm(backbone.filters, backbone.eps))
                inputs = backbone.filters
            outputs, width = params["head.weight"].shape
            self.head = MetaLinear(width, outputs)

        def forward(self, x: Tensor, params: Any = None) -> Any:
            for i in range(1, 5):
                of_conv, of_norm = (self.get_subdict(params, f"{name}{i}") for name in ("conv", "norm"))
                x = getattr(self, f"conv{i}")(padded(backbone, x), params=of_conv)
                x = pooled(backbone, F.relu(getattr(self, f"norm{i}")(x, params=of_norm)))
            return self.head(features(backbone, x), params=self.get_subdict(params, "head"))

    network = MetaConvNet()
    fill(network, params)
    return network


PEERS: dict[str, Callable[[Any, Conv4, Params, int, float], Peer]] = {
    "learn2learn": Learn2Learn,
    "higher": Higher,
    "torchopt": TorchOpt,
    "torchmeta": Torchmeta,
}
