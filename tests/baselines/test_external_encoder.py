"""Encoders of the user's own: what they are shown, what is refused, and that no foreign code runs."""

import json
import sys
import types

import own_generators
import pytest
import torch
from own_generators import Evil, Seer, save_pt2, save_torchscript
from test_encoders import context, images

from baselines.encoders.external import File, Object
from bench.basics.errors import BenchError, Diverged
from bench.contracts import Encoder, EncoderRecipe
from bench.foreign import formats, roles
from bench.learners.embeddings import embed

SHAPE = (1, 28, 28)


def obtain(recipe, folder, shape=SHAPE):
    noted = context(folder)
    return recipe.obtain(images(40, shape), noted), noted


def refusal(recipe, folder, shape=SHAPE, error=BenchError):
    """The one sentence that an encoder is refused with."""
    with pytest.raises(error) as caught:
        obtain(recipe, folder, shape)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def given(function, **settings):
    """What ``encoder=object`` makes of a function, without an import."""
    module = types.ModuleType("given_encoder")
    module.function = function
    sys.modules["given_encoder"] = module
    recipe = Object(callable="given_encoder:function", sha256="0", **settings)
    object.__setattr__(recipe, "digest", lambda _: "0")
    return recipe


def saved(folder, kind="pt2", batch=None, shape=SHAPE, **seer):
    network = Seer(shape[0], shape[1], **seer).eval()
    if kind == "pt2":
        return save_pt2(folder / "e.pt2", network, batch, shape)
    return save_torchscript(folder / f"e.{kind}", network, shape)


@pytest.mark.parametrize("kind", ["pt2", "pt", "ts"])
def test_a_file_embeds_as_the_network_it_was_made_of(kind, tmp_path):
    path = saved(tmp_path, kind)
    recipe = File(path=str(path), chunk=16)
    encoder, noted = obtain(recipe, tmp_path)
    assert isinstance(recipe, EncoderRecipe)
    assert isinstance(encoder, Encoder)
    assert encoder.dim == 5
    x = images(40).take(torch.arange(40))
    network = Seer()
    expected = torch.tanh(x.flatten(1).double() @ network.dense.weight.double().T)
    torch.testing.assert_close(embed(encoder, x), expected.float(), atol=1e-5, rtol=0)
    assert not encoder.encode(x).requires_grad
    notes = noted.notes["encoder"]
    assert notes["sha256"] == formats.sha256(path, roles.ENCODER) == File.digest(path)
    assert (notes["file"], notes["dim"], notes["input"], notes["outside_data"]) == (path.name, 5, [1, 28, 28], True)
    json.dumps(noted.notes, allow_nan=False)


@pytest.mark.parametrize("name", ["encode", "Seer"])
def test_an_object_is_a_function_or_makes_a_module(name, tmp_path):
    encoder, noted = obtain(Object(callable=f"own_generators:{name}"), tmp_path)
    x = images(40).take(torch.arange(9))
    expected = own_generators.encode(x) if name == "encode" else Seer()(x)
    torch.testing.assert_close(encoder.encode(x), expected, atol=1e-6, rtol=0)
    assert noted.notes["encoder"]["object"] == f"own_generators:{name}"


def test_images_are_shown_in_the_range_size_and_channels_that_are_asked_for(tmp_path):
    seen = []

    def look(x):
        seen.append(x)
        return x.flatten(1)

    settings = {"input_range": [-1, 3], "input_size": 10, "resize": "antialias", "input_channels": 3, "chunk": 7}
    encoder, _ = obtain(given(look, **settings), tmp_path)
    assert encoder.dim == 300
    seen.clear()
    x = images(40).take(torch.arange(20))
    found = encoder.encode(x).view(20, 3, 10, 10)
    assert [len(one) for one in seen] == [7, 7, 6]
    small = torch.nn.functional.interpolate(x, (10, 10), mode="bilinear", antialias=True)
    torch.testing.assert_close(found, (4 * small - 1).expand(-1, 3, -1, -1), atol=1e-5, rtol=0)
    colour = images(40, (3, 28, 28))
    grey, _ = obtain(given(look, input_channels=1), tmp_path, (3, 28, 28))
    x = colour.take(torch.arange(4))
    luminance = 0.299 * x[:, 0] + 0.587 * x[:, 1] + 0.114 * x[:, 2]
    torch.testing.assert_close(grey.encode(x), luminance.flatten(1), atol=1e-6, rtol=0)


