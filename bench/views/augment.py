"""Image augmentation with explicit randomness: parameters are drawn per image, never per batch.

Every function takes images [B, C, H, W] in [0, 1] and returns new images of that shape and range. What falls
into the image from outside is 0. dx is positive to the right, dy is positive downwards, both in pixels.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def uniform(n: int, low: float, high: float, rng: torch.Generator) -> Tensor:
    """``n`` draws of U(low, high) [n], on the generator's device."""
    return torch.rand(n, generator=rng, device=rng.device) * (high - low) + low


def random_shift(images: Tensor, limit: int, rng: torch.Generator, fill: float = 0.0) -> Tensor:
    """Move every image by whole pixels dx, dy ~ U{-limit, …, limit}; what it uncovers gets the value ``fill``."""
    n = len(images)
    dx, dy = torch.randint(-limit, limit + 1, (2, n), generator=rng, device=rng.device)
    return shift(images, dx, dy, fill)


def shift(images: Tensor, dx: Tensor, dy: Tensor, fill: float = 0.0) -> Tensor:
    """Move image b by whole pixels dx[b], dy[b] (int64 [B]); what it uncovers gets the value ``fill``."""
    n, _, height, width = images.shape
    columns = torch.arange(width, device=images.device) - dx[:, None]  # [B, W], where each column comes from
    rows = torch.arange(height, device=images.device) - dy[:, None]  # [B, H]
    inside = ((columns >= 0) & (columns < width))[:, None, :] & ((rows >= 0) & (rows < height))[:, :, None]
    image = torch.arange(n, device=images.device)[:, None, None]
    moved = images.permute(0, 2, 3, 1)[
        image, rows.clamp(0, height - 1)[:, :, None], columns.clamp(0, width - 1)[:, None, :]
    ]  # [B, H, W, C]
    return torch.where(inside[..., None], moved, fill).permute(0, 3, 1, 2).contiguous()


def random_pixel_mask(images: Tensor, drop: float, rng: torch.Generator) -> Tensor:
    """Set every pixel, in all its channels, to 0 with probability ``drop``."""
    n, _, height, width = images.shape
    kept = torch.rand(n, 1, height, width, generator=rng, device=rng.device) >= drop
    return images * kept


def random_subpixel_shift(images: Tensor, limit: float, rng: torch.Generator) -> Tensor:
    """Move every image by real dx, dy ~ U(-limit, limit) pixels, bilinear."""
    dx, dy = uniform(len(images), -limit, limit, rng), uniform(len(images), -limit, limit, rng)
    return subpixel_shift(images, dx, dy)


def subpixel_shift(images: Tensor, dx: Tensor, dy: Tensor) -> Tensor:
    """Move image b by dx[b], dy[b] pixels (real, [B]), bilinear."""
    n, _, height, width = images.shape
    matrix = torch.eye(2, 3, device=images.device).repeat(n, 1, 1)
    matrix[:, 0, 2] = -2 * dx / width
    matrix[:, 1, 2] = -2 * dy / height
    return warp(images, matrix)


def random_geometry(
    images: Tensor, shift: float, rotation: float, crop: float, flip: float, rng: torch.Generator
) -> Tensor:
    """Mirror, rotate, zoom in and move every image in one bilinear step.

    shift: dx, dy ~ U(-shift, shift), as a fraction of the side.
    rotation: angle ~ U(-rotation, rotation) degrees.
    crop: the side of the part that is blown up to the whole image, as a fraction ~ U(crop, 1).
    flip: probability of mirroring left and right.
    """
    n, _, height, width = images.shape
    angle = uniform(n, -rotation, rotation, rng).deg2rad()
    zoom = uniform(n, crop, 1, rng)
    mirror = 1 - 2 * (torch.rand(n, generator=rng, device=rng.device) < flip).float()
    cos, sin = zoom * angle.cos(), zoom * angle.sin()
    # Coordinates run from -1 to 1 along either side: the ratio of the sides keeps a rotation a rotation.
    matrix = torch.stack(
        [
            torch.stack([mirror * cos, -mirror * sin * (height / width), 2 * uniform(n, -shift, shift, rng)], 1),
            torch.stack([sin * (width / height), cos, 2 * uniform(n, -shift, shift, rng)], 1),
        ],
        dim=1,
    )
    return warp(images, matrix)


def warp(images: Tensor, matrix: Tensor) -> Tensor:
    """Pixel p in [-1, 1]^2 of new image b is the bilinear value at matrix[b] @ (p, 1); matrix [B, 2, 3]."""
    grid = F.affine_grid(matrix, list(images.shape), align_corners=False)
    # Four weights that should sum to 1 may exceed it by a rounding error.
    return F.grid_sample(images, grid, mode="bilinear", padding_mode="zeros", align_corners=False).clamp_(0, 1)


def random_colour(
    images: Tensor, brightness: float, contrast: float, saturation: float, rng: torch.Generator
) -> Tensor:
    """Scale brightness, contrast and saturation, in this order, by factors ~ U(1 - strength, 1 + strength).

    Contrast is about the image's mean grey; saturation, only of three-channel images, is about a pixel's
    grey.
    """
    factors = [uniform(len(images), 1 - s, 1 + s, rng) for s in (brightness, contrast, saturation)]
    return colour(images, *factors)


def colour(images: Tensor, brightness: Tensor, contrast: Tensor, saturation: Tensor) -> Tensor:
    """As :func:`random_colour` with factors [B] given; values are cut to [0, 1] after every step."""
    brightness, contrast, saturation = (f[:, None, None, None] for f in (brightness, contrast, saturation))
    images = (images * brightness).clamp_(0, 1)
    middle = grey(images).mean(dim=(1, 2, 3), keepdim=True)
    images = (middle + contrast * (images - middle)).clamp_(0, 1)
    if images.shape[1] != 3:
        return images
    luma = grey(images)
    return (luma + saturation * (images - luma)).clamp_(0, 1)


def grey(images: Tensor) -> Tensor:
    """Grey of every pixel [B, 1, H, W]: ITU-R BT.601 luma of RGB images, else the mean over channels."""
    if images.shape[1] != 3:
        return images.mean(dim=1, keepdim=True)
    # Filled on the device: a tensor of a list would be copied there, and everything would wait for it.
    weights = torch.stack([images.new_full((), share) for share in (0.299, 0.587, 0.114)]).view(1, 3, 1, 1)
    return (images * weights).sum(dim=1, keepdim=True)
