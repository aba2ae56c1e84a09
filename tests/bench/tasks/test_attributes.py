"""Tasks over attributes: which problems there are, and what is drawn, against plain loops over the images."""

import dataclasses
import itertools
from pathlib import Path

import numpy as np
import pytest
import torch

from bench.basics.errors import BenchError
from bench.contracts import TaskSampler, TaskSpec
from bench.datasets.images import Attributes
from bench.datasets.source import Dataset, Split
from bench.interop.torchmeta import sealed_batches
from bench.tasks.attributes import AttributeSampler, problems, true_tasks
from bench.tasks.labelled import LabelledSampler
from bench.tasks.manifest import draw, load


def split(name: str, held: np.ndarray) -> Split:
    """Images whose first eight bytes are their number; held: bool [n, attributes]."""
    pixels = np.arange(len(held), dtype="<i8").view(np.uint8).reshape(-1, 1, 2, 4)
    names = tuple(f"{name}{at}" for at in range(held.shape[1]))
    files = tuple(f"{name}/{i}" for i in range(len(held)))
    ids = np.zeros(len(held), np.int64)
    return Split("toy", name, pixels, ids, (name,), files, attributes=Attributes(names, held))


RNG = np.random.default_rng(0)
HELD = {name: RNG.random((300, 5)) < np.linspace(0.2, 0.8, 5) for name in ("train", "val", "test")}
DATASET = Dataset("toy", "abc", {name: split(name, held) for name, held in HELD.items()}, Path("/nowhere"))


def by_loop(held: np.ndarray, least: int) -> dict[tuple, tuple[set, set]]:
    """(attributes, answers, the first yes) -> the images of both classes."""
    found = {}
    for asked in itertools.combinations(range(held.shape[1]), 3):
        for answers in itertools.product([True], [False, True], [False, True]):
            sides: tuple[set, set] = (set(), set())
            for image, row in enumerate(held):
                matches = [row[at] == one for at, one in zip(asked, answers, strict=True)]
                if all(matches):
                    sides[0].add(image)
                if not any(matches):
                    sides[1].add(image)
            if min(map(len, sides)) >= least:
                found[asked, answers] = sides
    return found


@pytest.mark.parametrize("least", [10, 20, 30])
def test_problems_are_all_pairs_with_enough_images(least: int) -> None:
    found = problems(DATASET.splits["test"].attributes, least)
    got = list(zip(map(tuple, found.asked.tolist()), map(tuple, found.answers.tolist()), strict=True))
    assert got == list(by_loop(HELD["test"], least))
    if least == 30:
        assert 0 < len(found) < 40


def test_both_classes_need_ten_images_whatever_the_task_takes() -> None:
    assert len(problems(DATASET.splits["test"].attributes, 2)) == len(by_loop(HELD["test"], 10))


def test_ten_attributes_make_480_problems_and_twenty_4560() -> None:
    for attributes, count in ((10, 480), (20, 4560)):
        held = np.random.default_rng(1).random((2000, attributes)) < 0.5
        assert len(problems(split("x", held).attributes, 10)) == count


def test_sealed_tasks_hold_what_their_names_say_and_are_nested(tmp_path: Path) -> None:
    large = draw(DATASET, "test", TaskSpec(2, 5, 5), 200, 3)
    expected, seen, first_is_yes = by_loop(HELD["test"], 10), set(), 0
    for names, files in zip(large.class_names, large.file_ids, strict=True):
        parts = [[(int(word[4]), word[6] == "1") for word in name.split()] for name in names]
        assert [(at, not one) for at, one in parts[0]] == parts[1]
        yes = 0 if parts[0][0][1] else 1
        first_is_yes += yes == 0
        key = tuple(at for at, _ in parts[yes]), tuple(one for _, one in parts[yes])
        seen.add(key)
        for side in range(2):
            numbers = [int(file.split("/")[1]) for file in files[side]]
            assert len(set(numbers)) == 10
            assert set(numbers) <= expected[key][side if yes == 0 else 1 - side]
    assert len(seen) > len(expected) / 2
    assert 70 < first_is_yes < 130
    small = draw(DATASET, "test", TaskSpec(2, 1, 5), 50, 3)
    assert np.array_equal(small.class_names, large.class_names[:50])
    assert np.array_equal(small.query, large.query[:50])
    assert np.array_equal(small.support, large.support[:50, :, :1])
    assert draw(DATASET, "test", TaskSpec(2, 5, 5), 200, 4) != large
    assert draw(DATASET, "test", TaskSpec(2, 5, 5), 200, 3) == large
    large.save(tmp_path / "tasks.parquet")
    load(tmp_path / "tasks.parquet").verify(DATASET)


