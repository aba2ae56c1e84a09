"""Whether a foreign generator is one: any batch size, images of the right kind and range, a function of the latent."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from bench.basics.errors import BenchError
from bench.foreign.probing import SIZES, any_batch_size, finite, steady
from bench.foreign.roles import GENERATOR
from methods.generators.foreign_generator import ExternalGenerator

SAMPLES = 256  # latents whose values must lie within the declared range
# In units of the width of that range:
BEYOND = 1e-3  # how far values may lie beyond it
SLIVER = 0.02  # values that fill less of the range than this were meant for another
CLIPPED = 0.05  # share of the values that ``clip`` may cut off


def probe(name: str, generator: ExternalGenerator, rng: torch.Generator) -> dict[str, Any]:
    """Decode a few latents; BenchError says in one sentence what is wrong and what would be right.

    Returns facts for the record: shape [c, h, w] of the raw images, lowest and highest raw value.
    """
    z = generator.sample_prior(max(SIZES), rng)
    made = any_batch_size(
        name,
        generator.raw,
        z,
        GENERATOR,
        lambda images: _is_batch_of_images(name, images),
        f"generator.latent_dim={generator.latent_dim} must be their length",
    )
    together = made[len(z)]
    _fits(name, generator, together)
    low, high = generator.settings.output_range
    steady(name, generator.raw, z, made, high - low, GENERATOR)
    lowest, highest = _in_range(name, generator, rng)
    return {"raw_shape": list(together.shape[1:]), "lowest": lowest, "highest": highest}


def _is_batch_of_images(name: str, images: Any) -> None:
    if not isinstance(images, Tensor):
        raise BenchError(f"{name} puts out {type(images).__name__}, not one tensor of images [n, C, H, W]")
    if images.ndim != 4:
        raise BenchError(f"{name} puts out {list(images.shape)}, not images [n, C, H, W] with four dimensions")


def _fits(name: str, generator: ExternalGenerator, images: Tensor) -> None:
    """Number format, gradients, channels and size of raw images [n, c, h, w]."""
    settings, (channels, *size) = generator.settings, generator.image_shape
    whole = images.dtype == torch.uint8 and list(settings.output_range) == [0, 255]
    if not (images.is_floating_point() or whole):
        raise BenchError(
            f"{name} puts out {str(images.dtype).removeprefix('torch.')}; images must be floating-point numbers, "
            "or uint8 with generator.output_range=[0,255]"
        )
    if images.requires_grad:
        raise BenchError(f"{name} switches gradients on while it decodes; leave torch.enable_grad out of it")
    found, *raw_size = images.shape[1:]
    convertible = settings.convert_channels and {found, channels} == {1, 3}
    if found != channels and not convertible:
        if {found, channels} == {1, 3}:
            hint = "; generator.convert_channels=true turns one into the other"
        elif images.shape[-1] in (1, 3):
            hint = "; put the channels second, [n, C, H, W]"
        else:
            hint = ""
        raise BenchError(f"{name} makes images of {found} channels but the dataset has {channels}{hint}")
    if raw_size != size and settings.resize == "none":
        raise BenchError(
            f"{name} makes images of {'x'.join(map(str, raw_size))} but the dataset has {'x'.join(map(str, size))}; "
            "generator.resize=bilinear or antialias would resize them"
        )


def _in_range(name: str, generator: ExternalGenerator, rng: torch.Generator) -> tuple[float, float]:
    """The lowest and highest raw value over SAMPLES latents."""
    low, high = generator.settings.output_range
    width = high - low
    lowest, highest, beyond, count = float("inf"), float("-inf"), 0, 0
    for part in generator.sample_prior(SAMPLES, rng).split(generator.settings.chunk):
        images = generator.raw(part).to(torch.float32)
        finite(name, images, GENERATOR)
        lowest, highest = min(lowest, float(images.min())), max(highest, float(images.max()))
        beyond += int(((images < low - BEYOND * width) | (images > high + BEYOND * width)).sum())
        count += images.numel()
    declared, seen = f"[{low:g},{high:g}]", f"{lowest:.4g} to {highest:.4g}"
    if beyond and not generator.settings.clip:
        raise BenchError(
            f"{name} puts out values from {seen}, beyond generator.output_range={declared}; declare the range it has, "
            "for example generator.output_range=[-1,1], or cut off a few strays with generator.clip=true"
        )
    if beyond > CLIPPED * count:
        raise BenchError(
            f"{name} puts out values from {seen}, and {100 * beyond / count:.0f} % of them lie beyond "
            f"generator.output_range={declared}, too many to clip; declare the range it has"
        )
    if highest - lowest < SLIVER * width:
        raise BenchError(
            f"{name} puts out values from {seen} only, a sliver of generator.output_range={declared}; declare the "
            "range it has, or see whether it makes anything at all"
        )
    return lowest, highest
