"""ACAI and BiGAN: their losses against the papers' formulas, and what any trained encoder must do."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from baselines.encoders.acai import ACAI
from baselines.encoders.acai import Networks as ACAINetworks
from baselines.encoders.bigan import BiGAN, losses
from baselines.encoders.bigan import Networks as BiGANNetworks
from bench.basics.errors import BenchError, Diverged
from bench.basics.seeds import Seed
from bench.contracts import Budget, Context, Encoder, EncoderRecipe
from bench.datasets.images import UnlabelledImages
from bench.training.artifacts import ArtifactStore
from bench.training.checkpoint import Checkpoint

SMALL = {"acai": ACAI(depth=2, latent=2, batch_size=20), "bigan": BiGAN(dim=6, width=16, batch_size=20)}


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def images(n: int = 60, shape: tuple[int, int, int] = (1, 28, 28)) -> UnlabelledImages:
    pixels = torch.randint(0, 256, (n, *shape), generator=rng(3), dtype=torch.uint8)
    return UnlabelledImages(pixels, f"made-{n}-{shape}")


def context(folder: Path, epochs: int = 1, progress=lambda *_: None) -> Context:
    budget = Budget("test", 0, 0, encoder_epochs=epochs, checkpoint_seconds=0)
    store = ArtifactStore(folder / "artifacts")
    return Context(Seed(0), torch.device("cpu"), budget, store, Checkpoint(folder / "run"), progress)


def weights(recipe, folder, epochs: int) -> dict[str, bytes]:
    trained = recipe.obtain(images(), context(folder, epochs))
    return {name: value.numpy().tobytes() for name, value in trained.networks.state_dict().items()}


@pytest.mark.parametrize("name", SMALL)
def test_a_trained_encoder_keeps_the_contract(name, tmp_path):
    recipe = SMALL[name]
    assert isinstance(recipe, EncoderRecipe)
    data = images()
    encoder = recipe.obtain(data, context(tmp_path))
    assert isinstance(encoder, Encoder)
    x = data.take(torch.arange(30))
    together = encoder.encode(x)
    assert together.shape == (30, encoder.dim)
    assert not together.requires_grad
    one_by_one = torch.cat([encoder.encode(one[None]) for one in x])
    torch.testing.assert_close(together, one_by_one, rtol=1e-4, atol=1e-5)
    decoded = encoder.decode(together)
    assert decoded.shape == x.shape
    assert 0 <= float(decoded.min()) <= float(decoded.max()) <= 1


@pytest.mark.parametrize("name", SMALL)
def test_training_moves_the_weights_is_kept_and_resumes_bit_for_bit(name, tmp_path, one_thread):
    recipe = SMALL[name]
    whole = weights(recipe, tmp_path / "whole", epochs=2)
    assert whole != weights(recipe, tmp_path / "less", epochs=1)

    def stop(stage, done, total, metrics):
        if done == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        recipe.obtain(images(), context(tmp_path / "parts", 2, stop))
    assert weights(recipe, tmp_path / "parts", epochs=2) == whole

    def never(*_):
        raise AssertionError("it is in the store, nothing is to be trained")

    noted = context(tmp_path / "whole", 2, never)
    recipe.obtain(images(), noted)
    assert noted.notes[name]["epochs"] == 2
    assert [artifact.kind for artifact in noted.artifacts.used.values()] == [f"encoder-{name}"]


def test_acai_of_more_epochs_continues_one_of_fewer(tmp_path, one_thread):
    weights(SMALL["acai"], tmp_path / "grown", epochs=1)
    assert weights(SMALL["acai"], tmp_path / "grown", epochs=2) == weights(SMALL["acai"], tmp_path / "new", epochs=2)


def test_the_losses_of_acai_are_those_of_the_paper():
    recipe = ACAI(depth=2, latent=3, critic_weight=0.7, critic_mix=0.3)
    networks = ACAINetworks((1, 28, 28), 2, 3)
    networks.initialise(rng())
    networks.double()
    x = networks.pad(torch.rand(4, 1, 28, 28, generator=rng(1), dtype=torch.float64))
    share = torch.tensor([0.1, 0.5, 0.0, 0.3], dtype=torch.float64).view(4, 1, 1, 1)
    ours = recipe.losses(networks, x, share)

    with torch.no_grad():
        codes = [networks.encoder(one[None]) for one in x]
        decoded = [networks.decoder(code) for code in codes]
        guesses, reals, errors = [], [], []
        for i, a in enumerate(share.flatten().tolist()):
            other = len(x) - 1 - i
            guesses.append(float(networks.critic(networks.decoder(a * codes[i] + (1 - a) * codes[other])).mean()))
            reals.append(float(networks.critic(0.3 * x[i] + 0.7 * decoded[i]).mean()))
            errors.append(float(((x[i] - decoded[i]) ** 2).mean()))
    guesses, reals, a = np.array(guesses), np.array(reals), share.flatten().numpy()
    assert float(ours[0]) == pytest.approx(np.mean(errors) + 0.7 * np.mean(guesses**2), rel=1e-10)
    assert float(ours[1]) == pytest.approx(np.mean((guesses - a) ** 2) + np.mean(reals**2), rel=1e-10)


def test_the_critic_does_not_move_the_autoencoder_nor_it_the_critic():
    recipe = SMALL["acai"]
    networks = ACAINetworks((1, 28, 28), 2, 2)
    networks.initialise(rng())
    x = networks.pad(torch.rand(4, 1, 28, 28, generator=rng(1)))
    _, of_critic = recipe.losses(networks, x, torch.full((4, 1, 1, 1), 0.2))
    # What of_critic says of the encoder comes through the mixture alone; training asks only for the critic's part.
    grads = torch.autograd.grad(of_critic, list(networks.critic.parameters()))
    assert all(bool(grad.isfinite().all()) for grad in grads)
    assert sum(float(grad.abs().sum()) for grad in grads) > 0


def test_acai_has_256_numbers_and_about_the_published_shape():
    networks = ACAINetworks((1, 28, 28), 16, 16)
    convolutions = [m for m in networks.encoder if isinstance(m, torch.nn.Conv2d)]
    assert [m.out_channels for m in convolutions] == [16, 16, 16, 32, 32, 64, 64, 128, 16]
    assert [m.out_channels for m in networks.decoder if isinstance(m, torch.nn.Conv2d)] == [
        64,
        64,
        32,
        32,
        16,
        16,
        16,
        1,
    ]
    assert networks.side == 32
    assert networks.pad(torch.zeros(1, 1, 28, 28)).shape == (1, 1, 32, 32)


def test_padding_is_undone():
    for size in (28, 32, 45):
        networks = ACAINetworks((3, size, size - 1), 2, 2)
        x = torch.rand(2, 3, size, size - 1, generator=rng())
        padded = networks.pad(x)
        assert float(padded[..., 0, 0].max()) <= 1
        torch.testing.assert_close(networks.crop(padded), x)


def test_the_losses_of_bigan_are_those_of_the_paper():
    networks = BiGANNetworks((1, 5, 5), 8, 3)
    networks.initialise(rng())
    networks.double().train()
    x = torch.rand(6, 25, generator=rng(1), dtype=torch.float64)
    z = torch.rand(6, 3, generator=rng(2), dtype=torch.float64) * 2 - 1
    of_players, of_judge = losses(networks, x, z)
    with torch.no_grad():
        made = 1 / (1 + np.exp(-networks.generator(z).numpy()))
        latent = np.tanh(networks.encoder(x).numpy() / 2)  # within the prior's support
        real = networks.discriminator(x, torch.from_numpy(latent)).numpy()
        fake = networks.discriminator(torch.from_numpy(made), z).numpy()
    probability = 1 / (1 + np.exp(-np.stack([real, fake])))
    expected_judge = (-np.log(probability[0]).mean() - np.log(1 - probability[1]).mean()) / 2
    expected_players = (-np.log(1 - probability[0]).mean() - np.log(probability[1]).mean()) / 2
    assert float(of_judge) == pytest.approx(expected_judge, rel=1e-9)
    assert float(of_players) == pytest.approx(expected_players, rel=1e-9)


def test_a_latent_enters_the_second_layers_of_bigan_and_no_layer_has_a_bias():
    networks = BiGANNetworks((1, 5, 5), 8, 3)
    networks.initialise(rng())
    assert not [name for name, _ in networks.named_parameters() if "bias" in name]
    networks.double().train()
    w = {name: value.numpy() for name, value in networks.state_dict().items()}
    x = torch.rand(6, 25, generator=rng(1), dtype=torch.float64).numpy()
    z = torch.rand(6, 3, generator=rng(2), dtype=torch.float64).numpy() * 2 - 1

    def normed(h):
        return (h - h.mean(0)) / np.sqrt(h.var(0) + 1e-5)

    def leaky(h):
        return np.where(h > 0, h, 0.2 * h)

    def weight(part, layer):
        return w[f"{part}.{layer}.weight"].T

    hidden = leaky(x @ weight("encoder", "first")) @ weight("encoder", "second")
    encoded = leaky(normed(hidden)) @ weight("encoder", "last")
    hidden = leaky(x @ weight("discriminator", "first")) @ weight("discriminator", "second")
    judged = leaky(normed(hidden + z @ weight("discriminator", "latent"))) @ weight("discriminator", "last")
    hidden = np.maximum(normed(z @ weight("generator", "first")), 0) @ weight("generator", "second")
    made = np.maximum(normed(hidden + z @ weight("generator", "latent")), 0) @ weight("generator", "last")
    x, z = torch.from_numpy(x), torch.from_numpy(z)
    with torch.no_grad():
        np.testing.assert_allclose(networks.encoder(x).numpy(), encoded, rtol=1e-9)
        np.testing.assert_allclose(networks.discriminator(x, z).numpy(), judged, rtol=1e-9)
        np.testing.assert_allclose(networks.generator(z).numpy(), made, rtol=1e-9)


def test_the_embedding_of_bigan_lies_where_its_prior_does(tmp_path):
    encoder = dataclasses.replace(SMALL["bigan"], lr=0.05).obtain(images(), context(tmp_path, epochs=20))
    x = images().take(torch.arange(20))
    linear = encoder.networks.encoder(x.flatten(1)).numpy()
    assert np.abs(linear).max() > 1, "or the test would say nothing"
    embedded = encoder.encode(x).numpy()
    assert np.abs(embedded).max() < 1
    np.testing.assert_allclose(embedded, np.tanh(linear / 2), rtol=1e-4, atol=1e-6)


def test_the_learning_rate_of_bigan_falls_over_the_second_half(tmp_path, monkeypatch):
    seen = []
    original = torch.optim.Adam.step

    def step(self, *args, **kwargs):
        seen.append(self.param_groups[0]["lr"])
        return original(self, *args, **kwargs)

    monkeypatch.setattr(torch.optim.Adam, "step", step)
    dataclasses.replace(SMALL["bigan"], lr=1.0, last_lr=0.01).obtain(images(40), context(tmp_path, epochs=5))
    assert len(seen) == 10
    assert seen[:6] == [1.0] * 6
    np.testing.assert_allclose(seen[6:], 0.01 ** np.array([0.2, 0.4, 0.6, 0.8]))


def test_acai_is_for_small_images_and_bigan_looks_at_large_ones_at_64_pixels(tmp_path):
    large = images(24, (3, 84, 84))
    with pytest.raises(BenchError, match="at most 64 pixels, not 84x84"):
        SMALL["acai"].obtain(large, context(tmp_path))
    encoder = SMALL["bigan"].obtain(large, context(tmp_path))
    x = large.take(torch.arange(8))
    small = torch.nn.functional.interpolate(x, (64, 64), mode="bilinear", antialias=True)
    torch.testing.assert_close(encoder.encode(x), encoder.networks.latent(small.flatten(1)))
    assert encoder.decode(encoder.encode(x)).shape == x.shape


@pytest.mark.parametrize("name", SMALL)
def test_what_cannot_be_trained_is_refused(name, tmp_path):
    with pytest.raises(BenchError, match="batch_size"):
        dataclasses.replace(SMALL[name], batch_size=0)
    diverging = dataclasses.replace(SMALL[name], lr=1e30)
    with pytest.raises(Diverged, match=f"{name}: the loss became non-finite"):
        diverging.obtain(images(), context(tmp_path, epochs=3))
