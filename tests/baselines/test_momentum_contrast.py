"""SimCLR, MoCo and PsCo: a whole training against torch.nn, what is kept, how it is answered, what is refused."""

from __future__ import annotations

import copy
import dataclasses
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from baselines.contrast.moco import MoCo
from baselines.contrast.networks import Head, Networks
from baselines.contrast.psco import PsCo
from baselines.contrast.simclr import SimCLR
from baselines.embedding import Embedding as EmbeddingMethod
from bench.backbones import Conv4, RunningStatistics, batch_statistics
from bench.basics.errors import BenchError, Diverged
from bench.basics.seeds import Seed
from bench.contracts import Budget, Context, Encoder, EncoderRecipe, Learner, Method, TaskSpec
from bench.datasets.images import UnlabelledImages
from bench.learners.embedding import EmbeddingClassifier, NearestNeighbours
from bench.learners.imagewise import Embedding
from bench.training.artifacts import ArtifactStore
from bench.training.checkpoint import Checkpoint
from bench.training.loop import EpochBatches
from bench.views.crops import Crops

CPU = torch.device("cpu")
BACKBONE = Conv4(filters=3, stride=2, pool=False, head="mean")
SCALED = dataclasses.replace(BACKBONE, norm_scale=True)
SPEC = TaskSpec(5, 1, 5)
METHODS = {"simclr": SimCLR, "moco": MoCo, "psco": PsCo}
SMALL = {"batch": 8, "hidden": 12, "projection": 6, "queue": 20}


def rng(seed=0):
    return torch.Generator().manual_seed(seed)


def images(n=30, shape=(1, 16, 16)):
    return UnlabelledImages(
        torch.randint(0, 256, (n, *shape), generator=rng(3), dtype=torch.uint8), f"made-{n}-{shape}"
    )


def context(folder: Path, steps=4, epochs=1, seed=0, progress=lambda *_: None):
    budget = Budget("test", steps, 0, encoder_epochs=epochs, checkpoint_seconds=0)
    store, checkpoint = ArtifactStore(folder / "artifacts"), Checkpoint(folder / "run", 0)
    return Context(Seed(seed), CPU, budget, store, checkpoint, progress)


def recipe(objective, views=None, **settings):
    given = {**SMALL, **settings}
    if objective == "simclr":
        del given["queue"]
    return METHODS[objective](BACKBONE, views or Crops(), **given)


class Shaded:
    """Views that draw nothing: darker for the student, untouched for the teacher."""

    def __init__(self, factor=0.5):
        self.factor = factor

    def __call__(self, x, rng):
        return x * self.factor

    def weak(self):
        return Shaded(1.0)


# ------------------------------------------------------------------------------------------------- networks
def layers(head: Head, params, statistics):
    """The head as modules of torch.nn."""
    found = nn.Sequential(
        nn.Linear(head.inputs, head.hidden, bias=False),
        nn.BatchNorm1d(head.hidden),
        nn.ReLU(),
        nn.Linear(head.hidden, head.outputs, bias=False),
        *([nn.BatchNorm1d(head.outputs, affine=False)] if head.closed else []),
    )
    with torch.no_grad():
        found[0].weight.copy_(params[f"{head.name}1.weight"])
        found[3].weight.copy_(params[f"{head.name}2.weight"])
        found[1].weight.copy_(params[f"{head.name}.norm.weight"])
        found[1].bias.copy_(params[f"{head.name}.norm.bias"])
        for which, place in (("norm", 1), ("closing", 4))[: 1 + head.closed]:
            found[place].running_mean.copy_(statistics[f"{head.name}.{which}.mean"])
            found[place].running_var.copy_(statistics[f"{head.name}.{which}.variance"])
    return found


@pytest.mark.parametrize("closed", [True, False])
def test_a_head_is_the_modules_of_torch_in_training_and_after(closed):
    head = Head("h", 5, 9, 4, closed)
    params, statistics = head.init(Seed(0)), head.statistics()
    theirs = layers(head, params, statistics)
    for step in range(3):
        x = torch.randn(10, 5, generator=rng(step)) + step
        torch.testing.assert_close(head(params, x, statistics, training=True), theirs(x))
    x = torch.randn(7, 5, generator=rng(9))
    torch.testing.assert_close(head(params, x, statistics, training=False), theirs.eval()(x))
    before = {name: value.clone() for name, value in statistics.items()}
    head(params, x, None, training=True)
    assert all(torch.equal(statistics[name], value) for name, value in before.items()), "a teacher leaves no trace"


