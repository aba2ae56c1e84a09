"""The written-out derivatives against autograd, in float64: each operator, the whole Hessian, every meta-gradient."""

import itertools

import pytest
import torch
import torch.nn.functional as F

from bench.backbones import Conv4
from bench.learners import reference
from bench.learners.adaptation import Autograd, WrittenOut
from bench.learners.conv_block_grad import Block
from bench.learners.conv_grad import (
    Conv4Derivatives,
    cross_entropy_backward,
    cross_entropy_r_backward,
    grouped,
    stacked,
)

STRIDED = {"stride": 2, "pool": False, "head": "mean"}
NETWORKS = {
    "conv4": Conv4(3),
    "conv4-scale": Conv4(3, norm_scale=True),
    "strided": Conv4(3, **STRIDED),
    "strided-scale": Conv4(3, norm_scale=True, **STRIDED),
    "valid": Conv4(3, padding="valid", head="mean"),
}


def randn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def channels_last(x):
    return torch.empty_like(x, memory_format=torch.channels_last).copy_(x)


def problem(backbone, tasks, shot, query=2, channels=1, size=17, blank=False):
    rng = torch.Generator().manual_seed(100 * tasks + shot)
    params = {n: v.double() for n, v in backbone.init(rng, (channels, size, size), 4).items()}
    for name, value in params.items():
        if name.startswith("norm"):  # scales of both signs, offsets that switch ReLUs
            value.copy_(torch.randn(value.shape, generator=rng, dtype=torch.float64))
    support, queries = (
        torch.rand(tasks, 4, n, channels, size, size, generator=rng, dtype=torch.float64) for n in (shot, query)
    )
    if blank:  # drawings on an empty ground: whole regions where the maximum of a window is a tie
        for images in (support, queries):
            images[..., :9, :] = 0
            images[..., 13:] = 0
    return params, support, queries


def worst(got, wanted):
    assert got.keys() == wanted.keys()
    return max(((got[n] - wanted[n]).norm() / wanted[n].norm().clamp_min(1e-12)).item() for n in wanted)


# --------------------------------------------------------------------------------------------- one operator
def plain_block(block, scale, x, w, gamma, beta):
    """Convolution, normalisation from its definition, ReLU, pooling: differentiable as often as one likes."""
    z = F.conv2d(block.geometry.prepare(x), w, None, block.geometry.stride, block.geometry.padding, 1, block.groups)
    centred = z - z.mean((0, 2, 3), keepdim=True)
    y = centred / (centred.square().mean((0, 2, 3), keepdim=True) + block.eps).sqrt()
    y = y * gamma[:, None, None] + beta[:, None, None] if scale else y + beta[:, None, None]
    y = F.relu(y)
    return F.max_pool2d(y, 2) if block.pool else y


@pytest.mark.parametrize("scale", [False, True])
@pytest.mark.parametrize("backbone", [Conv4(2), Conv4(2, **STRIDED), Conv4(2, padding="valid")])
@pytest.mark.parametrize("side", [(17, 20), (8, 9)])
def test_each_operator_of_a_block(backbone, scale, side):
    groups = 3
    geometry = Conv4(2, **{**STRIDED, "stride": backbone.stride}).geometry((1, *side))[0]
    if backbone.padding == "valid":
        geometry = Conv4(2, padding="valid").geometry((1, 84, 84))[0]
    block = Block(geometry, groups, backbone.pool, 1e-3, first=False)
    x, w = channels_last(randn(4, 2 * groups, *side)), randn(2 * groups, 2, 3, 3, seed=1)
    gamma, beta = randn(2 * groups, seed=2), randn(2 * groups, seed=3)
    inputs = (x, w, gamma, beta)
    v = tuple(
        channels_last(randn(*t.shape, seed=9 + i)) if t.dim() == 4 else randn(*t.shape, seed=9 + i)
        for i, t in enumerate(inputs)
    )
    if not scale:
        v = (*v[:2], torch.zeros_like(gamma), v[3])
    given_gamma, v_gamma = (gamma, v[2]) if scale else (None, None)

    f = block.forward(x, w, given_gamma, beta)
    dy, r_dy = channels_last(randn(*f.y.shape, seed=20)), channels_last(randn(*f.y.shape, seed=21))
    b = block.backward(f, w, dy)
    r = block.r_forward(f, w, v[0], v[1], v_gamma, v[3])
    rb = block.r_backward(f, b, r, w, v[1], r_dy)

    def value(*t):
        return plain_block(block, scale, *t)

    def gradients(x, w, gamma, beta, dy):
        leaves = [t.requires_grad_() if t.is_leaf else t for t in (x, w, gamma, beta)]
        y = plain_block(block, True, *leaves)
        return torch.autograd.grad((y * dy).sum(), leaves, create_graph=True)

    y, r_y = torch.autograd.functional.jvp(value, inputs, v)
    close = {"rtol": 1e-9, "atol": 1e-10}
    torch.testing.assert_close(f.y, y, **close)
    torch.testing.assert_close(r.y, r_y, **close)
    gamma = gamma if scale else torch.ones_like(gamma)
    first, second = torch.autograd.functional.jvp(gradients, (x, w, gamma, beta, dy), (*v, r_dy))
    for name, wanted, r_wanted in zip(("dx", "dw", "dgamma", "dbeta"), first, second, strict=True):
        torch.testing.assert_close(getattr(b, name), wanted, **close)
        torch.testing.assert_close(getattr(rb, name), r_wanted, **close)


