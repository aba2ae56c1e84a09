"""VGG-19, published DeepCluster and transfer learning, against plain float64 functions."""

import math

import checkpoints
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn.decomposition import PCA

from baselines.encoders import deepcluster_imagenet, vgg19
from baselines.encoders.deepcluster_imagenet import DeepClusterImageNet
from baselines.encoders.vgg19 import VGG19, RandomVGG19
from baselines.transfer import Head, Transfer
from bench.basics.errors import BenchError
from bench.basics.seeds import Seed
from bench.contracts import Budget, Context, TaskSpec
from bench.datasets.images import UnlabelledImages
from bench.foreign.pretrained import Checkpoint as Opened
from bench.foreign.pretrained import State
from bench.training.artifacts import ArtifactStore
from bench.training.checkpoint import Checkpoint


@pytest.fixture
def context(tmp_path):
    budget = Budget("test", 0, 0, 0)
    store, run = ArtifactStore(tmp_path / "artifacts"), Checkpoint(tmp_path / "run.safetensors")
    return Context(Seed(0), torch.device("cpu"), budget, store, run, lambda *_: None)


def images(n=24, channels=3, side=20, seed=0):
    rng = torch.Generator().manual_seed(seed)
    pixels = torch.randint(0, 256, (n, channels, side, side), generator=rng, dtype=torch.uint8)
    return UnlabelledImages(pixels, f"frozen-{n}-{channels}-{side}-{seed}")


def test_the_published_layouts_at_full_size():
    shapes = checkpoints.vgg19(64, 4096, 1000)
    assert len(shapes) == 38
    assert sum(map(math.prod, shapes.values())) == 143_667_240
    network = vgg19.Network.of(State("x", {k: torch.empty(s, device="meta") for k, s in shapes.items()}))
    assert {key: tuple(value.shape) for key, value in network.state_dict().items()} == shapes
    assert network.features_at(224) == 1000
    assert network.until("fc2").features_at(224) == 4096
    assert network.until("conv").features_at(224) == 25088
    for arch in ("alexnet", "vgg16"):
        shapes = checkpoints.deepcluster(arch, 64, 4096, 10_000)
        state = {k: torch.empty(s, device="meta") for k, s in shapes.items()}
        made = deepcluster_imagenet.Network.of(Opened("x", {"arch": arch, "state_dict": state}))
        assert made.dim == 4096
        assert made(torch.empty(2, 3, 224, 224, device="meta")).shape == (2, 4096)


def prepared(x, size):
    """Resize by hand: pixel centres at halves, two by two neighbours."""
    x = x.double().numpy()
    at = np.clip((np.arange(size) + 0.5) * x.shape[2] / size - 0.5, 0, x.shape[2] - 1)
    low = np.floor(at).astype(int)
    high, part = np.minimum(low + 1, x.shape[2] - 1), at - low
    x = x[:, :, low] * (1 - part)[:, None] + x[:, :, high] * part[:, None]
    x = x[..., low] * (1 - part) + x[..., high] * part
    x = np.broadcast_to(x, (len(x), 3, size, size))
    mean, std = (np.array(v)[:, None, None] for v in ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]))
    return torch.from_numpy((x - mean) / std)


def plain_vgg(state, x, layer):
    for number in range(37):
        if number in (4, 9, 18, 27, 36):
            x = F.max_pool2d(x, 2)
        elif f"features.{number}.weight" in state:
            x = F.relu(F.conv2d(x, state[f"features.{number}.weight"], state[f"features.{number}.bias"], padding=1))
    if layer == "conv":
        return x.flatten(1)
    x = F.interpolate(x, (7, 7)).flatten(1) if x.shape[2] == 1 else x.flatten(1)
    for number in (0, 3)[: 1 if layer == "fc1" else 2]:
        x = F.relu(x @ state[f"classifier.{number}.weight"].T + state[f"classifier.{number}.bias"])
    return x