def reference(objective, data, seed, steps, views, settings):
    """The training once more, with torch.nn, autograd and torch.optim.SGD; embeddings of ``data``, and predictions."""
    net = Embedding.initial(BACKBONE, data.shape, seed.at("init"), CPU)
    start = Networks.initial(net, settings["hidden"], settings["projection"], objective != "simclr", seed.at("heads"))
    conv = {name: nn.Parameter(v.clone()) for name, v in net.params.items()}
    buffers = {name: v.clone() for name, v in net.buffers.items()}
    projector = layers(start.projector, start.params, start.statistics)
    predictor = layers(start.predictor, start.params, start.statistics) if start.predictor else nn.Identity()
    learned = [*conv.values(), *projector.parameters(), *predictor.parameters()]
    rate = 0.03 * settings["batch"] / 256
    optimizer = torch.optim.SGD(learned, lr=rate, momentum=0.9, weight_decay=5e-4)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    teacher, teacher_projector = {n: v.detach().clone() for n, v in conv.items()}, copy.deepcopy(projector)
    queue = F.normalize(torch.randn(settings["queue"], settings["projection"], generator=seed.at("queue").generator()))
    batches = EpochBatches(len(data), settings["batch"], seed.at("batches").at("order"), CPU)

    def features(weights, x, normalise):
        return BACKBONE.forward({n: v[None] for n, v in weights.items()}, x[None], normalise)[0]

    for i in range(steps):
        x = data.take(batches.at(i))
        if objective == "simclr":
            both = torch.stack([views(x, None), views(x, None)], 1).flatten(0, 1)
            z = F.normalize(projector(features(conv, both, RunningStatistics(buffers, 0.1, True))))
            scores = (z @ z.T / 0.2).masked_fill(torch.eye(len(z), dtype=torch.bool), -torch.inf)
            loss = F.cross_entropy(scores, torch.arange(len(z)) ^ 1)
        else:
            student = F.normalize(
                predictor(projector(features(conv, views(x, None), RunningStatistics(buffers, 0.1, True))))
            )
            with torch.no_grad():
                target = F.normalize(teacher_projector(features(teacher, views.weak()(x, None), batch_statistics)))
            logits = torch.cat([(student * target).sum(1, keepdim=True), student @ queue.T], 1) / 0.2
            loss = F.cross_entropy(logits, torch.zeros(len(x), dtype=torch.int64))
            if objective == "psco":
                plan = ((target @ queue.T).double() / 0.05).exp()  # SwAV's order: the queue's sums, then the images'
                for _ in range(3):
                    plan = plan / plan.sum(0, keepdim=True)
                    plan = plan / plan.sum(1, keepdim=True)
                chosen = plan.topk(2, dim=1).indices
                log_p = (student @ queue[chosen.flatten()].T).log_softmax(1)
                loss = loss - torch.stack([log_p[j, 2 * j : 2 * j + 2].mean() for j in range(len(x))]).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        if objective != "simclr":
            with torch.no_grad():
                followed = [*conv.values(), *projector.parameters()]
                for slow, fast in zip([*teacher.values(), *teacher_projector.parameters()], followed, strict=True):
                    slow.copy_(0.99 * slow + 0.01 * fast)
            kept = torch.cat([queue[i * len(x) % len(queue) :], queue[: i * len(x) % len(queue)]])  # oldest first
            kept = torch.cat([kept[len(x) :], target])
            queue = kept.roll((i + 1) * len(x) % len(queue), 0)
    everything = data.take(torch.arange(len(data)))
    with torch.no_grad():
        embedded = BACKBONE.embed({n: v.detach() for n, v in conv.items()}, buffers, everything)
        if objective != "psco":
            return embedded, None
        projected = projector.eval()(embedded)
        return projected, predictor.eval()(projected)


@pytest.mark.parametrize("objective", METHODS)
def test_a_training_equals_the_same_written_with_modules_autograd_and_sgd(objective, tmp_path, one_thread):
    data, views, steps = images(), Shaded(), 6  # 6 batches of 8 turn a queue of 20 round twice
    ours = recipe(objective, views, **({"shots": 2} if objective == "psco" else {}))
    learner = ours.fit(data, SPEC, context(tmp_path, steps))
    expected, predicted = reference(objective, data, Seed(0), steps, views, SMALL)
    found = learner.encoder.encode(data.take(torch.arange(len(data))))
    torch.testing.assert_close(found, expected, rtol=2e-4, atol=2e-5)
    before = ours.fit(data, SPEC, context(tmp_path / "not", 0))
    untrained = before.encoder.encode(data.take(torch.arange(len(data))))
    assert (untrained - expected).abs().max() > 10 * (found - expected).abs().max(), "it did learn something"
    if objective == "psco":
        ours_predicted = learner.classifier.predictor(
            learner.classifier.params, found, learner.classifier.statistics, training=False
        )
        torch.testing.assert_close(ours_predicted, predicted, rtol=2e-4, atol=2e-5)


