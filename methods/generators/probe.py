"""Whether a foreign generator is one: any batch size, images of the right kind and range, a function of the latent."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from bench.errors import BenchError

if TYPE_CHECKING:
    from methods.generators.external import ExternalGenerator

SIZES = (3, 2, 1)  # batch sizes that must work
SAMPLES = 256  # latents whose values must lie within the declared range
# In units of the width of that range:
BEYOND = 1e-3  # how far values may lie beyond it
UNEQUAL = 5e-3  # how far an image may depend on its batch: reduced precision does not come so far
REPEATED = 1e-5  # how far two decodings of one batch may differ
SLIVER = 0.02  # values that fill less of the range than this were meant for another
CLIPPED = 0.05  # share of the values that ``clip`` may cut off


def probe(name: str, generator: ExternalGenerator, rng: torch.Generator) -> dict[str, Any]:
    """Decode a few latents; BenchError says in one sentence what is wrong and what would be right.

    Returns facts for the record: shape [c, h, w] of the raw images, lowest and highest raw value.
    """
    z = generator.sample_prior(max(SIZES), rng)
    made = _any_batch_size(name, generator, z)
    together = made[len(z)]
    for images in made.values():
        _finite(name, images)
    _fits(name, generator, together)
    low, high = generator.settings.output_range
    width = high - low
    again = generator.raw(z)
    if _apart(again, together) > REPEATED * width:
        raise BenchError(
            f"{name} is not deterministic: two decodings of the same latents differ by {_apart(again, together):.3g}; "
            "export it in evaluation mode (model.eval()), with any noise inside it fixed"
        )
    apart = max(_apart(images, together[: len(images)]) for images in made.values())
    if apart > UNEQUAL * width:
        raise BenchError(
            f"{name} decodes a latent differently beside others (by up to {apart:.3g}): its batch norm uses the batch; "
            "export it in evaluation mode (model.eval())"
        )
    lowest, highest = _in_range(name, generator, rng)
    return {"raw_shape": list(together.shape[1:]), "lowest": lowest, "highest": highest}


def _any_batch_size(name: str, generator: ExternalGenerator, z: Tensor) -> dict[int, Tensor]:
    """The raw images of the first 1, 2 and 3 latents."""
    made: dict[int, Tensor] = {}
    failed: dict[int, Exception] = {}
    for n in SIZES:
        try:
            images = generator.raw(z[:n])
        except Exception as error:
            failed[n] = error
        else:
            _is_batch_of_images(name, images)
            if len(images) == n:
                made[n] = images
            else:
                failed[n] = ValueError(f"{len(images)} images came out")
    if not failed:
        return made
    n, error = next(iter(failed.items()))
    reason = f"{type(error).__name__}: {(str(error).splitlines() or [''])[0][:160]}"
    if any("when training" in str(one) for one in failed.values()):
        raise BenchError(f"{name} is in training mode: its batch norm uses the batch; call model.eval() first")
    if made:
        good = " and ".join(map(str, sorted(made)))
        raise BenchError(
            f"{name} decodes {good} latents at once but not {n} ({reason}); it must take batches of any size, so make "
            'its first dimension dynamic: dynamic_shapes=({0: torch.export.Dim("n")},)'
        )
    raise BenchError(
        f"{name} cannot decode latents [{n}, {generator.latent_dim}] ({reason}); it must take float32 latents "
        f"[n, latent_dim] for any n, and generator.latent_dim={generator.latent_dim} must be their length"
    )


def _is_batch_of_images(name: str, images: Any) -> None:
    if not isinstance(images, Tensor):
        raise BenchError(f"{name} puts out {type(images).__name__}, not one tensor of images [n, C, H, W]")
    if images.ndim != 4:
        raise BenchError(f"{name} puts out {list(images.shape)}, not images [n, C, H, W] with four dimensions")


def _finite(name: str, images: Tensor) -> None:
    if not bool(images.isfinite().all()):
        raise BenchError(f"{name} puts out NaN or infinite values; every pixel must be a finite number")


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
        _finite(name, images)
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


def _apart(a: Tensor, b: Tensor) -> float:
    return float((a.to(torch.float32) - b.to(torch.float32)).abs().max())
