"""ProGAN, BigBiGAN and StyleGAN2: the public layouts at full size, and their numbers against plain functions."""

import itertools
import math

import checkpoints
import pytest
import torch
import torch.nn.functional as F
from helpers_methods import make_context, make_images

from bench.basics.errors import BenchError
from bench.foreign.pretrained import State
from methods.generators import bigbigan, progan, stylegan2
from methods.generators.bigbigan import BigBiGAN
from methods.generators.progan import ProGAN
from methods.generators.stylegan2 import StyleGAN2

FULL = {
    "progan": (checkpoints.progan(512, [512, 512, 512, 512, 256, 128]), progan.Network, 36, 22.94e6, 512),
    "bigbigan": (checkpoints.bigbigan(96, 20, 128, 1000), bigbigan.Network, 166, 70.50e6, 120),
    "lucidrains": (checkpoints.lucidrains(512, 8, [512, 256, 128, 64, 32]), stylegan2.Lucidrains, 88, None, 512),
    "official": (checkpoints.official(512, 8, [512] * 5), stylegan2.Official, 106, 27.04e6, 512),
}


@pytest.mark.parametrize("name", FULL)
def test_the_published_layout_at_full_size(name):
    shapes, network_class, tensors, values, latent_dim = FULL[name]
    assert len(shapes) == tensors
    if values is not None:
        assert sum(map(math.prod, shapes.values())) == pytest.approx(values, rel=5e-4)
    state = {key: torch.empty(shape, device="meta") for key, shape in shapes.items()}
    network = network_class.of(State("x", state))
    assert {key: tuple(value.shape) for key, value in network.state_dict().items()} == shapes
    assert network.latent_dim == latent_dim
    side = {"progan": 128, "bigbigan": 128, "lucidrains": 64, "official": 64}[name]
    z = torch.empty(2, latent_dim, device="meta")
    assert network.to("meta")(z).shape == (2, 3, side, side)


