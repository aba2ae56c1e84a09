"""A recipe says all that a component is, and a module's first weights come from a seed."""

import json
from dataclasses import dataclass, field

import pytest
import torch
from torch import nn

from bench.basics.errors import BenchError
from bench.basics.seeds import Seed
from bench.training import initialised, settings_of
from bench.views.photographs import Photographs
from bench.views.strokes import Strokes


@dataclass(frozen=True)
class Method:
    views: object
    sizes: tuple = (1, 2)
    more: dict = field(default_factory=lambda: {"rate": 0.1, "none": None})


def test_components_with_the_same_fields_are_told_apart_by_class_and_version(monkeypatch):
    told = settings_of(Method(Strokes()))
    assert json.loads(json.dumps(told)) == told
    assert told["sizes"] == [1, 2]
    assert told["more"] == {"rate": 0.1, "none": None}
    assert told["class"].endswith(".Method")
    assert told["views"]["rotation"] == Strokes().rotation
    assert told != settings_of(Method(Photographs()))
    monkeypatch.setattr("bench.views.strokes.VERSION", 2, raising=False)
    assert settings_of(Method(Strokes()))["views"] == {**told["views"], "version": 2}
    with pytest.raises(BenchError, match="a recipe holds dataclasses and JSON values, not Linear"):
        settings_of(Method(nn.Linear(2, 2)))


def test_first_weights_come_from_the_seed_and_the_global_generator_is_left_as_it_was():
    before = torch.get_rng_state()
    one, again, other = (initialised(lambda: nn.Linear(3, 3), Seed(n)) for n in (0, 0, 1))
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(one.weight, again.weight)
    assert not torch.equal(one.weight, other.weight)
