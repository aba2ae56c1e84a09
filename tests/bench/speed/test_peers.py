"""Every side of a row does the same mathematics: plain PyTorch, and each library that is installed here."""

import random

import pytest
import torch

from baselines.encoders import acai, bigan, deepcluster_networks
from bench.backbones import Conv4, RunningStatistics
from bench.contracts import Tasks
from bench.learners.adaptation import adaptation
from bench.learners.maml import MAML
from bench.learners.protonet import ProtoNet
from bench.learners.reference import PlainSampler
from bench.planning import catalogue, components
from bench.speed import data, learners
from bench.speed.peers import encoders, generators, libraries, maml, protonets
from bench.speed.peers.network import ConvNet
from methods.generators import msgan, training, vae_networks

CPU = torch.device("cpu")
BACKBONES = [Conv4(filters=6), Conv4(filters=6, stride=2, pool=False, head="mean")]


@pytest.fixture(scope="module")
def found():
    return libraries.find()[0]


def library(found, name):
    if name not in found:
        pytest.skip(f"{name} is not installed")
    return found[name]


def double(tasks: Tasks) -> Tasks:
    return Tasks(tasks.support.double(), tasks.query.double())


def close(peer: torch.nn.Module, grads):
    for name, parameter in peer.named_parameters():
        torch.testing.assert_close(parameter.grad, grads[name], rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("backbone", BACKBONES, ids=["conv4", "strided"])
@pytest.mark.parametrize("first_order", [False, True])
@pytest.mark.parametrize("name", sorted(maml.PEERS))
def test_maml_of_each_library(found, name, first_order, backbone):
    tasks = double(learners.tasks_on(2, CPU))
    params = {key: value.double() for key, value in learners.params_on(backbone, 5, CPU).items()}
    peer = maml.PEERS[name](library(found, name), backbone, params, 3, 0.1)
    xs, ys, xq, yq = learners._flat(tasks)
    peer.gradient(xs, ys, xq, yq, first_order)
    _, grads = adaptation(backbone, 3, 0.1, inductive=False).meta_gradient(
        params, tasks.support, tasks.query, first_order
    )
    close(peer.network, grads)
    ours = MAML(backbone, 0.1, 3, 4)._learner(params, 4, (1, 28, 28)).predict(tasks.support, xq)
    torch.testing.assert_close(peer.scores(xs, ys, xq, 4), ours, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", ["plain", *sorted(protonets.PEERS)])
def test_protonets_of_each_library(found, name):
    """Of one task, for ours lets all tasks of a meta-batch share their statistics."""
    scores = protonets.plain if name == "plain" else protonets.PEERS[name](library(found, name))
    backbone, tasks = BACKBONES[0], double(learners.tasks_on(1, CPU))
    params = {key: value.double() for key, value in learners.params_on(backbone, None, CPU).items()}
    buffers = {key: value.double() for key, value in backbone.buffers().items()}
    network = ConvNet(backbone, params, running=True)
    xs, ys, xq, yq = learners._flat(tasks)
    ours = learners.ProtoNetLearner(backbone, params, buffers, "mean", False, 4)
    answered = scores(network.eval(), xs[0], ys, xq[0]).detach()
    torch.testing.assert_close(answered, ours.predict(tasks.support, xq)[0], rtol=1e-9, atol=1e-9)
    if name in protonets.ONE_BATCH:
        running = RunningStatistics(buffers, 0.1, training=True)
        protonets.gradient(scores, network.train(), xs, ys, xq, yq)
        close(network, ProtoNet(backbone).gradient(params, tasks, running)[1])
        torch.testing.assert_close(network.norm4.variance, buffers["norm4.variance"])


def test_the_vae():
    ours = vae_networks.Network((1, 28, 28), 64, 20, affine=False)
    training.initialise(ours, torch.Generator().manual_seed(0))
    theirs = generators.VAE()
    theirs.load_state_dict(ours.state_dict())
    x, noise = torch.rand(8, 1, 28, 28), torch.randn(8, 20)
    ours, theirs = ours.double(), theirs.double()
    of_ours = ours.loss(x.double(), noise.double(), 1 / 20)
    torch.testing.assert_close(theirs.loss(x.double(), noise.double()), of_ours)


def test_msgan():
    recipe = components.build(catalogue.raw("generator", "msgan"), {})
    decoder, critic = msgan.Decoder((1, 28, 28), 128, 128), msgan.Critic(1, 128)
    theirs = generators.Decoder(), generators.Critic()
    for i, (a, b) in enumerate(zip((decoder, critic), theirs, strict=True)):
        training.initialise(a, torch.Generator().manual_seed(i))
        b.load_state_dict(a.state_dict())
    z, real, noise = torch.randn(12, 128), torch.rand(4, 1, 28, 28), torch.rand(12, 1) * 0.05
    fake = decoder(z[:8])
    torch.testing.assert_close(theirs[0](z[:8]), fake, rtol=1e-4, atol=1e-5)
    of_critic = recipe._discriminator_loss(critic, fake, real, noise)
    torch.testing.assert_close(generators.of_critic(theirs[1], real, fake, noise), of_critic, rtol=1e-4, atol=1e-5)
    of_decoder = recipe._generator_loss(critic, fake, z)
    torch.testing.assert_close(generators.of_decoder(theirs[1], fake, z[:8]), of_decoder, rtol=1e-4, atol=1e-4)


def test_acai():
    ours = acai.Networks((1, 28, 28), 16, 16)
    ours.initialise(torch.Generator().manual_seed(0))
    theirs = encoders.ACAI()
    theirs.load_state_dict(ours.state_dict())
    x, share = ours.pad(torch.rand(4, 1, 28, 28)), torch.rand(4, 1, 1, 1) / 2
    recipe = components.build(catalogue.raw("encoder", "acai"), {})
    for a, b in zip(recipe.losses(ours, x, share), theirs.losses(x, share), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


def test_bigan():
    ours = bigan.Networks((1, 28, 28), 1024, 200)
    ours.initialise(torch.Generator().manual_seed(0))
    theirs = encoders.BiGAN()
    theirs.load_state_dict(ours.state_dict())
    x, z = torch.rand(8, 784), torch.rand(8, 200)
    for a, b in zip(bigan.losses(ours, x, z), theirs.losses(x, z), strict=True):
        torch.testing.assert_close(a, b)


def test_deepcluster():
    ours = deepcluster_networks.Conv((1, 28, 28), 32)
    deepcluster_networks.initialise(ours, torch.Generator().manual_seed(0))
    theirs = encoders.DeepCluster()
    theirs.load_state_dict(ours.state_dict(), strict=False)
    x = encoders.random_parts(torch.rand(6, 1, 28, 28))
    torch.testing.assert_close(theirs.features(x), ours(x), rtol=1e-3, atol=1e-4)
    assert theirs(x).shape == (6, 100)


@pytest.mark.parametrize("make", [generators.vae, generators.msgan, encoders.acai, encoders.bigan])
def test_a_plain_step_trains(make, monkeypatch):
    made = []
    monkeypatch.setattr(torch.optim.Adam, "step", lambda self: made.append(self.param_groups[0]["params"]))
    make(CPU)(torch.rand(4, 1, 28, 28))
    assert made
    assert all(parameter.grad is not None for group in made for parameter in group)


@pytest.mark.parametrize(("name", "allowed"), [("nearest", 0), ("logistic", 0.01)])
@pytest.mark.parametrize("shot", [1, 5])
def test_classifiers_answer_as_scikit_learn_does(name, allowed, shot, monkeypatch):
    from sklearn.linear_model import LogisticRegression
    from sklearn.neighbors import KNeighborsClassifier

    ours, theirs = {
        "nearest": (data.NearestNeighbours(), lambda: KNeighborsClassifier(1)),
        "logistic": (data.LogisticRegression(), LogisticRegression),
    }[name]
    monkeypatch.setattr(data, "EMBEDDED_TASKS", 20)
    sides = data.classifications(shot, ours, theirs, CPU)
    different = sides["ours"]().argmax(2).numpy() != sides["scikit-learn"]()
    assert different.mean() <= allowed  # scikit-learn's logistic regression stops short of the optimum


def test_plain_sampler_draws_tasks():
    pixels = torch.arange(60, dtype=torch.uint8).reshape(60, 1, 1, 1)
    sampler = PlainSampler(pixels, [i // 6 for i in range(60)], random.Random(0))
    support, support_labels, query, query_labels = sampler.sample(way=5, shot=2, query=3)
    assert support_labels.tolist() == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]
    assert query_labels.tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3, 4, 4, 4]
    s, q = ((x.flatten() * 255).round().int() for x in (support, query))
    assert len({*s.tolist(), *q.tolist()}) == 25
    for label in range(5):
        assert len({*(s[support_labels == label] // 6).tolist(), *(q[query_labels == label] // 6).tolist()}) == 1


def test_a_library_that_cannot_be_imported_is_missing_with_a_reason(monkeypatch):
    def refuse(name):
        raise RuntimeError(f"{name}: no")

    monkeypatch.setattr("importlib.metadata.version", lambda name: "1.0")
    monkeypatch.setattr("importlib.import_module", refuse)
    found, missing = libraries.find()
    assert found == {}
    assert set(missing) == set(libraries.NAMES)
    assert all("no" in why for why in missing.values())