def plain_progan(state, z):
    def layer(x, name):
        weight, bias = state[f"{name}.module.weight"], state[f"{name}.module.bias"]
        scale = math.sqrt(2 / weight[0].numel())
        if weight.ndim == 2:
            return (x @ weight.T + bias) * scale
        return F.conv2d(x, weight, bias, padding=weight.shape[-1] // 2) * scale

    def norm(x):
        return x / torch.sqrt((x**2).mean(1, keepdim=True) + 1e-8)

    x = F.leaky_relu(layer(norm(z), "formatLayer"), 0.2).reshape(len(z), -1, 4, 4)
    x = norm(F.leaky_relu(layer(norm(x), "groupScale0.0"), 0.2))
    scales = 0
    while f"scaleLayers.{scales}.0.module.weight" in state:
        x = x.repeat_interleave(2, 2).repeat_interleave(2, 3)
        for i in (0, 1):
            x = norm(F.leaky_relu(layer(x, f"scaleLayers.{scales}.{i}"), 0.2))
        scales += 1
    return ((layer(x, f"toRGBLayers.{scales}") + 1) / 2).clamp(0, 1)


def plain_bigbigan(state, z, part=2):
    def weight(name):
        w = state[f"{name}.weight"].flatten(1)
        v = state[f"{name}.u0"] @ w
        v = v / v.norm().clamp(min=1e-4)
        u = v @ w.T
        sigma = u @ (u / u.norm().clamp(min=1e-4)).T
        return state[f"{name}.weight"] / sigma.squeeze()

    def convolution(x, name):
        w = weight(name)
        return F.conv2d(x, w, state.get(f"{name}.bias"), padding=w.shape[-1] // 2)

    def norm(x, name, y):
        mean, var = (state[f"{name}.stored_{s}"][:, None, None] for s in ("mean", "var"))
        gain, bias = (y @ weight(f"{name}.{s}").T for s in ("gain", "bias"))
        return (x - mean) / torch.sqrt(var + 1e-4) * (1 + gain)[:, :, None, None] + bias[:, :, None, None]

    def doubled(x):
        return x.repeat_interleave(2, 2).repeat_interleave(2, 3)

    parts = z.split(part, 1)
    x = (parts[0] @ weight("linear").T + state["linear.bias"]).reshape(len(z), -1, 4, 4)
    for i, chunk in enumerate(parts[1:]):
        name = f"blocks.{i}.0"
        y = torch.cat([state["shared.weight"][0].expand(len(z), -1), chunk], 1)
        h = convolution(doubled(F.relu(norm(x, f"{name}.bn1", y))), f"{name}.conv1")
        h = convolution(F.relu(norm(h, f"{name}.bn2", y)), f"{name}.conv2")
        x = h + convolution(doubled(x), f"{name}.conv_sc")
        if f"blocks.{i}.1.gamma" in state:
            n, c, s, _ = x.shape
            theta, phi, g = (convolution(x, f"blocks.{i}.1.{k}") for k in ("theta", "phi", "g"))
            phi, g = F.max_pool2d(phi, 2).reshape(n, -1, s * s // 4), F.max_pool2d(g, 2).reshape(n, -1, s * s // 4)
            beta = torch.einsum("ncq,nck->nqk", theta.reshape(n, -1, s * s), phi).softmax(2)
            o = torch.einsum("nck,nqk->ncq", g, beta).reshape(n, c // 2, s, s)
            x = x + state[f"blocks.{i}.1.gamma"] * convolution(o, f"blocks.{i}.1.o")
    mean, var, gain, bias = (
        state[f"output_layer.0.{k}"][:, None, None] for k in ("stored_mean", "stored_var", "gain", "bias")
    )
    x = F.relu((x - mean) / torch.sqrt(var + 1e-5) * gain + bias)
    return (torch.tanh(convolution(x, "output_layer.2")) + 1) / 2


def by_style(x, weight, style, demodulate):
    """One convolution an image: inputs scaled by the style, outputs by their expected length."""
    made = []
    for image, s in zip(x, style):
        y = F.conv2d((image * s[:, None, None])[None], weight, padding=weight.shape[-1] // 2)[0]
        if demodulate:
            y = y / torch.sqrt(((weight * s[:, None, None]) ** 2).sum((1, 2, 3)) + 1e-8)[:, None, None]
        made.append(y)
    return torch.stack(made)


def plain_lucidrains(state, z, noise):
    def dense(x, name, rate=1.0):
        return x @ (rate * state[f"{name}.weight"]).T + rate * state[f"{name}.bias"]

    def doubled(x):
        return F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)

    w, i = z / z.norm(dim=1, keepdim=True), 0
    while f"SE.net.{i}.weight" in state:
        w, i = F.leaky_relu(dense(w, f"SE.net.{i}", 0.1), 0.2), i + 2
    x = state["GE.initial_block"].expand(len(z), -1, -1, -1)
    x = F.conv2d(x, state["GE.initial_conv.weight"], state["GE.initial_conv.bias"], padding=1)
    image = 0
    for i in itertools.count():
        name = f"GE.blocks.{i}"
        if f"{name}.conv1.weight" not in state:
            return image.clamp(0, 1)
        x = doubled(x) if i else x
        for k in (1, 2):
            x = by_style(x, state[f"{name}.conv{k}.weight"], dense(w, f"{name}.to_style{k}") + 1, True)
            strength, offset = state[f"{name}.to_noise{k}.weight"][:, 0], state[f"{name}.to_noise{k}.bias"]
            for c, a, b in itertools.product(range(x.shape[1]), range(x.shape[2]), range(x.shape[3])):
                x[:, c, a, b] += strength[c] * noise[b, a] + offset[c]
            x = F.leaky_relu(x, 0.2)
        style = dense(w, f"{name}.to_rgb.to_style") + 1
        image = image + by_style(x, state[f"{name}.to_rgb.conv.weight"], style, False)
        if f"{name}.to_rgb.upsample.1.f" in state:
            padded = F.pad(doubled(image), (1, 1, 1, 1), mode="reflect")
            taps = torch.tensor([0.25, 0.5, 0.25], dtype=z.dtype)
            rows = sum(t * padded[:, :, a : a + padded.shape[2] - 2] for a, t in enumerate(taps))
            image = sum(t * rows[:, :, :, a : a + padded.shape[3] - 2] for a, t in enumerate(taps))


def plain_official(state, z):
    def dense(x, name, rate=1.0):
        weight = state[f"{name}.weight"]
        return x @ weight.T * rate / math.sqrt(weight.shape[1]) + rate * state[f"{name}.bias"]

    def activated(x):
        return math.sqrt(2) * F.leaky_relu(x, 0.2)

    def zeros_between(x):
        spread = torch.zeros(*x.shape[:2], 2 * x.shape[2], 2 * x.shape[3], dtype=x.dtype)
        spread[:, :, ::2, ::2] = x
        return spread

    def blurred(x):  # a map's pixel 2i is a quarter and three quarters of its neighbours
        taps = torch.tensor([1.0, 3.0, 3.0, 1.0], dtype=x.dtype) / 4
        rows = sum(t * x[:, :, a : a + x.shape[2] - 3] for a, t in enumerate(taps))
        return sum(t * rows[:, :, :, a : a + x.shape[3] - 3] for a, t in enumerate(taps))

    def layer(x, name, w, up=False):
        weight, style = state[f"{name}.weight"], dense(w, f"{name}.affine")
        if up:  # a true convolution with the zeros in between, one pixel more on either side, then the blur
            spread = F.pad(zeros_between(x), (2, 2, 2, 2))
            x = by_style(spread, weight.flip(2, 3), style, True)[:, :, 1:-1, 1:-1]
            x = blurred(F.pad(x, (1, 0, 1, 0)))
        else:
            x = by_style(x, weight, style, True)
        noise = state[f"{name}.noise_const"] * state[f"{name}.noise_strength"]
        return activated(x + noise + state[f"{name}.bias"][:, None, None])

    w, i = z / torch.sqrt((z**2).mean(1, keepdim=True) + 1e-8), 0
    while f"mapping.fc{i}.weight" in state:
        w, i = activated(dense(w, f"mapping.fc{i}", 0.01)), i + 1
    x, image, side = state["synthesis.b4.const"].expand(len(z), -1, -1, -1), None, 4
    while f"synthesis.b{side}.conv1.weight" in state:
        name = f"synthesis.b{side}"
        if side > 4:
            x = layer(x, f"{name}.conv0", w, up=True)
            image = blurred(F.pad(zeros_between(image), (2, 1, 2, 1)))
        x = layer(x, f"{name}.conv1", w)
        weight = state[f"{name}.torgb.weight"]
        colours = by_style(x, weight, dense(w, f"{name}.torgb.affine") / math.sqrt(weight.shape[1]), False)
        colours = colours + state[f"{name}.torgb.bias"][:, None, None]
        image = colours if image is None else image + colours
        side *= 2
    return ((image + 1) / 2).clamp(0, 1)


def close(network, plain, latent):
    z = torch.randn(3, latent, generator=torch.Generator().manual_seed(1))
    made, expected = network(z), plain(z.double())
    assert made.min() >= 0
    assert made.max() <= 1
    assert expected.std() > 0.05
    torch.testing.assert_close(made.double(), expected, rtol=1e-3, atol=2e-5)


def wide(state):
    return {key: value.double() for key, value in state.items()}


def test_progan_computes_what_a_plain_function_does():
    state = checkpoints.filled(checkpoints.progan(7, [6, 5, 4]))
    close(progan.Network.of(State("x", state)), lambda z: plain_progan(wide(state), z), 7)


def test_bigbigan_computes_what_a_plain_function_does():
    state = checkpoints.filled(checkpoints.bigbigan(4, 2, 3, 5))
    expected = wide(state)
    close(bigbigan.Network.of(State("x", state)), lambda z: plain_bigbigan(expected, z), 12)


def test_stylegan2_of_lucidrains_computes_what_a_plain_function_does():
    state = checkpoints.filled(checkpoints.lucidrains(6, 2, [5, 4, 3]))
    network = stylegan2.Lucidrains.of(State("x", state))
    close(network, lambda z: plain_lucidrains(wide(state), z, network.noise.double()), 6)


def test_official_stylegan2_computes_what_a_plain_function_does():
    state = checkpoints.filled(checkpoints.official(6, 3, [5, 4, 3]))
    close(stylegan2.Official.of(State("x", state)), lambda z: plain_official(wide(state), z), 6)


RECIPES = {"progan": (ProGAN, 8), "bigbigan": (BigBiGAN, 8), "stylegan2": (StyleGAN2, 6)}


@pytest.mark.parametrize("kind", RECIPES)
def test_a_file_becomes_a_checked_generator_of_the_datasets_size(kind, tmp_path):
    recipe, latent_dim = RECIPES[kind]
    path = checkpoints.small(kind, tmp_path)
    context = make_context(tmp_path)
    generator = recipe(weights=str(path)).obtain(make_images(shape=(3, 9, 9)), context)
    rng = torch.Generator().manual_seed(0)
    z = generator.sample_prior(200, rng)
    assert z.shape == (200, latent_dim)
    assert z.std() == pytest.approx(1, abs=0.1)
    images = generator.decode(z[:5])
    assert images.shape == (5, 3, 9, 9)
    assert images.min() >= 0
    assert images.max() <= 1
    assert generator.latent_norm is (kind == "progan")
    raw = generator.raw(z[:5])
    torch.testing.assert_close(images, F.interpolate(raw, (9, 9), mode="bilinear", align_corners=False))
    assert context.notes["generator"]["weights"] == f"{kind}.pth"
    with pytest.raises(
        BenchError, match=r"images of 3 channels but the dataset has 1; generator\.convert_channels=true"
    ):
        recipe(weights=str(path)).obtain(make_images(shape=(1, 9, 9)), make_context(tmp_path))
    grey = recipe(weights=str(path), convert_channels=True).obtain(make_images(shape=(1, 9, 9)), make_context(tmp_path))
    weights = torch.tensor([0.299, 0.587, 0.114])[:, None, None]
    torch.testing.assert_close(grey.decode(z[:5]), (images * weights).sum(1, keepdim=True), atol=1e-5, rtol=1e-5)


def test_old_progan_files_and_those_with_the_averaged_weights_missing(tmp_path):
    state = checkpoints.filled(checkpoints.progan(8, [4, 4, 4]))
    torch.save({"avgG": state}, tmp_path / "new.pth")
    old = {key.replace(".module", ""): value for key, value in state.items()}
    torch.save({"netG": old, "netD": {}}, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    images, z = make_images(shape=(3, 16, 16)), torch.randn(3, 8)
    one, two = (
        ProGAN(weights=str(tmp_path / n)).obtain(images, make_context(tmp_path)) for n in ("new.pth", "old.pth")
    )
    assert torch.equal(one.decode(z), two.decode(z))


def test_stylegan2_takes_the_averaged_weights_or_the_last(tmp_path):
    averaged = checkpoints.filled(checkpoints.lucidrains(6, 2, [6, 4, 3]))
    last = checkpoints.filled(checkpoints.lucidrains(6, 2, [6, 4, 3]), seed=1)
    renamed = {key.replace("SE.", "S.", 1).replace("GE.", "G.", 1): value for key, value in last.items()}
    torch.save({"GAN": {**averaged, **renamed}, "version": "1"}, tmp_path / "both.pt")
    torch.save({"GAN": last, "version": "1"}, tmp_path / "last.pt")
    images, z = make_images(shape=(3, 16, 16)), torch.randn(3, 6)

    def made(name, **settings):
        return StyleGAN2(weights=str(tmp_path / name), **settings).obtain(images, make_context(tmp_path)).decode(z)

    assert torch.equal(made("both.pt", averaged=False), made("last.pt"))
    assert not torch.equal(made("both.pt"), made("last.pt"))
    with pytest.raises(BenchError, match=r"is no StyleGAN2 of a known layout: neither mapping\.w_avg"):
        StyleGAN2(weights=str(checkpoints.small("progan", tmp_path))).obtain(images, make_context(tmp_path))
