"""MAML as a meta-learner: training, resuming, answering."""

from dataclasses import replace

import pytest
import torch
from meta_toys import SPEC, Blobs, accuracy, assert_queries_do_not_meet, context, held_out, in_double, losses

from bench.backbones import Conv4
from bench.basics.errors import BenchError, Diverged
from bench.contracts import Learner, MetaLearner, TaskSpec
from bench.learners.adaptation import Autograd, WrittenOut, adaptation
from bench.learners.maml import MAML

RECIPE = MAML(Conv4(8), inner_lr=0.1, inner_steps=2, eval_steps=3, meta_lr=0.01)


@pytest.mark.parametrize("change", [{}, {"first_order": True}, {"batch_stats": "inductive"}])
def test_training_lowers_the_loss_and_beats_chance(tmp_path, change):
    recipe = replace(RECIPE, **change)
    learner = recipe.fit(Blobs(), SPEC, context(tmp_path, 60))
    curve = losses(tmp_path)
    assert curve[-10:].mean() < 0.8 * curve[:10].mean()
    assert accuracy(learner, held_out()) > 0.9  # chance is 1/3


def test_an_interrupted_training_resumes_bit_for_bit(tmp_path):
    whole = RECIPE.fit(Blobs(), SPEC, context(tmp_path / "whole", 8))
    with pytest.raises(
        KeyboardInterrupt
    ):  # call 1 looks at the image shape, 2 and 3 are checked, 8 is meta-iteration 4
        RECIPE.fit(Blobs(fail_at=8), SPEC, context(tmp_path / "parts", 8, every_seconds=0))
    sampler = Blobs()
    resumed = RECIPE.fit(sampler, SPEC, context(tmp_path / "parts", 8))
    assert sampler.calls == 1 + 2 + 4
    assert whole.state().keys() == resumed.state().keys()
    for name, value in whole.state().items():
        assert torch.equal(value, resumed.state()[name]), name
    assert torch.equal(losses(tmp_path / "whole"), losses(tmp_path / "parts"))


def test_a_complete_training_is_only_read(tmp_path):
    first = RECIPE.fit(Blobs(), SPEC, context(tmp_path, 3))
    sampler = Blobs()
    again = RECIPE.fit(sampler, SPEC, context(tmp_path, 3))
    assert sampler.calls == 1 + 2  # the image shape, and what is checked
    assert all(torch.equal(value, again.state()[name]) for name, value in first.state().items())


def test_training_seeds_differ_and_start_where_untrained_is(tmp_path):
    one = RECIPE.untrained((1, 16, 16), SPEC, context(tmp_path, 0, seed=1)).state()
    other = RECIPE.untrained((1, 16, 16), SPEC, context(tmp_path, 0, seed=2)).state()
    start = RECIPE.fit(Blobs(), SPEC, context(tmp_path, 0, seed=1)).state()
    assert not torch.equal(one["conv1.weight"], other["conv1.weight"])
    assert all(torch.equal(value, start[name]) for name, value in one.items())


@pytest.mark.parametrize("change", [{"meta_lr": 1e30}, {"inner_lr": 1e30}])
def test_absurd_rates_are_reported_as_divergence(tmp_path, change):
    with pytest.raises(Diverged, match=r"meta-train: .* non-finite at step"):
        replace(RECIPE, **change).fit(Blobs(), SPEC, context(tmp_path, 20))


@pytest.mark.parametrize("batch_stats", ["transductive", "inductive"])
def test_many_tasks_are_answered_as_one_at_a_time(tmp_path, batch_stats):
    learner = in_double(replace(RECIPE, batch_stats=batch_stats).fit(Blobs(), SPEC, context(tmp_path, 2)))
    learner.tasks_at_once = 4
    tasks = held_out(n=10)
    support, query = tasks.support.double(), tasks.query.flatten(1, 2).double()
    together = learner.predict(support, query)
    assert together.shape == (10, 12, 3)
    for t in range(10):
        alone = learner.predict(support[t : t + 1], query[t : t + 1])
        torch.testing.assert_close(alone[0], together[t], rtol=1e-9, atol=1e-9)