@pytest.mark.parametrize("pool", [False, True])
def test_given_statistics_and_the_gradient_that_reaches_them(pool):
    geometry = Conv4(2).geometry((1, 17, 20))[0]
    block = Block(geometry, 2, pool, 1e-3, first=False)
    x, w, gamma, beta = (
        channels_last(randn(4, 4, 17, 20)),
        randn(4, 2, 3, 3, seed=1),
        randn(4, seed=2),
        randn(4, seed=3),
    )
    mean, r = randn(4, seed=4), randn(4, seed=5).abs() + 0.5
    leaves = [t.clone().requires_grad_() for t in (x, w, gamma, beta, mean, r)]
    z = geometry.convolve(leaves[0], leaves[1], 2)
    a = (z - leaves[4][:, None, None]) * leaves[5][:, None, None] * leaves[2][:, None, None] + leaves[3][:, None, None]
    y = F.relu(F.max_pool2d(a, 2) if pool else a)
    f = block.forward(x, w, gamma, beta, (mean, r))
    torch.testing.assert_close(f.y, y, rtol=1e-10, atol=1e-10)
    dy = channels_last(randn(*y.shape, seed=6))
    b = block.backward(f, w, dy, given=True)
    got = (b.dx, b.dw, b.dgamma, b.dbeta, *block.statistics_backward(f, b, gamma))
    for one, wanted in zip(got, torch.autograd.grad((y * dy).sum(), leaves), strict=True):
        torch.testing.assert_close(one, wanted, rtol=1e-9, atol=1e-9)


def test_cross_entropy_and_its_r_operator():
    logits, v, labels = randn(3, 6, 4), randn(3, 6, 4, seed=1), torch.tensor([0, 0, 1, 1, 2, 3])

    def gradient(x):
        loss = F.cross_entropy(x.flatten(0, 1), labels.repeat(3), reduction="sum") / 6
        return torch.autograd.grad(loss, x, create_graph=True)[0]

    first, second = torch.autograd.functional.jvp(gradient, logits, v)
    torch.testing.assert_close(cross_entropy_backward(logits, F.one_hot(labels, logits.shape[-1]).to(logits)), first)
    torch.testing.assert_close(cross_entropy_r_backward(logits, v), second)


# ---------------------------------------------------------------------------------------- the whole network
@pytest.mark.parametrize("backbone", NETWORKS.values(), ids=NETWORKS)
def test_hessian_vector_product_of_the_whole_network(backbone):
    tasks, size = 2, 48  # enough for four unpadded convolutions
    shape, rng = (3, size, size), torch.Generator().manual_seed(0)
    params = {n: v.double() + randn(*v.shape, seed=1) for n, v in backbone.init(rng, shape, 4).items()}
    params = {n: p.expand(tasks, *p.shape) + 0.1 * randn(tasks, *p.shape, seed=2) for n, p in params.items()}
    v = {n: randn(*p.shape, seed=3) for n, p in params.items()}
    images, labels = torch.rand(tasks, 8, *shape, generator=rng, dtype=torch.float64), torch.arange(4).repeat(2)

    net, theta = Conv4Derivatives(backbone, shape, tasks), grouped(params)
    f = net.forward(theta, net.images(images))
    b = net.backward(theta, f, cross_entropy_backward(f.logits, F.one_hot(labels, f.logits.shape[-1]).to(f.logits)))
    product = stacked(net.hessian_vector(theta, f, b, grouped(v)), tasks)

    for t in range(tasks):
        leaves = {n: p[t].clone().requires_grad_() for n, p in params.items()}
        loss = F.cross_entropy(reference.network(backbone, leaves, images[t]), labels)
        grads = dict(zip(leaves, torch.autograd.grad(loss, list(leaves.values()), create_graph=True), strict=True))
        assert worst({n: g[t] for n, g in stacked(b.grads, tasks).items()}, grads) < 1e-9
        along = sum((grads[n] * v[n][t]).sum() for n in grads)
        wanted = dict(zip(leaves, torch.autograd.grad(along, list(leaves.values())), strict=True))
        assert worst({n: h[t] for n, h in product.items()}, wanted) < 1e-9