# --------------------------------------------------------------------------------------------------- answers
@pytest.mark.parametrize("objective", METHODS)
def test_each_is_a_method_that_answers_tasks_of_any_way(objective, tmp_path):
    method = recipe(objective)
    assert isinstance(method, Method)
    assert isinstance(method, EncoderRecipe)
    learner = method.fit(images(), SPEC, context(tmp_path))
    assert isinstance(learner, Learner)
    for way in (5, 20):
        x = torch.rand(2, way, 1, 1, 16, 16, generator=rng(1))
        scores = learner.predict(x, torch.rand(2, 9, 1, 16, 16, generator=rng(2)))
        assert scores.shape == (2, 9, way)


def test_pscos_scores_are_cosines_of_predicted_queries_and_mean_projections(tmp_path):
    learner = recipe("psco").fit(images(), SPEC, context(tmp_path))
    support, query = torch.rand(3, 4, 2, 1, 16, 16, generator=rng(1)), torch.rand(3, 7, 1, 16, 16, generator=rng(2))
    scores, classifier = learner.predict(support, query), learner.classifier
    for t, m, c in [(0, 0, 0), (1, 6, 3), (2, 3, 1)]:
        projected = [learner.encoder.encode(one[None])[0].double() for one in support[t, c]]
        prototype = sum(p / p.norm() for p in projected)
        predicted = classifier.predictor(
            classifier.params, learner.encoder.encode(query[t, m][None]), classifier.statistics, training=False
        )[0].double()
        expected = float(predicted @ prototype / (predicted.norm() * prototype.norm()))
        assert scores[t, m, c].item() == pytest.approx(expected, abs=1e-5)
    assert {name.split(".")[0].rstrip("12") for name in learner.state()} == {"predictor"}


def test_drawings_have_one_pseudo_shot_and_photographs_four_unless_it_is_said():
    assert recipe("psco")._shots(1) == 1
    assert recipe("psco")._shots(3) == 4
    assert recipe("psco", shots=3)._shots(1) == 3


def test_the_teacher_sees_the_weak_form_of_the_views(tmp_path):
    seen = []

    class Watched(Shaded):
        def __call__(self, x, rng):
            seen.append(self.factor)
            return super().__call__(x, rng)

        def weak(self):
            return Watched(1.0)

    recipe("moco", Watched()).fit(images(), SPEC, context(tmp_path, steps=2))
    assert seen == [0.5, 1.0, 0.5, 1.0]


# ---------------------------------------------------------------------------------------------- what is kept
@pytest.mark.parametrize("objective", METHODS)
def test_a_training_that_was_stopped_goes_on_to_the_same_bits(objective, tmp_path, one_thread):
    def stop(stage, done, total, metrics):
        if done == 3:
            raise KeyboardInterrupt

    whole = context(tmp_path / "whole", steps=7)
    recipe(objective).fit(images(), SPEC, whole)
    with pytest.raises(KeyboardInterrupt):
        # The loop looks up at a checkpoint, and with checkpoint_seconds of 0 that is after every step.
        recipe(objective).fit(images(), SPEC, context(tmp_path / "parts", steps=7, progress=stop))
    assert Checkpoint(tmp_path / "parts" / "run").load()[1]["step"] == 3
    recipe(objective).fit(images(), SPEC, context(tmp_path / "parts", steps=7))
    (one, facts), (other, _) = (Checkpoint(tmp_path / name / "run").load() for name in ("whole", "parts"))
    assert facts["complete"]
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)
    if objective != "simclr":
        assert {"tensor.queue.items", "tensor.queue.next", "tensor.teacher.projector1.weight"} <= one.keys()
        assert int(one["tensor.queue.next"]) == 7 * 8 % 20


def test_what_is_trained_depends_on_the_seed_alone(tmp_path, one_thread):
    torch.manual_seed(1)
    first = recipe("psco").fit(images(), SPEC, context(tmp_path / "a")).state()
    torch.manual_seed(2)
    torch.rand(3)
    again = recipe("psco").fit(images(), SPEC, context(tmp_path / "b")).state()
    other = recipe("psco").fit(images(), SPEC, context(tmp_path / "c", seed=1)).state()
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["predictor1.weight"], other["predictor1.weight"])


def test_a_queue_is_no_longer_than_there_are_images_and_that_is_said(tmp_path):
    said = []
    given = context(tmp_path, steps=1, progress=lambda stage, *_: said.append(stage))
    recipe("moco", queue=16384).fit(images(25), SPEC, given)
    assert "moco: the queue is 25 long, not 16384, as meta-train has no more images" in said
    assert given.notes["queue"] == 25
    assert Checkpoint(tmp_path / "run").load()[0]["tensor.queue.items"].shape == (25, 6)


