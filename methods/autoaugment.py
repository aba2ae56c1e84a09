"""AutoAugment (Cubuk et al. 2019): learned policies, each image its own sub-policy, all images of a batch at once.

A policy is 25 sub-policies of two operations. Every image draws one sub-policy uniformly; each of its operations is
applied with its probability, at its magnitude 0 … 9: ten evenly spaced values of the range in Table 6 of the paper.

=============================  =========================================================  ========================
operation                      magnitude 0 … 9                                            sign
=============================  =========================================================  ========================
shear_x, shear_y               0 … 0.3                                                    either, with equal chance
translate_x, translate_y       0 … 150/331 of the side, in whole pixels                   either, with equal chance
rotate                         0 … 30 degrees                                             either, with equal chance
color, contrast, brightness,   factor 0.1 … 1.9: 1 changes nothing                        –
sharpness
posterize                      8 … 4 bits are kept                                        –
solarize                       256 … 0: levels from there on are inverted                 –
autocontrast, equalize,        none                                                       –
invert
=============================  =========================================================  ========================

The operations are those of Pillow, in whole levels 0 … 255, as in the published code of Cubuk et al.; geometry takes
the nearest pixel, and what comes from outside is grey (128), as in their ImageNet code.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from bench.basics.errors import BenchError

Step = tuple[str, float, int]
"""Operation, probability, magnitude (which autocontrast, equalize and invert do not use)."""
Policy = tuple[tuple[Step, Step], ...]

GREY = 128.0  # what lies outside an image

# Cubuk et al. 2019, Table 9.
IMAGENET: Policy = (
    (("posterize", 0.4, 8), ("rotate", 0.6, 9)),
    (("solarize", 0.6, 5), ("autocontrast", 0.6, 0)),
    (("equalize", 0.8, 0), ("equalize", 0.6, 0)),
    (("posterize", 0.6, 7), ("posterize", 0.6, 6)),
    (("equalize", 0.4, 0), ("solarize", 0.2, 4)),
    (("equalize", 0.4, 0), ("rotate", 0.8, 8)),
    (("solarize", 0.6, 3), ("equalize", 0.6, 0)),
    (("posterize", 0.8, 5), ("equalize", 1.0, 0)),
    (("rotate", 0.2, 3), ("solarize", 0.6, 8)),
    (("equalize", 0.6, 0), ("posterize", 0.4, 6)),
    (("rotate", 0.8, 8), ("color", 0.4, 0)),
    (("rotate", 0.4, 9), ("equalize", 0.6, 0)),
    (("equalize", 0.0, 0), ("equalize", 0.8, 0)),
    (("invert", 0.6, 0), ("equalize", 1.0, 0)),
    (("color", 0.6, 4), ("contrast", 1.0, 8)),
    (("rotate", 0.8, 8), ("color", 1.0, 2)),
    (("color", 0.8, 8), ("solarize", 0.8, 7)),
    (("sharpness", 0.4, 7), ("invert", 0.6, 0)),
    (("shear_x", 0.6, 5), ("equalize", 1.0, 0)),
    (("color", 0.4, 0), ("equalize", 0.6, 0)),
    (("equalize", 0.4, 0), ("solarize", 0.2, 4)),
    (("solarize", 0.6, 5), ("autocontrast", 0.6, 0)),
    (("invert", 0.6, 0), ("equalize", 1.0, 0)),
    (("color", 0.6, 4), ("contrast", 1.0, 8)),
    (("equalize", 0.8, 0), ("equalize", 0.6, 0)),
)

# Cubuk et al. 2019, Table 7.
CIFAR10: Policy = (
    (("invert", 0.1, 0), ("contrast", 0.2, 6)),
    (("rotate", 0.7, 2), ("translate_x", 0.3, 9)),
    (("sharpness", 0.8, 1), ("sharpness", 0.9, 3)),
    (("shear_y", 0.5, 8), ("translate_y", 0.7, 9)),
    (("autocontrast", 0.5, 0), ("equalize", 0.9, 0)),
    (("shear_y", 0.2, 7), ("posterize", 0.3, 7)),
    (("color", 0.4, 3), ("brightness", 0.6, 7)),
    (("sharpness", 0.3, 9), ("brightness", 0.7, 9)),
    (("equalize", 0.6, 0), ("equalize", 0.5, 0)),
    (("contrast", 0.6, 7), ("sharpness", 0.6, 5)),
    (("color", 0.7, 7), ("translate_x", 0.5, 8)),
    (("equalize", 0.3, 0), ("autocontrast", 0.4, 0)),
    (("translate_y", 0.4, 3), ("sharpness", 0.2, 6)),
    (("brightness", 0.9, 6), ("color", 0.2, 8)),
    (("solarize", 0.5, 2), ("invert", 0.0, 0)),
    (("equalize", 0.2, 0), ("autocontrast", 0.6, 0)),
    (("equalize", 0.2, 0), ("equalize", 0.6, 0)),
    (("color", 0.9, 9), ("equalize", 0.6, 0)),
    (("autocontrast", 0.8, 0), ("solarize", 0.2, 8)),
    (("brightness", 0.1, 3), ("color", 0.7, 0)),
    (("solarize", 0.4, 5), ("autocontrast", 0.9, 0)),
    (("translate_y", 0.9, 9), ("translate_y", 0.7, 9)),
    (("autocontrast", 0.9, 0), ("solarize", 0.8, 3)),
    (("equalize", 0.8, 0), ("invert", 0.1, 0)),
    (("translate_y", 0.7, 9), ("autocontrast", 0.9, 0)),
)

POLICIES: Mapping[str, Policy] = {"imagenet": IMAGENET, "cifar10": CIFAR10}


def random_policy(images: Tensor, policy: Policy, rng: torch.Generator) -> Tensor:
    """Images [B, C, H, W] in [0, 1], C 1 or 3 -> every one changed by a sub-policy of its own, drawn from ``rng``.

    Waits for the device once, to learn which images share an operation.
    """
    count, channels = images.shape[:2]
    if channels not in (1, 3):
        raise BenchError(f"autoaugment is for images of 1 or 3 channels, not {channels}")
    device = rng.device
    which = torch.randint(len(policy), (count,), generator=rng, device=device).tolist()
    chance, sign = torch.rand(2, count, 2, generator=rng, device=device, dtype=torch.float64).tolist()
    levels = (images * 255).round()
    for slot in (0, 1):
        rows: dict[str, tuple[list[int], list[float]]] = {}
        for image, chosen in enumerate(which):
            name, probability, magnitude = policy[chosen][slot]
            if chance[image][slot] < probability:
                indices, values = rows.setdefault(name, ([], []))
                indices.append(image)
                values.append(amount(name, magnitude, sign[image][slot] < 0.5, images.shape[-2:]))
        for name, (indices, values) in rows.items():
            index = torch.tensor(indices, device=images.device)
            strength = torch.tensor(values, device=images.device, dtype=torch.float64)
            levels[index] = OPERATIONS[name](levels[index], strength)
    return levels / 255


def amount(name: str, magnitude: int, negative: bool, size: tuple[int, int]) -> float:
    """What a magnitude 0 … 9 means to an operation on images of ``size`` (height, width)."""
    share = magnitude / 9
    if name in ("color", "contrast", "brightness", "sharpness"):
        return 0.1 + 1.8 * share
    if name == "posterize":
        return float(round(8 - 4 * share))
    if name == "solarize":
        return 256 * (1 - share)
    reach = {
        "shear_x": 0.3 * share,
        "shear_y": 0.3 * share,
        "translate_x": float(round(share * 150 / 331 * size[1])),
        "translate_y": float(round(share * 150 / 331 * size[0])),
        "rotate": 30 * share,
    }.get(name, 0.0)
    return -reach if negative else reach


# ---------------------------------------------------------------------------------------------- operations
# All take and return levels [n, C, H, W]: whole numbers 0 … 255 as floats; ``amount`` is float64 [n].


def invert(levels: Tensor, amount: Tensor) -> Tensor:
    """Level v becomes 255 - v; ``amount`` is not used."""
    return 255 - levels


def solarize(levels: Tensor, amount: Tensor) -> Tensor:
    """Invert levels of ``amount`` and above."""
    return torch.where(levels < _each(amount), levels, 255 - levels)


def posterize(levels: Tensor, amount: Tensor) -> Tensor:
    """Keep the ``amount`` highest of 8 bits."""
    step = _each(2 ** (8 - amount)).to(levels.dtype)
    return (levels / step).floor() * step


def autocontrast(levels: Tensor, amount: Tensor) -> Tensor:
    """Stretch every channel so that its darkest level is 0 and its lightest 255; ``amount`` is not used."""
    low, high = (f(levels.double(), dim=(2, 3), keepdim=True) for f in (torch.amin, torch.amax))
    scale = 255 / (high - low).clamp_min(1)
    stretched = (levels * scale - low * scale).clamp(0, 255).floor()
    return torch.where(high > low, stretched, levels.double()).to(levels.dtype)


def equalize(levels: Tensor, amount: Tensor) -> Tensor:
    """Make the levels of every channel equally frequent, as far as that goes; ``amount`` is not used."""
    flat = levels.flatten(2).long()
    counts = torch.zeros(*flat.shape[:2], 256, dtype=torch.int64, device=levels.device)
    counts.scatter_add_(2, flat, torch.ones_like(flat))
    ranks = torch.arange(256, device=levels.device)
    last = torch.where(counts > 0, ranks, 0).amax(2, keepdim=True)
    step = (flat.shape[2] - counts.gather(2, last)) // 255
    before = counts.cumsum(2) - counts
    table = ((before + step // 2) // step.clamp_min(1)).clamp_max(255)
    table = torch.where(step > 0, table, ranks)  # too few pixels, or a single level
    return table.gather(2, flat).view(levels.shape).to(levels.dtype)


def brightness(levels: Tensor, amount: Tensor) -> Tensor:
    """Black at factor 0."""
    return _blend(torch.zeros_like(levels), levels, amount)


def contrast(levels: Tensor, amount: Tensor) -> Tensor:
    """The mean grey of the image at factor 0."""
    middle = (_luma(levels).double().mean(dim=(1, 2, 3), keepdim=True) + 0.5).floor().to(levels.dtype)
    return _blend(middle.expand_as(levels), levels, amount)


def color(levels: Tensor, amount: Tensor) -> Tensor:
    """The grey image at factor 0."""
    return _blend(_luma(levels).expand_as(levels), levels, amount)


def sharpness(levels: Tensor, amount: Tensor) -> Tensor:
    """The smoothed image at factor 0: every pixel 5/13 of itself and 1/13 of each neighbour; the rim stays."""
    if min(levels.shape[-2:]) < 3:
        return levels
    kernel = torch.full((1, 1, 3, 3), 1.0, device=levels.device, dtype=levels.dtype)
    kernel[..., 1, 1] = 5
    smooth = levels.clone()
    inner = F.conv2d(levels.flatten(0, 1).unsqueeze(1), kernel) / 13
    smooth[..., 1:-1, 1:-1] = (inner + 0.5).floor().view(*levels.shape[:2], *inner.shape[-2:])
    return _blend(smooth, levels, amount)


def shear_x(levels: Tensor, amount: Tensor) -> Tensor:
    """The pixel at x comes from x + amount * y."""
    return _affine(levels, (1, amount, 0), (0, 1, 0))


def shear_y(levels: Tensor, amount: Tensor) -> Tensor:
    """The pixel at y comes from y + amount * x."""
    return _affine(levels, (1, 0, 0), (amount, 1, 0))


def translate_x(levels: Tensor, amount: Tensor) -> Tensor:
    """The pixel at x comes from x + amount."""
    return _affine(levels, (1, 0, amount), (0, 1, 0))


def translate_y(levels: Tensor, amount: Tensor) -> Tensor:
    """The pixel at y comes from y + amount."""
    return _affine(levels, (1, 0, 0), (0, 1, amount))


def rotate(levels: Tensor, amount: Tensor) -> Tensor:
    """By ``amount`` degrees about the centre, anti-clockwise."""
    height, width = levels.shape[-2:]
    cos, sin = amount.deg2rad().cos(), amount.deg2rad().sin()
    x, y = width / 2, height / 2
    return _affine(levels, (cos, -sin, x - cos * x + sin * y), (sin, cos, y - sin * x - cos * y))


OPERATIONS: Mapping[str, Callable[[Tensor, Tensor], Tensor]] = {
    operation.__name__: operation
    for operation in (
        *(shear_x, shear_y, translate_x, translate_y, rotate),
        *(autocontrast, invert, equalize, solarize, posterize),
        *(contrast, color, brightness, sharpness),
    )
}


def _each(amount: Tensor) -> Tensor:
    return amount[:, None, None, None]


def _blend(zero: Tensor, one: Tensor, factor: Tensor) -> Tensor:
    """From ``zero`` at factor 0 through ``one`` at factor 1, on to 2; cut to whole levels."""
    return (zero + _each(factor).to(one.dtype) * (one - zero)).clamp(0, 255).floor()


def _luma(levels: Tensor) -> Tensor:
    """Grey [n, 1, H, W] (ITU-R 601-2), in the 16-bit fixed point of Pillow."""
    if levels.shape[1] == 1:
        return levels
    red, green, blue = levels.long().unbind(1)
    return ((19595 * red + 38470 * green + 7471 * blue + 0x8000) >> 16).unsqueeze(1).to(levels.dtype)


Row = tuple[Tensor | float, Tensor | float, Tensor | float]


def _affine(levels: Tensor, x_row: Row, y_row: Row) -> Tensor:
    """The pixel at (x, y) is that at (a·x + b·y + c, d·x + e·y + f), rows (a, b, c) and (d, e, f), nearest neighbour.

    Pixel (i, j) has its centre at (i + 0.5, j + 0.5).
    """
    count, channels, height, width = levels.shape
    x = torch.arange(width, device=levels.device, dtype=torch.float64)[None, None, :] + 0.5
    y = torch.arange(height, device=levels.device, dtype=torch.float64)[None, :, None] + 0.5

    def source(row: Row) -> Tensor:
        a, b, c = (value[:, None, None] if isinstance(value, Tensor) else value for value in row)
        return (a * x + b * y + c).floor().expand(count, height, width)

    column, line = source(x_row), source(y_row)
    inside = (column >= 0) & (column < width) & (line >= 0) & (line < height)
    index = (line.clamp(0, height - 1) * width + column.clamp(0, width - 1)).long()
    moved = levels.flatten(2).gather(2, index.flatten(1)[:, None].expand(-1, channels, -1)).view(levels.shape)
    return torch.where(inside[:, None], moved, GREY)
