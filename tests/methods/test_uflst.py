"""UFLST: its losses are those of loops, its rounds those of the recipe, and a training that goes on is the same one."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from helpers_methods import make_context

from bench.backbones import Conv4
from bench.basics.errors import BenchError, Diverged
from bench.basics.seeds import Seed
from bench.contracts import ClusteringMethod, SamplingMethod, TaskSpec
from bench.datasets.images import UnlabelledImages
from bench.learners.reciprocal import NOBODY, Clustering, cluster
from bench.training.checkpoint import Checkpoint
from bench.training.rehearsal import rehearsing
from bench.training.work import metered
from methods import uflst
from methods.uflst import UFLST, ClusterBatches, Rounds, RoundSchedule, hardest_triplets, prototypes

BACKBONE = Conv4(filters=8, stride=2, pool=False)
SPEC = TaskSpec(5, 1, 1)
TINY = {"epochs": 4, "k1": 12, "k2": 3, "neighbours": 6.0, "clusters_per_batch": 8, "lr": 0.001}


def images(classes=12, size=20, noise=0.2):
    """Noisy copies of random patterns, in random order."""
    rng = torch.Generator().manual_seed(0)
    patterns = (torch.rand(classes, 1, 16, 16, generator=rng) > 0.7).float()
    copies = patterns.repeat_interleave(size, 0) + noise * torch.randn(classes * size, 1, 16, 16, generator=rng)
    order = torch.randperm(len(copies), generator=rng)
    return UnlabelledImages((copies.clamp(0, 1) * 255).to(torch.uint8)[order], "patterns")


def context(folder, steps=11, **settings):
    made = make_context(folder, **settings)
    checkpoint = Checkpoint(folder / "run.safetensors", every_seconds=0)
    return replace(made, budget=replace(made.budget, meta_iterations=steps), checkpoint=checkpoint)


def state(learner):
    return {name: value.clone() for name, value in learner.encoder.state().items()}


def equal(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


@pytest.mark.parametrize("classes", [[4, 2, 9, 7], [3, 1, 3, 1]])
def test_triplets_are_those_of_a_loop_over_all_images(classes):
    features = torch.randn(4, 5, 6, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    every = [(c, x.numpy()) for c, group in zip(classes, features, strict=True) for x in group]
    expected = []
    for mine, anchor in every:
        far = max(math.dist(anchor, x) for c, x in every if c == mine)
        near = min(math.dist(anchor, x) for c, x in every if c != mine)
        expected.append(math.log(1 + math.exp(1 + far - near)))
    found = hardest_triplets(features, torch.tensor(classes))
    assert float(found) == pytest.approx(np.mean(expected), rel=1e-12)


@pytest.mark.parametrize("classes", [[4, 2, 9, 7], [3, 1, 3, 1]])
def test_the_loss_of_prototypes_is_that_of_a_loop_over_all_queries(classes):
    features = torch.randn(4, 5, 6, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    x, expected = features.numpy(), []
    for c in range(4):
        others = [o for o in range(4) if o == c or classes[o] != classes[c]]
        for query in x[c, 1:]:
            scores = {o: -float(((query - x[o, 0]) ** 2).sum()) for o in others}
            expected.append(math.log(sum(math.exp(s) for s in scores.values())) - scores[c])
    found = prototypes(features, torch.tensor(classes))
    assert float(found) == pytest.approx(np.mean(expected), rel=1e-10)


@pytest.mark.parametrize("loss", [hardest_triplets, prototypes])
def test_images_that_are_all_equal_have_a_loss_and_a_gradient(loss):
    features = torch.ones(3, 4, 5, requires_grad=True)
    value = loss(features, torch.arange(3))
    value.backward()
    assert float(value.detach()) == pytest.approx(math.log(1 + math.e) if loss is hardest_triplets else math.log(3))
    assert features.grad.isfinite().all()


def test_an_epoch_visits_every_cluster_once_and_a_batch_holds_different_images():
    labels = torch.tensor([NOBODY] * 5 + [c for c, size in enumerate((30, 9, 6, 6, 6, 6, 6)) for _ in range(size)])
    labels = labels[torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))]
    batches = ClusterBatches(labels.int(), 3, 6, Seed(0))
    rng = torch.Generator().manual_seed(0)
    epochs = []
    for epoch in range(20):
        seen = []
        for step in (2 * epoch, 2 * epoch + 1):  # of seven clusters one is left out
            index, classes = batches.at(step, rng)
            assert index.shape == (3, 6)
            assert (labels[index] == classes[:, None]).all()
            assert len(index.unique()) == 18
            seen += classes.tolist()
        assert len(set(seen)) == 6
        epochs.append(tuple(seen))
    assert len(set(epochs)) == 20
    assert {c for epoch in epochs for c in epoch} == set(range(7))


def test_where_clusters_are_few_a_batch_has_them_all_equally_often():
    labels = torch.arange(5).repeat_interleave(6)
    batches = ClusterBatches(labels.int(), 12, 6, Seed(0))
    for step in range(5):
        index, classes = batches.at(step, torch.Generator().manual_seed(step))
        assert (labels[index] == classes[:, None]).all()
        assert sorted(np.bincount(classes).tolist()) == [2, 2, 2, 3, 3]


def found(sizes):
    labels = np.repeat(np.arange(len(sizes)), sizes)
    return Clustering(labels, 0.25)


def test_rounds_follow_each_other_and_each_has_the_rates_of_the_recipe():
    rounds = Rounds(9, torch.device("cpu"))
    schedule = RoundSchedule(0.005, rounds=rounds)
    assert (rounds.number, rounds.end) == (-1, 0)
    begin = 0
    for number, steps in enumerate((1, 8, 5)):
        assert schedule.at(begin, 14) == 0.005, "the rate is asked for before the round is known"
        rounds.begin(begin, steps, found([9, 7, 6]))
        assert (rounds.number, rounds.first, rounds.end) == (number, begin, begin + steps)
        for step in range(steps):
            over = step / steps
            expected = 0.005 if over <= 0.5 else 0.005 * 10 ** (-3 * (over - 0.5) / 0.5)
            assert schedule.at(begin + step, 14) == pytest.approx(expected)
        begin += steps
    again = Rounds(9, torch.device("cpu"))
    again.table.copy_(rounds.table)
    assert (again.number, again.first, again.end) == (2, 9, 14)
    assert again.facts() == rounds.facts()
    said = {"first": 1, "end": 9, "clusters": 3, "images": 22, "largest": 9, "smallest": 6, "eps": 0.25}
    assert rounds.facts()[1] == said


def test_a_round_is_so_many_epochs_over_its_clusters(tmp_path):
    made = context(tmp_path, steps=30)
    UFLST(BACKBONE, **{**TINY, "clusters_per_batch": 2}).fit(images(), SPEC, made)
    ends = [0]
    for one in made.notes["clusterings"]:
        assert one["first"] == ends[-1]
        assert one["end"] - one["first"] == 4 * (one["clusters"] // 2)
        ends.append(one["end"])
    assert ends[-2] < 30 <= ends[-1]


@pytest.mark.parametrize("loss", ["triplet", "protonet"])
def test_it_trains_on_clusters_of_its_own_embedding_and_says_which(tmp_path, loss):
    given, made = images(), context(tmp_path)
    method = UFLST(BACKBONE, loss=loss, **TINY)
    learner = method.fit(given, SPEC, made)
    found = method.clusterings(given, SPEC, made)
    assert isinstance(method, ClusteringMethod)
    assert isinstance(method, SamplingMethod)
    assert found.shape == (1, len(given))
    initial = BACKBONE.init(made.seed.at("init").generator(), given.shape, None)
    untrained = BACKBONE.embed(initial, BACKBONE.buffers(), given.take(torch.arange(len(given))))
    first = cluster(untrained, 12, 3, 6.0, 4, 6)
    assert len(made.notes["clusterings"]) == 3
    last = found[0][found[0] >= 0]
    for labels, said in ((torch.from_numpy(first.labels), 0), (last, -1)):
        sizes, told = torch.bincount(labels[labels >= 0]), made.notes["clusterings"][said]
        assert told["clusters"] == len(sizes)
        assert told["images"] == int(sizes.sum())
        assert (told["largest"], told["smallest"]) == (int(sizes.max()), int(sizes.min()))
        assert told["smallest"] >= 6
        assert 0 < told["eps"] < 1
    assert made.notes["clusterings"][0]["eps"] == pytest.approx(first.eps, abs=1e-6)
    json.dumps(made.notes)
    assert not torch.equal(learner.encoder.params["conv1.weight"], initial["conv1.weight"])
    tasks = method.sampler(given, made).sample(3, SPEC, torch.Generator().manual_seed(0))
    assert tasks.support.shape == (3, 5, 1, 1, 16, 16)


class Interrupted(Exception):
    """As a time limit ends a run."""


def test_its_cost_is_every_batch_and_all_images_in_every_round_and_is_not_known_beforehand(tmp_path):
    method, given = UFLST(BACKBONE, **TINY), images()
    with metered() as spent:
        one = context(tmp_path / "trained")
        method.fit(given, SPEC, one)
    batch = method.clusters_per_batch * method.per_cluster
    assert spent.cost.images == 11 * batch + len(one.notes["clusterings"]) * len(given)
    with rehearsing(), metered() as rehearsed:
        method.fit(given, SPEC, context(tmp_path / "rehearsed"))
    assert rehearsed.cost.images is None


def test_a_training_that_was_stopped_goes_on_with_the_clusters_that_it_had(tmp_path, monkeypatch, one_thread):
    given, method, calls = images(), UFLST(BACKBONE, **TINY), []

    def counted(*arguments):
        calls.append(1)
        return cluster(*arguments)

    monkeypatch.setattr(uflst, "cluster", counted)
    whole = context(tmp_path / "whole")
    expected = state(method.fit(given, SPEC, whole))
    assert len(calls) == 3
    calls.clear()

    def stop(stage, done, total, metrics):
        if done and done < total:
            raise Interrupted

    for _ in range(10):  # one step at a time, so also in the middle of a round
        with pytest.raises(Interrupted):
            method.fit(given, SPEC, context(tmp_path / "stopped", progress=stop))
    last = context(tmp_path / "stopped")
    assert equal(state(method.fit(given, SPEC, last)), expected)
    assert len(calls) == 3
    assert last.notes["clusterings"] == whole.notes["clusterings"]
    assert equal(state(method.fit(given, SPEC, last)), expected)
    assert len(calls) == 3, "what is complete is not trained again"


def test_clusters_are_shown_without_touching_a_run_that_is_not_over(tmp_path, monkeypatch, one_thread):
    given, method, made = images(), UFLST(BACKBONE, **TINY), context(tmp_path)

    def stop(stage, done, total, metrics):
        raise Interrupted

    with pytest.raises(Interrupted):
        method.fit(given, SPEC, context(tmp_path, progress=stop))
    begun = made.checkpoint.path.read_bytes()
    first = method.clusterings(given, SPEC, made)
    assert made.checkpoint.path.read_bytes() == begun
    made.checkpoint.child("clusters").path.unlink()
    method.fit(given, SPEC, made)
    monkeypatch.setattr(uflst, "cluster", None)
    assert torch.equal(method.clusterings(given, SPEC, made), first), "those of the run that is over"


def test_too_few_clusters_are_one_sentence(tmp_path):
    with pytest.raises(BenchError, match=r"round 1 finds 0 clusters of 100 images or more among 240 images") as error:
        UFLST(BACKBONE, **{**TINY, "least": 100}).fit(images(), SPEC, context(tmp_path))
    assert "method.neighbours (now 6)" in str(error.value)
    with pytest.raises(BenchError, match=r"12 images have no 12 neighbours each; lower method\.k1"):
        UFLST(BACKBONE, **TINY).fit(images(2, 6), SPEC, context(tmp_path))


def test_features_that_are_not_finite_are_no_clusters(tmp_path):
    with pytest.raises(Diverged, match="finite"):
        UFLST(BACKBONE, **{**TINY, "lr": 1e20}).fit(images(), SPEC, context(tmp_path))


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"loss": "triplets"}, "Did you mean 'triplet'"),
        ({"epochs": 0}, "epochs must be an integer of at least 1, not 0"),
        ({"least": 5}, r"least must be an integer of at least 6 \(method.per_cluster\), not 5"),
        ({"per_cluster": 6.5}, "per_cluster must be an integer of at least 2, not 6.5"),
        ({"k2": 21}, "k2 must be at most k1, not 21 with 20"),
        ({"neighbours": 0.0}, "neighbours must be above 0"),
        ({"neighbours": math.nan}, "neighbours must be above 0"),
    ],
)
def test_bad_settings_are_one_sentence(settings, sentence):
    with pytest.raises(BenchError, match=sentence):
        UFLST(BACKBONE, **settings)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device on this machine")
@pytest.mark.parametrize("loss", ["triplet", "protonet"])
def test_captured_training_is_the_training_step_by_step(tmp_path, monkeypatch, loss):
    given = images()
    given = UnlabelledImages(given.pixels.cuda(), given.fingerprint)
    found = {}
    for name, warm in (("captured", 3), ("eager", 10**9)):
        monkeypatch.setattr("bench.training.steps.Steps.WARM_UP", warm)
        made = replace(context(tmp_path / name, steps=30), device=torch.device("cuda"))
        learner = UFLST(BACKBONE, loss=loss, **TINY).fit(given, SPEC, made)
        found[name] = state(learner), made.notes
    assert found["captured"][1]["meta_training"] == "captured: the whole step"
    assert found["captured"][1]["clusterings"] == found["eager"][1]["clusterings"]
    for name, value in found["captured"][0].items():
        torch.testing.assert_close(value, found["eager"][0][name], rtol=1e-4, atol=1e-5)
