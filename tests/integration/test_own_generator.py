"""A generator of the user's own, from one line on the command line to the leaderboard."""

import json

import pytest
import torch
from commands import TINY
from own_generators import LATENT, Evil, Tiny, save_onnx, save_pt2, save_torchscript

RUN = ("run", "--no-references", "--budget", "smoke", *TINY[:1], TINY[2])


def record(bench):
    """The one record there is."""
    (path,) = bench.out.glob("*/*/*/run.json")
    return json.loads(path.read_text())


@pytest.mark.parametrize("kind", ["pt2", "ts", "onnx"])
def test_a_file_runs_from_one_line_to_the_leaderboard(bench, kind):
    if kind == "onnx":
        pytest.importorskip("onnxruntime", reason="onnxruntime is not installed (extra [onnx])")
    save = {"pt2": save_pt2, "ts": save_torchscript, "onnx": save_onnx}[kind]
    path = save(bench.folder / f"my.{kind}", Tiny().eval())
    request = (*RUN, "--methods", "lasium-ro-file-protonet", f"generator.path={path}", f"generator.latent_dim={LATENT}")
    result = bench(*request)
    assert "LASIUM-RO-File-ProtoNets" in result.stdout
    assert "Trained in part on images from outside the dataset: LASIUM-RO-File-ProtoNets" in " ".join(
        result.stdout.split()
    )
    found = record(bench)
    assert found["status"] == "done"
    assert found["method"]["outside_data"] is True
    assert found["notes"]["generator"]["sha256"] == found["config"]["generator"]["sha256"]
    assert found["notes"]["generator"]["file"] == f"my.{kind}"
    assert str(bench.folder) not in found["method"]["name"]


def test_an_object_of_the_current_folder_runs(bench):
    (bench.folder / "my_gan.py").write_text(
        "import torch\n\n"
        "def decode(z):\n"
        "    return torch.tanh(z[:, :3, None, None] + torch.linspace(-1, 1, 32 * 32).view(1, 1, 32, 32))\n"
    )
    settings = ("generator.output_range=[-1,1]", "generator.latent_dim=8", "generator.resize=antialias")
    own = ("generator.callable=my_gan:decode", "generator.convert_channels=true", "generator.outside_data=false")
    bench(*RUN, "--methods", "lasium-n-object-protonet", *own, *settings, "--workers", "2")
    found = record(bench)
    assert found["status"] == "done"
    assert found["method"]["outside_data"] is False
    assert "generator.outside_data=False" in found["method"]["name"]
    assert found["notes"]["generator"]["object"] == "my_gan:decode"


def test_a_pickle_is_refused_before_anything_starts_and_does_not_run(bench):
    witness = bench.folder / "witness"
    torch.save(Evil(witness), bench.folder / "g.pt")
    message = bench.error(*RUN, "--methods", "lasium-ro-file-maml", "generator.path=g.pt")
    assert message.startswith("generator file g.pt is a pickle (a state dict or a module saved with torch.save)")
    assert "export the network with torch.export.save" in message
    assert not witness.exists()
    assert not bench.out.exists()


def test_a_generator_that_does_not_fit_fails_alone_with_one_sentence(bench):
    path = save_pt2(bench.folder / "tanh.pt2", Tiny(fault="tanh").eval())
    methods = ("--methods", "lasium-ro-file-protonet,umtra-protonet")
    result = bench(*RUN, *methods, f"generator.path={path}", code=1)
    assert "1 of 2 runs done" in result.stdout
    assert result.stdout.count("failed: generator file") == 1
    assert "for example generator.output_range=[-1,1]" in result.stdout
