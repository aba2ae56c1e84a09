"""A prepared dataset on a disk of the host: copied once, checked as every prepared one is, and opened from there."""

import os
import threading
from pathlib import Path

import numpy as np
import pytest
from test_source_and_prepare import Made

from bench.basics.errors import BenchError
from bench.datasets import prepare, scratch
from bench.datasets.prepare import load


def test_it_is_opened_from_the_copy_and_the_cache_is_read_once(tmp_path: Path) -> None:
    cache, local = tmp_path / "cache", tmp_path / "local"
    whole = load(Made(), cache)
    copy = load(Made(), cache, scratch=local)
    assert copy.folder == local / whole.folder.name
    assert copy.content_hash == whole.content_hash
    assert sorted(path.name for path in local.iterdir()) == [whole.folder.name], "no claim, nothing half-written"
    for path in whole.folder.iterdir():
        path.unlink()
    again = load(Made(), cache, scratch=local)
    assert np.array_equal(again.splits["train"].pixels, copy.splits["train"].pixels)


def test_what_is_not_prepared_yet_is_prepared_in_the_cache(tmp_path: Path) -> None:
    source = Made()
    load(source, tmp_path / "cache", scratch=tmp_path / "local")
    assert source.reads == 1
    assert load(source, tmp_path / "cache").folder.parent == tmp_path / "cache"
    assert source.reads == 1


@pytest.mark.parametrize("name", ["images.npy", "meta.json"])
def test_a_copy_that_was_tidied_up_in_part_is_made_anew(tmp_path: Path, name: str) -> None:
    copy = load(Made(), tmp_path / "cache", scratch=tmp_path / "local")
    (copy.folder / name).unlink()
    assert load(Made(), tmp_path / "cache", scratch=tmp_path / "local").folder == copy.folder
    assert (copy.folder / name).exists()


def test_runs_that_begin_together_copy_it_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, made = load(Made(), tmp_path / "cache"), []
    copyfile = scratch.shutil.copyfile
    monkeypatch.setattr(scratch.shutil, "copyfile", lambda *paths: (made.append(paths), copyfile(*paths)))
    threads = [
        threading.Thread(target=load, args=(Made(), tmp_path / "cache"), kwargs={"scratch": tmp_path / "local"})
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == len(list(whole.folder.iterdir()))


def test_bad_places_are_answered_in_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(BenchError, match=r"cannot copy the prepared dataset 'made' to executor.scratch .*Not a dir"):
        prepare.load(Made(), tmp_path / "cache", scratch=tmp_path / "file" / "local")
    monkeypatch.setenv("BENCH_HOST", "node7")
    with pytest.raises(BenchError, match=r"executor.scratch=\$NOWHERE/x: there is no such variable on node7"):
        scratch.local_folder("$NOWHERE/x")
    with pytest.raises(BenchError, match=r"executor.scratch=local must be a whole path"):
        scratch.local_folder("local")
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    assert scratch.local_folder("$TMPDIR/x") == Path(os.environ["TMPDIR"], "x")
