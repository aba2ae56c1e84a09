"""What is done is kept when something outside the data ends the work, and sound data are never called damaged."""

import errno
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from test_source_and_prepare import Made

from bench.basics.claims import Claim, beside
from bench.basics.errors import BenchError
from bench.contracts import TaskSpec
from bench.datasets import decoding
from bench.datasets.archives import FolderTree
from bench.datasets.faults import Unfinished, no_fault_of_the_data, printable, shown
from bench.datasets.pickles import read_arrays
from bench.datasets.prepare import default_cache, load
from bench.datasets.source import Item
from bench.tasks.manifest import draw
from bench.tasks.manifest import load as load_manifest


class Killed(Made):
    """Its ninth image ends the work, unless told not to."""

    error: Exception | None = Unfinished("a process was killed; run the same command again to go on")
    asked = 0

    def read(self, items: Sequence[Item]) -> Iterator[np.ndarray]:
        for item in items:
            if self.error is not None and item.file_id == "c/2.png":
                raise self.error
            self.asked += 1
            yield self.image(item)


def test_after_a_killed_decoding_process_the_same_command_goes_on(tmp_path: Path) -> None:
    source = Killed()
    with pytest.raises(Unfinished, match="run the same command again to go on"):
        load(source, tmp_path)
    assert len(list(tmp_path.glob(".made-*.partial"))) == 1
    source.error, source.asked = None, 0
    dataset = load(source, tmp_path)
    assert source.asked == 15 - 8
    assert dataset.content_hash == load(Made(), tmp_path / "whole").content_hash
    assert not list(tmp_path.glob(".made-*"))


def test_want_of_memory_is_one_sentence(tmp_path: Path) -> None:
    source = Killed()
    source.error = MemoryError()
    with pytest.raises(Unfinished, match="not enough memory to prepare dataset 'made'; what is done is kept"):
        load(source, tmp_path)


def test_a_killed_process_of_the_pool_ends_in_that_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for i in range(4):
        Image.new("RGB", (9, 9)).save(tmp_path / f"{i}.png")
    tree = FolderTree(tmp_path)
    monkeypatch.setattr(decoding, "IN_ONE_PROCESS", 0)
    monkeypatch.setattr(decoding, "_cores", lambda: 2)
    monkeypatch.setattr(decoding, "_decode_block", _die)
    with pytest.raises(Unfinished, match="was killed, perhaps for want of memory"):
        list(decoding.decode_all(tree, list(tree.files), decoding.Photo(8)))


def _die(*_: object) -> None:
    os._exit(9)


def test_want_of_memory_while_decoding_is_no_damage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise MemoryError

    Image.new("RGB", (9, 9)).save(tmp_path / "a.png")
    monkeypatch.setattr(decoding.ImageOps, "exif_transpose", full)
    with pytest.raises(Unfinished, match=r"not enough memory to decode .*a\.png"):
        list(decoding.decode_all(FolderTree(tmp_path), ["a.png"], decoding.Photo(8)))
    (tmp_path / "a.pkl").write_bytes(b"\x80\x04\x8e" + (2**62).to_bytes(8, "little") + b"x.")
    with pytest.raises(BenchError, match="asks for more memory than there is"):
        read_arrays(tmp_path / "a.pkl")


def test_files_that_a_killed_writer_left_do_not_stay(tmp_path: Path) -> None:
    source = Killed()
    with pytest.raises(Unfinished):
        load(source, tmp_path)
    partial = next(tmp_path.glob(".made-*.partial"))
    (partial / ".progress.json.abc.tmp").write_text("{")
    source.error = None
    assert not list(load(source, tmp_path).folder.glob(".*"))


def test_abandoned_preparations_are_deleted_unless_somebody_writes_them(tmp_path: Path) -> None:
    old, fresh, held = (tmp_path / f".{name}-0123.partial" for name in ("old", "fresh", "held"))
    for folder in (old, fresh, held):
        folder.mkdir()
        (folder / "images.npy").write_bytes(b"x")
    for folder in (old, held):
        for path in (folder / "images.npy", folder):
            os.utime(path, (time.time() - 8 * 86_400,) * 2)
    with Claim.take(beside(tmp_path / "held-0123")):
        load(Made(), tmp_path)
    assert [folder.exists() for folder in (old, fresh, held)] == [False, True, True]