@pytest.mark.parametrize(("layer", "size"), [("conv", 64), ("fc1", 32), ("fc2", 32), ("fc2", 224)])
def test_vgg19_computes_what_a_plain_function_does(layer, size, tmp_path, context):
    path = checkpoints.small("vgg19", tmp_path)
    state = {key: value.double() for key, value in torch.load(path, weights_only=True).items()}
    for channels in (1, 3):
        x = images(3, channels)
        encoder = VGG19(weights=str(path), layer=layer, dim=None, size=size).obtain(x, context)
        pixels = x.take(torch.arange(3))
        found = encoder.encode(pixels)
        assert found.shape == (3, encoder.dim)
        expected = plain_vgg(state, prepared(pixels, size), layer)
        torch.testing.assert_close(found.double(), expected, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("arch", ["alexnet", "vgg16"])
def test_deepcluster_computes_what_a_plain_function_does(arch, tmp_path, context):
    state = checkpoints.filled(checkpoints.deepcluster(arch, 2, 12, 7))
    torch.save({"arch": arch, "state_dict": state}, tmp_path / "d.pth.tar")
    x = images(2)
    found = (
        DeepClusterImageNet(str(tmp_path / "d.pth.tar"), dim=None).obtain(x, context).encode(x.take(torch.arange(2)))
    )
    s = {key.replace("module.", ""): value.double() for key, value in state.items()}
    y = prepared(x.take(torch.arange(2)), 224)
    y = F.conv2d(y, s["sobel.0.weight"], s["sobel.0.bias"])
    y = F.conv2d(y, s["sobel.1.weight"], s["sobel.1.bias"], padding=1)
    if arch == "alexnet":
        plan, pooling, heads = [(0, 4, 2), (4, 1, 2), (8, 1, 1), (11, 1, 1), (14, 1, 1)], {0: 3, 4: 3, 14: 3}, (1, 4)
    else:
        numbers = (0, 3, 7, 10, 14, 17, 20, 24, 27, 30, 34, 37, 40)
        plan, pooling, heads = [(n, 1, 1) for n in numbers], dict.fromkeys((3, 10, 20, 30, 40), 2), (0, 3)
    for number, stride, padding in plan:
        y = F.conv2d(y, s[f"features.{number}.weight"], s[f"features.{number}.bias"], stride, padding)
        w, b, mean, var = (
            s[f"features.{number + 1}.{k}"][:, None, None] for k in ("weight", "bias", "running_mean", "running_var")
        )
        y = F.relu((y - mean) / torch.sqrt(var + 1e-5) * w + b)
        y = F.max_pool2d(y, pooling[number], 2) if number in pooling else y
    y = F.relu(y.flatten(1) @ s[f"classifier.{heads[0]}.weight"].T + s[f"classifier.{heads[0]}.bias"])
    y = y @ s[f"classifier.{heads[1]}.weight"].T + s[f"classifier.{heads[1]}.bias"]
    torch.testing.assert_close(found.double(), y, rtol=2e-3, atol=1e-4 * float(y.abs().max()))


def test_whitened_features_are_those_of_scikit_learns_pca_and_are_kept(tmp_path, context, monkeypatch):
    path = checkpoints.small("vgg19", tmp_path)
    x = images(40)
    everything = x.take(torch.arange(40))
    raw = VGG19(weights=str(path), layer="conv", dim=None, size=64).obtain(x, context).encode(everything)
    recipe = VGG19(weights=str(path), layer="conv", dim=4, size=64)
    found = recipe.obtain(x, context).encode(everything)
    expected = PCA(4, whiten=True).fit_transform(raw.double().numpy())
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    signs = np.sign((found.numpy() * expected).sum(0))
    np.testing.assert_allclose(found.numpy(), expected * signs, atol=2e-3)
    monkeypatch.setattr("baselines.encoders.frozen.embed_all", None)  # it is read from the store
    assert torch.equal(recipe.obtain(x, context).encode(everything), found)


def test_random_weights_follow_from_the_seed(context):
    x = images(2)
    recipe = RandomVGG19(layer="conv", dim=None, size=32, channels=2)
    first = recipe.obtain(x, context).encode(x.take(torch.arange(2)))
    torch.manual_seed(3)
    assert torch.equal(recipe.obtain(x, context).encode(x.take(torch.arange(2))), first)
    context.seed = Seed(1)
    assert not torch.equal(recipe.obtain(x, context).encode(x.take(torch.arange(2))), first)
    assert first.shape == (2, 16)
    assert first.std() > 0.01


@pytest.mark.parametrize("scale", [0.1, 3.0])
def test_the_head_takes_the_steps_that_gradient_descent_takes(scale):
    rng = torch.Generator().manual_seed(2)
    way, shot, dim = 3, 2, 11
    support = scale * torch.rand(2, way, shot, dim, generator=rng, dtype=torch.float64)
    query = scale * torch.rand(2, 4, dim, generator=rng, dtype=torch.float64)
    head = Head(lr=0.05, steps=50, seed=Seed(4))
    found = head.classify(support, query)
    for task in range(2):
        layer = torch.nn.Linear(dim, way, dtype=torch.float64)
        with torch.no_grad():
            layer.weight.copy_(head.start(dim, way, support).T)
            layer.bias.zero_()
        optimizer = torch.optim.SGD(layer.parameters(), lr=0.05)
        for _ in range(50):
            optimizer.zero_grad()
            labels = torch.arange(way).repeat_interleave(shot)
            F.cross_entropy(layer(support[task].flatten(0, 1)), labels).backward()
            optimizer.step()
        torch.testing.assert_close(found[task], layer(query[task]).detach(), rtol=1e-9, atol=1e-9)
    limit = math.sqrt(6 / (dim + way))
    start = head.start(dim, way, support)
    assert start.abs().max() <= limit
    assert start.std() == pytest.approx(limit / math.sqrt(3), rel=0.25)


def test_transfer_learns_a_task_that_its_features_tell_apart(tmp_path, context):
    x = images(2, side=32)
    encoder = RandomVGG19(layer="conv", dim=None, size=32, channels=16)
    learner = Transfer(encoder, lr=2.0).fit(x, TaskSpec(2, 1, 1), context)
    rng = torch.Generator().manual_seed(5)
    dark, light = (low + 0.2 * torch.rand(1, 6, 3, 32, 32, generator=rng) for low in (0.0, 0.8))
    support = torch.stack([dark[:, :2], light[:, :2]], 1)
    scores = learner.predict(support, torch.cat([dark[:, 2:], light[:, 2:]], 1))
    assert scores.argmax(2)[0].tolist() == [0] * 4 + [1] * 4


def test_wrong_settings_and_files_are_one_sentence(tmp_path, context):
    with pytest.raises(BenchError, match="layer must be one of conv, fc1, fc2, not 'fc7'"):
        VGG19(weights="x", layer="fc7")
    with pytest.raises(BenchError, match="size must be an integer of at least 32, not 16"):
        RandomVGG19(size=16)
    with pytest.raises(BenchError, match="lr must be above 0"):
        Transfer(RandomVGG19(), lr=0.0)
    progan = checkpoints.small("progan", tmp_path)
    with pytest.raises(BenchError, match=r"is no VGG-19 in the layout of torchvision: features\.2\.weight is missing"):
        VGG19(weights=str(progan)).obtain(images(), context)
    with pytest.raises(BenchError, match=r"is no DeepCluster checkpoint .*: features\.0\.weight is missing"):
        DeepClusterImageNet(weights=str(progan)).obtain(images(), context)
