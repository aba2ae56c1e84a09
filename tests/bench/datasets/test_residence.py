"""Large splits stay in their files, a kill while preparing costs little, and processes agree with one."""

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from test_source_and_prepare import Made

from bench.basics.errors import BenchError
from bench.datasets import decoding, residence, unfinished
from bench.datasets.archives import FolderTree
from bench.datasets.prepare import load
from bench.datasets.source import Item


def test_a_large_split_is_mapped_and_is_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    copied = load(Made(), tmp_path / "a").splits["train"]
    monkeypatch.setattr(residence, "COPIED_UP_TO", 0)
    monkeypatch.setattr(residence, "BLOCK", 50)
    for _ in range(2):  # made, and there already
        mapped = load(Made(), tmp_path / "b").splits["train"]
        for one, other in ((copied.unlabelled(), mapped.unlabelled()), (copied.labelled(), mapped.labelled())):
            assert torch.equal(one.pixels, other.pixels)
            assert torch.equal(one.take(torch.tensor([[2, 0]])), other.take(torch.tensor([[2, 0]])))
            other.pixels.zero_()  # a private map: what a method does to its images stays with it
        assert copied.unlabelled().fingerprint == mapped.unlabelled().fingerprint
    files = sorted(path.name for path in mapped.file.path.parent.iterdir())
    assert files == ["images.npy", "index.parquet", "meta.json", "unlabelled-train.json", "unlabelled-train.npy"]
    test = load(Made(), tmp_path / "b").splits["test"]  # in the middle of the file
    assert np.array_equal(test.labelled().pixels.numpy(), test.pixels)
    (mapped.file.path.parent / "unlabelled-train.npy").write_bytes(b"x")
    with pytest.raises(BenchError, match="is damaged; delete the folder"):
        mapped.unlabelled()


MEMORY = """
import sys
from pathlib import Path
import numpy as np, torch
from bench.contracts import TaskSpec
from bench.datasets.residence import MappedFrom, npy_header
from bench.datasets.source import Split
from bench.tasks.labelled import LabelledSampler

def own():
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("RssAnon")).split()[1]) / 1024

path, n = Path(sys.argv[1]), 200_000
shape = (n, 3, 84, 84)
head = npy_header(shape)
with open(path, "wb") as file:  # sparse: 4.2 GB that take no room
    file.write(head)
    file.truncate(len(head) + n * 21168)
pixels = np.lib.format.open_memmap(path, mode="r")
ids = np.arange(n) // 20
names = tuple(map(str, range(n // 20)))
split = Split("big", "train", pixels, ids, names, names * 20, MappedFrom(path, len(head), "hash"))
LabelledSampler(split.labelled()).sample(1, TaskSpec(5, 1, 5), torch.Generator())
before = own()
sampler = LabelledSampler(split.labelled())
for _ in range(100):
    sampler.sample(4, TaskSpec(5, 1, 5), torch.Generator())
print(own() - before)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs /proc")
def test_sampling_from_200000_colour_images_takes_little_memory(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", MEMORY, tmp_path / "images.npy"], capture_output=True, text=True, check=True
    )
    assert float(done.stdout) < 200, "MiB; the images are 4,000"


class Slow(Made):
    """Waits for ever at its eighth image, unless told not to."""

    wait = True

    def read(self, items: Sequence[Item]) -> Iterator[np.ndarray]:
        for item in items:
            if self.wait and item.file_id == "c/1.png":
                time.sleep(60)
            yield self.image(item)


def _prepare(cache: Path) -> None:
    unfinished.CHECKPOINT_SECONDS = 0.0
    load(Slow(), cache)


def test_after_a_kill_the_preparation_goes_on(tmp_path: Path) -> None:
    process = multiprocessing.get_context("spawn").Process(target=_prepare, args=(tmp_path / "cache",))
    process.start()
    began, done = time.monotonic(), 0
    while done < 7 and time.monotonic() - began < 60:
        for path in tmp_path.glob("cache/.*.partial/progress.json"):
            done = int(path.read_text().split('"done": ')[1].split(",")[0])
        time.sleep(0.05)
    assert process.pid is not None
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    assert not [path for path in (tmp_path / "cache").iterdir() if path.is_dir() and not path.name.startswith(".")]
    source, seen = Slow(), []
    source.wait = False
    dataset = load(source, tmp_path / "cache", lambda *call: seen.append(call))
    assert seen[-1][:3] == ("prepare made", 15, 15)
    assert dataset.content_hash == load(Made(), tmp_path / "whole").content_hash
    assert not list(tmp_path.glob("cache/.*"))


def test_many_images_in_processes_are_those_of_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    for i in range(9):
        Image.fromarray(rng.integers(0, 256, (30, 20, 3), dtype=np.uint8)).save(tmp_path / f"{i}.jpg")
    (tmp_path / "5.jpg").write_bytes((tmp_path / "5.jpg").read_bytes()[:500])
    tree, photo = FolderTree(tmp_path), decoding.Photo(8)
    alone = list(decoding.decode_all(tree, list(tree.files), photo))
    monkeypatch.setattr(decoding, "IN_ONE_PROCESS", 0)
    monkeypatch.setattr(decoding, "TOGETHER", 2)
    monkeypatch.setattr(decoding, "_cores", lambda: 2)
    together = list(decoding.decode_all(tree, list(tree.files), photo))
    assert str(alone[5]) == str(together[5])
    assert isinstance(alone[5], BenchError)
    assert all(np.array_equal(one, other) for at, (one, other) in enumerate(zip(alone, together)) if at != 5)
