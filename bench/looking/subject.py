"""What a method trains with, made as in its training but outside a run, to look at: task sampler, encoder, clusters."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bench.basics.errors import BenchError, Diverged
from bench.basics.seeds import Seed
from bench.contracts import (
    Budget,
    ClusteringEncoder,
    ClusteringMethod,
    Context,
    Decoder,
    Encoder,
    EncoderRecipe,
    Generator,
    LatentSampler,
    Method,
    PosteriorEncoder,
    ProgressCallback,
    SamplingMethod,
    TaskSampler,
    TaskSpec,
)
from bench.datasets.images import LabelledImages, UnlabelledImages
from bench.datasets.source import Dataset
from bench.looking.trained_on import trained_on
from bench.planning import catalogue, components
from bench.planning.composing import RunConfig
from bench.planning.plan import PlannedRun, Request, planned_runs, run_configs
from bench.running.environment import resolve_device
from bench.running.inputs import open_dataset, training_images
from bench.running.precision import check_precision_of
from bench.training.artifacts import ArtifactStore
from bench.training.checkpoint import Checkpoint


@dataclass(frozen=True, slots=True)
class TaskSource:
    """A sampler and where it comes from. ``images`` are those that the method saw, ``spec`` what it trains on.

    asked: whether ``fit`` trains on such tasks; False for a loop of its own, which asks for none.
    """

    run: PlannedRun
    sampler: TaskSampler
    images: UnlabelledImages | LabelledImages
    spec: TaskSpec
    device: torch.device
    asked: bool = True

    def rng(self, *purpose: str | int) -> torch.Generator:
        """A fresh source of randomness for a purpose; the same for methods with the same training seed."""
        return Seed(self.run.seed).at(*purpose).generator(self.device)

    @property
    def generator(self) -> Generator | None:
        """The sampler's generator, where it has one."""
        found = getattr(self.sampler, "generator", None)
        return found if isinstance(found, Generator) else None

    def needed_generator(self, picture: str) -> Generator:
        """The generator; BenchError, naming the methods that have one, where there is none."""
        if (found := self.generator) is None:
            raise BenchError(f"{self.run.name} has no generator, so it has no {picture}; {_with_generator()}")
        return found

    def latent_sampler(self) -> LatentSampler:
        """The sampler as one of latents; BenchError, naming the methods that have one, where it is none."""
        if not isinstance(self.sampler, LatentSampler):
            raise BenchError(f"{self.run.name} does not sample latents in several ways; {_with_generator()}")
        return self.sampler


@dataclass(frozen=True, slots=True)
class Autoencoder:
    """From images [n, C, H, W] in [0, 1] to codes [n, d], and back."""

    encode: Callable[[Tensor], Tensor]
    decode: Callable[[Tensor], Tensor]


@dataclass(frozen=True, slots=True)
class Subject:
    """A method to be looked at. What it trains with is trained, or read from the store, when it is asked for.

    BenchError, too, where such a training diverges.
    """

    run: PlannedRun
    method: Method
    images: UnlabelledImages | LabelledImages
    context: Context

    @property
    def spec(self) -> TaskSpec:
        """The tasks that the settings have it meta-train on; see :attr:`TaskSource.spec` for what it does."""
        return TaskSpec(**self.run.values["train"])

    def rng(self, *purpose: str | int) -> torch.Generator:
        """A fresh source of randomness for a purpose; the same for methods with the same training seed."""
        return Seed(self.run.seed).at(*purpose).generator(self.context.device)

    def source(self) -> TaskSource:
        """The task sampler that it trains on; BenchError where it has none."""
        if not isinstance(self.method, SamplingMethod):
            raise BenchError(_makes_no_tasks([self.run.name]))
        try:
            found = trained_on(self.method, self.images, self.spec, self.context)
        except Diverged as error:
            raise BenchError(str(error)) from error
        return TaskSource(self.run, found.sampler, self.images, found.spec, self.context.device, found.asked)

    def encoder(self) -> Encoder | None:
        """The encoder that its configuration names, where it uses one."""
        if not uses_encoder(self.run.values):
            return None
        recipe: EncoderRecipe = components.build(self.run.values["encoder"], self.run.values)
        assert isinstance(self.images, UnlabelledImages)
        try:
            return recipe.obtain(self.images, self.context)
        except Diverged as error:
            raise BenchError(str(error)) from error

    def autoencoder(self, picture: str) -> Autoencoder:
        """Its encoder, or its generator, where that goes both ways; BenchError where neither does."""
        encoder = self.encoder()
        if encoder is not None and isinstance(encoder, Decoder):
            return Autoencoder(encoder.encode, encoder.decode)
        generator = None if encoder is not None else self.source().generator
        if generator is not None and isinstance(generator, PosteriorEncoder):
            return Autoencoder(lambda x: generator.encode(x)[0], generator.decode)
        raise BenchError(
            f"{self.run.name} has nothing that both encodes and decodes images, so it has no {picture}; an autoencoder "
            "or a VAE would"
        )

    def clusterings(self) -> Tensor:
        """The clusterings of its images, int64 [P, n] on the CPU; those of its encoder where it makes none itself.

        BenchError where neither does.
        """
        try:
            if isinstance(self.method, ClusteringMethod):
                assert isinstance(self.images, UnlabelledImages)
                return self.method.clusterings(self.images, self.spec, self.context).cpu()
            encoder = self.encoder()
        except Diverged as error:
            raise BenchError(str(error)) from error
        if encoder is not None and isinstance(encoder, ClusteringEncoder):
            return encoder.clusters[None].cpu()
        raise BenchError(f"neither {self.run.name} nor its encoder makes clusters of images")