@pytest.mark.parametrize("objective", METHODS)
def test_as_an_encoder_it_is_trained_once_and_is_its_backbone(objective, tmp_path, one_thread):
    def refuse(*_):
        raise AssertionError("it is trained again")

    given = context(tmp_path, epochs=2)
    first = recipe(objective).obtain(images(), given)
    assert isinstance(first, Encoder)
    assert first.dim == 3
    assert given.notes[objective]["epochs"] == 2
    x = images().take(torch.arange(9))
    assert first.encode(x).shape == (9, 3)
    again = recipe(objective).obtain(images(), context(tmp_path, epochs=2, progress=refuse))
    assert torch.equal(first.encode(x), again.encode(x))
    assert len(list((tmp_path / "artifacts").glob(f"encoder-{objective}-*[0-9a-f].safetensors"))) == 1


@pytest.mark.parametrize(
    "other",
    [
        recipe("moco", momentum=0.5),
        dataclasses.replace(recipe("moco"), views=Crops(area=0.5)),
        dataclasses.replace(recipe("moco"), backbone=SCALED),
    ],
)
def test_another_setting_backbone_or_view_is_another_encoder(other, tmp_path):
    for one in (recipe("moco"), other):
        one.obtain(images(), context(tmp_path))
    assert len(list((tmp_path / "artifacts").glob("encoder-moco-*[0-9a-f].safetensors"))) == 2


def test_an_encoder_without_epochs_is_the_random_network(tmp_path):
    encoder = recipe("moco").obtain(images(), context(tmp_path, epochs=0))
    start = BACKBONE.init(Seed(0).at("encoder", "init").generator(), (1, 16, 16), None)
    assert all(torch.equal(encoder.params[name], value) for name, value in start.items())


def test_it_feeds_a_classifier_on_embeddings(tmp_path):
    class Nearest:
        def obtain(self, encoder, images, context):
            return NearestNeighbours(1)

    learner = EmbeddingMethod(recipe("simclr"), Nearest()).fit(images(), SPEC, context(tmp_path))
    assert isinstance(learner, EmbeddingClassifier)


# ---------------------------------------------------------------------------------------------- bad input
@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"queue": 0}, "moco: queue must be an integer of at least 1, not 0"),
        ({"queue": 7}, "moco: a queue of 7 has no room for a batch of 8; lengthen queue"),
        ({"batch": 1}, "moco: batch must be an integer of at least 2, not 1"),
        ({"hidden": True}, "moco: hidden must be an integer of at least 1, not True"),
        ({"shots": 0}, "psco: shots must be an integer of at least 1, not 0"),
        ({"momentum": 1.5}, "moco: momentum must be from 0 to 1, not 1.5"),
        ({"temperature": 0.0}, "moco: temperature must be above 0, not 0.0"),
        ({"lr": float("nan")}, "moco: lr must be above 0, not nan"),
        ({"weight_decay": -1.0}, "moco: weight_decay must be 0 or more, not -1.0"),
        ({"eps": 0.01}, "psco: eps must be at least 0.03"),
    ],
)
def test_settings_that_mean_nothing_are_refused(settings, said):
    with pytest.raises(BenchError) as error:
        recipe("psco" if {"shots", "eps"} & settings.keys() else "moco", **settings)
    assert said in str(error.value)


@pytest.mark.parametrize("objective", METHODS)
def test_a_batch_larger_than_the_data_is_one_sentence_as_method_and_as_encoder(objective, tmp_path):
    one = recipe(objective, batch=40, queue=64)
    said = f"{objective}: a batch of 40 images is larger than the 30 images of meta-train; lower it"
    for call in (lambda: one.fit(images(), SPEC, context(tmp_path)), lambda: one.obtain(images(), context(tmp_path))):
        with pytest.raises(BenchError, match=said):
            call()
    assert not (tmp_path / "artifacts").exists()


def test_more_pseudo_shots_than_the_queue_holds_are_refused(tmp_path):
    with pytest.raises(BenchError, match="psco: a queue of 20 has no 21 shots; lower shots"):
        recipe("psco", shots=21).fit(images(), SPEC, context(tmp_path))


@pytest.mark.parametrize("objective", METHODS)
def test_a_loss_that_is_no_number_is_a_divergence(objective, tmp_path):
    class Broken(Shaded):
        def __call__(self, x, rng):
            return x * float("nan")

        def weak(self):
            return self

    with pytest.raises(Diverged, match="meta-train: the loss became non-finite at step 0"):
        recipe(objective, Broken()).fit(images(), SPEC, context(tmp_path))
