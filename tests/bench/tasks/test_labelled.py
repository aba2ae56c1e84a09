"""The sampler over labels: what it draws, how often, and what it refuses."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from bench.basics.errors import BenchError
from bench.contracts import TaskSampler, TaskSpec
from bench.datasets.images import LabelledImages, UnlabelledImages
from bench.tasks.labelled import LabelledSampler


def numbered(class_ids: list[int]) -> LabelledImages:
    """Images whose two pixels spell their own number, so that a task tells which images it is made of."""
    number = torch.arange(len(class_ids))
    pixels = torch.stack([number // 256, number % 256], dim=1).to(torch.uint8).reshape(-1, 1, 1, 2)
    names = [f"c{i}" for i in range(max(class_ids) + 1)]
    return LabelledImages(pixels, torch.tensor(class_ids), names, "")


def numbers(images: torch.Tensor) -> np.ndarray:
    high, low = (images * 255).round().long().flatten(-3).unbind(-1)
    return (high * 256 + low).numpy()


@settings(max_examples=60, deadline=None)
@given(
    sizes=st.lists(st.integers(0, 9), min_size=1, max_size=12),
    way=st.integers(2, 4),
    shot=st.integers(1, 3),
    query=st.integers(1, 3),
    seed=st.integers(0, 2**32),
)
def test_tasks_are_made_of_distinct_classes_and_images(sizes, way, shot, query, seed):
    class_ids = np.repeat(np.arange(len(sizes)), sizes)
    np.random.default_rng(seed).shuffle(class_ids)
    spec = TaskSpec(way, shot, query)
    rng = torch.Generator().manual_seed(seed)
    if not len(class_ids):
        return
    sampler = LabelledSampler(numbered(class_ids.tolist()))
    if sum(size >= shot + query for size in sizes) < way:
        with pytest.raises(BenchError, match=f"need {way} classes with at least {shot + query} images"):
            sampler.sample(3, spec, rng)
        return
    tasks = sampler.sample(7, spec, rng)
    assert tasks.support.shape == (7, way, shot, 1, 1, 2)
    assert tasks.query.shape == (7, way, query, 1, 1, 2)
    assert tasks.support.dtype == torch.float32
    used = np.concatenate([numbers(tasks.support), numbers(tasks.query)], axis=2)
    for task in used:
        classes = class_ids[task]
        assert (classes == classes[:, :1]).all()
        assert len(set(classes[:, 0])) == way
        assert len(set(task.ravel())) == task.size


def test_every_class_every_pair_and_every_image_is_equally_likely():
    sizes = [4, 9, 6, 2, 5]  # the class of 2 is too small for 1 + 2 images
    class_ids = np.repeat(np.arange(5), sizes)
    sampler = LabelledSampler(numbered(class_ids.tolist()))
    tasks = sampler.sample(20_000, TaskSpec(2, 1, 2), torch.Generator().manual_seed(5))
    support = numbers(tasks.support)[:, :, 0]
    classes = class_ids[support]
    pairs = np.bincount(classes[:, 0] * 5 + classes[:, 1], minlength=25).reshape(5, 5)
    allowed = [(a, b) for a in (0, 1, 2, 4) for b in (0, 1, 2, 4) if a != b]
    assert pairs.sum() == sum(pairs[pair] for pair in allowed)
    assert stats.chisquare([pairs[pair] for pair in allowed]).pvalue > 1e-3
    for c in (0, 1, 2, 4):
        for drawn in (support.ravel(), numbers(tasks.query)[:, :, 1].ravel()):
            counts = np.bincount(drawn, minlength=len(class_ids))[class_ids == c]
            assert stats.chisquare(counts).pvalue > 1e-3


def test_same_generator_same_tasks_and_images_are_the_real_ones():
    images = numbered([i % 6 for i in range(300)])
    one, two = (
        LabelledSampler(images).sample(5, TaskSpec(5, 2, 3), torch.Generator().manual_seed(1)) for _ in range(2)
    )
    assert torch.equal(one.support, two.support)
    assert torch.equal(one.query, two.query)


def test_several_labellings_take_turns_and_are_never_mixed():
    first = torch.arange(60) % 5
    second = torch.arange(60) // 12
    useless = torch.zeros(60, dtype=torch.int64)  # a single class: no 3-way task in it
    labellings = torch.stack([first, useless, second + 7])
    sampler = LabelledSampler.of(numbered(first.tolist()).pixels, labellings)
    tasks = sampler.sample(600, TaskSpec(3, 2, 2), torch.Generator().manual_seed(0))
    used = np.concatenate([numbers(tasks.support), numbers(tasks.query)], axis=2)
    fits = []
    for labels in (first.numpy(), second.numpy()):
        classes = labels[used]
        pure = (classes == classes[:, :, :1]).all((1, 2))
        distinct = np.array([len(set(row)) == 3 for row in classes[:, :, 0]])
        fits.append(pure & distinct)
    assert (fits[0] ^ fits[1]).all()
    assert stats.binomtest(int(fits[0].sum()), 600).pvalue > 1e-3


def test_it_is_a_task_sampler_and_refuses_what_has_no_labels():
    images = numbered([0, 1])
    assert isinstance(LabelledSampler(images), TaskSampler)
    with pytest.raises(BenchError, match="need labelled images, not UnlabelledImages"):
        LabelledSampler(UnlabelledImages(images.pixels, ""))
    with pytest.raises(BenchError, match="class ids of 2 images must have shape"):
        LabelledSampler.of(images.pixels, torch.tensor([0, 1, 2]))
    with pytest.raises(BenchError, match="integers of at least 0"):
        LabelledSampler.of(images.pixels, torch.tensor([0, -2]))


def test_images_in_no_class_are_never_drawn():
    pixels = torch.arange(40, dtype=torch.uint8).view(-1, 1, 1, 1).repeat(1, 1, 1, 8)
    labels = torch.arange(40) // 10
    labels[::3] = -1
    both = torch.stack([labels, torch.where(labels == 2, -1, labels)])
    sampler = LabelledSampler.of(pixels, both)
    tasks = sampler.sample(300, TaskSpec(3, 1, 2), torch.Generator().manual_seed(0))
    index = (torch.cat([tasks.support, tasks.query], 2)[..., 0, 0, 0] * 255).round().long()
    assert (labels[index] >= 0).all()
    assert (labels[index] == labels[index][..., :1]).all()
    assert {2} <= set(labels[index].flatten().tolist())
    with pytest.raises(BenchError, match=r"3-way tasks need 3 classes .* there are only 0"):
        LabelledSampler.of(pixels, torch.full((40,), -1)).sample(1, TaskSpec(3, 1, 2), torch.Generator())
