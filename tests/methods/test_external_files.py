"""Files that hold a generator: what they are, and that no foreign code runs."""

import io
import json
import os
import pickle
import zipfile

import pytest
import torch
from helpers_external import SHAPE, latents, obtain, refusal
from own_generators import LATENT, Evil, Tiny, save_onnx, save_pt2

from bench.basics.errors import BenchError
from bench.foreign import formats, roles
from methods.generators.external import File


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
            elif kind == "operator beside mathematics":
                graph["nodes"][0]["target"] = "torch.ops.aten.manual_seed.default"
            elif kind == "power of a power":
                return text.replace("Symbol('", "Pow(Integer(9), Pow(Integer(9), Integer(9))) + Symbol('", 1).encode()
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
        ("operator beside mathematics", "'torch.ops.aten.manual_seed.default' as its target"),
        ("expression", "as its expr_str"),
        ("power of a power", "as its expr_str"),
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


def test_sizes_that_are_powers_pass(tmp_path):
    class Squares(torch.nn.Module):
        def forward(self, z):
            n = z.shape[0]
            return z + z.new_ones((n * n * 3 + n**3) // 2).mean() - 1

    path = save_pt2(tmp_path / "g.pt2", Squares())
    z = torch.randn(3, LATENT)
    opened = formats.open_file(path, roles.GENERATOR, formats.sha256(path, roles.GENERATOR), z.device)
    torch.testing.assert_close(opened.run(z), z)


@pytest.mark.parametrize("ending", ["pt2", "pt", "onnx"])
def test_what_is_no_file_is_refused_and_not_waited_for(ending, tmp_path):
    pipe, zeros, long = tmp_path / f"pipe.{ending}", tmp_path / f"zeros.{ending}", tmp_path / f"{'a' * 260}.{ending}"
    os.mkfifo(pipe)
    zeros.symlink_to("/dev/zero")
    for path, said in ((pipe, "it is no file"), (zeros, "it is no file"), (long, "File name too long")):
        with pytest.raises(BenchError, match=said) as error:
            File.digest(path)
        assert "\n" not in str(error.value)


def test_an_archive_that_unpacks_to_far_more_than_its_size_is_refused(pt2, tmp_path):
    path = tmp_path / "bomb.pt2"
    path.write_bytes(pt2.read_bytes())
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(f"{archive.namelist()[0].partition('/')[0]}/extra/much", bytes(80 * 2**20))
    assert "bytes would unpack to 8" in refusal(File(path=str(path)), tmp_path)


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
    assert "names 'save' in its code, which is not among the operators that a network needs" in refusal(
        File(path=str(path), latent_dim=LATENT), tmp_path
    )


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
