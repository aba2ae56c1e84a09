"""Conv4: geometry, initialisation, and one forward for T tasks against one plain network a task."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.backbones import Backbone, Conv4, RunningStatistics, batch_statistics, side_by_side
from bench.basics.errors import BenchError
from bench.learners import reference
from bench.planning import catalogue, components

STRIDED = {"stride": 2, "pool": False, "head": "mean"}


def stacked_params(backbone, tasks, shape, outputs, seed=0):
    """Different float64 parameters for every task, offsets and scales away from their initial values."""
    rng = torch.Generator().manual_seed(seed)
    params = [backbone.init(rng, shape, outputs) for _ in range(tasks)]
    stacked = {name: torch.stack([p[name] for p in params]).double() for name in params[0]}
    for name, value in stacked.items():
        if name.startswith("norm"):
            value.copy_(torch.randn(value.shape, generator=rng, dtype=torch.float64))
    return stacked


@pytest.mark.parametrize(
    ("backbone", "shape", "sizes"),
    [
        (Conv4(), (1, 28, 28), [14, 7, 3, 1]),
        (Conv4(), (3, 84, 84), [42, 21, 10, 5]),
        (Conv4(**STRIDED), (1, 28, 28), [14, 7, 4, 2]),
        (Conv4(filters=32, padding="valid"), (3, 84, 84), [41, 19, 8, 3]),
    ],
)
def test_map_sizes_are_those_of_the_literature(backbone, shape, sizes):
    geometry = backbone.geometry(shape)
    assert [g.pooled for g in geometry] == [(n, n) for n in sizes]
    features = backbone.forward(stacked_params(backbone, 1, shape, None), torch.rand(1, 2, *shape).double())
    assert features.shape == (1, 2, backbone.filters * sizes[-1] ** 2)
    assert backbone.dim(shape) == features.shape[-1]


@pytest.mark.parametrize(
    ("name", "shape", "convolved", "pooled", "features", "head_inputs", "parameters"),
    [
        # 84x84x3: 64·3·9 + 3·64·64·9 + 4·64 offsets + 5·(1600 + 1)
        ("conv4", (3, 84, 84), [84, 42, 21, 10], [42, 21, 10, 5], 1600, 1600, 120_581),
        # 32·3·9 + 3·32·32·9 + 4·32 + 5·(288 + 1), as the authors of LASIUM ran CelebA, mini-ImageNet and Fungi
        ("conv4-valid32", (3, 84, 84), [82, 39, 17, 6], [41, 19, 8, 3], 288, 288, 30_085),
        # 28x28x1: 64·9 + 3·64·64·9 + 4·64 + 5·(64 + 1), the classifier on the mean of the last 2x2 map
        ("conv4-strided", (1, 28, 28), [14, 7, 4, 2], [14, 7, 4, 2], 256, 64, 111_749),
    ],
)
def test_named_backbones_have_these_layers(name, shape, convolved, pooled, features, head_inputs, parameters):
    backbone = components.build(catalogue.raw("backbone", name), {})
    filters = backbone.filters
    geometry = backbone.geometry(shape)
    assert [g.size for g in geometry] == [(n, n) for n in convolved]
    assert [g.pooled for g in geometry] == [(n, n) for n in pooled]
    params = backbone.init(torch.Generator().manual_seed(0), shape, 5)
    assert {key: tuple(value.shape) for key, value in params.items()} == {
        "conv1.weight": (filters, shape[0], 3, 3),
        **{f"conv{i}.weight": (filters, filters, 3, 3) for i in (2, 3, 4)},
        **{f"norm{i}.bias": (filters,) for i in (1, 2, 3, 4)},
        "head.weight": (5, head_inputs),
        "head.bias": (5,),
    }
    assert sum(value.numel() for value in params.values()) == parameters
    assert backbone.dim(shape) == features
    logits = backbone.forward({key: value[None] for key, value in params.items()}, torch.rand(1, 2, *shape))
    assert logits.shape == (1, 2, 5)


def test_a_network_without_padding_is_the_plain_one_on_an_odd_size():
    backbone, shape = Conv4(3, padding="valid"), (3, 51, 47)
    params = stacked_params(backbone, 2, shape, 5)
    images = torch.rand(2, 3, *shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    together = backbone.forward(params, images)
    for t in range(2):
        alone = reference.network(backbone, {n: p[t] for n, p in params.items()}, images[t])
        torch.testing.assert_close(together[t], alone, rtol=1e-9, atol=1e-9)


def test_strided_padding_is_tensorflows_same():
    geometry = Conv4(**STRIDED).geometry((1, 28, 28))
    assert [g.pad for g in geometry] == [(0, 1, 0, 1), (0, 1, 0, 1), (1, 1, 1, 1), (0, 1, 0, 1)]


@settings(max_examples=25, deadline=None)
@given(
    height=st.integers(16, 40),
    width=st.integers(16, 40),
    channels=st.sampled_from([1, 3]),
    tasks=st.integers(1, 3),
    strided=st.booleans(),
    scale=st.booleans(),
)
def test_T_tasks_at_once_are_T_plain_networks(height, width, channels, tasks, strided, scale):
    backbone = Conv4(3, norm_scale=scale, **(STRIDED if strided else {}))
    shape = (channels, height, width)
    params = stacked_params(backbone, tasks, shape, 5)
    images = torch.rand(tasks, 2, *shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    together = backbone.forward(params, images)
    for t in range(tasks):
        alone = reference.network(backbone, {n: p[t] for n, p in params.items()}, images[t])
        torch.testing.assert_close(together[t], alone, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("backbone", [Conv4(3, norm_scale=True), Conv4(3, **STRIDED)])
def test_embedding_folds_the_running_statistics(backbone):
    shape, rng = (1, 21, 18), torch.Generator().manual_seed(0)
    params = {name: value[0] for name, value in stacked_params(backbone, 1, shape, None).items()}
    buffers = {name: torch.rand(v.shape, generator=rng).double() + 0.5 for name, v in backbone.buffers().items()}
    images = torch.rand(6, *shape, generator=rng, dtype=torch.float64)
    plain = reference.network(backbone, params, images, buffers=buffers, training=False)
    torch.testing.assert_close(backbone.embed(params, buffers, images), plain, rtol=1e-10, atol=1e-10)
    fixed = RunningStatistics(buffers, 0.1, training=False)
    unfolded = backbone.forward({n: p[None] for n, p in params.items()}, images[None], fixed)
    torch.testing.assert_close(unfolded[0], plain, rtol=1e-10, atol=1e-10)


def test_running_statistics_follow_pytorchs_convention():
    z = torch.randn(7, 4, 3, 3, generator=torch.Generator().manual_seed(0)).double()
    module = torch.nn.BatchNorm2d(4, eps=1e-3, momentum=0.1).double()
    module(z)
    buffers = {"norm1.mean": torch.zeros(4).double(), "norm1.variance": torch.ones(4).double()}
    RunningStatistics(buffers, 0.1, training=True)(0, z, torch.ones(4).double(), torch.zeros(4).double(), 1e-3)
    torch.testing.assert_close(buffers["norm1.mean"], module.running_mean)
    torch.testing.assert_close(buffers["norm1.variance"], module.running_var)


def test_a_single_query_whose_last_map_is_one_pixel_has_batch_statistics():
    z = torch.randn(1, 2, 1, 1)
    y = batch_statistics(0, z, torch.ones(2), torch.full((2,), 0.5), 1e-3)
    torch.testing.assert_close(y, torch.full_like(z, 0.5))


@pytest.mark.parametrize(("tasks", "channels"), [(1, 1), (1, 3), (4, 1)])
def test_one_channel_is_channels_last_too(tasks, channels):
    x = side_by_side(torch.rand(tasks, 5, channels, 28, 28))
    assert x.stride(1) == 1
    z = torch.conv2d(x, torch.rand(8 * tasks, channels, 3, 3), None, 1, 1, 1, tasks)
    assert z.is_contiguous(memory_format=torch.channels_last)


def test_initialisation_is_glorot_uniform_and_named_by_its_seed():
    def params(seed):
        return Conv4(norm_scale=True).init(torch.Generator().manual_seed(seed), (3, 28, 28), 5)

    first, again, other = params(1), params(1), params(2)
    assert all(torch.equal(first[n], again[n]) for n in first)
    assert not torch.equal(first["conv2.weight"], other["conv2.weight"])
    for name, fans in {"conv1.weight": 9 * (3 + 64), "conv2.weight": 9 * 128, "head.weight": 64 + 5}.items():
        bound = math.sqrt(6 / fans)
        assert 0.98 * bound < first[name].abs().max() <= bound
        assert first[name].std() == pytest.approx(bound / math.sqrt(3), rel=0.1)
    assert not first["head.bias"].any()
    assert not first["norm1.bias"].any()
    assert (first["norm1.weight"] == 1).all()
    assert not any(name.startswith("conv") and name.endswith("bias") for name in first)


def test_too_small_images_are_refused_in_one_sentence():
    with pytest.raises(BenchError, match=r"15x15 pixels are too small .* at least 16x16"):
        Conv4().init(torch.Generator(), (1, 15, 15), 5)
    with pytest.raises(BenchError, match="too small"):
        Conv4(padding="valid").geometry((1, 28, 28))


@pytest.mark.parametrize(
    ("setting", "value"),
    [("filters", 0), ("stride", 3), ("padding", "full"), ("head", "max"), ("eps", 0.0)],
)
def test_settings_out_of_range_are_refused(setting, value):
    with pytest.raises(BenchError, match=f"backbone.{setting}"):
        Conv4(**{setting: value})


def test_conv4_is_a_backbone():
    assert isinstance(Conv4(), Backbone)
