"""Generators of the user's own: what they make, what is refused, and that no foreign code runs."""

import dataclasses
import io
import json
import pickle
import sys
import types
import zipfile

import numpy as np
import own_generators
import pytest
import torch
from helpers_methods import make_context, make_images
from own_generators import (
    LATENT,
    Evil,
    Tiny,
    reference,
    save_onnx,
    save_pt2,
    save_torchscript,
)

from bench.basics.errors import BenchError, Diverged
from bench.basics.seeds import Seed
from bench.contracts import Generator
from bench.datasets.resize import resize
from bench.foreign import formats
from methods.generators.external import ExternalGenerator, File, Object

SHAPE = (1, 28, 28)


@pytest.fixture(scope="module")
def pt2(tmp_path_factory):
    """A good .pt2 file."""
    return save_pt2(tmp_path_factory.mktemp("own") / "good.pt2", Tiny().eval())


def obtain(recipe, tmp_path, shape=SHAPE):
    context = make_context(tmp_path)
    return recipe.obtain(make_images(40, shape), context), context


def refusal(recipe, tmp_path, shape=SHAPE):
    """The one sentence that a generator is refused with."""
    with pytest.raises(BenchError) as error:
        obtain(recipe, tmp_path, shape)
    assert "\n" not in str(error.value)
    return str(error.value)


def given(function, **settings):
    """What ``generator=object`` makes of a function, without an import."""
    settings = {"latent_dim": LATENT, **settings}
    module = types.ModuleType("given_generator")
    module.function = function
    sys.modules["given_generator"] = module
    recipe = Object(callable="given_generator:function", sha256="0", **settings)
    object.__setattr__(recipe, "digest", lambda _: "0")
    return recipe


def latents(n=4, dim=LATENT):
    return torch.randn(n, dim, generator=Seed(1).generator())


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
    assert notes["sha256"] == formats.sha256(path, formats.GENERATOR)
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


# What is wrong with a generator, in one sentence


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


# Files: what they are, and that none runs anything


