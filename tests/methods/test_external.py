"""Generators of the user's own: what they make of latents, in each format."""

import dataclasses
import json

import numpy as np
import own_generators
import pytest
import torch
from helpers_external import SHAPE, given, latents, obtain, refusal
from own_generators import LATENT, Tiny, reference, save_onnx, save_pt2, save_torchscript

from bench.basics.seeds import Seed
from bench.contracts import Generator
from bench.datasets.resize import resize
from bench.foreign import formats, roles
from methods.generators.external import ExternalGenerator, File, Object

# Each format decodes as the network does


@pytest.mark.parametrize("kind", ["pt2", "pt", "ts", "onnx"])
def test_a_file_decodes_as_the_network_it_was_made_of(kind, tmp_path):
    network = Tiny().eval()
    if kind == "onnx":
        pytest.importorskip("onnxruntime", reason="onnxruntime is not installed (extra [onnx])")
    save = {"pt2": save_pt2, "pt": save_torchscript, "ts": save_torchscript, "onnx": save_onnx}[kind]
    path = save(tmp_path / f"g.{kind}", network)
    told = {"latent_dim": LATENT} if kind in ("pt", "ts") else {}
    generator, context = obtain(File(path=str(path), **told), tmp_path)
    assert isinstance(generator, Generator)
    assert (generator.latent_dim, generator.image_shape) == (LATENT, SHAPE)
    assert generator.latent_norm is False
    z = latents(70)  # more than a chunk
    images = generator.decode(z)
    assert not images.requires_grad
    assert not images.is_inference()
    torch.testing.assert_close(images, reference(z, network).float(), atol=1e-5, rtol=0)
    notes = context.notes["generator"]
    assert notes["sha256"] == formats.sha256(path, roles.GENERATOR)
    assert notes["file"] == path.name
    assert notes["outside_data"] is True
    json.dumps(context.notes, allow_nan=False)


@pytest.mark.parametrize("name", ["decode", "make", "Tiny"])
def test_an_object_is_a_function_or_makes_a_module(name, tmp_path):
    generator, context = obtain(Object(callable=f"own_generators:{name}", latent_dim=LATENT), tmp_path)
    z = latents()
    expected = own_generators.decode(z) if name == "decode" else reference(z, Tiny()).float()
    torch.testing.assert_close(generator.decode(z), expected, atol=1e-5, rtol=0)
    assert not generator.decode(z).requires_grad
    assert context.notes["generator"]["object"] == f"own_generators:{name}"


def test_latent_norm_is_handed_on(pt2, tmp_path):
    assert obtain(File(path=str(pt2), latent_norm=True), tmp_path)[0].latent_norm is True


# From raw values to the dataset's images


@pytest.mark.parametrize(("low", "high"), [(-1, 1), (0, 255), (-3.5, 0.5)])
def test_the_declared_range_becomes_zero_to_one(low, high, tmp_path):
    generator, _ = obtain(
        given(lambda z: low + (high - low) * own_generators.decode(z), output_range=[low, high]), tmp_path
    )
    torch.testing.assert_close(generator.decode(latents()), own_generators.decode(latents()), atol=1e-5, rtol=0)


def test_bytes_are_images_of_0_to_255(tmp_path):
    generator, _ = obtain(
        given(lambda z: (255 * own_generators.decode(z)).round().to(torch.uint8), output_range=[0, 255]), tmp_path
    )
    torch.testing.assert_close(
        generator.decode(latents()), own_generators.decode(latents()), atol=0.5 / 255 + 1e-6, rtol=0
    )


@pytest.mark.parametrize("side", [13, 28, 50])
@pytest.mark.parametrize("kind", ["bilinear", "antialias"])
def test_resizing_is_that_of_real_images(kind, side, tmp_path):
    """Against bench.datasets.resize, which works on bytes with NumPy and Pillow."""
    pixels = np.random.default_rng(0).integers(0, 256, (6, 20, 20), dtype=np.uint8)
    table = torch.from_numpy(pixels).float()[:, None] / 255

    def lookup(z):
        return table[z[:, 0].abs().mul(1000).long() % 6]

    generator, _ = obtain(given(lookup, resize=kind), tmp_path, (1, side, side))
    z = torch.arange(6)[:, None].repeat(1, LATENT) / 1000
    expected = np.stack([resize(one, side, side, kind) for one in pixels])
    # Half a step of rounding to bytes; Pillow rounds between its two passes as well.
    torch.testing.assert_close(
        generator.decode(z + 1e-4)[:, 0], torch.from_numpy(expected).float() / 255, atol=1.6 / 255, rtol=0
    )


def test_grey_and_colour_turn_into_each_other_only_when_asked(tmp_path):
    weights = torch.tensor([1.0, 0.5, 0.25]).view(1, 3, 1, 1)

    def colour(z):
        return own_generators.decode(z) * weights

    assert "images of 3 channels but the dataset has 1; generator.convert_channels=true" in refusal(
        given(colour), tmp_path
    )
    grey, _ = obtain(given(colour, convert_channels=True), tmp_path)
    luminance = 0.299 * 1.0 + 0.587 * 0.5 + 0.114 * 0.25
    torch.testing.assert_close(grey.decode(latents()), own_generators.decode(latents()) * luminance, atol=1e-5, rtol=0)
    assert "images of 1 channels but the dataset has 3" in refusal(given(own_generators.decode), tmp_path, (3, 28, 28))
    repeated, _ = obtain(given(own_generators.decode, convert_channels=True), tmp_path, (3, 28, 28))
    assert torch.equal(repeated.decode(latents()), own_generators.decode(latents()).expand(-1, 3, -1, -1))
    assert "put the channels second" in refusal(given(lambda z: colour(z).permute(0, 2, 3, 1)), tmp_path, (3, 28, 28))


@pytest.mark.parametrize(
    ("prior", "variance", "largest"),
    [("normal", 1.0, 9.0), ("truncated_normal", 0.7737, 2.0), ("uniform", 1 / 3, 1.0), ("sphere", 1 / 50, 1.0)],
)
def test_priors(prior, variance, largest):
    """Moments of the four distributions; the variance of N(0, 1) within ±2 is 1 - 4 phi(2) / (2 Phi(2) - 1)."""
    generator = ExternalGenerator(File(path="g.pt2", prior=prior), lambda z: z, 50, SHAPE, torch.device("cpu"))
    z = generator.sample_prior(4000, Seed(0).generator())
    assert z.shape == (4000, 50)
    assert abs(float(z.mean())) < 0.01
    assert float(z.var()) == pytest.approx(variance, rel=0.02)
    assert float(z.abs().max()) <= largest
    assert torch.equal(z, generator.sample_prior(4000, Seed(0).generator()))
    if prior == "sphere":
        torch.testing.assert_close(z.norm(dim=1), torch.ones(4000))


def test_memory_is_bounded_by_a_chunk(tmp_path):
    seen = []

    def watched(z):
        seen.append(len(z))
        return own_generators.decode(z)

    generator, _ = obtain(given(watched, chunk=5), tmp_path)
    assert max(seen) <= 5
    seen.clear()
    assert len(generator.decode(latents(12))) == 12
    assert seen == [5, 5, 2]


def test_settings_are_those_of_both_kinds():
    shared = {field.name for field in dataclasses.fields(File)} - {"path"}
    assert shared == {field.name for field in dataclasses.fields(Object)} - {"callable", "revision"}
