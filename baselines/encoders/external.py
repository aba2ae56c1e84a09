"""An encoder of the user's own: a file that holds one, or any importable callable that is one."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from bench.basics.errors import BenchError, Diverged, did_you_mean
from bench.contracts import Context
from bench.datasets.images import UnlabelledImages
from bench.foreign import objects
from bench.foreign.formats import open_file, sha256
from bench.foreign.probing import any_batch_size, finite, steady
from bench.foreign.reading import user_path
from bench.foreign.roles import ENCODER, Opened
from bench.training.work import UNKNOWN, include

VERSION = 1
"""Raised whenever the same settings would make other embeddings with the same encoder."""

RESIZES = ("bilinear", "antialias", "none")
GREY = (0.299, 0.587, 0.114)  # ITU-R 601, as Pillow turns a dataset's colour images grey
SAMPLES = 64  # images whose embeddings must not all be the same


@dataclass(frozen=True)
class Settings:
    """What the harness cannot know of an encoder that it did not train.

    input_range: [low, high] that it expects for black and white; images of [0, 1] are mapped to it.
    input_size: pixels a side that it takes; null where the file says it, or it takes the size of the dataset.
    resize: to that size; ``bilinear`` takes two by two neighbours, ``antialias`` widens the filter by the reduction,
    ``none`` refuses another size.
    input_channels: 1 or 3 that it takes; null where the file says it, or it takes those of the dataset. Grey images are
    repeated, colour images turned grey (ITU-R 601).
    chunk: images embedded at once; bounds memory.
    outside_data: whether it was trained on images from outside the dataset, which marks its rows on every
    leaderboard. The harness cannot know, so it says yes unless told otherwise, and the row's name shows that.
    sha256: of the content; filled in when a run is planned, or given to pin it.
    """

    input_range: Sequence[float] = (0.0, 1.0)
    input_size: int | None = None
    resize: str = "bilinear"
    input_channels: int | None = None
    chunk: int = 64
    outside_data: bool = True
    sha256: str | None = None

    def __post_init__(self) -> None:
        if self.resize not in RESIZES:
            hint = did_you_mean(str(self.resize), RESIZES)
            raise BenchError(f"encoder.resize must be one of {', '.join(RESIZES)}, not {self.resize!r}.{hint}")
        for name in ("input_size", "chunk"):
            value = getattr(self, name)
            if not (type(value) is int and value >= 1) and (name, value) != ("input_size", None):
                raise BenchError(f"encoder.{name} must be an integer of at least 1, not {value!r}")
        if self.input_channels not in (None, 1, 3):
            raise BenchError(f"encoder.input_channels must be 1, 3 or null, not {self.input_channels!r}")
        ends = list(self.input_range)
        numbers = all(isinstance(end, int | float) and math.isfinite(end) for end in ends)
        if len(ends) != 2 or not numbers or not ends[0] < ends[1]:
            raise BenchError(f"encoder.input_range must be [low, high], such as [-1,1], not {ends!r}")

    def adapted(
        self, name: str, opened: Opened, images: UnlabelledImages, context: Context, **facts: Any
    ) -> ExternalEncoder:
        """The checked encoder of what was ``opened``; its facts are noted in the run's record."""
        shape = self._input_shape(name, opened, images.shape)
        encoder = ExternalEncoder(self, opened.run, shape)
        rng = context.seed.at("encoder", "check").generator(images.device)
        x = images.take(torch.randint(len(images), (SAMPLES,), generator=rng, device=images.device))
        encoder.dim = probe(name, encoder, x)
        context.note(encoder={**facts, "input": list(shape), "dim": encoder.dim, "outside_data": self.outside_data})
        include(UNKNOWN)
        return encoder

    def _input_shape(self, name: str, opened: Opened, dataset: tuple[int, int, int]) -> tuple[int, int, int]:
        """[C, H, W] of what the encoder takes: by the settings, else the file, else the dataset."""
        declared = opened.shape[1:] if opened.shape else (None, None, None)
        given = self.input_channels, self.input_size, self.input_size
        for key, said, set_to in zip(("channels", "size", "size"), declared, given):
            if None not in (said, set_to) and said != set_to:
                raise BenchError(f"{name} takes {key} {said}, not encoder.input_{key}={set_to}; leave that setting out")
        channels, height, width = (a or b or c for a, b, c in zip(given, declared, dataset))
        if {channels, dataset[0]} not in ({1}, {3}, {1, 3}) and channels != dataset[0]:
            raise BenchError(f"{name} takes images of {channels} channels but the dataset has {dataset[0]}")
        if (height, width) != dataset[1:] and self.resize == "none":
            raise BenchError(
                f"{name} takes images of {height}x{width} but the dataset has {dataset[1]}x{dataset[2]}; "
                "encoder.resize=bilinear or antialias would resize them"
            )
        return channels, height, width


