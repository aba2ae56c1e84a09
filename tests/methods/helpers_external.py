"""A generator of the user's own, obtained or refused."""

import sys
import types

import pytest
import torch
from helpers_methods import make_context, make_images
from own_generators import LATENT

from bench.basics.errors import BenchError
from bench.basics.seeds import Seed
from methods.generators.external import Object

SHAPE = (1, 28, 28)


def obtain(recipe, tmp_path, shape=SHAPE):
    context = make_context(tmp_path)
    return recipe.obtain(make_images(40, shape), context), context


def refusal(recipe, tmp_path, shape=SHAPE):
    """The one sentence that a generator is refused with."""
    with pytest.raises(BenchError) as error:
        obtain(recipe, tmp_path, shape)
    assert "\n" not in str(error.value)
    return str(error.value)


def given(function, **settings):
    """What ``generator=object`` makes of a function, without an import."""
    settings = {"latent_dim": LATENT, **settings}
    module = types.ModuleType("given_generator")
    module.function = function
    sys.modules["given_generator"] = module
    recipe = Object(callable="given_generator:function", sha256="0", **settings)
    object.__setattr__(recipe, "digest", lambda _: "0")
    return recipe


def latents(n=4, dim=LATENT):
    return torch.randn(n, dim, generator=Seed(1).generator())
