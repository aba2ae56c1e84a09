"""The VAE: its training, what is kept of it, and what is refused."""

from __future__ import annotations

import io
import itertools
import json
import math
import os
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from commands import TINY, Bench
from helpers_methods import make_context, make_images
from helpers_vae import network_of, rng
from PIL import Image

from bench.basics.errors import BenchError, Diverged
from bench.contracts import Generator, GeneratorRecipe, PosteriorEncoder
from bench.datasets.images import UnlabelledImages
from bench.planning import catalogue
from bench.planning.composing import compose
from bench.planning.overrides import parse_overrides
from bench.training.checkpoint import load_tensors, save_tensors
from methods.generators.vae import VAE, TrainedVAE
from methods.generators.vae_networks import SMALL as SMALL_PLAN
from methods.generators.vae_networks import Network

SMALL = VAE(latent_dim=3, channels=4, batch_size=8)


def strokes(n: int = 256, seed: int = 0) -> UnlabelledImages:
    """A bright bar on black at one of 28 heights: something with one obvious factor to learn."""
    row = torch.randint(0, 6, (n,), generator=rng(seed))
    pixels = torch.zeros(n, 1, 8, 8, dtype=torch.uint8)
    for k in range(3):
        pixels[torch.arange(n), 0, row + k] = 255
    return UnlabelledImages(pixels, f"strokes-{n}-{seed}")


def test_it_learns_to_rebuild_images_and_to_make_new_ones(tmp_path):
    images = strokes()
    recipe = VAE(latent_dim=2, channels=8, batch_size=32, lr=5e-3)
    seen = []
    context = make_context(tmp_path, epochs=25, progress=lambda s, d, t, m: seen.append((s, d, t)))
    vae = recipe.obtain(images, context)
    assert isinstance(recipe, GeneratorRecipe)
    assert isinstance(vae, Generator)
    assert isinstance(vae, PosteriorEncoder)
    assert seen[-1] == ("vae", 200, 200)
    assert context.notes["vae"] == vae.notes
    assert vae.notes["epochs"] == 25
    assert vae.notes["seconds"] > 0
    x = images.take(torch.arange(64))
    rebuilt = vae.decode(vae.encode(x)[0])
    assert float((rebuilt - x).abs().mean()) < 0.1  # 0.47 for the mean image
    made = vae.decode(vae.sample_prior(200, rng()))
    assert 0.25 < float(made.mean()) < 0.5  # 3 of 8 rows are bright
    assert float(made.std(0).mean()) > 0.2


def test_decode_and_encode_are_functions_of_one_row_alone(tmp_path):
    vae = SMALL.obtain(make_images(64), make_context(tmp_path))
    n = SMALL_PLAN.chunk["cpu"] + 7
    z = vae.sample_prior(n, rng())
    images = vae.decode(z)
    assert images.shape == (n, 1, 8, 8)
    assert images.dtype == torch.float32
    assert float(images.min()) >= 0
    assert float(images.max()) <= 1
    assert not images.requires_grad
    torch.testing.assert_close(vae.decode(z[-3:-2]), images[-3:-2], atol=1e-6, rtol=0)
    torch.testing.assert_close(vae.decode(z.flip(0)).flip(0), images, atol=1e-6, rtol=0)
    mean, logvar = vae.encode(images)
    alone = vae.encode(images[5:6])
    torch.testing.assert_close(alone[0], mean[5:6], atol=1e-5, rtol=0)
    torch.testing.assert_close(alone[1], logvar[5:6], atol=1e-5, rtol=0)
    weight = torch.ones(1, 64, requires_grad=True)
    F.linear(images.flatten(1), weight).sum().backward()  # usable in a meta-learner's gradient


def test_prior_is_standard_normal():
    z = TrainedVAE(network_of((1, 8, 8), 4, 3), {}).sample_prior(20000, rng())
    assert z.shape == (20000, 3)
    assert float((z.mean(0)).abs().max()) < 0.03
    assert float((z.T.cov() - torch.eye(3)).abs().max()) < 0.05


def test_it_is_trained_once_and_kept(tmp_path):
    images = make_images(64)
    first = SMALL.obtain(images, make_context(tmp_path))

    def never(*_):
        raise AssertionError("trained again")

    second = SMALL.obtain(images, make_context(tmp_path, progress=never))
    z = first.sample_prior(4, rng())
    assert torch.equal(first.decode(z), second.decode(z))
    assert first.notes == second.notes


@pytest.mark.parametrize(
    ("settings", "context_settings", "images"),
    [
        ({"kl_weight": 1.0}, {}, {}),
        ({"batch_norm": "affine"}, {}, {}),
        ({"lr": 2e-3}, {}, {}),
        ({}, {"epochs": 2}, {}),
        ({}, {"seed": 1}, {}),
        ({}, {}, {"seed": 4}),
    ],
)
def test_whatever_changes_the_result_makes_another_one(tmp_path, settings, context_settings, images):
    base = {"latent_dim": 3, "channels": 4, "batch_size": 8}
    VAE(**base).obtain(make_images(16), make_context(tmp_path))
    VAE(**base, **settings).obtain(make_images(16, **images), make_context(tmp_path, **context_settings))
    assert len(list((tmp_path / "artifacts").glob("vae-*.safetensors"))) == 2


