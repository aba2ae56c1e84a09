"""Any module as a backbone or encoder: its gradients are those of a plain loop, and what cannot work is refused."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import pytest
import torch
import torch.nn.functional as F
from meta_toys import SPEC, Blobs, accuracy, assert_queries_do_not_meet, context, held_out, in_double
from torch import nn
from torch.func import functional_call

from bench.backbones import EmbeddingBackbone, RunningStatistics, batch_statistics
from bench.basics.errors import BenchError
from bench.contracts import Encoder
from bench.learners.adaptation import adaptation
from bench.learners.maml import MAML
from bench.learners.modules import ModuleBackbone, ModuleEncoder
from bench.learners.protonet import ProtoNet
from bench.learners.resnet12 import ResNet12
from bench.planning import catalogue, components


class Odd(nn.Module):
    """Normalises in another order than it lists, 2-d and 1-d, and has a buffer, a frozen weight and a layer norm."""

    def __init__(self, channels):
        super().__init__()
        self.late = nn.BatchNorm1d(6, affine=False)
        self.early = nn.BatchNorm2d(4, eps=1e-3)
        self.conv = nn.Conv2d(channels, 4, 3, stride=2, padding=1)
        self.linear = nn.Linear(4, 6)
        self.layer = nn.LayerNorm(6)
        self.frozen = nn.Parameter(torch.rand(4, 1, 1), requires_grad=False)
        self.register_buffer("scale", torch.tensor(1.5))

    def forward(self, x):
        x = F.softplus(self.early(self.conv(x)) * self.frozen).mean((2, 3)) * self.scale
        return torch.tanh(self.layer(self.late(self.linear(x))))


@dataclass(frozen=True)
class Mine(ModuleBackbone):
    make: Callable = Odd

    def network(self, image_shape):
        return self.make(image_shape[0])


def plain(module, params, x, how):
    """The module as its author wrote it, its own batch normalisation in its own place."""
    inside = {name.removeprefix("module."): value for name, value in params.items() if name.startswith("module.")}
    module.train(how != "running")
    features = functional_call(module, inside, (x,)).flatten(1)
    return F.linear(features, params["head.weight"], params["head.bias"]) if "head.weight" in params else features


def double(params):
    return {name: value.double() for name, value in params.items()}


def the_module(backbone, shape):
    """With the frozen parts that the backbone has."""
    state = torch.get_rng_state()
    torch.manual_seed(0)
    module = backbone.network(shape).double()
    torch.set_rng_state(state)
    return module


@pytest.mark.parametrize("backbone", [Mine(), ResNet12(2)])
@pytest.mark.parametrize("first_order", [True, False])
def test_the_gradient_of_maml_is_that_of_a_loop_over_tasks(backbone, first_order):
    shape, steps, lr = (1, 16, 16), 2, 0.1
    params = double(backbone.init(torch.Generator().manual_seed(3), shape, SPEC.way))
    tasks = held_out(n=3)
    support, query = tasks.support.double(), tasks.query.double()
    loss, grads = adaptation(backbone, steps, lr, False).meta_gradient(params, support, query, first_order)

    module, total = the_module(backbone, shape), 0
    leaves = {name: value.clone().requires_grad_() for name, value in params.items()}
    labels = {id(part): torch.arange(3).repeat_interleave(part.shape[2]) for part in (support, query)}
    for t in range(3):
        fast = leaves
        for _ in range(steps):
            inner = F.cross_entropy(plain(module, fast, support[t].flatten(0, 1), "batch"), labels[id(support)])
            moved = torch.autograd.grad(inner, list(fast.values()), create_graph=not first_order, retain_graph=True)
            fast = {name: p - lr * g for (name, p), g in zip(fast.items(), moved, strict=True)}
        total = total + F.cross_entropy(plain(module, fast, query[t].flatten(0, 1), "batch"), labels[id(query)]) / 3
    torch.testing.assert_close(loss, total.detach(), rtol=1e-10, atol=1e-12)
    for name, grad in zip(leaves, torch.autograd.grad(total, list(leaves.values())), strict=True):
        torch.testing.assert_close(grads[name], grad, rtol=1e-7, atol=1e-10, msg=name)


@pytest.mark.parametrize("backbone", [Mine(), ResNet12(2)])
def test_statistics_of_the_support_go_to_the_queries_of_their_own_task(backbone):
    params = double(backbone.init(torch.Generator().manual_seed(3), (1, 16, 16), SPEC.way))
    tasks = held_out(n=3)
    support, query = tasks.support.double(), tasks.query.double()
    inner = adaptation(backbone, 2, 0.1, inductive=True)
    loss, grads = inner.meta_gradient(params, support, query, False)
    alone = [inner.meta_gradient(params, support[t : t + 1], query[t : t + 1], False) for t in range(3)]
    torch.testing.assert_close(loss, sum(one for one, _ in alone) / 3)
    for name, grad in grads.items():
        torch.testing.assert_close(grad, sum(one[name] for _, one in alone) / 3, rtol=1e-8, atol=1e-12)
    transductive, _ = adaptation(backbone, 2, 0.1, inductive=False).meta_gradient(params, support, query, False)
    assert abs(transductive - loss) > 1e-4


def test_running_statistics_are_those_of_the_module_itself():
    backbone, shape = Mine(), (1, 16, 16)
    params = double(backbone.init(torch.Generator().manual_seed(3), shape, None))
    buffers = double(backbone.buffers(shape))
    module, x = the_module(backbone, shape), torch.rand(7, *shape, dtype=torch.float64)
    each = {name: value[None] for name, value in params.items()}
    running = RunningStatistics(buffers, 0.1, training=True)
    torch.testing.assert_close(backbone.forward(each, x[None], running)[0], plain(module, params, x, "batch"))
    for i, norm in ((1, module.early), (2, module.late)):
        torch.testing.assert_close(buffers[f"norm{i}.mean"], norm.running_mean)
        torch.testing.assert_close(buffers[f"norm{i}.variance"], norm.running_var)
    torch.testing.assert_close(backbone.embed(params, buffers, x), plain(module, params, x, "running"))
    assert backbone.dim(shape) == 6


@pytest.mark.parametrize("recipe", [MAML(Mine(), inner_lr=0.1), ProtoNet(Mine())])
@pytest.mark.parametrize("batch_stats", ["transductive", "inductive"])
def test_it_trains_and_its_queries_meet_only_where_that_is_declared(tmp_path, recipe, batch_stats):
    if isinstance(recipe, MAML):
        recipe = replace(recipe, inner_steps=2, eval_steps=3)
    learner = replace(recipe, meta_lr=0.02, batch_stats=batch_stats).fit(Blobs(), SPEC, context(tmp_path, 40))
    assert accuracy(learner, held_out()) > 0.45  # chance is 1/3
    tasks = held_out(n=3)
    if learner.transductive:
        with pytest.raises(AssertionError):
            assert_queries_do_not_meet(in_double(learner), tasks)
    else:
        assert_queries_do_not_meet(in_double(learner), tasks)


def test_resnet12_is_the_published_one():
    backbone = components.build(catalogue.raw("backbone", "resnet12"), {})
    shape = (3, 84, 84)
    params = backbone.init(torch.Generator().manual_seed(0), shape, None)
    assert sum(value.numel() for value in params.values()) == 12_424_320  # "12.4 M" of the literature
    assert isinstance(backbone, EmbeddingBackbone)
    assert backbone.dim(shape) == 640 * 5 * 5
    assert replace(backbone, mean=True).dim(shape) == 640
    with pytest.raises(BenchError, match="at least 16x16"):
        backbone.init(torch.Generator(), (1, 15, 15), 5)


def test_first_weights_come_from_the_generator_that_is_handed_over_and_touch_no_other():
    before = torch.get_rng_state()
    one, again, other = (Mine().init(torch.Generator().manual_seed(seed), (1, 16, 16), 5) for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(one[name], again[name]) for name in one)
    assert not torch.equal(one["module.conv.weight"], other["module.conv.weight"])
    assert not torch.equal(one["head.weight"], other["head.weight"])
    assert "module.frozen" not in one


class Counting(nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("seen", torch.zeros(()))
        self.linear = nn.Linear(256, 3)

    def forward(self, x):
        self.seen += len(x)
        return self.linear(x.flatten(1))


class Twice(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm2d(1)

    def forward(self, x):
        return self.norm(self.norm(x))


class Functional(nn.Module):
    def forward(self, x):
        return F.dropout(x.flatten(1))


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: nn.Sequential(nn.Flatten(), nn.Dropout(0.5)), "has dropout (Dropout '1'); set p=0"),
        (Functional, "draws random numbers in its forward"),
        (Counting, "changes its buffer 'seen' in its forward"),
        (Twice, "applies a batch normalisation more than once"),
        (lambda: nn.LazyLinear(3), "has the lazy module LazyLinear"),
        (lambda: nn.InstanceNorm2d(1, track_running_stats=True), "set track_running_stats=False"),
        (lambda: nn.Flatten(0), "turns images [2, 1, 16, 16] into [512]"),
        (lambda: nn.AdaptiveMaxPool2d(1, return_indices=True), "turns images [2, 1, 16, 16] into tuple"),
        (lambda: nn.Conv2d(3, 4, 3), "cannot take images [2, 1, 16, 16]: Given groups=1"),
    ],
)
def test_what_is_no_function_of_its_parameters_is_refused_in_one_sentence(make, said):
    with pytest.raises(BenchError) as error:
        Mine(lambda _: make()).init(torch.Generator(), (1, 16, 16), 5)
    assert said in str(error.value)
    assert "backbone Mine: " in str(error.value)


def test_an_encoder_sees_what_it_expects_in_evaluation_mode_and_leaves_no_trace():
    seen = []

    class Watching(nn.Module):
        def __init__(self):
            super().__init__()
            self.norm, self.drop = nn.BatchNorm2d(3), nn.Dropout(0.9)

        def forward(self, x):
            seen.append(x)
            return self.drop(self.norm(x)).mean((2, 3))

    module = Watching()
    module.norm.eval()
    encoder = ModuleEncoder(module, (1, 8, 8), channels=3, size=16, mean=0.5, std=(0.5, 0.5, 0.25), at_once=2)
    assert isinstance(encoder, Encoder)
    x = torch.rand(5, 1, 8, 8)
    found = encoder.encode(x)
    assert (found.shape, encoder.dim, found.requires_grad) == ((5, 3), 3, False)
    given = torch.cat(seen[1:])
    assert given.shape == (5, 3, 16, 16)
    assert [len(one) for one in seen[1:]] == [2, 2, 1]
    wanted = (F.interpolate(x, (16, 16), mode="bilinear") - 0.5) / 0.5
    torch.testing.assert_close(given[:, :2], wanted.expand(-1, 2, -1, -1))
    torch.testing.assert_close(given[:, 2:], 2 * wanted)
    torch.testing.assert_close(found, given.mean((2, 3)) / (1 + 1e-5) ** 0.5)
    assert module.training
    assert module.drop.training
    assert not module.norm.training
    with pytest.raises(BenchError, match=r"2 images must become features \[2, ...\], not \[384\]"):
        ModuleEncoder(nn.Flatten(0), (3, 8, 8))
    with pytest.raises(BenchError, match="channels 1 or 3"):
        ModuleEncoder(nn.Flatten(), (3, 8, 8), channels=2)


def test_batch_statistics_of_one_task_are_those_among_others():
    backbone = Mine()
    params = double(backbone.init(torch.Generator().manual_seed(0), (1, 16, 16), 5))
    each = {name: torch.stack([value, 2 * value, 3 * value]) for name, value in params.items()}
    images = torch.rand(3, 4, 1, 16, 16, dtype=torch.float64)
    together = backbone.forward(each, images, batch_statistics)
    for t in range(3):
        alone = backbone.forward({n: v[t : t + 1] for n, v in each.items()}, images[t : t + 1], batch_statistics)
        torch.testing.assert_close(alone[0], together[t], rtol=1e-10, atol=1e-12)
