"""Rows: a meta-training step and evaluation, of MAML and ProtoNets, beside a plain loop and the libraries."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from bench.backbones import Conv4, Params, RunningStatistics
from bench.contracts import Tasks, TaskSpec
from bench.learners import reference
from bench.learners.adaptation import adaptation, labels_of
from bench.learners.maml import MAML
from bench.learners.meta_training import chunk_size
from bench.learners.protonet import ProtoNet, ProtoNetLearner
from bench.speed.contest import OURS, PLAIN, Contest, Side
from bench.speed.peers import maml as maml_peers
from bench.speed.peers import protonets
from bench.speed.peers.network import ConvNet
from bench.training.optimizers import adam, give_gradients
from bench.training.steps import Repeated

SPEC = TaskSpec(way=5, shot=1, query=5)
META_BATCH, INNER_STEPS, EVAL_STEPS, INNER_LR, META_LR = 4, 5, 50, 0.4, 0.001
MANY = 32
"""Tasks that ProtoNets answer in evaluation."""

STRIDED = Conv4(stride=2, pool=False, head="mean")


def contests(device: torch.device, libraries: Mapping[str, Any]) -> list[Contest]:
    """MAML on both backbones, and ProtoNets; targets are those of ``conv4``."""
    rows = []
    for name, backbone, target in (("conv4", Conv4(), 2.5), ("conv4-strided", STRIDED, 0.0)):
        for kind, first_order in (("second", False), ("first", True)):
            sides = _maml_step(backbone, first_order, device, libraries)
            rows.append(Contest(f"MAML {name}, {kind}-order step", sides, target))
        rows.append(Contest(f"MAML {name}, {EVAL_STEPS} steps", _maml_scores(backbone, device, libraries), target))
    return [
        *rows,
        Contest("ProtoNets, step", _protonet_step(device, libraries), 2.0),
        Contest(f"ProtoNets, {MANY} tasks", _protonet_scores(device, libraries), 3.5),
    ]


# ---------------------------------------------------------------------------------------------------- MAML
def _maml_step(
    backbone: Conv4, first_order: bool, device: torch.device, libraries: Mapping[str, Any]
) -> Callable[[], Mapping[str, Side]]:
    def sides() -> dict[str, Side]:
        tasks = tasks_on(META_BATCH, device)
        flat = _flat(tasks)
        inner = adaptation(backbone, INNER_STEPS, INNER_LR, inductive=False)

        def plain() -> Side:
            params = params_on(backbone, SPEC.way, device)
            optimizer = torch.optim.Adam(list(params.values()), lr=META_LR)

            def run() -> None:
                _, grads = reference.maml_gradient(
                    backbone, params, tasks.support, tasks.query, INNER_STEPS, INNER_LR, first_order
                )
                for name, value in params.items():
                    value.grad = grads[name]
                optimizer.step()

            return run

        def in_module(peer: maml_peers.Peer) -> Side:
            optimizer = torch.optim.Adam(peer.network.parameters(), lr=META_LR)

            def run() -> None:
                optimizer.zero_grad()
                peer.gradient(*flat, first_order)
                optimizer.step()

            return run

        def gradient(params: Params) -> Params:
            return inner.meta_gradient(params, tasks.support, tasks.query, first_order)[1]

        return {
            OURS: _our_step(params_on(backbone, SPEC.way, device), gradient, device),
            PLAIN: plain(),
            **{name: in_module(peer) for name, peer in maml_peer(backbone, device, libraries).items()},
        }

    return sides


def _maml_scores(
    backbone: Conv4, device: torch.device, libraries: Mapping[str, Any]
) -> Callable[[], Mapping[str, Side]]:
    def sides() -> dict[str, Side]:
        tasks = tasks_on(META_BATCH, device)
        xs, ys, images, _ = _flat(tasks)
        params = params_on(backbone, SPEC.way, device)
        learner = MAML(backbone, INNER_LR, INNER_STEPS, EVAL_STEPS)._learner(params, EVAL_STEPS, (1, 28, 28))

        def of(peer: maml_peers.Peer) -> Side:
            return _quietly(lambda: peer.scores(xs, ys, images, EVAL_STEPS))

        return {
            OURS: _quietly(lambda: learner.predict(tasks.support, images)),
            PLAIN: _quietly(
                lambda: reference.maml_scores(backbone, params, tasks.support, images, EVAL_STEPS, INNER_LR)
            ),
            **{name: of(peer) for name, peer in maml_peer(backbone, device, libraries).items()},
        }

    return sides


def maml_peer(backbone: Conv4, device: torch.device, libraries: Mapping[str, Any]) -> dict[str, maml_peers.Peer]:
    """Each library's MAML, from our initial parameters."""
    return {
        name: make(libraries[name], backbone, params_on(backbone, SPEC.way, device), INNER_STEPS, INNER_LR)
        for name, make in maml_peers.PEERS.items()
        if name in libraries
    }


