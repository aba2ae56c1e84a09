"""What a dataset says of how its images are made is how they are made."""

import importlib
import json
from pathlib import Path

import numpy as np
import pytest
import yaml
from miniatures_imagenet import class_folders
from PIL import Image

from bench.basics.errors import BenchError
from bench.datasets.folder import Folder
from bench.datasets.mini_imagenet import MiniImagenet
from bench.datasets.omniglot import Omniglot
from bench.datasets.prepare import load
from bench.datasets.preprocessing import NOT_RECORDED, described
from bench.datasets.source import DatasetSource, DescribedSource
from bench.datasets.torchmeta import TorchmetaFolder

CONFIGS = sorted((Path(__file__).parents[3] / "configs" / "dataset").glob("*.yaml"))


def photographs(root: Path) -> Path:
    rng = np.random.default_rng(0)
    for split, name in (("train", "a"), ("train", "b"), ("test", "c"), ("test", "d")):
        for number in range(2):
            file = root / split / name / f"{number}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(rng.integers(0, 256, (31, 20, 3), dtype=np.uint8)).save(file)
    return root


def by_the_words(pixels: np.ndarray, size: int) -> np.ndarray:
    """Grey, cropped, bilinear, inverted as the steps say it, one pixel after the other."""
    r, g, b = (pixels[..., channel].astype(np.int64) for channel in range(3))
    grey = (19595 * r + 38470 * g + 7471 * b + 32768) // 65536
    side = min(grey.shape)
    top, left = ((one - side) // 2 for one in grey.shape)
    square = grey[top : top + side, left : left + side]
    found = np.empty((size, size))
    for row in range(size):
        for column in range(size):
            y, x = (min(max((one + 0.5) * (side / size) - 0.5, 0), side - 1) for one in (row, column))
            (i, down), (j, right) = (divmod(one, 1) for one in (y, x))
            rows = [square[min(int(i) + one, side - 1)] for one in (0, 1)]
            mixed = rows[0] * (1 - down) + rows[1] * down
            found[row, column] = mixed[int(j)] * (1 - right) + mixed[min(int(j) + 1, side - 1)] * right
    return (255 - np.floor(found + 0.5)).astype(np.uint8)


def test_the_words_of_a_folder_make_its_pixels(tmp_path):
    root = photographs(tmp_path / "raw")
    source = Folder(data_dir=str(root), channels=1, size=11, invert=True, resize="bilinear")
    dataset = load(source, tmp_path / "cache")
    steps = dataset.preprocessing
    assert list(steps) == ["decoder", "transparency", "colour", "crop", "resize", "polarity", "kept"]
    for words, step in (
        ("(19595 R + 38470 G + 7471 B + 32768) // 65536", "colour"),
        ("the largest central square", "crop"),
        ("to 11 x 11 pixels: bilinear between the two by two nearest pixels", "resize"),
        ("255 minus the value, after resizing", "polarity"),
        ("uint8, [C, H, W] = [1, 11, 11], row by row, 0 to 255", "kept"),
    ):
        assert words in steps[step]
    for split in ("train", "test"):
        prepared = dataset.splits[split]
        for file, image in zip(prepared.image_ids, prepared.pixels, strict=True):
            raw = np.asarray(Image.open(root / file))
            assert np.array_equal(by_the_words(raw, 11), image[0])


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_every_dataset_says_how_its_images_are_made(path, tmp_path):
    config = yaml.safe_load(path.read_text())
    module, name = config["_target_"].rsplit(".", 1)
    kind = getattr(importlib.import_module(module), name)
    where = {"data_dir": str(class_folders(tmp_path, 2))} if kind is MiniImagenet else {}
    settings = {key: value for key, value in config.items() if key not in ("_target_", "card", "recommend", "data_dir")}
    source = kind(**settings, **where)
    assert isinstance(source, DescribedSource)
    steps = described(source, (3, source.size, source.size))
    told = " ".join(steps.values())
    assert f"{source.size} x {source.size}" in told
    assert "divided by 255" in told
    if kind is not MiniImagenet:
        other = described(kind(**{**settings, "size": 9}), (3, 9, 9))
        assert other["resize"] != steps["resize"]


def test_a_setting_that_changes_pixels_changes_the_words():
    base = Omniglot().preprocessing()
    for change in ({"size": 32}, {"invert": False}, {"resize": "box"}):
        assert Omniglot(**change).preprocessing() != base
    assert "255 minus the value, before resizing: ink is 255" in base["polarity"]
    assert TorchmetaFolder(channels=1).preprocessing() != TorchmetaFolder().preprocessing()


class Silent:
    name = "silent"

    def settings(self):
        return {}

    def scan(self):
        return []

    def read(self, items):
        return iter(())


def test_a_dataset_from_outside_may_say_nothing_but_not_nonsense():
    assert isinstance(Silent(), DatasetSource)
    assert described(Silent(), (1, 8, 8))["steps"] == "not described"
    for wrong in ("box", {"size": 28}, {1: "a"}, None, {"a": "x" * 20_000}):
        source = Silent()
        source.preprocessing = lambda said=wrong: said
        with pytest.raises(BenchError, match=r"preprocessing\(\) of dataset 'silent' must give words"):
            described(source, (1, 8, 8))


def test_versions_are_kept_when_images_are_made_and_not_made_up_later(tmp_path):
    source = Folder(data_dir=str(photographs(tmp_path / "raw")), size=11)
    dataset = load(source, tmp_path / "cache")
    assert set(dataset.made_with) == {"bench", "numpy", "pillow"}
    file = dataset.folder / "meta.json"
    meta = json.loads(file.read_text())
    del meta["made_with"]  # as before it was kept
    file.write_text(json.dumps(meta))
    again = load(source, tmp_path / "cache")
    assert (again.content_hash, again.made_with) == (dataset.content_hash, NOT_RECORDED)
    file.write_text(json.dumps({**meta, "made_with": [1]}))
    with pytest.raises(BenchError, match="the versions in"):
        load(source, tmp_path / "cache")