@pytest.mark.parametrize("stop", [3, 8, 13])
def test_an_interrupted_training_ends_with_the_same_bytes(tmp_path, stop):
    images = make_images(64)  # 8 steps an epoch, so 13 is in the second

    def interrupt(stage, done, total, metrics):
        if done == stop:
            raise KeyboardInterrupt

    whole = SMALL.obtain(images, make_context(tmp_path / "a", epochs=2))
    with pytest.raises(KeyboardInterrupt):
        SMALL.obtain(images, make_context(tmp_path / "b", epochs=2, progress=interrupt))
    assert not list((tmp_path / "b/artifacts").glob("vae-????????????.safetensors"))
    resumed = SMALL.obtain(images, make_context(tmp_path / "b", epochs=2))
    for (name, x), y in zip(whole.network.state_dict().items(), resumed.network.state_dict().values(), strict=True):
        assert torch.equal(x, y), name
    assert resumed.notes["loss"] == whole.notes["loss"]


def test_an_epoch_visits_every_image_once(tmp_path, monkeypatch):
    images = make_images(40)
    seen: list[int] = []
    loss = Network.loss
    monkeypatch.setattr(
        Network,
        "loss",
        lambda self, x, *rest: seen.extend((x[:, 0, 0, 0] * 255).round().long().tolist()) or loss(self, x, *rest),
    )
    SMALL.obtain(images, make_context(tmp_path, epochs=2))
    assert sorted(seen[:40]) == sorted(seen[40:]) == list(range(40))
    assert seen[:40] != seen[40:]


def test_an_untrained_generator_is_a_generator(tmp_path):
    vae = SMALL.obtain(make_images(16), make_context(tmp_path, epochs=0))
    assert vae.notes["loss"] is None
    assert vae.decode(torch.zeros(2, 3)).shape == (2, 1, 8, 8)


def test_fewer_images_than_a_batch(tmp_path):
    assert SMALL.obtain(make_images(5), make_context(tmp_path)).notes["epochs"] == 1


def test_divergence_is_not_kept_and_a_collapsed_vae_not_used(tmp_path):
    with pytest.raises(Diverged, match="non-finite"):
        VAE(latent_dim=3, channels=4, batch_size=8, lr=1e20).obtain(make_images(64), make_context(tmp_path, epochs=2))
    assert not list((tmp_path / "artifacts").glob("vae-????????????.safetensors"))
    # A batch norm without spread, and with it the last layer, forgets the latent.
    images, context = make_images(64), make_context(tmp_path)
    path = SMALL.obtain(images, context) and next(iter(context.artifacts.used.values())).path
    tensors, meta = load_tensors(path)
    tensors["decoder.3.1.weight"].zero_()
    save_tensors(path, tensors, meta)
    with pytest.raises(Diverged, match="vae: it collapsed, images of different latents differ by 0 of what"):
        SMALL.obtain(images, make_context(tmp_path))
    tensors["decoder.4.bias"].fill_(math.nan)
    save_tensors(path, tensors, meta)
    with pytest.raises(Diverged, match="vae: it decodes latents to non-finite images"):
        SMALL.obtain(images, make_context(tmp_path))


def test_latent_and_weight_follow_the_network_and_one_vae_has_one_name(tmp_path):
    def key(**settings):
        context = make_context(tmp_path, epochs=0)
        vae = VAE(channels=1, **settings).obtain(images, context)
        return vae.latent_dim, next(iter(context.artifacts.used))

    images = make_images(4)
    assert key()[0] == 20
    assert key() == key(latent_dim=20) == key(kl_weight=0.05) == key(precision="float32")
    assert len({key(), key(kl_weight=0.1), key(precision="bfloat16")}) == 3
    images = make_images(4, (3, 36, 36))
    assert key()[0] == 500
    assert key() == key(kl_weight=1 / 500)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_the_network_for_photographs_learns(tmp_path, precision):
    """Large bright squares at four places: rebuilt far better than by the mean image, in either precision."""
    pixels = torch.zeros(64, 3, 36, 36, dtype=torch.uint8)
    for i in range(64):
        y, x = 18 * (i % 2), 18 * (i // 2 % 2)
        pixels[i, :, y : y + 18, x : x + 18] = 255
    images = UnlabelledImages(pixels, "squares")
    seen = []
    recipe = VAE(latent_dim=4, channels=4, batch_size=16, lr=3e-3, precision=precision)
    context = make_context(tmp_path, epochs=20, progress=lambda s, d, t, m: seen.append(m))
    vae = recipe.obtain(images, context)
    assert all(metrics["images/s"] > 0 for metrics in seen)
    x = images.take(torch.arange(64))
    rebuilt = vae.decode(vae.encode(x)[0])
    assert rebuilt.dtype == torch.float32
    assert float((rebuilt - x).abs().mean()) < 0.15  # 0.375 for the mean image
    z = vae.sample_prior(20, rng())  # more than a chunk
    tolerance = 1e-5 if precision == "float32" else 2e-2
    torch.testing.assert_close(vae.decode(z[-3:-2]), vae.decode(z)[-3:-2], atol=tolerance, rtol=0)


@pytest.mark.parametrize(("height", "width"), [(30, 30), (64, 64), (28, 84)])
def test_unsupported_sizes_are_refused(tmp_path, height, width):
    with pytest.raises(BenchError, match=rf"by 4 up to 32 pixels, and by 12 above, not {height}x{width}; choose"):
        SMALL.obtain(make_images(4, (3, height, width)), make_context(tmp_path))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"latent_dim": 0}, "latent_dim must be at least 1"),
        ({"kl_weight": -1.0}, "kl_weight must be 0 or more"),
        ({"lr": 0.0}, "lr must be above 0"),
        ({"batch_norm": "afine"}, "Did you mean 'affine'?"),
        ({"precision": "bfloat"}, "Did you mean 'bfloat16'?"),
    ],
)
def test_bad_settings_are_refused(settings, message):
    with pytest.raises(BenchError) as error:
        VAE(**settings)
    assert message in str(error.value)


