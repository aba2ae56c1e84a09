"""Tests that run inside a process in which torchmeta 1.8.0 can be imported; see test_real_torchmeta.py."""

import importlib.util
import itertools
import random
import sys
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import torchvision_stand_in

from bench.basics.seeds import Seed
from bench.contracts import TaskSampler, TaskSpec
from bench.datasets.images import LabelledImages, UnlabelledImages
from bench.datasets.torchmeta_folders import read_prepared
from bench.interop import torchmeta as interop
from bench.tasks.manifest import Manifest

sys.path.insert(0, str(Path(__file__).parents[1] / "datasets"))  # this process knows its own folder only
import prepared_folders

from methods.umtra import Umtra

if importlib.util.find_spec("torchvision") is None:
    torchvision_stand_in.install()
torchmeta = interop.load()

from torchmeta import datasets, modules, transforms  # noqa: E402  only after load() has mended it
from torchmeta.datasets.utils import get_asset  # noqa: E402
from torchmeta.utils.data import BatchMetaDataLoader  # noqa: E402
from torchmeta.utils.gradient_based import gradient_update_parameters  # noqa: E402
from torchvision.transforms import Compose, Resize, ToTensor  # noqa: E402

READERS = {
    "omniglot": datasets.Omniglot,
    "miniimagenet": datasets.MiniImagenet,
    "tieredimagenet": datasets.TieredImagenet,
    "cub": datasets.CUB,
    "cifar-fs": datasets.CIFARFS,
    "fc100": datasets.FC100,
}
SPEC = TaskSpec(5, 1, 3)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return prepared_folders.write_all(tmp_path_factory.mktemp("prepared"))


def omniglot(root, **more):
    small = Compose([Resize(28), ToTensor()])
    return datasets.Omniglot(str(root), num_classes_per_task=5, meta_train=True, transform=small, **more)


def test_it_is_the_real_one_and_load_may_be_called_again():
    assert torchmeta.__version__ == "1.8.0"
    assert interop.load() is torchmeta


@pytest.mark.parametrize("split", prepared_folders.SPLITS)
@pytest.mark.parametrize("name", sorted(READERS))
def test_prepared_folders_are_read_as_torchmeta_reads_them(root, name, split):
    ours = read_prepared(root, name, split)
    theirs = READERS[name](str(root), num_classes_per_task=2, meta_split=split).dataset
    assert len(ours.classes) == len(theirs) == prepared_folders.CLASSES
    assert ours.counts() == tuple(len(theirs[c]) for c in range(len(theirs)))
    for c, class_name in enumerate(ours.classes):
        label = theirs.labels[c]
        assert class_name == (label if isinstance(label, str) else "/".join(label))
        for one, (image, _) in zip(ours.images(class_name), theirs[c], strict=True):
            assert np.array_equal(one, np.asarray(image))
    theirs.close()


@pytest.mark.parametrize(
    ("name", "asset", "sizes"),
    [
        ("cub", ("cub",), (100, 50, 50)),
        ("cifar-fs", ("cifar100", "cifar-fs"), (64, 16, 20)),
        ("fc100", ("cifar100", "fc100"), (12, 4, 4)),
        ("doublemnist", ("doublemnist",), (64, 16, 20)),
        ("triplemnist", ("triplemnist",), (640, 160, 200)),
    ],
)
def test_published_splits_are_those_that_torchmeta_uses(name, asset, sizes):
    splits = [interop.published_split(name, split) for split in prepared_folders.SPLITS]
    assert tuple(map(len, splits)) == sizes
    assert len({one for split in splits for one in split}) == sum(sizes)
    for split, names in zip(prepared_folders.SPLITS, splits, strict=True):
        assert list(names) == [
            one if isinstance(one, str) else "/".join(one) for one in get_asset(*asset, f"{split}.json")
        ]


def test_published_characters_are_those_of_vinyals_et_al():
    splits = [interop.published_split("omniglot", split) for split in prepared_folders.SPLITS]
    assert tuple(map(len, splits)) == (1028, 172, 423)
    assert len({one for split in splits for one in split}) == 1623
    assert "images_background/Alphabet_of_the_Magi/character01" in splits[0]


def test_a_meta_dataset_becomes_a_seeded_task_sampler(root):
    meta = omniglot(root, class_augmentations=[transforms.Rotation([90])])
    sampler = interop.from_torchmeta(meta)
    assert isinstance(sampler, TaskSampler)
    assert len(sampler.sizes) == 2 * prepared_folders.CLASSES
    state = random.getstate(), torch.get_rng_state()
    first, again, other = (sampler.sample(6, SPEC, Seed(s).generator()) for s in (1, 1, 2))
    assert random.getstate() == state[0]
    assert torch.equal(torch.get_rng_state(), state[1])
    assert torch.equal(first.support, again.support)
    assert torch.equal(first.query, again.query)
    assert not torch.equal(first.support, other.support)
    assert first.support.shape == (6, 5, 1, 1, 28, 28)
    assert first.query.shape == (6, 5, 3, 1, 28, 28)
    owner = {x.numpy().tobytes(): (c, i) for c in range(len(meta.dataset)) for i, (x, _) in enumerate(meta.dataset[c])}
    for task in torch.cat([first.support, first.query], dim=2):
        found = [[owner[image.numpy().tobytes()] for image in of_class] for of_class in task]
        assert all(len({c for c, _ in of_class}) == 1 for of_class in found)
        assert len({of_class[0][0] for of_class in found}) == 5
        assert len({one for of_class in found for one in of_class}) == 20