def test_a_file_that_is_missing_damaged_misnamed_or_changed(pt2, tmp_path):
    def says(path, **settings):
        return refusal(File(path=str(path), latent_dim=LATENT, **settings), tmp_path)

    assert "does not exist" in says(tmp_path / "none.pt2")
    whole = pt2.read_bytes()
    (tmp_path / "half.pt2").write_bytes(whole[: len(whole) // 2])
    assert "is damaged" in says(tmp_path / "half.pt2")
    (tmp_path / "empty.pt2").write_bytes(b"")
    assert "is damaged" in says(tmp_path / "empty.pt2")
    (tmp_path / "g.pt").write_bytes(whole)
    assert "holds pt2, not torchscript: rename it to g.pt2" in says(tmp_path / "g.pt")
    (tmp_path / "g.npy").write_bytes(whole)
    assert "must end in one of .pt2" in says(tmp_path / "g.npy")
    flipped = bytearray(whole)
    flipped[whole.index(b'"graph_module"')] ^= 255
    (tmp_path / "flipped.pt2").write_bytes(flipped)
    assert "flipped.pt2 cannot be opened" in says(tmp_path / "flipped.pt2")
    assert "has changed since this run was planned" in says(pt2, sha256="0" * 64)


@pytest.mark.parametrize("ending", ["pt", "pth", "pt2", "ts", "onnx", "pkl", "ckpt"])
@pytest.mark.parametrize("form", ["torch.save", "legacy", "pickle", "old pickle"])
def test_a_pickle_is_refused_under_any_name_and_does_not_run(ending, form, tmp_path):
    witness, path = tmp_path / "witness", tmp_path / f"g.{ending}"
    evil = Evil(witness)
    if form.endswith("pickle"):
        path.write_bytes(pickle.dumps(evil, protocol=0 if form.startswith("old") else 4))
    else:
        torch.save(evil, path, _use_new_zipfile_serialization=form == "torch.save")
    message = refusal(File(path=str(path), latent_dim=LATENT), tmp_path)
    assert "is a pickle" in message or "is damaged" in message
    assert ("is a pickle" in message) or form == "old pickle"
    assert not witness.exists()


def test_the_witness_of_these_tests_works(tmp_path):
    pickle.loads(pickle.dumps(Evil(tmp_path / "witness")))
    assert (tmp_path / "witness").exists()


def rewritten(source, target, change):
    """A copy of an archive whose members went through ``change(name, content) -> content``; None as a name adds."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as new:
        root = old.namelist()[0].partition("/")[0]
        for name in old.namelist():
            new.writestr(name, change(name.partition("/")[2], old.read(name)))
        for name, content in change(None, None) or ():
            new.writestr(name if name == "version" else f"{root}/{name}", content)
    return target


def pickled(value):
    buffer = io.BytesIO()
    torch.save(value, buffer)
    return buffer.getvalue()


def poisoned(kind, witness):
    """How to hide code in a .pt2 archive: ``change`` for :func:`rewritten`."""
    call = f"open({str(witness)!r}, 'w')"

    def change(name, content):
        if name is None:
            extra = {
                "legacy weights": [("data/weights/model.pt", pickled(Evil(witness)))],
                "second network": [("models/other.json", b"{}")],
                "older archive": [("version", b"8.0")],
                "doubled": [("models/model.json", b"{}")],
                "compiled": [("data/aotinductor/model/x.so", b"\x7fELF")],
            }
            return extra.get(kind)
        text = content.decode() if name.endswith(".json") else ""
        if name == "models/model.json":
            model = json.loads(text)
            graph = model["graph_module"]["graph"]
            if kind == "operator":
                graph["nodes"][0]["target"] = "torch.os.system"
            elif kind == "expression":
                return text.replace("Symbol('", f"{call} or Symbol('", 1).encode()
            elif kind == "expression under another name":
                sizes = [{"as_expr": {"expr_str": call, "hint": None}}]
                graph["tensor_values"]["metadata"] = {**graph["tensor_values"]["z"], "sizes": sizes}
            elif kind == "guard":
                model["guards_code"] = [f"{call} or True"]
            elif kind == "name":
                graph["nodes"][0]["name"] = f"x={call}"
            elif kind == "tree":
                entry = model["graph_module"]["module_call_graph"][0]["signature"]
                entry["in_spec"] = entry["in_spec"].replace("builtins.tuple", "collections.defaultdict", 1)
            return json.dumps(model).encode()
        if kind in ("weight", "opaque") and name.endswith(
            "weights_config.json" if kind == "weight" else "constants_config.json"
        ):
            config = json.loads(text)
            entry = {"path_name": "weight_0", "is_param": True, "use_pickle": True, "tensor_meta": None}
            opaque = {"path_name": "opaque_obj_0", "is_param": False, "use_pickle": False, "tensor_meta": None}
            config["config"]["dense.weight"] = entry if kind == "weight" else opaque
            return json.dumps(config).encode()
        if kind == "weight" and name == "data/weights/weight_0":
            return pickled(Evil(witness))
        if kind == "example" and name == "data/sample_inputs/model.pt":
            return pickled(((Evil(witness),), {}))
        return content

    return change


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("weight", "holds a pickle ('dense.weight')"),
        ("opaque", "holds a pickle ('dense.weight')"),
        ("legacy weights", "holds pickled weights"),
        ("example", "example inputs"),
        ("operator", "'torch.os.system' as its target"),
        ("expression", "as its expr_str"),
        ("expression under another name", "as its expr_str"),
        ("guard", "guards written as code"),
        ("name", "as its name"),
        ("tree", "as its in_spec"),
        ("second network", "holds several networks"),
        ("compiled", "holds a compiled library"),
        ("older archive", "no archive as torch writes them"),
        ("doubled", "no archive as torch writes them"),
    ],
)
def test_code_hidden_in_an_archive_does_not_run(kind, expected, pt2, tmp_path):
    witness = tmp_path / "witness"
    path = rewritten(pt2, tmp_path / "g.pt2", poisoned(kind, witness))
    assert expected in refusal(File(path=str(path)), tmp_path)
    assert not witness.exists()


@pytest.mark.parametrize("kind", ["weight", "expression"])
def test_torch_itself_would_have_run_it(kind, pt2, tmp_path):
    """The reason for looking first; once torch refuses these itself, that can go."""
    witness = tmp_path / "witness"
    path = rewritten(pt2, tmp_path / "g.pt2", poisoned(kind, witness))
    with pytest.raises(Exception):  # noqa: B017, PT011  whatever comes of it afterwards
        torch.export.load(path)
    assert witness.exists()


def test_an_archive_rewritten_without_change_is_still_good(pt2, tmp_path):
    path = rewritten(pt2, tmp_path / "g.pt2", lambda name, content: content)
    obtain(File(path=str(path)), tmp_path)


def test_torchscript_that_writes_files_is_not_opened(tmp_path):
    class Writer(torch.nn.Module):
        def forward(self, z: torch.Tensor) -> torch.Tensor:
            torch.save(z, "witness")
            return z

    path = tmp_path / "g.pt"
    torch.jit.script(Writer()).save(str(path))
    assert "calls save(), which touches files" in refusal(File(path=str(path), latent_dim=LATENT), tmp_path)


def test_networks_of_common_layers_pass_the_vetting(tmp_path):
    class Deep(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.dense = torch.nn.utils.parametrizations.spectral_norm(torch.nn.Linear(LATENT, 32 * 49))
            self.grow = torch.nn.Sequential(
                torch.nn.BatchNorm2d(32),
                torch.nn.ReLU(),
                torch.nn.Upsample(scale_factor=2, mode="nearest"),
                torch.nn.Conv2d(32, 16, 3, padding=1),
                torch.nn.InstanceNorm2d(16, affine=True),
                torch.nn.LeakyReLU(0.2),
                torch.nn.ConvTranspose2d(16, 8, 4, 2, 1),
                torch.nn.PixelShuffle(2),
                torch.nn.AvgPool2d(2),
            )
            self.style = torch.nn.Parameter(torch.ones(2))

        def forward(self, z):
            n = z.shape[0]
            x = torch.nn.functional.normalize(z, dim=1) * 3
            x = self.grow(self.dense(x).reshape(n, 32, 7, 7))
            with torch.no_grad():
                x = torch.einsum("nchw,c->nhw", x, self.style)[:, None]
            return torch.sigmoid(3 * torch.cat([x, x.flip(3)], 1)[:, :1])

    torch.manual_seed(0)  # the weights of torch.nn layers come from there
    path = save_pt2(tmp_path / "g.pt2", Deep().eval())
    generator, _ = obtain(File(path=str(path)), tmp_path)
    assert generator.decode(latents()).shape == (4, *SHAPE)


def test_onnx_that_is_fixed_split_or_without_its_library(tmp_path, monkeypatch):
    path = save_onnx(tmp_path / "g.onnx", Tiny())
    with monkeypatch.context() as patched:
        patched.setattr(formats.importlib.util, "find_spec", lambda name: None)
        message = refusal(File(path=str(path), sha256="0"), tmp_path)
        assert "pip install onnxruntime" in message
    pytest.importorskip("onnxruntime", reason="onnxruntime is not installed (extra [onnx])")
    fixed = save_onnx(tmp_path / "fixed.onnx", Tiny(), batch=4)
    assert "exactly 4" in refusal(File(path=str(fixed)), tmp_path)
    split = save_onnx(tmp_path / "split.onnx", Tiny(), external=True)
    assert "keeps weights in a second file" in refusal(File(path=str(split)), tmp_path)
    (tmp_path / "half.onnx").write_bytes(path.read_bytes()[:2000])
    assert "cannot be opened as onnx" in refusal(File(path=str(tmp_path / "half.onnx")), tmp_path)


def test_settings_are_those_of_both_kinds():
    shared = {field.name for field in dataclasses.fields(File)} - {"path"}
    assert shared == {field.name for field in dataclasses.fields(Object)} - {"callable", "revision"}