# -------------------------------------------------------------------------------------------- not damaged


@pytest.fixture
def as_nobody() -> Iterator[Path]:
    """A folder that anyone may enter; while it is used, this process is another user's."""
    if os.geteuid() != 0:
        pytest.skip("needs root, to be somebody else")
    with tempfile.TemporaryDirectory() as name:
        os.chmod(name, 0o777)
        try:
            yield Path(name)
        finally:
            os.seteuid(0)


@pytest.mark.parametrize("which", ["images.npy", "index.parquet", "meta.json", ".", ".."])
def test_files_of_another_user_are_not_called_damaged(as_nobody: Path, which: str) -> None:
    folder = load(Made(), as_nobody / "cache").folder
    os.chmod(folder / which, 0o700 if which.startswith("..") or which == "." else 0o600)
    os.seteuid(65534)
    with pytest.raises(BenchError) as caught:
        load(Made(), as_nobody / "cache")
    message = str(caught.value)
    assert "ermission denied" in message
    assert "damaged" not in message
    assert "delete" not in message
    assert "BENCH_CACHE" in message


def test_tasks_of_another_user_are_not_called_unreadable(as_nobody: Path) -> None:
    manifest = draw(load(Made(), as_nobody / "cache"), "test", TaskSpec(2, 1, 1), 3, 0)
    manifest.save(as_nobody / "t.parquet")
    os.chmod(as_nobody / "t.parquet", 0o600)
    os.seteuid(65534)
    with pytest.raises(BenchError, match=r"cannot read .*t\.parquet: .*permission denied") as caught:
        load_manifest(as_nobody / "t.parquet")
    assert "draw it again" not in str(caught.value)


LIMITED = """
import resource, sys
from pathlib import Path
import torch, pyarrow.parquet
from test_source_and_prepare import Made
from bench.basics.errors import BenchError
from bench.datasets.prepare import load
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + 2**24, used + 2**24))
try:
    load(Made(shape=(3, 1000, 1000)), Path(sys.argv[1]))
except BenchError as error:
    print(error)
"""


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs /proc")
def test_a_limit_on_memory_is_not_called_damage(tmp_path: Path) -> None:
    load(Made(shape=(3, 1000, 1000)), tmp_path)
    here = Path(__file__).parent
    path = os.pathsep.join([str(here), str(here.parents[2])])
    done = subprocess.run(
        [sys.executable, "-c", LIMITED, tmp_path],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": path},
    )
    assert "there is not enough memory; that says nothing against the data, so keep them" in done.stdout


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (PermissionError(errno.EACCES, "Permission denied", "/x"), "/x may not be read by this user"),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), "not enough memory"),
        (OSError(errno.EMFILE, "Too many open files", "/x"), "/x cannot be read (Too many open files)"),
        (OSError(errno.EIO, "Input/output error"), "it cannot be read (Input/output error)"),
        (MemoryError(), "not enough memory"),
        (FileNotFoundError(errno.ENOENT, "No such file", "/x"), None),
        (OSError("Couldn't deserialize thrift"), None),
        (ValueError("magic"), None),
    ],
)
def test_whose_fault_it_is(error: Exception, said: str | None) -> None:
    outer = BenchError("cannot read")
    outer.__cause__ = error
    for one in (error, outer):
        found = no_fault_of_the_data(one)
        assert found is None if said is None else found is not None and said in found


def test_names_in_messages() -> None:
    assert shown(os.fsdecode(b"caf\xe9\xc3\xa9")) == "caf\\xe9é"
    assert printable("a\x1b[31m é\udcff") == "a\\x1b[31m é\\udcff"


def test_a_cache_that_cannot_be_written_names_the_way_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(BenchError, match="BENCH_CACHE=FOLDER puts prepared datasets elsewhere"):
        load(Made(), tmp_path / "file" / "cache")

    def homeless() -> Path:
        raise RuntimeError("Could not determine home directory.")

    for name in ("BENCH_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(Path, "home", homeless)
    with pytest.raises(BenchError, match="set BENCH_CACHE to a folder"):
        default_cache()


def test_a_name_that_no_file_can_hold_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BenchError, match=r"'\\ud800/0\.png' of class '\\ud800' .* is not UTF-8; rename it"):
        load(Made(classes={"train": ("a", "\ud800"), "val": (), "test": ("d",)}), tmp_path)