# ----------------------------------------------------------------------------------------------- ProtoNets
def _protonet_step(device: torch.device, libraries: Mapping[str, Any]) -> Callable[[], Mapping[str, Side]]:
    def sides() -> dict[str, Side]:
        backbone, tasks = Conv4(), tasks_on(META_BATCH, device)
        flat = _flat(tasks)
        recipe, params = ProtoNet(backbone), params_on(backbone, None, device)
        buffers = {name: value.to(device) for name, value in backbone.buffers().items()}
        running = RunningStatistics(buffers, recipe.momentum, training=True)
        ours = _our_step(params, lambda params: recipe.gradient(params, tasks, running)[1], device)

        def theirs(scores: protonets.Scores) -> Side:
            network = ConvNet(backbone, params_on(backbone, None, device), running=True)
            optimizer = torch.optim.Adam(network.parameters(), lr=META_LR)

            def run() -> None:
                optimizer.zero_grad()
                protonets.gradient(scores, network, *flat)
                optimizer.step()

            return run

        return {OURS: ours, **{name: theirs(scores) for name, scores in protonet_peers(libraries).items()}}

    return sides


def _protonet_scores(device: torch.device, libraries: Mapping[str, Any]) -> Callable[[], Mapping[str, Side]]:
    def sides() -> dict[str, Side]:
        backbone, tasks = Conv4(), tasks_on(MANY, device)
        xs, ys, images, _ = _flat(tasks)
        params = params_on(backbone, None, device)
        buffers = {name: value.to(device) for name, value in backbone.buffers().items()}
        at_once = chunk_size(4, (1, 28, 28), device)
        learner = ProtoNetLearner(backbone, params, buffers, "mean", False, at_once)

        @torch.no_grad()
        def theirs(scores: protonets.Scores, network: ConvNet) -> Tensor:
            return torch.stack([scores(network, support, ys, query) for support, query in zip(xs, images, strict=True)])

        def side(scores: protonets.Scores) -> Side:
            network = ConvNet(backbone, params_on(backbone, None, device), running=True).eval()
            return _quietly(lambda: theirs(scores, network))

        return {
            OURS: _quietly(lambda: learner.predict(tasks.support, images)),
            **{name: side(scores) for name, scores in protonet_peers(libraries).items()},
        }

    return sides


def protonet_peers(libraries: Mapping[str, Any]) -> dict[str, protonets.Scores]:
    """The plain loop, and each library's ProtoNets."""
    theirs = {name: make(libraries[name]) for name, make in protonets.PEERS.items() if name in libraries}
    return {PLAIN: protonets.plain, **theirs}


# ------------------------------------------------------------------------------------------------- tensors
def tasks_on(n: int, device: torch.device) -> Tasks:
    """Random tasks, the same in every row."""
    rng = torch.Generator().manual_seed(1)
    support = torch.rand(n, SPEC.way, SPEC.shot, 1, 28, 28, generator=rng)
    query = torch.rand(n, SPEC.way, SPEC.query, 1, 28, 28, generator=rng)
    return Tasks(support.to(device), query.to(device))


def params_on(backbone: Conv4, outputs: int | None, device: torch.device) -> Params:
    """Initial parameters, the same in every row."""
    params = backbone.init(torch.Generator().manual_seed(2), (1, 28, 28), outputs)
    return {name: value.to(device) for name, value in params.items()}


def _flat(tasks: Tasks) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Images [T, B, C, H, W] and labels [B] of support and query."""
    return tasks.support.flatten(1, 2), labels_of(tasks.support), tasks.query.flatten(1, 2), labels_of(tasks.query)


def _our_step(params: Params, gradient: Callable[[Params], Params], device: torch.device) -> Side:
    """Gradient and Adam as in meta-training: captured where the device can."""
    optimizer = adam(params.values(), META_LR)

    def compute() -> None:
        grads = gradient(params)
        give_gradients(params.values(), (grads[name] for name in params))
        optimizer.step()

    step = Repeated(compute, device)
    step(2)  # the second is captured
    return lambda: step(1)


def _quietly(work: Callable[[], object]) -> Side:
    def run() -> None:
        work()

    return run
