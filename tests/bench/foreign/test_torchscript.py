"""TorchScript: what networks need is opened, and nothing that could do more than work out tensors."""

import io
import warnings
import zipfile

import pytest
import torch
from torch import Tensor, nn

from bench.basics.errors import BenchError
from bench.foreign import torchscript
from bench.foreign.torchscript import open_torchscript

CPU = torch.device("cpu")


class Doubled(nn.Module):
    def forward(self, z: Tensor) -> Tensor:
        return z * 2


class Generator(nn.Module):
    """Layers, loops, branches, lists, tuples, dictionaries and text."""

    def __init__(self) -> None:
        super().__init__()
        self.dense = nn.Linear(6, 8 * 49)
        self.grow = nn.Sequential(
            *(nn.BatchNorm2d(8), nn.ReLU(), nn.Upsample(scale_factor=2.0), nn.Conv2d(8, 8, 3, padding=1)),
            *(nn.InstanceNorm2d(8, affine=True), nn.LeakyReLU(0.2), nn.ConvTranspose2d(8, 4, 4, 2, 1), nn.GELU()),
            *(nn.GroupNorm(2, 4), nn.PixelShuffle(2), nn.AvgPool2d(2), nn.Dropout(), nn.PReLU(), nn.Tanh()),
        )
        self.blocks = nn.ModuleList([nn.Conv2d(1, 1, 1) for _ in range(2)])
        self.attention = nn.MultiheadAttention(4, 2, batch_first=True)

    def forward(self, z: Tensor) -> Tensor:
        n = z.shape[0]
        x = self.grow(self.dense(nn.functional.normalize(z, dim=1)).reshape(n, 8, 7, 7))
        for block in self.blocks:
            x = x + block(x)
        kept: list[Tensor] = []
        for i in range(2):
            kept.append(x if i % 2 == 0 else x.flip(3))
        named = {"a": torch.cat(kept, 1)}
        x = nn.functional.interpolate(named["a"], size=[28, 28], mode="bilinear", align_corners=False)
        assert x.dim() == 4, f"bad {x.shape}"
        words = x[:, 0, :4, :4]
        attended, _ = self.attention(words, words, words)
        with torch.no_grad():
            x = x + attended.mean() + torch.einsum("nchw,c->nhw", x, torch.ones(2))[:, None]
        if x.size(0) > 3 and not self.training:
            x = x * float(n)
        highest, _ = x.max(dim=1, keepdim=True)
        return torch.sigmoid(nn.functional.pad(highest, [1, 1, 1, 1], mode="reflect")[:, :, 1:-1, 1:-1])


def saved(network) -> bytes:
    buffer = io.BytesIO()
    torch.jit.save(network, buffer)
    return buffer.getvalue()


def scripted(network) -> bytes:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return saved(torch.jit.script(network))


def traced(network, example) -> bytes:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return saved(torch.jit.trace(network, example, check_trace=False))


def with_member(change) -> bytes:
    """The archive of a plain network whose members went through ``change(name, content)``; a list of pairs adds."""
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(scripted(Doubled()))) as old, zipfile.ZipFile(out, "w") as new:
        root = old.namelist()[0].partition("/")[0]
        for name in old.namelist():
            new.writestr(name, change(name.partition("/")[2], old.read(name)))
        for name, content in change(None, None) or ():
            new.writestr(f"{root}/{name}", content)
    return out.getvalue()


def with_code(*lines: str) -> bytes:
    """The same with other code in place of its own."""

    def change(name, content):
        if name is None or not name.endswith(".py"):
            return content
        head, arrow, _ = content.decode().partition("-> Tensor:\n")
        return (head + arrow + "".join(f"    {line}\n" for line in lines)).encode()

    return with_member(change)


def refusal(data: bytes) -> str:
    with pytest.raises(BenchError) as error:
        open_torchscript("g.pt", data, CPU)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_networks_of_common_layers_and_statements_are_opened():
    torch.manual_seed(0)  # the weights of torch.nn layers come from there
    network, z = Generator().eval(), torch.randn(4, 6)
    for data in (scripted(network), traced(network, z)):
        torch.testing.assert_close(open_torchscript("g.pt", data, CPU).run(z), network(z))


def test_recurrent_and_frozen_networks_are_opened():
    class Recurrent(nn.Module):
        def __init__(self):
            super().__init__()
            self.lstm, self.gru = nn.LSTM(6, 8, batch_first=True), nn.GRU(8, 4)
            self.norm = nn.utils.spectral_norm(nn.Linear(4, 4))

        def forward(self, z):
            return self.norm(self.gru(self.lstm(z[:, None])[0])[0])

    z = torch.randn(2, 6)
    network = Recurrent().eval()
    open_torchscript("g.pt", traced(network, z), CPU).run(z)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        frozen = torch.jit.freeze(torch.jit.trace(network, z, check_trace=False))
    torch.testing.assert_close(open_torchscript("g.pt", saved(frozen), CPU).run(z), network(z))


