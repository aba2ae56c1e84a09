"""The options that a component takes of the groups that it uses, unless the user says otherwise."""

import pytest

from bench.planning import catalogue
from bench.planning.composing import compose
from bench.planning.overrides import parse_overrides


@pytest.mark.parametrize("name", ["moco", "embedding-knn-moco"])
def test_what_a_component_prefers_holds_until_the_user_says_otherwise(name):
    assert catalogue.raw("method", "moco")["prefers"] == {"views": "crops"}

    def chosen(*given):
        one = compose(catalogue.variants()[name], "glyphs", "smoke", parse_overrides(list(given)))
        return one.values["views"]["identity"], one.method_name

    assert chosen() == ("bench.views.crops.Crops", name)
    assert chosen("views=crops") == ("bench.views.crops.Crops", name), "said or not, it is one row"
    assert chosen("views=strokes") == ("bench.views.strokes.Strokes", f"{name},views=strokes")
