"""Checkpoints made to take memory or time, and tensors that are not the numbers that they are taken for."""

import io
import json
import os
import pickletools
import struct
import tarfile
import zipfile
from collections import OrderedDict

import pytest
import torch
from torch import nn

from bench.basics.errors import BenchError
from bench.foreign import pretrained
from bench.foreign.pretrained import State


def refusal(path) -> str:
    with pytest.raises(BenchError) as error:
        pretrained.load(str(path), None, "weights")
    assert "\n" not in str(error.value)
    return str(error.value)


def laughing(levels: int = 40) -> bytes:
    """A pickle in which each tuple is the one before, twice; the last is a dictionary's key and would be hashed."""
    tuples = b"".join(b"h%c\x86q%c" % (i, i + 1) for i in range(levels))
    return b"\x80\x02}K\x01K\x01\x86q\x00" + tuples + b"K\x01s."


def archive(path, pickled: bytes, **extra: bytes):
    """What torch.save writes, with another pickle in it."""
    buffer = io.BytesIO()
    torch.save({"a": torch.ones(3)}, buffer)
    with zipfile.ZipFile(buffer) as old, zipfile.ZipFile(path, "w") as new:
        for name in old.namelist():
            new.writestr(name, pickled if pickled and name.endswith("data.pkl") else old.read(name))
        for name, content in extra.items():
            new.writestr(f"archive/{name}", content, zipfile.ZIP_DEFLATED)
    return path


def test_a_pickle_that_stands_for_more_than_memory_is_refused_at_once(tmp_path):
    said = "is not opened: it stands for more than"
    assert said in refusal(archive(tmp_path / "zip.pth", laughing()))
    buffer = io.BytesIO()
    torch.save({"a": torch.ones(3)}, buffer, _use_new_zipfile_serialization=False)
    buffer.seek(0)
    for _ in range(3):  # a magic number, a version, facts about the machine
        list(pickletools.genops(buffer))
    (tmp_path / "old.pth").write_bytes(buffer.getvalue()[: buffer.tell()] + laughing())
    assert said in refusal(tmp_path / "old.pth")
    assert "nests values more than 100 deep" in refusal(
        archive(tmp_path / "deep.pth", b"\x80\x02N" + b"\x85" * 9999 + b".")
    )


def test_an_archive_that_unpacks_to_far_more_than_its_size_is_refused(tmp_path):
    path = archive(tmp_path / "bomb.pth", b"", more=bytes(80 * 2**20))
    assert path.stat().st_size < 2**20
    assert "bytes would unpack to 838" in refusal(path)


def test_shared_tensors_are_no_bomb(tmp_path):
    weight = nn.Parameter(torch.ones(2, 2))
    content = {"a": weight, "b": weight, "more": OrderedDict((str(i), weight[0]) for i in range(200))}
    for zipped in (True, False):
        torch.save(content, tmp_path / "w.pth", _use_new_zipfile_serialization=zipped)
        opened = pretrained.load(str(tmp_path / "w.pth"), None, "weights")
        assert torch.equal(opened.state("more").tensors["199"], torch.ones(2))


def test_a_tar_archive_is_named_as_one(tmp_path):
    with tarfile.open(tmp_path / "w.pth.tar", "w") as tar:
        tar.addfile(tarfile.TarInfo("pickle"), io.BytesIO())
    assert "is a tar archive, which is not opened; unpack it" in refusal(tmp_path / "w.pth.tar")


@pytest.mark.parametrize(
    "header",
    [
        {"a": [0, 8], "b": [4, 12]},
        {"a": [0, 8], "b": [8, 2**40]},
        {"a": [-8, 0]},
    ],
)
def test_safetensors_whose_tensors_overlap_or_are_not_there_are_damaged(tmp_path, header):
    facts = {
        key: {"dtype": "F32", "shape": [(end - start) // 4], "data_offsets": [start, end]}
        for key, (start, end) in header.items()
    }
    text = json.dumps(facts).encode()
    (tmp_path / "w.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + bytes(12))
    assert "is damaged or no checkpoint" in refusal(tmp_path / "w.safetensors")


@pytest.mark.parametrize("length", [2**63, 2**40, 10**8 + 1])
def test_safetensors_with_a_huge_header_are_damaged(tmp_path, length):
    (tmp_path / "w.safetensors").write_bytes(struct.pack("<Q", length) + b"{}")
    assert "is damaged or no checkpoint" in refusal(tmp_path / "w.safetensors")


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("value", "said"),
    [
        (torch.eye(2).to_sparse(), "weight is a sparse coo tensor;"),
        (torch.eye(2).to_sparse_csr(), "weight is a sparse csr tensor;"),
        (torch.quantize_per_tensor(torch.eye(2), 0.1, 0, torch.qint8), "weight is quantised;"),
        (torch.eye(2, dtype=torch.complex64), "weight is complex64;"),
        (torch.eye(2, dtype=torch.int8), "weight is int8;"),
        (torch.eye(2, dtype=torch.bool), "weight is bool;"),
        (torch.ones(1).expand(2, 2), "weight is a few numbers that stand for many;"),
        (torch.empty(2, 2, device="meta"), "was saved from the meta device, so it holds shapes without numbers"),
    ],
)
def test_tensors_that_are_no_plain_numbers_are_one_sentence(tmp_path, value, said):
    torch.save({"weight": value, "bias": torch.ones(2)}, tmp_path / "w.pth")
    with pytest.raises(BenchError) as error:
        pretrained.load(str(tmp_path / "w.pth"), None, "weights").state().into(nn.Linear(2, 2), "a toy")
    assert said in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16, torch.float64])
def test_floats_of_other_widths_are_as_good_as_ever(kind):
    network = nn.Linear(2, 2)
    State("w", {"weight": torch.eye(2, dtype=kind).T, "bias": torch.ones(2, dtype=kind)}).into(network, "a toy")
    assert network.weight.dtype == torch.float32


def test_what_is_no_file_is_refused_and_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe.pth")
    (tmp_path / "zeros.pth").symlink_to("/dev/zero")
    (tmp_path / "loop.pth").symlink_to(tmp_path / "loop.pth")
    (tmp_path / "folder.pth").mkdir()
    with open(tmp_path / "vast.pth", "wb") as file:
        file.truncate(2**40)
    for name, said in {
        "pipe.pth": "it is no file",
        "zeros.pth": "it is no file",
        "folder.pth": "it is no file",
        "loop.pth": "cannot read",
        "vast.pth": "it has more than 16 GiB",
        "a" * 300 + ".pth": "File name too long",
        "a\0.pth": "no file can have this name",
        "~nobody-of-this-name/w.pth": "there is no file",
    }.items():
        path = name if name.startswith("~") else str(tmp_path / name)
        for attempt in (pretrained.digest, lambda weights: pretrained.load(weights, None, "weights")):
            with pytest.raises(BenchError, match=said):
                attempt(path)


def test_a_link_to_a_file_is_that_file(tmp_path):
    torch.save({"a": torch.ones(3)}, tmp_path / "w.pth")
    (tmp_path / "link.pth").symlink_to(tmp_path / "w.pth")
    assert pretrained.digest(str(tmp_path / "link.pth")) == pretrained.digest(str(tmp_path / "w.pth"))
    torch.save({"a": torch.zeros(3)}, tmp_path / "other.pth")
    (tmp_path / "link.pth").unlink()
    (tmp_path / "link.pth").symlink_to(tmp_path / "other.pth")
    assert pretrained.digest(str(tmp_path / "link.pth")) == pretrained.digest(str(tmp_path / "other.pth"))