def uses_encoder(values: Mapping[str, Any]) -> bool:
    """Whether a method sees images through an encoder of the group of that name."""
    return "encoder" in components.used_groups(values)


def sampling_configs(request: Request) -> tuple[list[RunConfig], list[str]]:
    """The methods of a request that make tasks, and the names of the others. Checks every setting.

    BenchError where none does.
    """
    found, others = [], []
    for one in run_configs(request):
        method = components.build(one.values["method"], one.values)
        Budget(**one.values["budget"])
        TaskSpec(**one.values["train"])
        if isinstance(method, SamplingMethod):
            found.append(one)
        else:
            others.append(one.method_name)
    if not found:
        raise BenchError(_makes_no_tasks(others))
    return found, others


def plan(configs: list[RunConfig], dataset: Dataset, request: Request) -> list[PlannedRun]:
    """One for each method and training seed, in the folders that ``bench run`` would use."""
    return planned_runs(configs, dataset.content_hash, request.seeds, request.out)


def look(run: PlannedRun, dataset: Dataset, device: torch.device, out: Path, progress: ProgressCallback) -> Subject:
    """The method of one run; what it needs is kept in the store below ``out``."""
    budget = Budget(**run.values["budget"])
    context = Context(
        seed=Seed(run.seed),
        device=device,
        budget=budget,
        artifacts=ArtifactStore(out / "artifacts", run.values["precision"], **components.artifact_code(run.values)),
        checkpoint=Checkpoint(run.folder / "weights.safetensors", budget.checkpoint_seconds),
        progress=progress,
    )
    method: Method = components.build(run.values["method"], run.values)
    return Subject(run, method, training_images(run, dataset, device), context)


def look_one(request: Request, cache: Path, progress: ProgressCallback, encoders: bool) -> Subject:
    """The one method of ``request``, with its first seed.

    BenchError, before anything is opened, unless it makes tasks, or, if ``encoders`` will do, sees through one.
    """
    configs = run_configs(request)
    one = configs[0]
    if len(configs) > 1:
        names = ", ".join(sorted({other.method_name for other in configs}))
        raise BenchError(f"a picture shows one method, not {len(configs)} ({names}); name one of them")
    if not (encoders and uses_encoder(one.values)):
        configs, _ = sampling_configs(request)
    else:
        Budget(**one.values["budget"])
        components.build(one.values["method"], one.values)
    device = resolve_device(request.device)
    check_precision_of(device, configs[0].values["precision"])
    dataset = open_dataset(configs[0].values, cache, progress)
    return look(plan(configs, dataset, request)[0], dataset, device, request.out, progress)


def _makes_no_tasks(names: list[str]) -> str:
    verb = "makes" if len(names) == 1 else "make"
    return f"{', '.join(names)} {verb} no synthetic tasks; choose a method that does, such as 'umtra-maml'"


def _with_generator() -> str:
    """For error messages: where a generator is to be found."""
    families = [
        name for name in catalogue.options("method") if "generator" in (catalogue.raw("method", name).get("uses") or ())
    ]
    names = [variant.name for variant in catalogue.variants().values() if variant.family in families]
    if not names:
        return "no method that is installed has one"
    return f"methods with a generator: {', '.join(f'{family}-*' for family in families)}, for example {names[0]!r}"
