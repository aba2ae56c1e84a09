"""The VAE's networks: the sizes of their layers, their loss and first weights, each written out."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
import torch.nn.functional as F
from helpers_vae import network_of, rng

from methods.generators.vae_networks import _Down, _Up


def test_the_layers_have_the_sizes_of_the_paper():
    sizes = []
    network = network_of().eval()
    for layer in (*network.encoder, *network.decoder):
        layer.register_forward_hook(lambda _, __, out: sizes.append(tuple(out.shape[1:])))
    mean, logvar = network.encode(torch.rand(2, 1, 28, 28))
    logits = network.decode(mean)
    assert mean.shape == logvar.shape == (2, 20)
    assert logits.shape == (2, 1, 28, 28)
    down = [(64, 14, 14), (64, 7, 7), (64, 7, 7), (64, 7, 7)]
    up = [(64, 14, 14), (64, 28, 28), (64, 28, 28), (64, 28, 28), (1, 28, 28)]
    assert sizes == down + up
    # 3x3 convolutions without bias, batch norm, dense layers with bias, the output layer with bias.
    expected = 9 * 64 + 7 * 9 * 64 * 64 + 8 * 2 * 64 + 3 * 3136 * 20 + 2 * 20 + 3136 + 9 * 64 + 1
    assert sum(p.numel() for p in network.parameters()) == expected


def test_the_layers_for_photographs_have_the_sizes_of_the_authors_code():
    sizes = []
    network = network_of((3, 84, 84), latent_dim=500).eval()
    for layer in (*network.encoder, *network.decoder):
        layer.register_forward_hook(lambda _, __, out: sizes.append(tuple(out.shape[1:])))
    mean, logvar = network.encode(torch.rand(1, 3, 84, 84))
    assert mean.shape == logvar.shape == (1, 500)
    assert network.decode(mean).shape == (1, 3, 84, 84)
    down = [(64, 42, 42), (128, 21, 21), (256, 11, 11), (256, 6, 6), (512, 3, 3)]
    up = [(512, 21, 21), (256, 42, 42), (256, 84, 84), (128, 84, 84), (64, 84, 84), (3, 84, 84)]
    assert sizes == down + up
    assert network.dense.out_features == 7 * 7 * 64
    kernels = {layer[0].kernel_size for layer in (*network.encoder, *network.decoder[:-1])}
    assert kernels | {network.decoder[-1].kernel_size} == {(4, 4)}
    # 4x4 layers without bias, batch norm, dense layers with bias, the output layer with bias.
    maps = [3, 64, 128, 256, 256, 512]
    expected = sum(16 * a * b + 2 * b for a, b in itertools.pairwise(maps))
    maps = [64, 512, 256, 256, 128, 64]
    expected += sum(16 * a * b + 2 * b for a, b in itertools.pairwise(maps)) + 16 * 64 * 3 + 3
    expected += 2 * (4608 * 500 + 500) + 500 * 3136 + 3136
    assert sum(p.numel() for p in network.parameters()) == expected


@pytest.mark.parametrize("side", [4, 7])
@pytest.mark.parametrize("stride", [1, 2, 3])
def test_a_4x4_layer_pads_as_the_authors_framework_does(side, stride):
    """TensorFlow's "same": the smaller half of the padding before, the larger after; transposed likewise.

    Stride 3 alone is mirrored: its one surplus pixel is cut off before, not after.
    """
    full = (side - 1) * stride + 4
    cut = full - side * stride
    before = cut - cut // 2 if stride == 3 else cut // 2
    up = _Up(2, 3, 4, stride)
    torch.nn.init.normal_(up.weight, generator=rng())
    x = torch.randn(1, 2, side, side, generator=rng(1))
    whole = F.conv_transpose2d(x, up.weight, stride=stride)
    part = slice(before, before + side * stride)
    torch.testing.assert_close(up(x), whole[..., part, part])
    if stride == 2:  # the only stride that the encoder has
        down = _Down(2, 3, 4, stride)
        torch.nn.init.normal_(down.weight, generator=rng())
        made = -(-side // stride)
        pad = (made - 1) * stride + 4 - side
        left, right = pad // 2, pad - pad // 2
        expected = F.conv2d(F.pad(x, (left, right, left, right)), down.weight, stride=stride)
        assert expected.shape[-1] == made
        torch.testing.assert_close(down(x), expected)


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 32, 32), (2, 12, 20), (3, 36, 60), (1, 84, 84), (3, 12, 48)])
def test_other_sizes_and_channels(shape):
    network = network_of(shape, channels=4, latent_dim=3).eval()
    assert network.decode(network.encode(torch.rand(2, *shape))[0]).shape == (2, *shape)


def test_the_loss_is_the_elbo_written_out_in_float64():
    network = network_of((1, 8, 8), channels=4, latent_dim=3).double().eval()
    x = torch.rand(5, 1, 8, 8, generator=rng(), dtype=torch.float64)
    noise = torch.randn(5, 3, generator=rng(1), dtype=torch.float64)
    mean, logvar = network.encode(x)
    p = torch.sigmoid(network.decode(mean + (0.5 * logvar).exp() * noise))
    posterior = torch.distributions.Normal(mean, (0.5 * logvar).exp())
    prior = torch.distributions.Normal(torch.zeros(3).double(), torch.ones(3).double())
    total = 0.0
    for i in range(5):
        pixels = -(x[i] * p[i].log() + (1 - x[i]) * (1 - p[i]).log()).sum()
        kl = torch.distributions.kl_divergence(posterior, prior)[i].sum()
        total += float((pixels + 0.05 * kl).detach())
    assert float(network.loss(x, noise, 0.05).detach()) == pytest.approx(total / 5, rel=1e-10)


def test_stride_2_layers_mirror_each_other():
    """A transposed convolution is the gradient of the convolution with the same kernel."""
    w = torch.randn(4, 3, 3, 3, generator=rng(), dtype=torch.float64)
    x = torch.rand(1, 3, 8, 8, generator=rng(1), dtype=torch.float64, requires_grad=True)
    y = torch.rand(1, 4, 4, 4, generator=rng(2), dtype=torch.float64)
    (gradient,) = torch.autograd.grad((F.conv2d(x, w, stride=2, padding=1) * y).sum(), x)
    torch.testing.assert_close(F.conv_transpose2d(y, w, stride=2, padding=1, output_padding=1), gradient)


def test_affine_batch_norm_never_uses_statistics():
    network = network_of((1, 8, 8), channels=4, latent_dim=3, affine=True)
    x = torch.rand(6, 1, 8, 8, generator=rng())
    in_training = network.train().encode(x)[0]
    torch.testing.assert_close(in_training[:2], network.encode(x[:2])[0], atol=1e-6, rtol=1e-5)
    assert not any("running" in n and "mean" in n and b.any() for n, b in network.named_buffers())
    plain = network_of((1, 8, 8), channels=4, latent_dim=3).train()
    assert not torch.allclose(plain.encode(x)[0][:2], plain.encode(x[:2])[0], atol=1e-3)


def test_initial_weights_are_glorot_and_do_not_touch_the_global_generator():
    before = torch.get_rng_state()
    a, b = network_of(), network_of()
    assert torch.equal(before, torch.get_rng_state())
    assert all(torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True))
    weight = a.decoder[2][0].weight
    bound = math.sqrt(6 / (2 * 9 * 64))
    assert 0.99 * bound < float(weight.detach().abs().max()) <= bound
    assert not a.mean.bias.any()
