"""Real tasks from labelled images: supervised meta-training, and any method that makes its own labels."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from bench.basics.errors import BenchError
from bench.contracts import Tasks, TaskSpec
from bench.datasets.images import LabelledImages, take
from bench.tasks.draw import distinct


@dataclass(frozen=True, slots=True)
class _Eligible:
    """The classes with enough images for one spec, as the rows of ``classes`` (each row a labelling)."""

    labellings: Tensor  # [L] labellings that have at least `way` such classes
    counts: Tensor  # [L] how many such classes each has
    classes: Tensor  # [L, C] their ids first, in ascending order
    most: int  # the largest of `counts`
    largest: int  # images in the largest class
    equal: bool  # whether all of `classes` have that many


class LabelledSampler:
    """Uniformly random tasks: ``way`` distinct classes, then distinct images of each class.

    Classes with fewer than ``shot + query`` images are never drawn (as Khodadadeh et al. 2020 and Hsu et al.
    2019 do). Support and query of a task share no image.
    """

    def __init__(self, images: LabelledImages) -> None:
        if not isinstance(images, LabelledImages):
            raise BenchError(f"tasks from labels need labelled images, not {type(images).__name__}")
        if images.attributes is not None:
            raise BenchError("images with attributes have no classes to make tasks of; use the sampler of attributes")
        self._index(images.pixels, images.class_ids, images.device)

    @classmethod
    def of(cls, pixels: Tensor, class_ids: Tensor, device: torch.device | None = None) -> LabelledSampler:
        """A sampler over labels of any origin, cluster ids for example.

        pixels: uint8 [n, C, H, W]. class_ids: int64, [n], or [L, n] for L labellings of the same images; each task
        then uses one labelling, drawn uniformly (the partitions of Hsu et al. 2019, §2.2). -1 is in no class. device:
        where tasks are made, by default where the pixels are.
        """
        sampler = cls.__new__(cls)
        sampler._index(pixels, class_ids, device or pixels.device)
        return sampler

    def _index(self, pixels: Tensor, class_ids: Tensor, device: torch.device) -> None:
        if class_ids.ndim not in (1, 2) or class_ids.shape[-1] != len(pixels) or not class_ids.numel():
            raise BenchError(
                f"class ids of {len(pixels)} images must have shape [{len(pixels)}] or "
                f"[labellings, {len(pixels)}], not {list(class_ids.shape)}"
            )
        if class_ids.is_floating_point() or int(class_ids.min()) < -1:
            raise BenchError("class ids must be integers of at least 0, or -1 for an image in no class")
        ids = class_ids.to(device, torch.int64).reshape(-1, len(pixels))
        nobody = ids < 0
        ids = ids.masked_fill(nobody, int(ids.max()) + 1)  # after all others, and emptied below
        self.pixels, self.device = pixels, device
        # Images grouped by class: labelling l has counts[l, c] images of class c from order[l, starts[l, c]].
        self._order = ids.argsort(dim=1, stable=True)
        counts = torch.zeros(len(ids), int(ids.max()) + 1, dtype=torch.int64, device=device)
        self._counts = counts.scatter_add_(1, ids, torch.ones_like(ids))
        self._starts = self._counts.cumsum(1) - self._counts
        if bool(nobody.any()):
            self._counts[:, -1] = 0
        self._eligible: dict[tuple[int, int], _Eligible] = {}

    @property
    def capturable(self) -> bool:
        """Whether sampling launches the same kernels whatever it draws: not while pixels come from elsewhere."""
        return self.pixels.device == self.device

    def sample(self, n: int, spec: TaskSpec, rng: torch.Generator) -> Tasks:
        """``n`` independent tasks; ``rng`` must live on the images' device.

        Raises BenchError when fewer than ``way`` classes have ``shot + query`` images.
        """
        per_class = spec.shot + spec.query
        eligible = self._eligible_for(spec.way, per_class)
        if len(self._order) == 1:  # one labelling: plain indexing, a third of the time for small batches
            rank = distinct(n, spec.way, eligible.most, rng)
            classes = eligible.classes.take(rank)
            sizes = classes if eligible.equal else self._counts.take(classes)  # of equal sizes only the shape is used
            position = self._positions(sizes, per_class, eligible, rng)
            index = self._order.take(self._starts.take(classes).unsqueeze(2) + position)
        else:
            labelling = torch.randint(len(eligible.labellings), (n,), generator=rng, device=self.device)
            rank = distinct(n, spec.way, eligible.counts[labelling], rng, eligible.most)
            classes = eligible.classes[labelling].gather(1, rank)
            row = eligible.labellings[labelling][:, None]
            sizes, starts = self._counts[row, classes], self._starts[row, classes]
            position = self._positions(sizes, per_class, eligible, rng)
            index = self._order[row[..., None], starts[..., None] + position]
        images = take(self.pixels, index, self.device)
        return Tasks(support=images[:, :, : spec.shot], query=images[:, :, spec.shot :])

    def _positions(self, sizes: Tensor, count: int, eligible: _Eligible, rng: torch.Generator) -> Tensor:
        """``count`` distinct places within classes of ``sizes`` [T, N] -> [T, N, count]."""
        below = eligible.largest if eligible.equal else sizes.reshape(-1)
        return distinct(sizes.numel(), count, below, rng, eligible.largest).view(*sizes.shape, count)

    def _eligible_for(self, way: int, per_class: int) -> _Eligible:
        """Kept from call to call, because reading how many classes there are waits for the device."""
        if (way, per_class) not in self._eligible:
            enough = self._counts >= per_class
            counts = enough.sum(1)
            labellings = (counts >= way).nonzero()[:, 0]
            if not len(labellings):
                raise BenchError(
                    f"{way}-way tasks need {way} classes with at least {per_class} images each, "
                    f"but there are only {int(counts.max())}"
                )
            classes = (~enough).to(torch.int8).argsort(dim=1, stable=True)
            self._eligible[way, per_class] = _Eligible(
                labellings,
                counts[labellings],
                classes[labellings],
                int(counts.max()),
                int(self._counts.max()),
                bool((self._counts[enough] == self._counts.max()).all()),
            )
        return self._eligible[way, per_class]
