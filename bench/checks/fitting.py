"""What ``fit`` must leave alone: labels that it was not given, and the images that it was."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator

import torch

from bench.basics.errors import BenchError
from bench.checks.finding import Finding
from bench.datasets.images import LabelledImages, UnlabelledImages

ROWS = 256
"""Images that are looked at before and after a training, evenly spread over all."""


@contextlib.contextmanager
def without_labels() -> Iterator[None]:
    """Around code that has unlabelled images: BenchError, which says what to do, where it asks them for labels."""
    try:
        yield
    except AttributeError as error:
        theirs = {field.name for field in dataclasses.fields(LabelledImages)}
        if not isinstance(error.obj, UnlabelledImages) or error.name not in theirs:
            raise
        raise BenchError(
            f"it asks its training images for {error.name}, which an unsupervised method is not given; do without "
            "labels, or say supervised: true in the card of the method"
        ) from error


class Kept:
    """Some of the images, to be compared with themselves later."""

    def __init__(self, images: UnlabelledImages | LabelledImages) -> None:
        self._rows = torch.arange(0, len(images), max(1, len(images) // ROWS), device=images.pixels.device)
        self._before = images.pixels[self._rows].clone()

    def finding(self, images: UnlabelledImages | LabelledImages) -> Finding:
        """Whether they are what they were."""
        same = torch.equal(images.pixels[self._rows], self._before)
        fault = None if same else "fit changed the images that it was given, which are also others'; work on a copy"
        return Finding("images", "fit leaves the images that it is given as they are", fault)
