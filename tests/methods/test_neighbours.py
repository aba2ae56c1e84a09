"""Instance discrimination that goes on with its neighbours."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from helpers_methods import make_context, make_images

from bench.backbones import Conv4
from bench.basics.errors import BenchError
from bench.contracts import TaskSpec
from bench.training.checkpoint import Checkpoint
from bench.views.strokes import Strokes
from methods.neighbours import Neighbours, alike

SPEC = TaskSpec(5, 1, 5)
SMALL = Neighbours(Conv4(filters=4, stride=2, pool=False), Strokes(), batch=8, nearest=3, rounds=2)


def context(folder, steps, progress=None):
    made = make_context(folder, progress=progress)
    checkpoint = Checkpoint(folder / "run.safetensors", 0.0)
    return replace(made, budget=replace(made.budget, meta_iterations=steps), checkpoint=checkpoint)


def test_rows_are_alike_where_they_are_of_one_image_or_of_mutual_neighbours():
    table = torch.tensor([[1, 0], [0, 1], [3, 4], [2, 3], [2, 4], [5, 5]])  # 0-1, 2-3, 2-4
    ids = torch.tensor([0, 2, 5, 1, 4, 5])
    found = alike(ids, table[ids])
    near = {(0, 1), (1, 0), (2, 3), (3, 2), (2, 4), (4, 2)}
    for a, i in enumerate(ids.tolist()):
        for b, j in enumerate(ids.tolist()):
            assert bool(found[a, b]) == (i == j or (i, j) in near)


def test_the_partner_is_the_image_itself_as_often_as_asked_for_else_any_of_its_neighbours():
    near = torch.tensor([[1, 2, 0], [1, 1, 1]]).repeat(3000, 1)
    of = torch.tensor([0, 1]).repeat(3000)
    drawn = SMALL.partner(of, near, torch.Generator().manual_seed(0))
    assert set(drawn[1::2].tolist()) == {1}, "who has no neighbour is alone"
    share = torch.bincount(drawn[::2], minlength=3) / 3000
    torch.testing.assert_close(share, torch.tensor([0.5, 0.25, 0.25]), atol=0.03, rtol=0)
    never = replace(SMALL, keep=0.0).partner(of, near, torch.Generator().manual_seed(0))
    assert set(never[::2].tolist()) == {1, 2}


@pytest.mark.parametrize(
    ("settings", "total", "starts"),
    [
        ({}, 100, [50, 75]),
        ({"alone": 0.2, "rounds": 4}, 10, [2, 4, 6, 8]),
        ({"rounds": 0}, 10, []),
        ({"alone": 1.0}, 4, [4, 4]),
    ],
)
def test_neighbours_are_looked_for_at_equal_distances_after_the_first_part(settings, total, starts):
    assert replace(SMALL, **settings).starts(total) == starts


def test_training_finds_neighbours_says_so_and_goes_on_to_the_same_bits(tmp_path, one_thread):
    images = make_images(40, (1, 16, 16))
    whole = context(tmp_path / "whole", 8)
    learner = SMALL.fit(images, SPEC, whole)
    assert len(whole.notes["neighbours"]) == 2
    assert all(0 < mean <= 3 for mean in whole.notes["neighbours"])

    class Killed(Exception):
        pass

    def kill(stage, done, total, metrics):
        if stage == "meta-train" and done == 5:  # after the first round, before the second
            raise Killed

    with pytest.raises(Killed):
        SMALL.fit(images, SPEC, context(tmp_path / "parts", 8, kill))
    parts = context(tmp_path / "parts", 8)
    again = SMALL.fit(images, SPEC, parts)
    assert parts.notes == whole.notes
    for name, value in learner.encoder.state().items():
        assert torch.equal(value, again.encoder.state()[name]), name


def test_without_rounds_an_image_stays_a_class_of_its_own(tmp_path):
    images = make_images(20, (1, 16, 16))
    made = context(tmp_path, 4)
    replace(SMALL, rounds=0).fit(images, SPEC, made)
    assert made.notes["neighbours"] == []
    assert "labels of glyphs" in made.notes["settings"]


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"batch": 1}, "batch must be an integer of at least 2"),
        ({"nearest": 0}, "nearest must be an integer of at least 1"),
        ({"keep": 1.5}, "keep must be between 0 and 1"),
        ({"temperature": 0.0}, "temperature must be above 0"),
        ({"weight_decay": -1.0}, "weight_decay must be 0 or more"),
    ],
)
def test_settings_that_make_no_sense_are_refused_by_name(settings, words):
    with pytest.raises(BenchError, match=f"neighbours: {words}"):
        replace(SMALL, **settings)


def test_too_few_images_are_refused_before_anything_is_trained(tmp_path):
    with pytest.raises(BenchError, match="batch of 8 images is larger than the 5"):
        SMALL.fit(make_images(5, (1, 16, 16)), SPEC, context(tmp_path, 2))
    with pytest.raises(BenchError, match="10 images have no 10 others"):
        replace(SMALL, nearest=10).fit(make_images(10, (1, 16, 16)), SPEC, context(tmp_path, 2))