def test_support_images_change_for_the_same_classes_as_torchmetas_do_not(root):
    sampler = interop.from_torchmeta(omniglot(root))
    tasks = sampler.sample(40, TaskSpec(2, 1, 1), Seed(0).generator())
    assert len(tasks.support.flatten(0, 2).flatten(1).unique(dim=0)) > prepared_folders.CLASSES


def test_classes_with_too_few_images_are_left_out(root):
    sampler = interop.from_torchmeta(datasets.MiniImagenet(str(root), num_classes_per_task=5, meta_test=True))
    few = {np.asarray(image).tobytes() for image, _ in sampler.classes[0]}
    tasks = sampler.sample(5, SPEC, Seed(0).generator())
    images = (tasks.query.flatten(0, 2) * 255).round().byte().permute(0, 2, 3, 1).numpy()
    assert len(few) == 3
    assert not few & {image.tobytes() for image in images}


def sources(root):
    """Batches of our samplers and of our sealed tasks, for code that expects torchmeta's loader."""
    rng = np.random.default_rng(0)
    pixels = torch.from_numpy(rng.integers(0, 256, (40, 1, 28, 28), dtype=np.uint8))
    umtra = Umtra(learner=None).sampler(UnlabelledImages(pixels, "made"), None)
    labelled = LabelledImages(pixels, torch.arange(40) // 5, [f"class{c}" for c in range(8)], "made")
    classes = np.stack([rng.choice(8, 5, replace=False) for _ in range(4)])
    indices = classes[..., None] * 5 + np.array([0, 1, 2, 3])
    names = np.asarray(labelled.class_names, dtype=object)[classes]
    sealed = Manifest("made", "hash", "test", SPEC, 0, indices, names, indices.astype(str).astype(object))
    return {
        "torchmeta": interop.torchmeta_batches(interop.from_torchmeta(omniglot(root)), SPEC, 4, seed=0),
        "umtra": interop.torchmeta_batches(umtra, SPEC, 4, seed=0),
        "sealed": interop.sealed_batches(labelled, sealed, 4),
    }


def theirs(root):
    meta = transforms.ClassSplitter(
        omniglot(root, target_transform=transforms.Categorical(5)),
        shuffle=True,
        num_train_per_class=1,
        num_test_per_class=3,
    )
    return iter(BatchMetaDataLoader(meta, batch_size=4, num_workers=0))


def form(value):
    if isinstance(value, torch.Tensor):
        return tuple(value.shape), value.dtype
    items = value.items() if isinstance(value, dict) else enumerate(value)
    return type(value), [(key, form(one)) for key, one in items]


@pytest.mark.parametrize("name", ["torchmeta", "umtra", "sealed"])
def test_our_batches_have_the_form_of_torchmetas_and_train_its_models(root, name):
    ours = next(sources(root)[name])
    expected = next(theirs(root))
    assert form(ours) == form(expected)
    for part in ("train", "test"):
        for targets, reference in zip(ours[part][1], expected[part][1], strict=True):
            assert torch.equal(targets.bincount(), reference.bincount())

    torch.manual_seed(0)
    model = modules.MetaSequential(
        OrderedDict(
            conv=modules.MetaConv2d(1, 8, 3, stride=2),
            norm=modules.MetaBatchNorm2d(8, track_running_stats=False),
            relu=torch.nn.ReLU(),
            flat=torch.nn.Flatten(),
            head=modules.MetaLinear(8 * 13 * 13, 5),
        )
    )
    losses = []
    for batch in (ours, expected):
        loss = torch.zeros(())
        for x, y, x_query, y_query in zip(*batch["train"], *batch["test"], strict=True):
            params = gradient_update_parameters(model, F.cross_entropy(model(x), y), step_size=0.1)
            loss = loss + F.cross_entropy(model(x_query, params=params), y_query) / 4
        model.zero_grad()
        loss.backward()
        assert all(p.grad is not None and bool(p.grad.isfinite().all()) for p in model.parameters())
        losses.append(float(loss.detach()))
    assert 0.5 < losses[0] / losses[1] < 2


def test_batch_i_depends_on_the_seed_and_i_alone(root):
    sampler = interop.from_torchmeta(omniglot(root))
    first, again, other = (interop.torchmeta_batches(sampler, SPEC, 2, seed) for seed in (0, 0, 1))
    one, two = itertools.islice(first, 2)
    assert torch.equal(one["train"][0], next(again)["train"][0])
    assert not torch.equal(one["train"][0], two["train"][0])
    assert not torch.equal(one["train"][0], next(other)["train"][0])
