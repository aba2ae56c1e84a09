"""A user's own photographs through the real command line: what is wrong or left out is said in one sentence."""

import json
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image


@pytest.fixture
def photos(bench):
    """Six classes a split, six 28 x 28 images a class."""
    rng = np.random.default_rng(0)
    for split in ("train", "test"):
        for name in range(6):
            folder = bench.folder / "D" / "photos" / split / f"{split}{name}"
            folder.mkdir(parents=True)
            for i in range(6):
                Image.fromarray(rng.integers(0, 255, (28, 28, 3), dtype=np.uint8)).save(folder / f"{i}.png")
    return bench.folder / "D" / "photos"


MINE = ("dataset.name=mine", "dataset.size=28")


@pytest.mark.parametrize(
    ("setting", "place"), [("dataset.path=/gone/photos", "/gone/photos"), ("dataset.path=v2/photos", "D/v2/photos")]
)
def test_a_path_that_is_not_there_is_an_error(bench, photos, setting, place):
    message = bench.error("prepare", "folder", "--data-dir", "D", setting, *MINE)
    assert f"the images of dataset 'mine' are not at {place}" in message


def test_a_name_that_is_not_utf8(bench, photos):
    os.rename(photos / "train/train0/0.png", os.fsencode(photos) + b"/train/train0/caf\xe9.png")
    message = bench.error("prepare", "folder", "--data-dir", photos, *MINE)
    assert message.endswith(r"train0/caf\xe9.png is not UTF-8, so no record can hold it; rename it")


def test_warnings_of_a_dataset_are_shown_every_time(bench, photos):
    (photos / "test/test0/0.png").write_bytes((photos / "train/train0/0.png").read_bytes())
    (photos / "test/test1").rename(photos / "test/TRAIN1")
    (photos / "test/test2/Thumbs.db").write_bytes(b"x")
    for _ in range(2):
        said = bench("prepare", "folder", "--data-dir", photos, "dataset.name=mine").stderr
        assert "warning: 1 image is in more than one of the splits train, test" in said
        assert "'train1' (train) and 'TRAIN1' (test)" in said
        assert "72 of 72 images have fewer than 84 x 84 pixels, the smallest 28" in said
        assert "left out what Windows hid among the images: test/test2/Thumbs.db" in said


def test_tasks_tell_what_they_leave_out_and_are_written_as_parquet_only(bench, photos):
    for i in range(3):
        (photos / f"test/test0/{i}.png").unlink()
    command = ("tasks", "export")
    rest = ("--dataset", "folder", "--data-dir", photos, "--query", 3, "--tasks", 4, *MINE)
    said = bench(*command, "t.parquet", *rest).stderr
    assert "1-shot tasks of mine/test, which take 4 images a class, leave out 1 of 6 classes" in said
    assert "test0 (3)" in said
    assert "must end in .parquet, not 'x.csv'" in bench.error(*command, "x.csv", *rest)
    assert "more than a list of tasks can" in bench.error(*command, "y.parquet", *rest, "--tasks", 10**10)
    assert sorted(path.name for path in bench.folder.iterdir()) == ["D", "t.parquet"]


def test_a_splits_file_in_utf16_is_the_users_own(bench, photos):
    file = bench.folder / "D" / "splits.json"
    file.write_bytes(json.dumps({"train": ["a"], "test": ["b"]}).encode("utf-16"))
    message = bench.error("prepare", "folder", "--data-dir", "D", "dataset.splits=splits.json", *MINE)
    assert message == "D/splits.json is in UTF-16 or UTF-32; save it as UTF-8"


def test_an_index_that_was_permuted_is_noticed(bench, photos):
    command = ("prepare", "folder", "--data-dir", photos, *MINE)
    folder = bench(*command).stdout.split("prepared in ")[1].strip()
    file = Path(folder) / "index.parquet"
    index = pd.read_parquet(file)
    index["class"] = index["class"].replace({"test0": "test1", "test1": "test0"})
    index.to_parquet(file, index=False)
    assert "is damaged (its content does not match its checksum)" in bench.error(*command)
