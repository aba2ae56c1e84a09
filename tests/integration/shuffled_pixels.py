"""A look for leaks: bench, whose methods train on images with all pixels of each shuffled.

    python tests/integration/shuffled_pixels.py run umtra-maml --dataset omniglot --no-references --out shuffled

Nothing is left in such images that tells classes apart, so a method that is trained on them and still does well on the
real tasks owes that to its network, or to a leak; and one that does as well without this training has not learned from
it. For one worker: runs in processes of their own would see the real images. The records look like those of honest
runs, so give them a folder of their own and delete it.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch

import bench.running.run as running
from bench.cli import main
from bench.datasets.images import LabelledImages, UnlabelledImages

honest = running.training_images


def shuffled(images: UnlabelledImages | LabelledImages, seed: int = 0) -> UnlabelledImages | LabelledImages:
    """The same images, the pixels of each in an order of its own; the colours of a pixel stay together."""
    pixels = images.pixels.flatten(2)
    draws = torch.rand(len(pixels), pixels.shape[2], generator=torch.Generator().manual_seed(seed))
    order = draws.argsort(1)[:, None].expand(pixels.shape).to(pixels.device)
    moved = pixels.gather(2, order).reshape(images.pixels.shape)
    return replace(images, pixels=moved, fingerprint=f"shuffled-{seed}-{images.fingerprint}")


def _shuffled_images(*arguments: Any) -> UnlabelledImages | LabelledImages:
    return shuffled(honest(*arguments))


if __name__ == "__main__":
    running.training_images = _shuffled_images
    main()
