"""A generator of the user's own: a file that holds one, or any importable callable that is one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from bench.basics.errors import BenchError
from bench.contracts import Context
from bench.datasets.images import UnlabelledImages
from bench.foreign import objects
from bench.foreign.formats import open_file, sha256
from bench.foreign.reading import user_path
from bench.foreign.roles import GENERATOR, Opened
from bench.training.work import UNKNOWN, include
from methods.generators.alive import check_alive
from methods.generators.foreign_generator import ExternalGenerator, Settings
from methods.generators.probe import probe

VERSION = 1
"""Raised whenever the same settings would make other images of the same generator."""


@dataclass(frozen=True)
class File(Settings):
    """The generator in a file: ``.pt2`` (torch.export), TorchScript (``.pt``, ``.ts``, ``.torchscript``), ``.onnx``.

    It maps latents [n, latent_dim] to images [n, C, H, W], in evaluation mode, for any n. A file never runs
    foreign code here: pickles are refused, see :mod:`bench.foreign.formats`. ``.onnx`` needs the extra
    ``[onnx]`` and runs on the CPU.
    """

    path: str | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.path, str):
            raise BenchError(f"generator.path must name a file such as my.pt2, not {self.path!r}")

    @staticmethod
    def digest(path: Any) -> str:
        """SHA-256 (hex) of the file: what makes another file another run. Nothing of it is opened."""
        return sha256(user_path(str(path)), GENERATOR)

    def obtain(self, images: UnlabelledImages, context: Context) -> ExternalGenerator:
        """The generator, checked; BenchError says in one sentence what is wrong with it, Diverged that it collapsed."""
        path = user_path(str(self.path))
        expected = self.sha256 or self.digest(path)
        opened = open_file(path, GENERATOR, expected, images.device)
        return adapted(self, f"generator file {path}", opened, images, context, file=path.name, sha256=expected)


@dataclass(frozen=True)
class Object(Settings):
    """The generator ``package.module:attribute``, importable from here or from the current folder.

    Naming one runs its code with your rights: that is your choice in the configuration, unlike opening a file.
    The attribute is a callable from latents [n, latent_dim] to images [n, C, H, W], a module (put into evaluation
    mode, moved to the device), or, where it needs no argument, a function or class that makes either.

    sha256 covers the name and the code behind it: its module, the packages round it, and what they import, directly or
    not, from the same folder. Not what is installed besides, nor what the code reads, such as weights: raise
    ``revision`` when those change, or finished runs are taken for current ones.
    """

    callable: str | None = None
    revision: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        objects.split(self.callable, GENERATOR)

    @staticmethod
    def digest(name: Any) -> str:
        """SHA-256 (hex) of the name and the code behind it, which is found, not run."""
        return objects.digest(name, GENERATOR)

    def obtain(self, images: UnlabelledImages, context: Context) -> ExternalGenerator:
        """The generator, checked; BenchError says in one sentence what is wrong with it, Diverged that it collapsed."""
        expected = self.sha256 or self.digest(self.callable)
        if self.digest(self.callable) != expected:
            raise BenchError(f"{self.callable} has changed since this run was planned; run the same command again")
        run = objects.imported(self.callable, GENERATOR, images.device)
        declared = getattr(run, "latent_dim", None)
        opened = Opened(run, (None, declared) if self.latent_dim is None and type(declared) is int else None)
        name = f"generator object {self.callable}"
        return adapted(self, name, opened, images, context, object=self.callable, sha256=expected)


def adapted(
    settings: Settings, name: str, opened: Opened, images: UnlabelledImages, context: Context, **facts: Any
) -> ExternalGenerator:
    """The checked generator of what was ``opened``; its facts are noted in the run's record."""
    declared = opened.shape[1] if opened.shape else None
    latent_dim = settings.latent_dim or declared
    if latent_dim is None:
        raise BenchError(f"{name} does not say how long its latents are; set generator.latent_dim=NUMBER")
    if declared not in (None, latent_dim):
        raise BenchError(
            f"{name} decodes latents of {declared} numbers, not generator.latent_dim={latent_dim}; "
            "leave that setting out"
        )
    generator = ExternalGenerator(settings, opened.run, latent_dim, images.shape, images.device)
    seed = context.seed.at("generator", "check")
    notes = {**facts, **probe(name, generator, seed.at("probe").generator(images.device))}
    notes["diversity"] = check_alive(name, generator, seed.generator(images.device), images)
    notes["outside_data"] = settings.outside_data
    context.note(generator=notes)
    include(UNKNOWN)
    return generator
