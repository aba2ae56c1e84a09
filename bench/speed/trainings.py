"""Rows: the training of generators and encoders, per step, beside the same step in plain PyTorch.

Ours are trained as a run trains them: built from their configuration, handed unlabelled images, with checkpoints and
progress. A step's seconds are read off the progress, so neither the first steps nor what follows the training counts.
"""

from __future__ import annotations

import itertools
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from bench.basics.seeds import Seed
from bench.contracts import Budget, Context
from bench.datasets.images import UnlabelledImages
from bench.planning import catalogue, components
from bench.speed.contest import OURS, PLAIN, Contest, Side
from bench.speed.peers import encoders, generators
from bench.training.artifacts import ArtifactStore
from bench.training.checkpoint import Checkpoint

CLUSTERS = 100
STEPS = {"cpu": 12, "cuda": 400}
"""Steps of ours in a round; PyTorch's side has enough with a few, for it does not warm up."""
PLAIN_STEPS = {"cpu": 5, "cuda": 100}


def contests(device: torch.device) -> list[Contest]:
    """``bfloat16`` is what MSGAN trains in by default where the processor multiplies it faster."""
    kinds: list[tuple[str, str, str, dict[str, Any], int, Callable[[torch.device], generators.Step], float]] = [
        ("VAE", "generator", "vae", {}, 128, generators.vae, 2.0),
        ("MSGAN, float32", "generator", "msgan", {"precision": "float32"}, 128, generators.msgan, 2.0),
        (
            "MSGAN, bfloat16 against float32",
            "generator",
            "msgan",
            {"precision": "bfloat16"},
            128,
            generators.msgan,
            0.0,
        ),
        ("ACAI", "encoder", "acai", {}, 64, encoders.acai, 0.0),
        ("BiGAN", "encoder", "bigan", {}, 128, encoders.bigan, 0.0),
        ("DeepCluster", "encoder", "deepcluster", {"clusters": CLUSTERS}, 256, _deepcluster, 0.0),
    ]
    return [
        Contest(f"{name}, step of {batch}", _sides(group, option, settings, batch, plain, device), target)
        for name, group, option, settings, batch, plain, target in kinds
    ]


def _deepcluster(device: torch.device) -> generators.Step:
    return encoders.deepcluster(device, CLUSTERS)


def _sides(
    group: str,
    option: str,
    settings: Mapping[str, Any],
    batch: int,
    plain: Callable[[torch.device], generators.Step],
    device: torch.device,
) -> Callable[[], Mapping[str, Side]]:
    def sides() -> dict[str, Side]:
        rng = torch.Generator().manual_seed(0)
        steps, few = (count[device.type] if device.type in count else count["cpu"] for count in (STEPS, PLAIN_STEPS))
        # One epoch, so that what happens between epochs does not count; on a GPU several, or images would fill it.
        each = min(steps, 60)
        pixels = torch.randint(0, 256, (each * batch, 1, 28, 28), generator=rng, dtype=torch.uint8).to(device)
        recipe = components.build({**catalogue.raw(group, option), **settings}, {})
        seeds, epochs = itertools.count(), steps // each
        step = plain(device)
        if device.type == "cuda":
            step(pixels[:batch].float() / 255)

        def ours() -> float:
            images = UnlabelledImages(pixels, "random")
            return seconds_a_step(recipe, option, images, epochs, next(seeds), device)

        def theirs() -> float:
            _wait(device)
            began = time.perf_counter()
            for i in range(few):
                start = i % each * batch
                step(pixels[start : start + batch].float() / 255)
            _wait(device)
            return (time.perf_counter() - began) / few

        return {OURS: ours, PLAIN: theirs}

    return sides


def seconds_a_step(
    recipe: Any, stage: str, images: UnlabelledImages, epochs: int, seed: int, device: torch.device
) -> float:
    """Train from scratch in a folder that goes away; the pace between the first and the last report of progress."""
    reports: list[tuple[float, int]] = [(time.perf_counter(), 0)]

    def progress(of: str, done: int, _: int, __: Mapping[str, float]) -> None:
        if of == stage:
            reports.append((time.perf_counter(), done))

    with tempfile.TemporaryDirectory(prefix="bench-speed-") as folder:
        context = Context(
            seed=Seed(seed),
            device=device,
            budget=Budget("speed", 0, epochs, epochs, checkpoint_seconds=3600.0),
            artifacts=ArtifactStore(Path(folder) / "artifacts"),
            checkpoint=Checkpoint(Path(folder) / "run.safetensors"),
            progress=progress,
            notes={},
        )
        recipe.obtain(images, context)
    told = [one for one in reports if one[1] > 0] if len(reports) > 2 else reports
    (began, first), (ended, last) = told[0], told[-1]
    return (ended - began) / (last - first)


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