@dataclass(frozen=True)
class File(Settings):
    """The encoder in a file: ``.pt2`` (torch.export), TorchScript (``.pt``, ``.ts``, ``.torchscript``), ``.onnx``.

    It maps images [n, C, H, W] to embeddings [n, d], in evaluation mode, for any n. A file never runs foreign code
    here: pickles are refused, see :mod:`bench.foreign.formats`. ``.onnx`` needs the extra ``[onnx]`` and runs on the
    CPU.
    """

    path: str | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.path, str):
            raise BenchError(f"encoder.path must name a file such as my.pt2, not {self.path!r}")

    @staticmethod
    def digest(path: Any) -> str:
        """SHA-256 (hex) of the file: what makes another file another run. Nothing of it is opened."""
        return sha256(user_path(str(path)), ENCODER)

    def obtain(self, images: UnlabelledImages, context: Context) -> ExternalEncoder:
        """The encoder, checked; BenchError says in one sentence what is wrong with it, Diverged that it collapsed."""
        path = user_path(str(self.path))
        expected = self.sha256 or self.digest(path)
        opened = open_file(path, ENCODER, expected, images.device)
        return self.adapted(f"encoder file {path}", opened, images, context, file=path.name, sha256=expected)


@dataclass(frozen=True)
class Object(Settings):
    """The encoder ``package.module:attribute``, importable from here or from the current folder.

    Naming one runs its code with your rights: that is your choice in the configuration, unlike opening a file.
    The attribute is a callable from images [n, C, H, W] to embeddings [n, d], a module (put into evaluation mode,
    moved to the device), or, where it needs no argument, a function or class that makes either.

    sha256 covers the name and the code behind it: its module, the packages round it, and what they import, directly or
    not, from the same folder. Not what is installed besides, nor what the code reads, such as weights: raise
    ``revision`` when those change, or finished runs are taken for current ones.
    """

    callable: str | None = None
    revision: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        objects.split(self.callable, ENCODER)

    @staticmethod
    def digest(name: Any) -> str:
        """SHA-256 (hex) of the name and the code behind it, which is found, not run."""
        return objects.digest(name, ENCODER)

    def obtain(self, images: UnlabelledImages, context: Context) -> ExternalEncoder:
        """The encoder, checked; BenchError says in one sentence what is wrong with it, Diverged that it collapsed."""
        expected = self.sha256 or self.digest(self.callable)
        if self.digest(self.callable) != expected:
            raise BenchError(f"{self.callable} has changed since this run was planned; run the same command again")
        opened = Opened(objects.imported(self.callable, ENCODER, images.device))
        name = f"encoder object {self.callable}"
        return self.adapted(name, opened, images, context, object=self.callable, sha256=expected)


class ExternalEncoder:
    """A :class:`bench.contracts.Encoder` around any function from images to embeddings. Tracks no gradients.

    input_shape: (C, H, W) that the function takes. dim: 0 until it has been probed.
    """

    def __init__(
        self, settings: Settings, run: Callable[[Tensor], Any], input_shape: tuple[int, int, int], dim: int = 0
    ) -> None:
        self.settings, self.input_shape, self.dim = settings, input_shape, dim
        self._run = run

    @torch.no_grad()
    def raw(self, x: Tensor) -> Any:
        """What the user's function makes of images as it expects them, as it is."""
        return self._run(x)

    def encode(self, x: Tensor) -> Tensor:
        """Images [B, C, H, W] in [0, 1] -> embeddings [B, dim], float32."""
        return torch.cat([self.raw(self.prepared(part)).float() for part in x.split(self.settings.chunk)])

    def prepared(self, x: Tensor) -> Tensor:
        """Images of the dataset in [0, 1] -> as the function expects them."""
        channels, *size = self.input_shape
        if x.shape[1] == 3 and channels == 1:
            x = (x * x.new_tensor(GREY).view(1, 3, 1, 1)).sum(dim=1, keepdim=True)
        elif x.shape[1] == 1 and channels == 3:
            x = x.expand(-1, channels, -1, -1)
        if list(x.shape[2:]) != size:
            smooth = self.settings.resize == "antialias"
            x = F.interpolate(x, size, mode="bilinear", align_corners=False, antialias=smooth)
        low, high = self.settings.input_range
        return (low + (high - low) * x.clamp(0.0, 1.0)).contiguous()


def probe(name: str, encoder: ExternalEncoder, x: Tensor) -> int:
    """The length of the embeddings of images x [SAMPLES, C, H, W] in [0, 1].

    BenchError says in one sentence what is wrong and what would be right; Diverged that all embeddings are the same.
    """
    x = encoder.prepared(x)
    made = any_batch_size(
        name,
        encoder.raw,
        x,
        ENCODER,
        lambda found: _is_batch_of_vectors(name, found),
        "encoder.input_size and encoder.input_channels must be those that it takes",
    )
    parts = [encoder.raw(part) for part in x.split(encoder.settings.chunk)]
    for part in parts:
        finite(name, part, ENCODER)
    every = torch.cat(parts).float()
    width = float(every.max() - every.min())
    if float(every.std(dim=0).max()) <= 1e-6 * max(width, float(every.abs().max())):
        raise Diverged(f"{name}: it collapsed, {len(x)} images have the same embedding")
    steady(name, encoder.raw, x, made, width, ENCODER)
    return every.shape[1]


def _is_batch_of_vectors(name: str, found: Any) -> None:
    if not isinstance(found, Tensor):
        raise BenchError(f"{name} puts out {type(found).__name__}, not one tensor of embeddings [n, d]")
    if found.ndim != 2:
        hint = "; flatten them" if found.ndim == 4 else ""
        raise BenchError(f"{name} puts out {list(found.shape)}, not embeddings [n, d] with two dimensions{hint}")
    if not found.is_floating_point():
        kind = str(found.dtype).removeprefix("torch.")
        raise BenchError(f"{name} puts out {kind}; embeddings must be floating-point numbers")
    if found.requires_grad:
        raise BenchError(f"{name} switches gradients on; leave torch.enable_grad out of it")
