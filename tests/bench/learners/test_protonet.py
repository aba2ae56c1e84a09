"""ProtoNets: scores from their definition, training, resuming, what a query's score may depend on."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from meta_toys import SPEC, Blobs, accuracy, assert_queries_do_not_meet, context, held_out, in_double, losses

from bench.backbones import Conv4, RunningStatistics
from bench.basics.errors import BenchError, Diverged
from bench.contracts import Learner, MetaLearner, TaskSpec
from bench.learners import reference
from bench.learners.protonet import ProtoNet

RECIPE = ProtoNet(Conv4(8), meta_lr=0.01)
MODES = ["inductive", "transductive"]


@pytest.mark.parametrize("batch_stats", MODES)
@pytest.mark.parametrize("distance", ["mean", "sum"])
def test_scores_are_minus_the_squared_distance_to_the_class_means(tmp_path, batch_stats, distance):
    recipe = replace(RECIPE, batch_stats=batch_stats, distance=distance)
    learner = in_double(recipe.fit(Blobs(), SPEC, context(tmp_path, 3)))
    learner.tasks_at_once = 2
    tasks = held_out(TaskSpec(3, 5, 4), 5)
    support, query = tasks.support.double(), tasks.query.flatten(1, 2).double()
    got = learner.predict(support, query)
    assert learner.transductive == (batch_stats == "transductive")

    def features(x):
        running = {"buffers": learner.buffers, "training": False}
        return reference.network(learner.backbone, learner.params, x, **({} if learner.transductive else running))

    for t in range(5):
        embedded, prototypes = features(query[t]), features(support[t].flatten(0, 1)).view(3, 5, -1).mean(1)
        for m in range(query.shape[1]):
            for c in range(3):
                squared = (embedded[m] - prototypes[c]) ** 2
                wanted = -(squared.mean() if distance == "mean" else squared.sum())
                torch.testing.assert_close(got[t, m, c], wanted, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("batch_stats", MODES)
def test_gradient_is_that_of_a_plain_loss(batch_stats):
    backbone = Conv4(4, norm_scale=True)
    recipe = ProtoNet(backbone, batch_stats=batch_stats)
    rng = torch.Generator().manual_seed(0)
    params = {name: value.double() for name, value in backbone.init(rng, (1, 16, 16), None).items()}
    tasks = held_out(n=3)
    tasks = type(tasks)(tasks.support.double(), tasks.query.double())
    running = RunningStatistics({n: v.double() for n, v in backbone.buffers().items()}, 0.1, True)
    loss, grads = recipe.gradient(params, tasks, running)

    leaves = {name: value.clone().requires_grad_() for name, value in params.items()}
    support, query = tasks.support.flatten(1, 2), tasks.query.flatten(1, 2)
    if batch_stats == "inductive":  # one batch of everything
        together = torch.cat([support.flatten(0, 1), query.flatten(0, 1)])
        features = reference.network(backbone, leaves, together)
        s, q = features[:9].view(3, 3, -1), features[9:].view(3, 12, -1)
    else:  # one batch for each part of each task
        s = torch.stack([reference.network(backbone, leaves, x) for x in support])
        q = torch.stack([reference.network(backbone, leaves, x) for x in query])
    labels = torch.arange(3).repeat_interleave(4)
    scores = [-((q[t][:, None] - s[t][None]) ** 2).mean(-1) for t in range(3)]
    wanted = sum(F.cross_entropy(score, labels) for score in scores) / 3
    torch.testing.assert_close(loss, wanted.detach())
    for name, grad in zip(leaves, torch.autograd.grad(wanted, list(leaves.values())), strict=True):
        torch.testing.assert_close(grads[name], grad, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("batch_stats", MODES)
def test_training_lowers_the_loss_and_beats_chance(tmp_path, batch_stats):
    learner = replace(RECIPE, batch_stats=batch_stats).fit(Blobs(), SPEC, context(tmp_path, 60))
    curve = losses(tmp_path)
    assert curve[-10:].mean() < 0.8 * curve[:10].mean()
    assert accuracy(learner, held_out()) > 0.7


@pytest.mark.parametrize("batch_stats", MODES)
def test_an_interrupted_training_resumes_bit_for_bit(tmp_path, batch_stats):
    recipe = replace(RECIPE, batch_stats=batch_stats)
    whole = recipe.fit(Blobs(), SPEC, context(tmp_path / "whole", 8))
    with pytest.raises(KeyboardInterrupt):
        recipe.fit(Blobs(fail_at=8), SPEC, context(tmp_path / "parts", 8, every_seconds=0))
    resumed = recipe.fit(Blobs(), SPEC, context(tmp_path / "parts", 8))
    assert whole.state().keys() == resumed.state().keys()
    for name, value in whole.state().items():
        assert torch.equal(value, resumed.state()[name]), name


def test_running_statistics_are_trained_and_part_of_the_state(tmp_path):
    learner = RECIPE.fit(Blobs(), SPEC, context(tmp_path, 5))
    for i in range(1, 5):
        assert learner.state()[f"norm{i}.mean"].any()
    untrained = RECIPE.untrained((1, 16, 16), SPEC, context(tmp_path, 0))
    assert not untrained.state()["norm1.mean"].any()
    transductive = replace(RECIPE, batch_stats="transductive").untrained((1, 16, 16), SPEC, context(tmp_path, 0))
    assert not any(name.endswith("mean") for name in transductive.state())


def test_transduction_is_declared_where_it_happens(tmp_path):
    tasks = held_out(n=3)
    assert_queries_do_not_meet(in_double(RECIPE.fit(Blobs(), SPEC, context(tmp_path / "i", 2))), tasks)
    recipe = replace(RECIPE, batch_stats="transductive")
    with pytest.raises(AssertionError):
        assert_queries_do_not_meet(in_double(recipe.fit(Blobs(), SPEC, context(tmp_path / "t", 2))), tasks)


def test_absurd_rates_are_reported_as_divergence(tmp_path):
    with pytest.raises(Diverged, match="non-finite"):
        replace(RECIPE, meta_lr=1e30).fit(Blobs(), SPEC, context(tmp_path, 10))


def test_contracts(tmp_path):
    assert isinstance(RECIPE, MetaLearner)
    assert isinstance(RECIPE.untrained((1, 16, 16), SPEC, context(tmp_path, 0)), Learner)


@pytest.mark.parametrize(
    ("setting", "value"),
    [("distance", "cosine"), ("batch_stats", "running"), ("momentum", 0.0), ("meta_lr", 0.0), ("meta_batch", 0)],
)
def test_settings_out_of_range_are_refused(setting, value):
    with pytest.raises(BenchError, match=f"learner.{setting}"):
        ProtoNet(Conv4(), **{setting: value})
