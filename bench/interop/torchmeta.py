"""torchmeta 1.8.0 (Deleu et al. 2019), in and out.

torchmeta is unmaintained, and its metadata caps torch below 1.10, so no installer puts it beside a torch of today
and it cannot be a dependency. It does run, after three one-line repairs that :func:`load` makes:

    pip install 'unsupervised-meta-bench[torchmeta]'
    pip install --no-deps torchmeta==1.8.0

Into the harness: :func:`from_torchmeta` makes a seeded task sampler of any CombinationMetaDataset. Out of it:
:func:`torchmeta_batches` and :func:`sealed_batches` hand our tasks to code that was written for torchmeta's loader.
:func:`published_split` reads the splits in its wheel. Folders that it prepared are read by
:mod:`bench.datasets.torchmeta_folders`.
Nothing here but :func:`load` imports torchmeta, and nothing imports it unasked.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import itertools
import json
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from bench.basics.errors import BenchError, did_you_mean
from bench.basics.seeds import Seed
from bench.contracts import Tasks, TaskSampler, TaskSpec
from bench.datasets.images import LabelledImages
from bench.datasets.torchmeta_folders import EXTRA
from bench.tasks.draw import distinct
from bench.tasks.manifest import Manifest

COMMAND = f"{EXTRA} && pip install --no-deps torchmeta==1.8.0"

Batch = OrderedDict[str, list[Tensor]]
"""What torchmeta's BatchMetaDataLoader yields: ``train`` and ``test``, each [images [T, n, C, H, W] float32, targets
[T, n] int64]."""

PUBLISHED = {
    "omniglot": "omniglot",
    "cub": "cub",
    "cifar-fs": "cifar100/cifar-fs",
    "fc100": "cifar100/fc100",
    "doublemnist": "doublemnist",
    "triplemnist": "triplemnist",
}
"""Splits in the wheel. Those of mini- and tieredImageNet come with their archives."""

_kept: list[Any] = []  # operator schemas live as long as the library object that declared them


def import_torchvision() -> None:
    """Import torchvision, also its CUDA build beside a torch without CUDA libraries: declares what it asks for."""
    try:
        importlib.import_module("torchvision")
    except (RuntimeError, OSError) as error:
        # The index's torchvision is a CUDA build: beside a CPU torch its extension does not load and its
        # operators are never declared. Their schemas are enough for transforms and datasets.
        if "torchvision::nms" not in str(error):
            raise
        declare: Any = torch.library.Library
        library = declare("torchvision", "FRAGMENT")
        for operator in ("nms", "qnms"):
            library.define(operator + "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        _kept.append(library)
        importlib.import_module("torchvision")


def load() -> ModuleType:
    """Import torchmeta and mend what stops it on a current torch; ImportError with the command that installs it.

    Changes three attributes of torchvision and torchmeta in this process, and on a torch without CUDA libraries
    declares two operators that torchvision's CUDA build asks for.
    """
    try:
        import_torchvision()
        vision: Any = importlib.import_module("torchvision.datasets.utils")
        for name in ("_get_confirm_token", "_save_response_content"):  # gone from torchvision; for its downloader only
            if not hasattr(vision, name):
                setattr(vision, name, None)
        torchmeta = importlib.import_module("torchmeta")
        data = importlib.import_module("torchmeta.utils.data")
    except ModuleNotFoundError as error:
        raise ImportError(f"{error.name or 'torchmeta'} is not installed: {COMMAND}", name=error.name) from error
    if "__getitems__" not in vars(data.SubsetTask):  # torch refuses a Subset that has __getitem__ only
        data.SubsetTask.__getitems__ = lambda task, indices: [task[i] for i in indices]
    utilities: Any = importlib.import_module("torchmeta.datasets.utils")
    utilities.check_integrity = vision.check_integrity  # a name that 1.8.0 uses and forgot to import
    return torchmeta


def published_split(name: str, split: str) -> tuple[str, ...]:
    """Class names of a split in torchmeta's wheel, which is read as a file and not imported.

    Omniglot (1028/172/423 characters, Vinyals et al. 2016): ``images_background/<alphabet>/<character>``. CIFAR-FS:
    ``<coarse>/<fine>``. FC100: coarse classes.
    """
    if name not in PUBLISHED:
        raise BenchError(
            f"torchmeta publishes no split of {name!r}; use {', '.join(PUBLISHED)}.{did_you_mean(name, PUBLISHED)}"
        )
    if split not in ("train", "val", "test"):
        raise BenchError(f"the splits are train, val and test, not {split!r}")
    try:
        wheel = importlib.metadata.distribution("torchmeta")
    except importlib.metadata.PackageNotFoundError as error:
        raise BenchError(f"the published splits are in torchmeta's wheel, which is not installed: {COMMAND}") from error
    file = wheel.locate_file(f"torchmeta/datasets/assets/{PUBLISHED[name]}/{split}.json")
    value = json.loads(Path(str(file)).read_text(encoding="utf-8"))
    if isinstance(value, dict):
        return tuple(
            f"images_{group}/{alphabet}/{character}"
            for group, alphabets in value.items()
            for alphabet, characters in alphabets.items()
            for character in characters
        )
    return tuple("/".join(one) if isinstance(one, list) else str(one) for one in value)


# ------------------------------------------------------------------------------------------------------- in
class OneClass(Protocol):
    """A torchmeta Dataset: the images of one class, each with a target."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> tuple[Any, Any]: ...