def test_transduction_is_declared_where_it_happens(tmp_path):
    tasks = held_out(n=3)
    inductive = in_double(replace(RECIPE, batch_stats="inductive").fit(Blobs(), SPEC, context(tmp_path / "i", 2)))
    assert inductive.transductive is False
    assert_queries_do_not_meet(inductive, tasks)
    transductive = in_double(RECIPE.fit(Blobs(), SPEC, context(tmp_path / "t", 2)))
    assert transductive.transductive is True
    with pytest.raises(AssertionError):
        assert_queries_do_not_meet(transductive, tasks)


def test_fewer_ways_keep_the_first_outputs_and_more_are_refused(tmp_path):
    learner = RECIPE.untrained((1, 16, 16), SPEC, context(tmp_path, 0))
    narrow = TaskSpec(2, 1, 4)
    tasks = held_out(narrow, 4)
    cut = RECIPE.untrained((1, 16, 16), SPEC, context(tmp_path, 0))
    cut.params |= {n: v[:2] for n, v in cut.params.items() if n.startswith("head.")}
    query = tasks.query.flatten(1, 2)
    assert torch.equal(learner.predict(tasks.support, query), cut.predict(tasks.support, query))
    wide = held_out(TaskSpec(4, 1, 1), 1)
    with pytest.raises(BenchError, match="3 ways cannot answer 4-way tasks"):
        learner.predict(wide.support, wide.query.flatten(1, 2))


def test_meta_validation_sees_a_learner_of_inner_steps(tmp_path):
    seen = []

    def monitor(step, learner):
        seen.append((step, learner.steps))
        return 0.5

    learner = RECIPE.fit(Blobs(), SPEC, context(tmp_path, 5, monitor=monitor, validate_every=2))
    assert seen == [(2, 2), (4, 2), (5, 2)]
    assert learner.steps == 3


def test_contracts_and_engines(tmp_path):
    assert isinstance(RECIPE, MetaLearner)
    learner = RECIPE.untrained((1, 28, 28), SPEC, context(tmp_path, 0))
    assert isinstance(learner, Learner)
    assert learner.tasks_at_once == 8
    assert RECIPE.untrained((3, 84, 84), SPEC, context(tmp_path, 0)).tasks_at_once == 1

    class Another(Conv4):
        pass

    assert isinstance(adaptation(Conv4(), 1, 0.1, False), WrittenOut)
    assert isinstance(adaptation(Another(), 1, 0.1, False), Autograd)


class OneLayer:
    """A user's own backbone: the two methods, and nothing the written-out path knows."""

    def init(self, rng, image_shape, outputs):
        size = image_shape[0] * image_shape[1] * image_shape[2]
        return {"weight": 0.01 * torch.randn(outputs, size, generator=rng), "bias": torch.zeros(outputs)}

    def forward(self, params, images, normalise):
        return images.flatten(2) @ params["weight"].mT + params["bias"].unsqueeze(1)


def test_a_backbone_of_ones_own_trains_by_autograd(tmp_path):
    recipe = replace(RECIPE, backbone=OneLayer(), inner_lr=0.05)
    learner = recipe.fit(Blobs(), SPEC, context(tmp_path, 30))
    assert accuracy(learner, held_out()) > 0.8


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("inner_lr", 0.0),
        ("inner_lr", float("nan")),
        ("inner_steps", 0),
        ("eval_steps", 0),
        ("meta_lr", -1.0),
        ("meta_batch", 0),
        ("batch_stats", "running"),
    ],
)
def test_settings_out_of_range_are_refused(setting, value):
    with pytest.raises(BenchError, match=f"learner.{setting}"):
        MAML(Conv4(), **{setting: value})
