"""The projection against torch.nn."""

import pytest
import torch

from bench.basics.seeds import Seed
from bench.learners.projection import project, projection

CPU = torch.device("cpu")


@pytest.mark.parametrize("hidden", [None, 11])
def test_it_is_two_linear_layers_with_relu_between(hidden):
    params = projection(6, 4, Seed(0), CPU, hidden)
    params = {name: torch.randn(v.shape, generator=Seed(1).at(name).generator()) for name, v in params.items()}
    width = hidden or 6
    reference = torch.nn.Sequential(torch.nn.Linear(6, width), torch.nn.ReLU(), torch.nn.Linear(width, 4))
    reference.load_state_dict(
        {
            f"{2 * layer}.{part}": params[f"projection{layer + 1}.{part}"]
            for layer in (0, 1)
            for part in ("weight", "bias")
        }
    )
    x = torch.randn(9, 6, generator=Seed(2).generator())
    torch.testing.assert_close(project(params, x), reference(x))


def test_its_weights_follow_from_the_seed_keep_the_variance_and_its_offsets_are_zero():
    params = projection(400, 300, Seed(0), CPU, 500, name="head")
    assert {name: tuple(v.shape) for name, v in params.items()} == {
        "head1.weight": (500, 400),
        "head1.bias": (500,),
        "head2.weight": (300, 500),
        "head2.bias": (300,),
    }
    assert params["head1.weight"].std().item() == pytest.approx((2 / 400) ** 0.5, rel=0.01)
    assert params["head2.weight"].std().item() == pytest.approx((2 / 500) ** 0.5, rel=0.01)
    assert params["head1.bias"].eq(0).all()
    again = projection(400, 300, Seed(0), CPU, 500, name="head")
    assert all(torch.equal(again[name], v) for name, v in params.items())
    assert not torch.equal(projection(400, 300, Seed(1), CPU, 500, name="head")["head1.weight"], params["head1.weight"])


def test_a_projection_to_nothing_has_no_parameters():
    assert projection(6, 0, Seed(0), CPU) == {}