@pytest.mark.grocery
def test_lasium_makes_tasks_of_photographs_from_the_command_line(tmp_path):
    """The same name as on small images: the network follows from the size of the images. Four images of a class."""
    real, few = Path(os.environ.get("BENCH_DATA", "data")) / "grocery84", tmp_path / "data" / "grocery84"
    if not (real / "grocery84.zip").exists():
        pytest.skip("no grocery84 in $BENCH_DATA")
    few.mkdir(parents=True)
    shutil.copy(real / "splits.json", few)
    with zipfile.ZipFile(real / "grocery84.zip") as source, zipfile.ZipFile(few / "grocery84.zip", "w") as target:
        names = sorted(name for name in source.namelist() if name.endswith((".png", ".jpg")))
        for _, images in itertools.groupby(names, lambda name: name.rpartition("/")[0]):
            for name in itertools.islice(images, 4):
                target.writestr(name, source.read(name))
    bench = Bench(tmp_path / "cache", tmp_path)
    request = ("--dataset", "grocery84", "--data-dir", tmp_path / "data", "--budget", "smoke", "generator.channels=1")
    settings = ("--no-references", "query=2", "budget.meta_iterations=1", *TINY)
    assert "1 of 1 runs done" in bench("run", "--methods", "lasium-ro-vae-maml", *request, *settings).stdout
    (record,) = (json.loads(path.read_text()) for path in bench.out.glob("*/*/*/run.json"))
    assert record["status"] == "done"
    assert record["notes"]["vae"]["diversity"] > 0
    (artifact,) = bench.out.glob("artifacts/vae-*.safetensors")
    recipe = load_tensors(artifact)[1]["recipe"]
    assert (recipe["latent_dim"], recipe["shape"]) == (500, [3, 84, 84])
    bench("show", "lasium-ro-vae-maml", *request, "--to", "tasks.png")
    assert (bench.folder / "tasks.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.omniglot
def test_a_little_training_on_real_characters_beats_the_mean_character(tmp_path):
    """A few steps on real characters rebuild them better than the best image that ignores its input."""
    folder = Path(os.environ.get("BENCH_DATA", "data")) / "omniglot"
    archive = folder / "images_background.zip"
    if not archive.exists():
        pytest.skip("no Omniglot in $BENCH_DATA")
    with zipfile.ZipFile(archive) as file:
        names = [name for name in sorted(file.namelist()) if name.endswith(".png")][::20][:640]
        drawn = [Image.open(io.BytesIO(file.read(name))).convert("L").resize((28, 28)) for name in names]
    pixels = torch.stack([255 - torch.from_numpy(np.array(image)) for image in drawn])[:, None]
    images = UnlabelledImages(pixels, "omniglot-640")
    vae = VAE(channels=8, batch_size=32, lr=3e-3).obtain(images, make_context(tmp_path, epochs=4))
    x = images.take(torch.arange(640))
    p = x.mean(0).clamp(1e-3, 1 - 1e-3)
    best_constant = float(F.binary_cross_entropy(p.expand_as(x), x, reduction="sum")) / 640
    rebuilt = vae.decode(vae.encode(x)[0])
    assert float(F.binary_cross_entropy(rebuilt, x, reduction="sum")) / 640 < 0.9 * best_constant


@pytest.mark.parametrize(
    ("dataset", "overrides", "epochs"),
    [("omniglot", (), 1000), ("grocery84", (), 100), ("folder", (), 100), ("folder", ("dataset.size=32",), 1000)],
)
def test_the_papers_epochs_follow_the_size_of_the_images(dataset, overrides, epochs):
    variant = catalogue.variants()["lasium-ro-vae-maml"]
    values = compose(variant, dataset, "paper", parse_overrides(overrides)).values
    assert values["budget"]["generator_epochs"] == epochs
