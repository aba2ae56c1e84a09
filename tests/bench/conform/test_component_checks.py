"""Components of our own pass; each wrong one is found out, with the sentence that mends it."""

import dataclasses

import numpy as np
import pytest
import torch

from bench.backbones import Conv4
from bench.conform import components, datasets, generators
from bench.conform.guard import Guard
from bench.conform.subject import Subject, configured, miniature

SHAPE = (1, 28, 28)


def faults(findings):
    return {one.name: one.fault for one in findings if one.fault is not None}


@pytest.fixture(scope="module")
def small(glyphs):
    return miniature(glyphs)


@pytest.fixture
def examined(small, tmp_path, one_thread):
    """What the kit finds of an option of a group, or of ``thing`` in its place."""

    def of(group, option, thing=None):
        config = configured(Subject(group, option, "glyphs"))
        if thing is not None:
            return list(components.GROUPS[group](thing, config, small, tmp_path))
        return list(components.examine(group, config, small, tmp_path, Guard(tmp_path / "journal")))

    return of


@pytest.mark.parametrize(
    ("group", "option"),
    [("encoder", "pixels"), ("learner", "protonet"), ("backbone", "conv4"), ("views", "strokes")],
)
def test_our_own_conform(group, option, examined):
    found = examined(group, option)
    assert faults(found) == {}
    assert len(found) >= 5


class Pixels:
    """An encoder and the recipe for it; ``change`` is what is wrong."""

    dim = 28 * 28

    def __init__(self, change=lambda x: x, obtained=lambda: None):
        self.change, self.obtained = change, obtained

    def obtain(self, images, context):
        self.obtained()
        return self

    def encode(self, x):
        return self.change(x.flatten(1))


@pytest.mark.parametrize(
    ("encoder", "name", "sentence"),
    [
        (Pixels(lambda x: x - x.mean(0)), "image by image", "when other images are beside it"),
        (Pixels(lambda x: 0 * x), "distinct", "Pixels embeds every image alike"),
        (Pixels(obtained=lambda: torch.manual_seed(0)), "process", "obtaining it draws from, or seeds, the global"),
        (Pixels(lambda x: x[:, :5]), "embedding", "784], not ["),
    ],
)
def test_a_wrong_encoder(encoder, name, sentence, examined):
    assert sentence in faults(examined("encoder", "pixels", encoder))[name]


class Blocks(Conv4):
    """A network with a mistake that is easily made once tasks are batched."""

    def forward(self, params, images, *_):
        return super().forward(params, images - images.mean((0, 1), keepdim=True))


class Redrawn(Conv4):
    def init(self, rng, image_shape, outputs):
        params = super().init(rng, image_shape, outputs)
        return {**params, "conv1.weight": torch.randn(params["conv1.weight"].shape), "unused": torch.zeros(1)}


def test_a_wrong_backbone(examined):
    assert "among others than alone" in faults(examined("backbone", "conv4", Blocks(filters=4)))["tasks"]
    found = faults(examined("backbone", "conv4", Redrawn(filters=4)))
    assert "init gives other parameters from an equal rng" in found["init"]
    assert "unused take no part in forward" in found["gradient"]
    assert "global generator of PyTorch" in found["process"]
    assert faults(examined("backbone", "conv4", object())).keys() == {"methods"}


def test_wrong_views(examined):
    loud = faults(examined("views", "strokes", lambda images, rng: 2 * images))
    assert "values from 0 to 2; they must be in [0, 1]" in loud["range"]
    assert "equal draws" in faults(examined("views", "strokes", lambda images, rng: torch.rand(images.shape)))
    assert "must return float32 images" in faults(examined("views", "strokes", lambda images, rng: images[:1]))["shape"]


class Blobs:
    """A generator; ``change`` is what is wrong with its images."""

    latent_dim, image_shape = 4, SHAPE

    def __init__(self, change=lambda images: images):
        self.change = change

    def sample_prior(self, n, rng):
        return torch.randn(n, 4, generator=rng)

    @torch.no_grad()
    def decode(self, z):
        return self.change(torch.sigmoid(z.mean(1))[:, None, None, None].expand(-1, *SHAPE).clone())


@pytest.mark.parametrize(
    ("change", "name", "sentence"),
    [
        (lambda x: 255 * x, "decode", "they must be in [0, 1]"),
        (lambda x: x.flatten(1), "decode", "must return float32 images [8, 1, 28, 28], not [8, 784]"),
        (lambda x: x - x.mean() + 0.5, "function", "lets latents of one batch influence one another"),
        (lambda x: 0.9 * x + 0.1 * torch.rand(x.shape), "function", "other images from the same latents"),
        (lambda x: torch.ones_like(x), "distinct", "makes one image of all latents"),
    ],
)
def test_a_wrong_generator(change, name, sentence):
    assert faults(generators.examine(lambda _: Blobs(), SHAPE)) == {}
    assert sentence in faults(generators.examine(lambda _: Blobs(change), SHAPE))[name]
    assert "resize them" in faults(generators.examine(lambda _: Blobs(), (1, 32, 32)))["sizes"]


@dataclasses.dataclass(frozen=True)
class Item:
    split: str
    class_name: str
    file_id: str


def test_splits_and_a_wrong_source(glyphs):
    found = list(datasets._prepared(glyphs))
    assert faults(found) == {}
    assert {"splits", "classes"} <= {one.name for one in found}

    class Wrong:
        calls = 0

        def scan(self):
            return [Item("test", "b", "1"), Item("train", "a", "1")]

        def read(self, items):
            self.calls += 1
            yield from (np.full((1, 8, 8), self.calls, dtype=np.uint8) for _ in items)

    found = faults(datasets._source(Wrong()))
    assert found.keys() == {"items", "stable"}
    assert "two images are called '1'" in found["items"]