CASES = [(tasks, shot, 1 + 2 * (tasks % 2)) for tasks, shot in itertools.product((1, 2, 3, 4), (1, 5))]


@pytest.mark.parametrize("inductive", [False, True], ids=["transductive", "inductive"])
@pytest.mark.parametrize("first_order", [False, True], ids=["second", "first"])
@pytest.mark.parametrize("name", ["conv4", "conv4-scale", "strided", "strided-scale"])
def test_meta_gradient_is_that_of_a_plain_loop_over_tasks(name, first_order, inductive):
    backbone = NETWORKS[name]
    for tasks, shot, channels in CASES:
        params, support, query = problem(backbone, tasks, shot, channels=channels)
        settings = (3, 0.1)
        loss, wanted = reference.maml_gradient(backbone, params, support, query, *settings, first_order, inductive)
        for engine in (WrittenOut, Autograd):
            got_loss, got = engine(backbone, *settings, inductive).meta_gradient(params, support, query, first_order)
            assert worst(got, wanted) < 1e-8
            torch.testing.assert_close(got_loss, loss, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", ["conv4", "strided"])
def test_meta_gradient_at_the_papers_rate_and_steps(name):
    backbone = NETWORKS[name]
    params, support, query = problem(backbone, 2, 1)
    _, wanted = reference.maml_gradient(backbone, params, support, query, 5, 0.4, False)
    _, got = WrittenOut(backbone, 5, 0.4, False).meta_gradient(params, support, query, False)
    assert worst(got, wanted) < 1e-8


@pytest.mark.parametrize("name", ["conv4", "conv4-scale", "strided"])
def test_meta_gradient_of_drawings_where_maxima_tie(name):
    backbone = NETWORKS[name]
    params, support, query = problem(backbone, 2, 1, size=28, blank=True)
    _, wanted = reference.maml_gradient(backbone, params, support, query, 3, 0.1, False)
    _, got = WrittenOut(backbone, 3, 0.1, False).meta_gradient(params, support, query, False)
    assert worst(got, wanted) < 1e-8


def test_first_order_is_second_order_without_the_hessian(monkeypatch):
    backbone = NETWORKS["conv4"]
    params, support, query = problem(backbone, 2, 1)
    engine = WrittenOut(backbone, 3, 0.1, False)
    _, first = engine.meta_gradient(params, support, query, True)
    _, second = engine.meta_gradient(params, support, query, False)
    assert worst(first, second) > 1e-3

    def nothing(self, theta, f, b, v):
        return {name: torch.zeros_like(value) for name, value in v.items()}

    monkeypatch.setattr(Conv4Derivatives, "hessian_vector", nothing)
    _, dropped = engine.meta_gradient(params, support, query, False)
    assert worst(dropped, first) == 0


@pytest.mark.parametrize("inductive", [False, True])
@pytest.mark.parametrize("name", ["conv4-scale", "strided"])
def test_scores_after_adaptation_are_those_of_a_plain_loop(name, inductive):
    backbone = NETWORKS[name]
    params, support, query = problem(backbone, 3, 2)
    images = query.flatten(1, 2)
    wanted = reference.maml_scores(backbone, params, support, images, 4, 0.2, inductive)
    for engine in (WrittenOut, Autograd):
        got = engine(backbone, 4, 0.2, inductive).scores(params, support, images)
        torch.testing.assert_close(got, wanted, rtol=1e-8, atol=1e-8)
        assert not got.requires_grad


def test_float32_agrees_with_float64_after_one_step():
    """After one step: later ones amplify rounding, because an argmax or a ReLU may flip."""
    backbone = Conv4(8)
    params, support, query = problem(backbone, 2, 5, size=28)
    wanted = WrittenOut(backbone, 1, 0.01, False).meta_gradient(params, support, query, False)[1]
    params = {name: value.float() for name, value in params.items()}
    got = WrittenOut(backbone, 1, 0.01, False).meta_gradient(params, support.float(), query.float(), False)[1]
    assert worst({name: value.double() for name, value in got.items()}, wanted) < 1e-2