def from_torchmeta(meta: Any) -> TorchmetaSampler:
    """The task sampler over the classes of a CombinationMetaDataset, class augmentations included."""
    if not hasattr(meta, "dataset") or not hasattr(meta, "num_classes_per_task"):
        raise BenchError(f"from_torchmeta takes a CombinationMetaDataset, not {type(meta).__name__}")
    return TorchmetaSampler(meta.dataset)


class TorchmetaSampler:
    """A :class:`bench.contracts.TaskSampler` over a torchmeta ClassDataset.

    torchmeta draws classes from Python's global ``random``, and always gives one tuple of classes the same support
    images; here both are drawn from the generator that is passed in. Way, shot and queries are those of the request,
    whatever the meta-dataset was made for. Random *image* transforms of torchvision still use torch's global state.

    Images are read one by one through torchmeta; a transform may leave them as PIL images, uint8, or floats in [0, 1].
    """

    def __init__(self, classes: Sequence[OneClass]) -> None:
        self.classes = classes
        self.sizes = torch.tensor([len(classes[c]) for c in range(len(classes))])

    def sample(self, n: int, spec: TaskSpec, rng: torch.Generator) -> Tasks:
        """``n`` tasks of distinct classes with enough images, and of distinct images."""
        per_class = spec.shot + spec.query
        eligible = (self.sizes >= per_class).nonzero()[:, 0]
        if len(eligible) < spec.way:
            raise BenchError(
                f"{spec.way}-way tasks need {spec.way} classes with at least {per_class} images each, but this "
                f"torchmeta dataset has {len(eligible)} of them"
            )
        chosen = eligible[distinct(n, spec.way, len(eligible), rng).cpu()]
        sizes = self.sizes[chosen].flatten().to(rng.device)
        places = distinct(len(sizes), per_class, sizes, rng, int(self.sizes.max())).tolist()
        images = []
        for c, positions in zip(chosen.flatten().tolist(), places, strict=True):
            one = self.classes[c]
            images += [_image(one[i][0]) for i in positions]
        if len({image.shape for image in images}) > 1:
            raise BenchError("the images of this torchmeta dataset differ in size; give it a transform such as Resize")
        stacked = torch.stack(images).to(rng.device)
        stacked = stacked.view(n, spec.way, per_class, *stacked.shape[1:])
        return Tasks(stacked[:, :, : spec.shot], stacked[:, :, spec.shot :])


def _image(value: Any) -> Tensor:
    """Float32 [C, H, W] in [0, 1] of a tensor [C, H, W], or of a PIL image or array [H, W] or [H, W, C]."""
    if isinstance(value, Tensor):
        image = value
    else:
        array = np.array(value)
        image = torch.from_numpy(array[None] if array.ndim == 2 else array.transpose(2, 0, 1).copy())
    if image.ndim != 3:
        raise BenchError(f"an image of this torchmeta dataset has shape {list(image.shape)}, not [C, H, W]")
    if image.dtype == torch.uint8:
        return image.float() / 255
    if not image.is_floating_point() or not 0 <= float(image.min()) <= float(image.max()) <= 1:
        raise BenchError(
            "the images of this torchmeta dataset are not in [0, 1]; leave out transforms such as Normalize, "
            "the harness scales images itself"
        )
    return image.float()


# ------------------------------------------------------------------------------------------------------ out
def as_torchmeta_batch(tasks: Tasks) -> Batch:
    """Tasks in torchmeta's format; images class by class, targets 0 … N-1."""

    def part(images: Tensor) -> list[Tensor]:
        tasks, way, per_class = images.shape[:3]
        targets = torch.arange(way, device=images.device).repeat_interleave(per_class)
        return [images.flatten(1, 2), targets.expand(tasks, -1).clone()]

    return OrderedDict(train=part(tasks.support), test=part(tasks.query))


def torchmeta_batches(
    sampler: TaskSampler, spec: TaskSpec, batch_size: int, seed: int, device: str | torch.device = "cpu"
) -> Iterator[Batch]:
    """Batches of any sampler without end, in place of a BatchMetaDataLoader: batch i depends on ``seed`` and i alone.

    With the sampler of LASIUM, UMTRA or CACTUs, code that was written for torchmeta meta-trains without labels.
    """
    for i in itertools.count():
        rng = Seed(seed).at("torchmeta", i).generator(device)
        yield as_torchmeta_batch(sampler.sample(batch_size, spec, rng))


def sealed_batches(images: LabelledImages, manifest: Manifest, batch_size: int) -> Iterator[Batch]:
    """The sealed evaluation tasks, in their order, ``batch_size`` at a time (the last batch may be smaller).

    The queries of a task come shuffled, with their targets, so that nothing can be read off their order.
    """
    manifest.check_classes(images.class_ids.cpu().numpy(), images.class_names, images.attributes)
    spec = manifest.spec
    rng = Seed(manifest.seed).at("torchmeta query order", manifest.sha256).numpy()
    order = rng.permuted(np.tile(np.arange(spec.way * spec.query), (manifest.tasks, 1)), axis=1)
    for first in range(0, manifest.tasks, batch_size):
        rows = slice(first, first + batch_size)
        pixels = images.take(torch.from_numpy(manifest.indices[rows].copy()))
        batch = as_torchmeta_batch(Tasks(pixels[:, :, : spec.shot], pixels[:, :, spec.shot :]))
        places = torch.from_numpy(order[rows]).to(images.device)
        batch["test"] = [torch.stack([x[i] for x, i in zip(part, places, strict=True)]) for part in batch["test"]]
        yield batch
