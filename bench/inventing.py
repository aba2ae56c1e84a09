"""The task sampler of a method, made as in its training but outside a run, to look at what it invents."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from bench import catalogue, config
from bench import run as running
from bench.artifacts import ArtifactStore
from bench.checkpoint import Checkpoint
from bench.config import RunConfig
from bench.contracts import (
    Budget,
    Context,
    Generator,
    LatentSampler,
    ProgressCallback,
    SamplingMethod,
    TaskSampler,
    TaskSpec,
)
from bench.datasets.images import LabelledImages, UnlabelledImages
from bench.datasets.source import Dataset
from bench.errors import BenchError, Diverged
from bench.plan import PlannedRun, Request, planned_runs, run_configs
from bench.seeds import Seed


@dataclass(frozen=True, slots=True)
class Invention:
    """A sampler and where it comes from. ``images`` are those that the method saw."""

    run: PlannedRun
    sampler: TaskSampler
    images: UnlabelledImages | LabelledImages
    spec: TaskSpec
    device: torch.device

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


def inventing_configs(request: Request) -> tuple[list[RunConfig], list[str]]:
    """The methods of a request that make tasks, and the names of the others. Checks every setting.

    BenchError where none does.
    """
    found, others = [], []
    for one in run_configs(request):
        method = config.build(one.values["method"], one.values)
        Budget(**one.values["budget"])
        TaskSpec(**one.values["train"])
        if isinstance(method, SamplingMethod):
            found.append(one)
        else:
            others.append(one.method_name)
    if not found:
        verb = "invents" if len(others) == 1 else "invent"
        raise BenchError(f"{', '.join(others)} {verb} no tasks; choose a method that does, such as 'umtra-maml'")
    return found, others


def plan(configs: list[RunConfig], dataset: Dataset, request: Request) -> list[PlannedRun]:
    """One for each method and training seed, in the folders that ``bench run`` would use."""
    return planned_runs(configs, dataset.content_hash, request.seeds, request.out)


def invent(run: PlannedRun, dataset: Dataset, device: torch.device, out: Path, progress: ProgressCallback) -> Invention:
    """The sampler of one run; its generator or encoder is trained, or read from the store below ``out``.

    BenchError, too, where that training diverges.
    """
    budget = Budget(**run.values["budget"])
    context = Context(
        seed=Seed(run.seed),
        device=device,
        budget=budget,
        artifacts=ArtifactStore(out / "artifacts"),
        checkpoint=Checkpoint(run.folder / "weights.safetensors", budget.checkpoint_seconds),
        progress=progress,
    )
    method: SamplingMethod = config.build(run.values["method"], run.values)
    images = running.training_images(run, dataset, device)
    try:
        sampler = method.sampler(images, context)
    except Diverged as error:
        raise BenchError(str(error)) from error
    return Invention(run, sampler, images, TaskSpec(**run.values["train"]), device)


def invent_one(request: Request, cache: Path, progress: ProgressCallback) -> Invention:
    """The sampler of the first method and seed of ``request``."""
    configs, _ = inventing_configs(request)
    device = running.resolve_device(request.device)
    dataset = running.open_dataset(configs[0].values, cache, progress)
    return invent(plan(configs, dataset, request)[0], dataset, device, request.out, progress)


def _with_generator() -> str:
    """For error messages: where a generator is to be found."""
    families = [
        name for name in catalogue.options("method") if "generator" in (catalogue.raw("method", name).get("uses") or ())
    ]
    names = [variant.name for variant in catalogue.variants().values() if variant.family in families]
    if not names:
        return "no method that is installed has one"
    return f"methods with a generator: {', '.join(f'{family}-*' for family in families)}, for example {names[0]!r}"