def test_a_manifest_of_other_attributes_is_refused() -> None:
    one = DATASET.splits["test"]
    manifest = draw(DATASET, "test", TaskSpec(2, 5, 5), 5, 0)
    labels = one.class_ids, one.class_names, one.attributes
    manifest.check_classes(*labels)
    for change, message in (
        (lambda names: names[:, ::-1], "is not of class '"),
        (lambda names: np.where(np.eye(5, 2, dtype=bool), "nobody=1", names), "names a class 'nobody=1'"),
    ):
        wrong = dataclasses.replace(manifest, class_names=np.array(change(manifest.class_names), dtype=object))
        with pytest.raises(BenchError, match=message):
            wrong.check_classes(*labels)
    same = manifest.indices.copy()
    same[2, 0, 1] = same[2, 0, 0]
    with pytest.raises(BenchError, match="task 2 of the manifest for toy/test has one image twice"):
        dataclasses.replace(manifest, indices=same).check_classes(*labels)


def test_other_ways_than_two_and_too_few_images_are_refused() -> None:
    with pytest.raises(BenchError, match="have 2 classes, not 5; use way=2"):
        draw(DATASET, "test", TaskSpec(5, 1, 5), 10, 0)
    with pytest.raises(BenchError, match="none have 250 images"):
        draw(DATASET, "test", TaskSpec(2, 100, 150), 10, 0)
    images = DATASET.splits["train"].labelled()
    with pytest.raises(BenchError, match="use way=2"):
        true_tasks(images).sample(1, TaskSpec(5, 1, 5), torch.Generator())
    with pytest.raises(BenchError, match="no classes to make tasks of"):
        LabelledSampler(images)


def test_sampled_tasks_are_uniform_over_problems_and_images() -> None:
    sampler = true_tasks(DATASET.splits["train"].labelled())
    assert isinstance(sampler, AttributeSampler)
    assert isinstance(sampler, TaskSampler)
    tasks = sampler.sample(4000, TaskSpec(2, 4, 6), torch.Generator().manual_seed(0))
    assert tasks.support.shape == (4000, 2, 4, 1, 2, 4)
    assert tasks.query.shape == (4000, 2, 6, 1, 2, 4)
    levels = (torch.cat([tasks.support, tasks.query], 2) * 255).round().long().flatten(-3)
    found = (levels[..., 0] + 256 * levels[..., 1]).tolist()
    expected = by_loop(HELD["train"], 10)
    both = {(key, 0): sides for key, sides in expected.items()} | {(k, 1): (b, a) for k, (a, b) in expected.items()}
    # Every task is of some problem; ten images of each side leave no doubt about which for nearly all.
    counts = dict.fromkeys(both, 0)
    for first, second in found:
        assert len(set(first)) == len(set(second)) == 10
        fitting = [key for key, (a, b) in both.items() if set(first) <= a and set(second) <= b]
        assert fitting
        if len(fitting) == 1:
            counts[fitting[0]] += 1
    share = np.array(list(counts.values())) / sum(counts.values())
    assert sum(counts.values()) > 3500
    assert np.abs(share * len(share) - 1).max() < 0.6
    small = min(both, key=lambda key: len(both[key][0]))
    assert {n for first, _ in found if set(first) <= both[small][0] for n in first} == both[small][0]


def test_sealed_tasks_over_attributes_come_in_torchmetas_format() -> None:
    manifest = draw(DATASET, "test", TaskSpec(2, 5, 5), 5, 0)
    images = DATASET.splits["test"].labelled()
    batches = list(sealed_batches(images, manifest, 2))
    assert [tuple(batch["test"][0].shape[:2]) for batch in batches] == [(2, 10), (2, 10), (1, 10)]
    first = images.take(torch.from_numpy(manifest.indices[0, :, :5].copy())).flatten(0, 1)
    assert torch.equal(batches[0]["train"][0][0], first)
