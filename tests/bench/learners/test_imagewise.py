"""Training on images: schedules in closed form, the step against plain PyTorch, resuming, the embedding."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from bench.backbones import Conv4
from bench.basics.errors import BenchError, Diverged
from bench.basics.seeds import Seed
from bench.contracts import Budget, Context, Encoder
from bench.datasets.images import UnlabelledImages
from bench.learners.imagewise import Course, Embedding, ImageTraining, Schedule, batch_of, image_batches
from bench.training.artifacts import ArtifactStore
from bench.training.checkpoint import Checkpoint
from bench.training.optimizers import adamw, sgd

CPU = torch.device("cpu")
BACKBONE = Conv4(filters=4, stride=2, pool=False)


def images(n=30, side=16):
    return UnlabelledImages(
        torch.randint(0, 256, (n, 1, side, side), generator=torch.Generator().manual_seed(1), dtype=torch.uint8), "made"
    )


def context(folder, steps, seed=0, progress=None):
    budget = Budget("test", steps, 1, 1, checkpoint_seconds=0)
    return Context(
        Seed(seed),
        CPU,
        budget,
        ArtifactStore(folder / "artifacts"),
        Checkpoint(folder / "run.safetensors", 0.0),
        progress or (lambda *_: None),
    )


def test_a_rate_rises_in_a_line_and_falls_along_half_a_cosine():
    schedule = Schedule(0.4, warm_up=0.25)
    rates = [schedule.at(i, 80) for i in range(80)]
    assert rates[:20] == pytest.approx([0.4 * (i + 1) / 21 for i in range(20)])
    assert rates[20:] == pytest.approx([0.2 * (1 + math.cos(math.pi * k / 60)) for k in range(60)])
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.4)
    cosine = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=50)
    for i in range(50):
        assert Schedule(0.4).at(i, 50) == pytest.approx(optimizer.param_groups[0]["lr"])
        optimizer.step()
        cosine.step()


def test_a_rate_may_stay_or_be_halved_now_and_then():
    assert {Schedule(0.1, falling=False).at(i, 10) for i in range(10)} == {0.1}
    halved = Schedule(0.8, falling=False, halve_every=3)
    assert [halved.at(i, 9) for i in range(9)] == pytest.approx([0.8] * 3 + [0.4] * 3 + [0.2] * 3)


def training(net, loss, optimizer=None):
    chosen = optimizer or adamw(net.params.values(), 0.01, weight_decay=0.1)
    return ImageTraining(net.params, net.buffers, chosen, Schedule(0.01)), loss


def squared(net):
    def loss(rng, leaves, batch):
        noise = torch.rand(batch.shape, generator=rng)
        return net.features(leaves, batch + 0.1 * noise).square().mean()

    return loss


def trained(folder, steps, progress=None, seed=0):
    pool, where = images(), context(folder, steps, seed, progress)
    net = Embedding.initial(BACKBONE, pool.shape, where.seed.at("init"), CPU)
    batches = image_batches(pool, 8, where.seed.at("batches"), "test")
    one, loss = training(net, squared(net))
    outcome = one.run(loss, batch_of(pool, batches), Course.of_run(where, net.encoder), where, 8)
    return net, outcome


def test_the_training_is_the_loop_one_would_write(tmp_path, one_thread):
    net, outcome = trained(tmp_path, 5)
    pool, where = images(), context(tmp_path / "other", 5)
    batches = image_batches(pool, 8, where.seed.at("batches"), "test")
    params = {
        k: v.clone().requires_grad_()
        for k, v in BACKBONE.init(where.seed.at("init").generator(), pool.shape, None).items()
    }
    means = [torch.zeros(4) for _ in range(4)]
    variances = [torch.ones(4) for _ in range(4)]
    optimizer = torch.optim.AdamW(params.values(), lr=0.01, weight_decay=0.1)
    for i in range(5):
        optimizer.param_groups[0]["lr"] = 0.005 * (1 + math.cos(math.pi * i / 5))
        rng = torch.Generator().manual_seed(where.seed.at("meta-train").at("step", i).value())
        x = pool.take(batches.at(i))
        x = x + 0.1 * torch.rand(x.shape, generator=rng)
        for layer in range(4):
            odd = x.shape[-1] % 2
            x = F.conv2d(F.pad(x, (1, 1, 1, 1) if odd else (0, 1, 0, 1)), params[f"conv{layer + 1}.weight"], stride=2)
            x = F.batch_norm(
                x, means[layer], variances[layer], None, params[f"norm{layer + 1}.bias"], True, 0.1, 1e-3
            ).relu()
        loss = x.square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        assert outcome["loss"][i] == pytest.approx(float(loss.detach()), rel=1e-5)
    for name, value in params.items():
        torch.testing.assert_close(net.params[name], value.detach(), atol=1e-5, rtol=1e-4)
    for layer in range(4):
        torch.testing.assert_close(net.buffers[f"norm{layer + 1}.mean"], means[layer], atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(net.buffers[f"norm{layer + 1}.variance"], variances[layer], atol=1e-5, rtol=1e-4)


def test_a_training_that_was_killed_goes_on_to_the_same_bits(tmp_path, one_thread):
    whole, _ = trained(tmp_path / "whole", 7)

    class Killed(Exception):
        pass

    def kill(stage, done, total, metrics):
        if done == 4:
            raise Killed

    with pytest.raises(Killed):
        trained(tmp_path / "parts", 7, kill)
    assert Checkpoint(tmp_path / "parts" / "run.safetensors").load()[1]["step"] == 4
    parts, _ = trained(tmp_path / "parts", 7)
    assert all(torch.equal(value, parts.params[name]) for name, value in whole.params.items())
    assert all(torch.equal(value, parts.buffers[name]) for name, value in whole.buffers.items())
    other, _ = trained(tmp_path / "other", 7, seed=1)
    assert not torch.equal(other.params["conv1.weight"], whole.params["conv1.weight"])


def test_the_encoder_is_the_network_with_its_running_statistics(tmp_path):
    net, _ = trained(tmp_path, 3)
    encoder = net.encoder()
    assert isinstance(encoder, Encoder)
    assert encoder.dim == net.dim == 4
    x = images(9).take(torch.arange(9))
    y = x
    for layer in range(1, 5):
        weight, bias = net.params[f"conv{layer}.weight"], net.params[f"norm{layer}.bias"]
        y = F.conv2d(F.pad(y, (0, 1, 0, 1) if y.shape[-1] % 2 == 0 else (1, 1, 1, 1)), weight, stride=2)
        mean, variance = (net.buffers[f"norm{layer}.{what}"] for what in ("mean", "variance"))
        y = F.batch_norm(y, mean, variance, None, bias, False, 0.0, 1e-3).relu()
    torch.testing.assert_close(encoder.encode(x), y.flatten(1), atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(encoder.encode(x)[3:4], encoder.encode(x[3:4]), atol=1e-6, rtol=1e-5)
    assert set(encoder.state()) == {*net.params, *net.buffers}


def test_sgd_is_that_of_torch_and_buffers_may_follow_each_step(tmp_path):
    pool, where = images(), context(tmp_path, 3)
    net = Embedding.initial(BACKBONE, pool.shape, where.seed.at("init"), CPU)
    counted = torch.zeros(())
    one = ImageTraining(
        net.params,
        {**net.buffers, "counted": counted},
        sgd(net.params.values(), 0.1, momentum=0.9),
        Schedule(0.1),
        after=lambda rng: counted.add_(1),
    )
    batches = image_batches(pool, 8, where.seed.at("batches"), "test")
    one.run(squared(net), batch_of(pool, batches), Course.of_run(where, net.encoder), where, 8)
    assert float(counted) == 3


def test_a_batch_larger_than_the_data_is_refused_in_one_sentence():
    with pytest.raises(
        BenchError, match="somebody: a batch of 64 images is larger than the 30 images of meta-train; lower it"
    ):
        image_batches(images(), 64, Seed(0), "somebody")


def test_a_loss_that_is_not_finite_ends_the_training(tmp_path):
    pool, where = images(), context(tmp_path, 3)
    net = Embedding.initial(BACKBONE, pool.shape, where.seed.at("init"), CPU)
    one, loss = training(net, lambda rng, leaves, batch: net.features(leaves, batch).mean() * float("nan"))
    batches = image_batches(pool, 8, where.seed.at("batches"), "test")
    with pytest.raises(Diverged, match="step 0"):
        one.run(loss, batch_of(pool, batches), Course.of_run(where, net.encoder), where, 8)


def test_a_run_without_steps_leaves_the_random_initialisation(tmp_path):
    net, outcome = trained(tmp_path, 0)
    assert outcome["loss"] == []
    first = Embedding.initial(BACKBONE, (1, 16, 16), replace(Seed(0)).at("init"), CPU)
    assert all(torch.equal(value, net.params[name]) for name, value in first.params.items())
