import json
import os
import subprocess

import pytest

from bench.basics.errors import BenchError
from bench.basics.files import read_json, replacing, replacing_folder, write_json


def test_a_failed_write_leaves_the_old_file_and_no_other(tmp_path):
    path = tmp_path / "a.json"
    write_json(path, {"x": 1})
    with pytest.raises(RuntimeError), replacing(path) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert read_json(path) == {"x": 1}
    assert os.listdir(tmp_path) == ["a.json"]


def test_a_folder_is_replaced_as_a_whole(tmp_path):
    folder = tmp_path / "f"
    for value in ("1", "2"):
        with replacing_folder(folder) as temporary:
            (temporary / value).write_text(value)
    assert sorted(os.listdir(folder)) == ["2"]
    with pytest.raises(RuntimeError), replacing_folder(folder) as temporary:
        (temporary / "3").write_text("half")
        raise RuntimeError
    assert sorted(os.listdir(folder)) == ["2"]
    assert os.listdir(tmp_path) == ["f"]


def test_json_refuses_numbers_that_json_does_not_have(tmp_path):
    with pytest.raises(ValueError, match="JSON"):
        write_json(tmp_path / "a.json", float("nan"))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("content", ["", "{", '{"a": 1'])
def test_damaged_json_is_one_sentence_with_the_file_in_it(tmp_path, content):
    path = tmp_path / "a.json"
    path.write_text(content)
    with pytest.raises(BenchError, match=r"a\.json is damaged"):
        read_json(path)


def test_new_files_have_ordinary_permissions(tmp_path):
    write_json(tmp_path / "a.json", 1)
    mask = os.umask(0)
    os.umask(mask)
    assert (tmp_path / "a.json").stat().st_mode & 0o777 == 0o666 & ~mask


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small file system needs root")
def test_a_full_disk_is_one_sentence_and_leaves_nothing(tmp_path):
    small = tmp_path / "small"
    small.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(small)], capture_output=True)
    if mounted.returncode:
        pytest.skip("cannot mount a tmpfs here")
    try:
        write_json(small / "kept.json", 1)
        with pytest.raises(BenchError, match=r"cannot write .*big\.json: No space left on device"):
            write_json(small / "big.json", "x" * 10**6)
        assert os.listdir(small) == ["kept.json"]
        assert json.loads((small / "kept.json").read_text()) == 1
    finally:
        subprocess.run(["umount", str(small)], check=True)