@pytest.mark.parametrize(
    "lines",
    [
        ('torch.save(z, "ran")',),
        ("f = torch.save", 'f(z, "ran")'),
        ('(torch.save)(z, "ran")',),
        ('getattr(torch, "save")(z, "ran")',),
        ("torch.\\", '  save(z, "ran")'),
        ('ops.aten.save(z, "ran")',),
        ('getattr(ops.aten, "save")(z, "ran")',),
        ('z = torch.add(z, torch.sum(torch.from_file("ran", True, 10)))',),
        ("f = torch.from_file", 'z = torch.add(z, torch.sum(f("ran", True, 10)))'),
        ('getattr(torch, "sa\\166e")(z, "ran")',),  # an octal v
    ],
)
def test_no_way_of_naming_an_operator_that_writes_files_is_opened(lines, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    data = with_code(*lines, "return z")
    assert "in its code, which" in refusal(data)
    assert not (tmp_path / "ran").exists()
    torch.jit.load(io.BytesIO(data))(torch.randn(2, 3))  # the reason for looking first
    assert (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('f = getattr(torch, "sa" "ve")', "an attribute whose name is put together"),
        ("f = getattr(torch, z)", "an attribute whose name is put together"),
        ("f = ops", "'ops' in its code"),
        ("ops.symm_mem.get_remote_tensors(z)", "'ops.symm_mem.get_remote_tensors"),
        ("torch.manual_seed(1)", "names 'manual_seed'"),
        ("ops.prim.Print(z)", "names 'Print'"),
        ('print("x")', "names 'print'"),
        ("f = fork", "names 'fork'"),
        ('ops.prim.rpc_sync("a", self.forward, [z])', "names 'rpc_sync'"),
        ('x = __torch__.torch.classes.dist.Store("a")', "names 'classes'"),
        ("import os", "import"),
        ("f = lambda: 1", "lambda"),
        ('x = eval("1")', "the unknown name 'eval'"),
        ("x = " + "torch.neg(" * 99 + "z" + ")" * 99, "more than 100 expressions within each other"),
        ("x = z # \\", "'\\\\' in its code"),
    ],
)
def test_code_that_torch_does_not_write_in_a_network_is_refused(line, said):
    assert said in refusal(with_code(line, "return z"))


def test_the_rewritten_network_is_itself_good():
    z = torch.randn(2, 3)
    assert torch.equal(open_torchscript("g.pt", with_code("return torch.mul(z, 2)"), CPU).run(z), 2 * z)


def test_warnings_of_a_network_are_not_shown(recwarn, capfd):
    z = torch.randn(2, 3)
    open_torchscript("g.pt", with_code('torch.warn("a stranger says", 2)', "return z"), CPU).run(z)
    assert not recwarn.list
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("member", "content", "said"),
    [
        ("model.json", b"{}", "holds 'model.json'"),
        ("CONSTANTS.pkl", b"", "a member is there twice"),
        ("bytecode.pkl", b"\x80\x02N.", "holds 'bytecode.pkl'"),
        ("code/other.py", b"x = 1\n" * 900_000, "bytes of code"),
        ("extra/much", b"\0" * 70 * 2**20, "would unpack to"),
    ],
)
def test_members_that_are_no_part_of_a_network_are_refused(member, content, said):
    out = io.BytesIO(with_code("return z"))
    with zipfile.ZipFile(out, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(f"{archive.namelist()[0].partition('/')[0]}/{member}", content)
    assert said in refusal(out.getvalue())


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"\x80\x02cos\nsystem\nX\x01\x00\x00\x00x\x85R.", "names 'os system' in a pickle"),
        (b"\x80\x02c__torch__.torch.classes.a\nB\n)\x81.", "names '__torch__.torch.classes.a B' in a pickle"),
        (b"\x80\x02ctorch._utils\n_rebuild_sparse_tensor\n.", "_rebuild_sparse_tensor' in a pickle"),
        (b"\x80\x02K\x01" + b"\x85" * 100_000 + b".", "nests values more than 100 deep"),
    ],
)
def test_pickles_name_nothing_but_tensors_and_are_bounded(content, said):
    assert said in refusal(with_member(lambda name, old: content if name == "constants.pkl" else old))


def test_something_after_the_archive_is_refused():
    assert "its list of members is not at its end" in refusal(with_code("return z") + b"x")


def test_every_operator_that_is_known_to_do_more_is_outside():
    every = torchscript._every_operator()
    for name in ("save", "from_file", "manual_seed", "seed", "fork", "rpc_sync", "Print", "PythonOp", "record_stream"):
        assert not torchscript.operators.admitted(name, script=True)
        assert name in every or name == "fork"
