"""A generator that the harness did not train: what must be said of it, and images of the dataset's kind from it."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from bench.basics.errors import BenchError, did_you_mean

PRIORS = ("normal", "truncated_normal", "uniform", "sphere")
RESIZES = ("bilinear", "antialias", "none")
GREY = (0.299, 0.587, 0.114)  # ITU-R 601, as Pillow turns a dataset's colour images grey


@dataclass(frozen=True)
class Settings:
    """What the harness cannot know of a generator that it did not train.

    latent_dim: numbers in a latent; null where the file says it.
    prior: ``normal`` N(0, I); ``truncated_normal`` the same within ±2, each number by itself (BigGAN); ``uniform``
    on [-1, 1]; ``sphere`` uniform on the unit sphere.
    output_range: [low, high] of what it puts out, mapped to [0, 1]. Values beyond it are refused, or cut off with
    ``clip`` (networks without a final tanh or sigmoid; at most a twentieth of the values).
    resize: to the size of the dataset; ``bilinear`` takes two by two neighbours, as the authors of LASIUM did
    with TensorFlow; ``antialias`` widens the filter by the reduction; ``none`` refuses another size.
    convert_channels: turn colour into grey (ITU-R 601), or repeat grey, where the dataset has the other; else
    another number of channels is refused.
    chunk: images decoded at once; bounds memory.
    latent_norm: whether only the direction of a latent counts (ProGAN), so that neighbourhoods should be taken
    on the unit sphere. Only handed on, as an attribute of the generator.
    outside_data: whether it was trained on images from outside the dataset, which marks its rows on every
    leaderboard. The harness cannot know, so it says yes unless told otherwise, and the row's name shows that.
    sha256: of the content; filled in when a run is planned, or given to pin it.
    """

    latent_dim: int | None = None
    prior: str = "normal"
    output_range: Sequence[float] = (0.0, 1.0)
    clip: bool = False
    resize: str = "bilinear"
    convert_channels: bool = False
    chunk: int = 64
    latent_norm: bool = False
    outside_data: bool = True
    sha256: str | None = None

    def __post_init__(self) -> None:
        for name, known in (("prior", PRIORS), ("resize", RESIZES)):
            if (value := getattr(self, name)) not in known:
                hint = did_you_mean(str(value), known)
                raise BenchError(f"generator.{name} must be one of {', '.join(known)}, not {value!r}.{hint}")
        if self.latent_dim is not None and not (type(self.latent_dim) is int and self.latent_dim >= 1):
            raise BenchError(f"generator.latent_dim must be an integer of at least 1, not {self.latent_dim!r}")
        if not (type(self.chunk) is int and self.chunk >= 1):
            raise BenchError(f"generator.chunk must be an integer of at least 1, not {self.chunk!r}")
        ends = list(self.output_range)
        numbers = all(isinstance(end, int | float) and math.isfinite(end) for end in ends)
        if len(ends) != 2 or not numbers or not ends[0] < ends[1]:
            raise BenchError(f"generator.output_range must be [low, high], such as [-1,1], not {ends!r}")


class ExternalGenerator:
    """A :class:`bench.contracts.Generator` around any function from latents to images.

    image_shape: (C, H, W) of the dataset. latent_norm: see :class:`Settings`. Nothing here tracks gradients; memory
    is bounded by a chunk of images.
    """

    def __init__(
        self,
        settings: Settings,
        run: Callable[[Tensor], Any],
        latent_dim: int,
        image_shape: tuple[int, int, int],
        device: torch.device,
    ) -> None:
        self.settings, self.latent_dim, self.image_shape = settings, latent_dim, image_shape
        self.latent_norm = settings.latent_norm
        self._run, self._device = run, device

    def sample_prior(self, n: int, rng: torch.Generator) -> Tensor:
        """``n`` draws of the prior [n, latent_dim] on the generator's device."""
        shape, device = (n, self.latent_dim), rng.device
        if self.settings.prior == "normal":
            z = torch.randn(shape, generator=rng, device=device)
        elif self.settings.prior == "sphere":
            z = F.normalize(torch.randn(shape, generator=rng, device=device), dim=1)
        else:
            z = 2 * torch.rand(shape, generator=rng, device=device) - 1
            if self.settings.prior == "truncated_normal":  # the inverse of its distribution function
                z = math.sqrt(2) * torch.erfinv(z * math.erf(2 / math.sqrt(2)))
        return z.to(self._device)

    @torch.no_grad()
    def raw(self, z: Tensor) -> Any:
        """What the user's function makes of latents [n, latent_dim], as it is."""
        return self._run(z)

    @torch.no_grad()
    def decode(self, z: Tensor) -> Tensor:
        """Latents [n, latent_dim] -> images [n, C, H, W] in [0, 1]."""
        images = z.new_empty(len(z), *self.image_shape)
        for part, out in zip(z.split(self.settings.chunk), images.split(self.settings.chunk), strict=True):
            out.copy_(self._finished(self.raw(part)))
        return images

    def _finished(self, x: Tensor) -> Tensor:
        """Raw images [n, c, h, w] -> [n, C, H, W] in [0, 1]."""
        low, high = self.settings.output_range
        x = ((x.to(torch.float32) - low) / (high - low)).clamp(0.0, 1.0)
        channels, *size = self.image_shape
        if x.shape[1] == 3 and channels == 1:
            x = (x * x.new_tensor(GREY).view(1, 3, 1, 1)).sum(dim=1, keepdim=True)
        elif x.shape[1] == 1:
            x = x.expand(-1, channels, -1, -1)
        if list(x.shape[2:]) != size:
            smooth = self.settings.resize == "antialias"
            x = F.interpolate(x, size, mode="bilinear", align_corners=False, antialias=smooth)
        return x.clamp(0.0, 1.0)
