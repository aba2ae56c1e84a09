"""True classes by looking pixels up, and the rate of collisions against exact probabilities."""

import itertools
import math

import numpy as np
import pytest
import torch

from bench.basics.seeds import Seed
from bench.contracts import Tasks, TaskSpec
from bench.datasets.images import LabelledImages
from bench.looking.inspection.origins import CollisionCount, Origins, collision_probability
from methods.umtra import Umtra

SIZES = (5, 3, 4, 1)
CLASS_IDS = torch.arange(len(SIZES)).repeat_interleave(torch.tensor(SIZES))


def images(pixels=None):
    """Thirteen different images of four classes."""
    if pixels is None:
        pixels = torch.randint(0, 256, (sum(SIZES), 1, 6, 6), generator=Seed(0).generator(), dtype=torch.uint8)
    return LabelledImages(pixels, CLASS_IDS, [str(i) for i in range(len(SIZES))], "made")


def counted(labelled, support):
    found = CollisionCount()
    origins = Origins(labelled)
    found.add(origins.of(support))
    return found, origins


@pytest.mark.parametrize("way", [2, 3, 4, 5])
def test_the_probability_of_a_collision_is_that_of_counting_every_draw(way):
    draws = list(itertools.combinations(CLASS_IDS.tolist(), way))
    expected = sum(len(set(draw)) < way for draw in draws) / len(draws)
    assert collision_probability(SIZES, way) == pytest.approx(expected, abs=1e-15)


def test_the_probability_on_omniglot():
    """1200 classes of 20: one minus the product of drawing another class each time."""
    apart = math.prod((24000 - 20 * i) / (24000 - i) for i in range(5))
    assert collision_probability([20] * 1200, 5) == pytest.approx(1 - apart, rel=1e-12)


def test_every_real_image_is_found_and_nothing_else():
    labelled = images()
    origins = Origins(labelled)
    everything = labelled.take(torch.arange(13))[None, :, None]
    assert [list(one) for one in origins.of(everything)[0]] == [[c] for c in CLASS_IDS.tolist()]
    changed = everything.clone()
    changed[..., 2, 2] = (changed[..., 2, 2] + 0.5) % 1  # no longer a grey level
    assert not any(origins.of(changed)[0])
    unseen = ((everything * 255).round() + 1).remainder(256) / 255
    assert not any(origins.of(unseen)[0])


def test_the_first_real_image_of_several_decides():
    labelled = images()
    made = torch.rand(1, 2, 1, 1, 6, 6, generator=Seed(1).generator())
    real = labelled.take(torch.tensor([[[0, 12], [7, 0]]]))
    assert [set(one) for one in Origins(labelled).of(torch.cat([made, real], dim=2))[0]] == [{0}, {1}]


class Colliding:
    """Of every task, two classes are of one true class with a known probability."""

    def __init__(self, labelled, probability):
        self.labelled, self.probability = labelled, probability

    def sample(self, n, spec, rng):
        apart = torch.tensor([0, 5, 8]).expand(n, 3)
        together = torch.tensor([0, 5, 6]).expand(n, 3)
        collide = torch.rand(n, 1, generator=rng) < self.probability
        self.collided = int(collide.sum())
        support = self.labelled.take(torch.where(collide, together, apart))[:, :, None]
        return Tasks(support, support)


def test_a_known_rate_is_found():
    sampler = Colliding(images(), 0.3)
    tasks = sampler.sample(2000, TaskSpec(3, 1, 1), Seed(2).generator())
    found, origins = counted(sampler.labelled, tasks.support)
    result, reason = found.result(origins.sizes, 3)
    assert reason is None
    assert (result.certain, result.possible, result.ambiguous) == (sampler.collided, sampler.collided, 0)
    assert result.certain / 2000 == pytest.approx(0.3, abs=4 * math.sqrt(0.21 / 2000))
    assert result.chance == collision_probability(SIZES, 3)


def test_copies_in_several_classes_make_a_range():
    pixels = images().pixels.clone()
    pixels[5] = pixels[0]  # now of class 0 and of class 1
    labelled = images(pixels)
    index = torch.tensor([[0, 8], [0, 1], [0, 6], [1, 2], [1, 6]])  # apart, maybe, maybe, certain, apart
    found, origins = counted(labelled, labelled.take(index)[:, :, None])
    result, _ = found.result(origins.sizes, 2)
    assert (result.certain, result.possible, result.ambiguous) == (1, 3, 3)


def test_generated_classes_have_no_rate_but_a_reason():
    labelled = images()
    made = torch.rand(4, 3, 1, 1, 6, 6, generator=Seed(1).generator())
    found, origins = counted(labelled, made)
    assert found.result(origins.sizes, 3) == (None, "no class begins with a real image")
    made[0, :, 0] = labelled.take(torch.tensor([0, 5, 8]))
    found, origins = counted(labelled, made)
    assert found.result(origins.sizes, 3) == (None, "only 25.0 % of the classes begin with a real image")


def test_umtra_collides_as_often_as_it_must(glyphs):
    split = glyphs.splits["train"]
    sampler = Umtra(learner=None).sampler(split.unlabelled(), None)
    count, tasks = CollisionCount(), 3000
    origins = Origins(split.labelled())
    for chunk in range(6):
        count.add(origins.of(sampler.sample(tasks // 6, TaskSpec(10, 1, 1), Seed(0).at(chunk).generator()).support))
    result, _ = count.result(origins.sizes, 10)
    assert result.chance == pytest.approx(collision_probability(np.bincount(split.class_ids).tolist(), 10))
    error = math.sqrt(result.chance * (1 - result.chance) / tasks)
    assert 0.02 < result.chance < 0.5
    assert result.certain / tasks < result.chance + 4 * error
    assert result.possible / tasks > result.chance - 4 * error
    assert result.possible - result.certain <= result.ambiguous
