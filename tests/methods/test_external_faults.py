"""What is wrong with a generator of the user's own, said in one sentence."""

import own_generators
import pytest
import torch
from helpers_external import given, latents, obtain, refusal
from own_generators import LATENT, Tiny, save_pt2, save_torchscript

from bench.basics.errors import BenchError, Diverged
from methods.generators.external import File, Object


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        (
            "tanh",
            "beyond generator.output_range=[0,1]; declare the range it has, for example generator.output_range=[-1,1]",
        ),
        ("nan", "puts out NaN or infinite values"),
        ("flat", "not images [n, C, H, W] with four dimensions"),
        ("whole", "puts out int32; images must be floating-point numbers"),
        ("noise", "is not deterministic"),
    ],
)
def test_a_faulty_network_in_a_file_is_refused(fault, expected, tmp_path):
    path = save_pt2(tmp_path / "g.pt2", Tiny(fault=fault).eval())
    assert expected in refusal(File(path=str(path)), tmp_path)


def test_a_fixed_batch_is_refused(tmp_path):
    path = save_pt2(tmp_path / "g.pt2", Tiny().eval(), batch=4)
    assert "was exported for batches of exactly 4; export it with a dynamic" in refusal(File(path=str(path)), tmp_path)

    def fixed(z):
        return own_generators.decode(z).view(2, 1, 28, 28)

    assert "takes 2 latents at once but not 3" in refusal(given(fixed), tmp_path)
    assert "takes 1 latents at once but not 3" in refusal(given(lambda z: own_generators.decode(z[:1])), tmp_path)


def test_training_mode_is_refused(tmp_path):
    path = save_torchscript(tmp_path / "g.pt", Tiny(fault="batch norm").train())
    assert "export it in evaluation mode" in refusal(File(path=str(path), latent_dim=LATENT), tmp_path)
    assert "is in training mode" in refusal(given(lambda z: Tiny(fault="batch norm")(z)), tmp_path)
    # Batch norm over the pixels of images works for one image too, and shows in the comparison only.
    norm = torch.nn.BatchNorm2d(1, track_running_stats=False)
    message = refusal(given(lambda z: norm(own_generators.decode(z)) / 8 + 0.5), tmp_path)
    assert "makes another thing of one of the latents beside others" in message
    # A module that is named itself is put into evaluation mode.
    obtain(given(Tiny(fault="batch norm").train()), tmp_path)


@pytest.mark.parametrize(
    ("function", "settings", "expected"),
    [
        (lambda z: own_generators.decode(z), {"output_range": [0, 255]}, "a sliver of generator.output_range=[0,255]"),
        (lambda z: 2 * own_generators.decode(z) - 1, {"clip": True}, "too many to clip"),
        (lambda z: own_generators.decode(z).numpy(), {}, "puts out ndarray, not one tensor"),
        (own_generators.with_gradients, {}, "switches gradients on"),
        (
            lambda z: own_generators.decode(z)[..., :20, :20],
            {"resize": "none"},
            "images of 20x20 but the dataset has 28x28",
        ),
        (lambda z: own_generators.decode(z).repeat(1, 2, 1, 1), {}, "images of 2 channels but the dataset has 1"),
        (lambda z: own_generators.decode(z).to(torch.complex64), {}, "puts out complex64"),
        (lambda z: Tiny()(z), {"latent_dim": 9}, "cannot take latents [3, 9]"),
    ],
)
def test_a_faulty_function_is_refused(function, settings, expected, tmp_path):
    assert expected in refusal(given(function, **settings), tmp_path)


def test_a_few_strays_are_clipped_when_asked(tmp_path):
    def strays(z):
        return own_generators.decode(z) * 1.1 - 0.05

    assert "generator.clip=true" in refusal(given(strays), tmp_path)

    def fewer(z):
        return own_generators.decode(z) * 1.004 - 0.002

    generator, context = obtain(given(fewer, clip=True), tmp_path)
    assert context.notes["generator"]["highest"] > 1
    assert float(generator.decode(latents(200)).max()) <= 1


def test_a_collapsed_generator_has_diverged(tmp_path):
    with pytest.raises(Diverged, match="collapsed"):
        obtain(given(lambda z: own_generators.decode(z * 0)), tmp_path)


def test_the_latent_dimension_is_read_from_the_file_and_must_agree(pt2, tmp_path):
    message = refusal(File(path=str(pt2), latent_dim=9), tmp_path)
    assert f"decodes latents of {LATENT} numbers, not generator.latent_dim=9" in message
    path = save_torchscript(tmp_path / "g.ts", Tiny().eval())
    assert "set generator.latent_dim=NUMBER" in refusal(File(path=str(path)), tmp_path)
    assert "cannot take latents [3, 9]" in refusal(File(path=str(path), latent_dim=9), tmp_path)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"prior": "gauss"}, "generator.prior must be one of"),
        ({"resize": "antialais"}, "Did you mean 'antialias'?"),
        ({"latent_dim": 0}, "generator.latent_dim must be an integer of at least 1"),
        ({"chunk": 0}, "generator.chunk must be"),
        ({"output_range": [1, 0]}, "generator.output_range must be [low, high]"),
        ({"output_range": [0, 1, 2]}, "generator.output_range must be [low, high]"),
    ],
)
def test_wrong_settings(settings, expected):
    with pytest.raises(BenchError) as error:
        File(path="g.pt2", **settings)
    assert expected in str(error.value)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("own_generators", "must be package.module:attribute"),
        ("own_generators:", "must be package.module:attribute"),
        ("no_such_module:decode", "there is no module 'no_such_module'"),
        ("own_generators:decoed", "has no attribute 'decoed'"),
        ("own_generators:NOT_CALLABLE", "TypeError: int cannot be called"),
        ("own_generators:broken", "OSError: weights.pth is missing"),
    ],
)
def test_an_object_that_cannot_be_had(name, expected, tmp_path):
    with pytest.raises(BenchError) as error:
        obtain(Object(callable=name, latent_dim=LATENT), tmp_path)
    assert expected in str(error.value)
