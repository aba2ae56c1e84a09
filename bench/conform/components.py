"""The checks of one component: a generator, an encoder, a meta-learner, a backbone, views, a dataset."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bench.backbones import Backbone, EmbeddingBackbone, batch_statistics
from bench.basics.errors import BenchError
from bench.basics.seeds import Seed
from bench.checks import encoders, learners
from bench.checks.finding import Finding
from bench.checks.probe import probe
from bench.checks.process import Process
from bench.conform import datasets, generators
from bench.conform.guard import Guard
from bench.conform.subject import Miniature, built
from bench.conform.trial import CPU, context_in
from bench.contracts import TaskSpec
from bench.datasets.images import UnlabelledImages
from bench.planning.composing import RunConfig
from bench.tasks.labelled import LabelledSampler

dataset = datasets.examine

LARGE = 84
"""Side of the images that a backbone is asked about for which those of the dataset are too small."""

Checks = Callable[[Any, RunConfig, Miniature, Path], Iterator[Finding]]


def examine(group: str, config: RunConfig, data: Miniature, folder: Path, guard: Guard) -> Iterator[Finding]:
    """Every check of a component."""
    thing = built(group, config)
    yield from guard.around(group, lambda: GROUPS[group](thing, config, data, folder))


def _images(data: Miniature) -> UnlabelledImages:
    return data.dataset.splits["train"].unlabelled(CPU)


def _generator(recipe: Any, config: RunConfig, data: Miniature, folder: Path) -> Iterator[Finding]:
    images = _images(data)
    yield from generators.examine(lambda name: recipe.obtain(images, context_in(config, folder / name)), images.shape)


def _encoder(recipe: Any, config: RunConfig, data: Miniature, folder: Path) -> Iterator[Finding]:
    images = _images(data)
    questions = probe(images, TaskSpec(**config.values["train"]))
    before = Process(CPU)
    first = recipe.obtain(images, context_in(config, folder / "first"))
    yield _untouched("obtaining it", before)
    for found in encoders.examine(first, questions):
        yield found
        if found.fault is not None:
            return
    looked_at = questions.query.flatten(0, 1)
    one = encoders.embedded(first, looked_at)
    fault = None
    if not bool((one != one[:1]).any()):
        fault = f"{type(first).__name__} embeds every image alike"
    yield Finding("distinct", "other images have other embeddings", fault)
    two = encoders.embedded(recipe.obtain(images, context_in(config, folder / "second")), looked_at)
    fault = None if torch.equal(one, two) else "two trainings with one seed differ; seed every draw from context.seed"
    yield Finding("reproducible", "obtained twice with one seed it is the same", fault)


def _untouched(doing: str, before: Process) -> Finding:
    fault = None
    if drew := before.drew_from():
        fault = f"{doing} draws from, or seeds, the global generator of {' and '.join(drew)}; use context.seed"
    elif changed := before.changed():
        fault = f"{doing} changed {' and '.join(changed)}; put that back"
    return Finding("process", "it draws from no global generator and leaves the process as it was", fault)


def _learner(recipe: Any, config: RunConfig, data: Miniature, folder: Path) -> Iterator[Finding]:
    labelled = data.dataset.splits["train"].labelled(CPU)
    spec, sampler = TaskSpec(**config.values["train"]), LabelledSampler(labelled)
    questions = probe(labelled, spec)
    before = Process(CPU)
    fitted = recipe.fit(sampler, spec, context_in(config, folder / "first"))
    yield _untouched("fit", before)
    untrained = recipe.untrained(labelled.shape, spec, context_in(config, folder / "untrained"))
    for name, learner in (("fitted", fitted), ("untrained", untrained)):
        for found in learners.examine(learner, questions):
            yield found.of(name)
            if found.fault is not None:
                return
    again = recipe.fit(LabelledSampler(labelled), spec, context_in(config, folder / "second"))
    answers = [one.predict(questions.support, questions.query).detach() for one in (fitted, again, untrained)]
    fault = None if torch.equal(answers[0], answers[1]) else "two trainings with one seed differ; use context.seed"
    yield Finding("reproducible", "trained twice with one seed it answers the same", fault)
    fault = None if not torch.equal(answers[0], answers[2]) else "fit trains nothing: it answers as untrained() does"
    yield Finding("trains", "training changes the answers", fault)


def _backbone(network: Any, config: RunConfig, data: Miniature, folder: Path) -> Iterator[Finding]:
    fault = None
    if not isinstance(network, Backbone):
        fault = f"{type(network).__name__} needs init(rng, image_shape, outputs) and forward(params, images, normalise)"
    yield Finding("methods", "init and forward", fault)
    if fault is not None:
        return
    shape, way = data.dataset.image_shape, TaskSpec(**config.values["train"]).way
    seed, before = Seed(0).at("backbone"), Process(CPU)
    try:
        params = network.init(seed.generator(), shape, way)
    except BenchError as error:
        yield Finding("size", "it takes the images of the dataset", told=f"{error}; checked at {LARGE}x{LARGE} instead")
        shape = (shape[0], LARGE, LARGE)
        params = network.init(seed.generator(), shape, way)
    again = network.init(seed.generator(), shape, way)
    fault = None
    if params.keys() != again.keys() or not all(torch.equal(params[name], again[name]) for name in params):
        fault = "init gives other parameters from an equal rng; take every draw from it"
    yield Finding("init", "equal states of rng give equal parameters", fault)
    batch = torch.rand(3, 4, *shape, generator=seed.at("images").generator())

    def forward(tasks: slice, chosen: dict[str, Tensor]) -> Tensor:
        part = batch[tasks]
        repeated = {name: value.expand(len(part), *value.shape) for name, value in chosen.items()}
        scores: Tensor = network.forward(repeated, part, batch_statistics)
        return scores

    together = forward(slice(0, 3), params)
    expected = [3, 4, way]
    fault = None
    if list(together.shape) != expected:
        fault = f"forward must return logits [T, B, outputs], here {expected}, not {list(together.shape)}"
    yield Finding("shape", "parameters [T, ...] and images [T, B, C, H, W] become [T, B, outputs]", fault)
    if fault is not None:
        return
    allowed = 1e-3 * float(together.amax() - together.amin()) + 1e-6
    apart = max(float((forward(slice(t, t + 1), params)[0] - together[t]).abs().amax()) for t in range(3))
    fault = "forward gives a task other logits among others than alone; keep the axis of tasks apart"
    yield Finding("tasks", "T tasks at once are what they are one by one", fault if apart > allowed else None)
    features = forward(slice(0, 3), network.init(seed.generator(), shape, None))
    fault = None if features.ndim == 3 else f"without outputs it must return features [T, B, D], not {features.shape}"
    yield Finding("features", "without outputs it returns features [T, B, D]", fault)
    leaves = {name: value.clone().requires_grad_() for name, value in params.items()}
    with torch.enable_grad():
        repeated = {name: value[None] for name, value in leaves.items()}
        loss = network.forward(repeated, batch[:1], batch_statistics).square().mean()
        found = torch.autograd.grad(loss, list(leaves.values()), allow_unused=True)
    without = [name for name, grad in zip(leaves, found, strict=True) if grad is None]
    fault = f"{', '.join(without)} take no part in forward; leave them out of init" if without else None
    yield Finding("gradient", "every parameter takes part", fault)
    yield _embeds(network, batch[0], seed)
    yield _untouched("it", before)


def _embeds(network: Backbone, images: Tensor, seed: Seed) -> Finding:
    """Of images [B, C, H, W]: what ProtoNets and methods that train an embedding ask besides."""
    name, demands = "embedding", "with running statistics it embeds every image on its own"
    if not isinstance(network, EmbeddingBackbone):
        missing = [one for one in ("dim", "buffers", "embed") if not hasattr(network, one)]
        return Finding(name, demands, told=f"it has no {', '.join(missing)}, so MAML alone can train it")
    shape = (images.shape[1], images.shape[2], images.shape[3])
    params, running = network.init(seed.generator(), shape, None), network.buffers(shape)
    found, expected = network.embed(params, running, images), [len(images), network.dim(shape)]
    if list(found.shape) != expected:
        return Finding(name, demands, f"embed must return features {expected}, not {list(found.shape)}")
    allowed = 1e-3 * float(found.amax() - found.amin()) + 1e-6
    alone = torch.cat([network.embed(params, running, image[None]) for image in images])
    fault = "embed gives an image other features among others than alone; use the running statistics"
    return Finding(name, demands, fault if float((alone - found).abs().amax()) > allowed else None)


def _views(views: Any, config: RunConfig, data: Miniature, folder: Path) -> Iterator[Finding]:
    images = _images(data).take(torch.arange(8))
    before, given, seed = Process(CPU), images.clone(), Seed(0).at("views")
    first, again = (views(images, seed.generator()) for _ in range(2))
    fault = None
    if not isinstance(first, Tensor) or first.shape != images.shape or first.dtype != torch.float32:
        got = f"{list(first.shape)}, {first.dtype}" if isinstance(first, Tensor) else type(first).__name__
        fault = f"views must return float32 images of shape {list(images.shape)}, not {got}"
    yield Finding("shape", "images [B, C, H, W] become images of that shape", fault)
    if fault is not None:
        return
    low, high = float(first.amin()), float(first.amax())
    fault = None if low >= -1e-3 and high <= 1 + 1e-3 else f"values from {low:g} to {high:g}; they must be in [0, 1]"
    yield Finding("range", "pixels are finite and in [0, 1]", fault)
    fault = None if torch.equal(first, again) else "an equal rng gives other views; take every draw from it"
    yield Finding("equal draws", "equal states of rng give equal views", fault)
    fault = None if torch.equal(images, given) else "the images that it was given are changed; work on a copy"
    yield Finding("inputs", "the images that it is given stay as they are", fault)
    yield _untouched("it", before)


GROUPS: dict[str, Checks] = {
    "generator": _generator,
    "encoder": _encoder,
    "learner": _learner,
    "backbone": _backbone,
    "views": _views,
}