def test_the_file_says_what_images_it_takes_and_settings_must_agree(tmp_path):
    path = saved(tmp_path, shape=(3, 16, 16))
    encoder, _ = obtain(File(path=str(path)), tmp_path)
    assert encoder.input_shape == (3, 16, 16)
    assert "takes size 16, not encoder.input_size=20; leave that setting out" in refusal(
        File(path=str(path), input_size=20), tmp_path
    )
    assert "takes images of 16x16 but the dataset has 28x28" in refusal(File(path=str(path), resize="none"), tmp_path)
    script = saved(tmp_path, "ts", shape=(1, 16, 16))
    message = refusal(File(path=str(script)), tmp_path)
    assert "cannot take images [3, 1, 28, 28]" in message
    assert "encoder.input_size and encoder.input_channels must be those that it takes" in message
    assert obtain(File(path=str(script), input_size=16), tmp_path)[0].dim == 5


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        ("nan", "puts out NaN or infinite values; its embeddings must be finite numbers"),
        ("maps", "puts out [3, 5, 1, 1], not embeddings [n, d] with two dimensions; flatten them"),
        ("whole", "puts out int32; embeddings must be floating-point numbers"),
    ],
)
def test_a_faulty_network_in_a_file_is_refused(fault, expected, tmp_path):
    assert expected in refusal(File(path=str(saved(tmp_path, fault=fault))), tmp_path)


def test_a_collapsed_encoder_has_diverged(tmp_path):
    message = refusal(File(path=str(saved(tmp_path, fault="collapsed"))), tmp_path, error=Diverged)
    assert "it collapsed, 64 images have the same embedding" in message


def test_a_fixed_batch_training_mode_noise_and_gradients_are_refused(tmp_path):
    message = refusal(File(path=str(saved(tmp_path, batch=4))), tmp_path)
    assert "was exported for batches of exactly 4; export it with a dynamic first dimension" in message
    assert "takes 2 images at once but not 3" in refusal(given(lambda x: x.view(2, 784)), tmp_path)
    training = save_torchscript(tmp_path / "t.pt", Seer(fault="batch norm").train(), SHAPE)
    assert "export it in evaluation mode" in refusal(File(path=str(training)), tmp_path)
    calls = []

    def noisy(x):
        calls.append(0)
        return x.flatten(1) + 0.01 * len(calls)

    assert "is not deterministic" in refusal(given(noisy), tmp_path)
    assert "beside others" in refusal(given(lambda x: x.flatten(1) - x.flatten(1).mean(0)), tmp_path)

    def insists(x):
        with torch.enable_grad():
            return x.requires_grad_().flatten(1) * 2

    assert "switches gradients on" in refusal(given(insists), tmp_path)
    assert "puts out ndarray, not one tensor" in refusal(given(lambda x: x.flatten(1).numpy()), tmp_path)


def test_a_generators_file_is_told_from_an_encoders(tmp_path):
    path = save_pt2(tmp_path / "g.pt2", own_generators.Tiny().eval())
    assert "it must take images [n, C, H, W]: export it in a wrapper" in refusal(File(path=str(path)), tmp_path)


@pytest.mark.parametrize("ending", ["pt", "pt2", "pkl"])
def test_a_pickle_is_refused_and_does_not_run(ending, tmp_path):
    witness, path = tmp_path / "witness", tmp_path / f"e.{ending}"
    torch.save(Evil(witness), path)
    assert refusal(File(path=str(path)), tmp_path).startswith(f"encoder file {path} is a pickle")
    assert not witness.exists()


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"resize": "antialais"}, "Did you mean 'antialias'?"),
        ({"input_size": 0}, "encoder.input_size must be an integer of at least 1"),
        ({"chunk": 0}, "encoder.chunk must be"),
        ({"input_channels": 2}, "encoder.input_channels must be 1, 3 or null"),
        ({"input_range": [1, 0]}, "encoder.input_range must be [low, high]"),
        ({"path": None}, "encoder.path must name a file"),
    ],
)
def test_wrong_settings(settings, expected):
    with pytest.raises(BenchError) as error:
        File(**{"path": "e.pt2", **settings})
    assert expected in str(error.value)


def test_an_object_that_cannot_be_had(tmp_path):
    with pytest.raises(BenchError, match=r"encoder\.callable must be package\.module:attribute"):
        Object(callable="own_generators")
    assert "has no attribute 'encoed'" in refusal(Object(callable="own_generators:encoed"), tmp_path)
