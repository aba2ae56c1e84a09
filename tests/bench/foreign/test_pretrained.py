"""Checkpoints of strangers: what is opened, what is refused, and in which words."""

import http.server
import threading
from collections import OrderedDict
from dataclasses import dataclass

import pytest
import torch
from own_generators import Evil
from safetensors.torch import save_file
from torch import nn

from bench.basics.errors import BenchError
from bench.foreign import pretrained, weights
from bench.foreign.pretrained import State


@dataclass
class Settings:
    """As a training script might pickle its own beside the weights."""

    value: int = 3


def network():
    return nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))


@pytest.mark.parametrize("zipped", [True, False])
def test_tensors_are_opened_and_foreign_objects_only_where_they_are_known(tmp_path, zipped):
    path = tmp_path / "w.pth"
    content = {"config": Settings(), "net": OrderedDict(network().state_dict())}
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    name = f"{Settings.__module__}.Settings"
    with pytest.raises(BenchError, match=f"names the class or function {name}, which would run code of its author"):
        pretrained.load(str(path), None, "weights")
    opened = pretrained.load(str(path), pretrained.digest(str(path)), "weights", foreign=(name,))
    assert isinstance(opened.content["config"], pretrained.Foreign)
    made = network()
    opened.state("net").into(made, "a toy")
    assert torch.equal(made[0].weight, content["net"]["0.weight"])
    assert not made.training
    assert not made[0].weight.requires_grad


def test_nothing_in_a_file_runs(tmp_path):
    witness = tmp_path / "witness"
    torch.save({"a": Evil(witness)}, tmp_path / "evil.pth")
    with pytest.raises(BenchError, match=r"evil\.pth names the class or function \S*open, which would run code"):
        pretrained.load(str(tmp_path / "evil.pth"), None, "weights")
    assert not witness.exists()


def test_safetensors_open_too(tmp_path):
    save_file({"0.weight": torch.ones(2, 3)}, tmp_path / "w.safetensors")
    opened = pretrained.load(str(tmp_path / "w.safetensors"), None, "weights")
    assert torch.equal(opened.state().tensors["0.weight"], torch.ones(2, 3))


def test_what_does_not_fit_is_counted_and_named():
    state = {key: value for key, value in network().state_dict().items() if "running" not in key}
    state |= {"0.weight": torch.zeros(2, 4), "b": torch.zeros(1), "c": torch.zeros(1)}
    message = (
        r"w does not fit a toy: of its tensors 2 missing \(1.running_mean, 1.running_var\), 2 too many \(b, c\), "
        r"1 of another shape \(0.weight is \[2, 4\], not \[2, 3\]\)"
    )
    with pytest.raises(BenchError, match=message):
        State("w", state).into(network(), "a toy")
    many = {f"k{i}": torch.zeros(1) for i in range(9)}
    with pytest.raises(BenchError, match=r"9 too many \(k0, k1, k2, …\)"):
        State("w", {**network().state_dict(), **many}).into(network(), "a toy")
    with pytest.raises(BenchError, match=r"w is no toy: q is missing \(it has 9 tensors there: k0, k1, k2, …\)"):
        State("w", many).size("q", 0, "toy")


def test_bad_files_are_one_sentence(tmp_path):
    torch.save(network().state_dict(), tmp_path / "w.pth")
    whole = (tmp_path / "w.pth").read_bytes()
    (tmp_path / "cut.pth").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "cut.safetensors").write_bytes(b"\x08")
    (tmp_path / "text.pth").write_text("<html>not found</html>")
    torch.save([torch.ones(1)], tmp_path / "list.pth")
    for name, said in {
        "cut.pth": "is damaged, or no archive as torch writes them",
        "cut.safetensors": "is damaged or no checkpoint",
        "text.pth": "(holds more than tensors|is damaged|names the class)",
        "list.pth": r"must hold tensors by name \(a state dict\), not list",
        "none.pth": "there is no file .*'bench weights' says where",
    }.items():
        with pytest.raises(BenchError, match=said):
            pretrained.load(str(tmp_path / name), None, "weights")
    expected = pretrained.digest(str(tmp_path / "w.pth"))
    (tmp_path / "w.pth").write_bytes(whole + b"x")
    with pytest.raises(BenchError, match="has changed since this run was planned"):
        pretrained.load(str(tmp_path / "w.pth"), expected, "weights")
    assert pretrained.digest(str(tmp_path / "w.pth")) != expected


@pytest.fixture
def served(tmp_path):
    """A folder behind a web server."""
    folder = tmp_path / "web"
    folder.mkdir()

    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *arguments):
            super().__init__(*arguments, directory=str(folder))

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield folder, f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_weights_are_fetched_checked_and_not_fetched_again(served, tmp_path):
    folder, url = served
    torch.save(network().state_dict(), folder / "w.pth")
    right = pretrained.digest(str(folder / "w.pth"))
    seen = []

    def fetch(sha256, declared=None):
        one = weights.Published("toy", "encoder", "encoder.weights", "a toy", f"{url}/w.pth", "MIT", "", "", declared)
        return weights.fetch(one, tmp_path / "mine", sha256, lambda *call: seen.append(call))

    with pytest.raises(BenchError, match=f"its SHA-256 is {right}, not abcdef0123"):
        fetch("abcdef0123")
    with pytest.raises(BenchError, match=f"its SHA-256 is {right}, not 00000000"):
        fetch(None, declared="00000000")
    assert list((tmp_path / "mine").glob("*.pth*")) == []
    path = fetch(right[:8].upper())
    assert path.read_bytes() == (folder / "w.pth").read_bytes()
    assert seen[-1][0] == "download w.pth"
    (folder / "w.pth").unlink()
    assert fetch(None) == fetch(right) == path
    with pytest.raises(BenchError, match="8 to 64 hexadecimal digits"):
        fetch("xyz")


def test_published_weights_name_their_setting_and_licence():
    found = weights.published()
    assert {"vgg19", "progan", "bigbigan", "deepcluster_imagenet"} <= set(found)
    for one in found.values():
        assert one.url.startswith("https://")
        assert one.setting == f"{one.group}.weights"
        assert one.licence
        assert one.cite
    assert found["vgg19"].file == "vgg19-dcbb9e9d.pth"
    with pytest.raises(BenchError, match="Did you mean 'vgg19'"):
        weights.find("vgg")
