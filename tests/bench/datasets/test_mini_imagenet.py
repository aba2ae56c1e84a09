"""mini-ImageNet: three layouts of the same images, and every way in which a copy is not whole."""

import os
import pickle
from pathlib import Path

import numpy as np
import pytest
from miniatures_imagenet import CLASSES, SPLITS, caches, class_folders, picture, rows, tables
from PIL import Image

from bench.basics.errors import BenchError
from bench.datasets import mini_imagenet
from bench.datasets.mini_imagenet import MiniImagenet
from bench.datasets.prepare import load
from bench.datasets.source import Dataset


def partial(folder: Path, **settings) -> MiniImagenet:
    return MiniImagenet(str(folder), allow_partial=True, **settings)


def prepared(folder: Path, cache: Path) -> Dataset:
    return load(partial(folder), cache)


def message_of(source: MiniImagenet) -> str:
    with pytest.raises(BenchError) as caught:
        if faults := [str(one) for one in source.read(source.scan()) if isinstance(one, BenchError)]:
            raise BenchError("; ".join(faults))
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_every_layout_holds_the_same_images(tmp_path: Path) -> None:
    places = [
        tables(tmp_path / "tables", 3),
        tables(tmp_path / "windows", 3, line_end="\r\n"),
        tables(tmp_path / "data" / "mini-imagenet", 3).parent,
        class_folders(tmp_path / "folders", 3),
        class_folders(tmp_path / "aliases", 3, {"val": "validation"}),
        caches(tmp_path / "python3", 3),
        caches(tmp_path / "python2", 3, protocol=2, as_bytes=True),
    ]
    want = [(split, label) for split, label, *_ in rows(3)]
    pixels = np.stack([image.transpose(2, 0, 1) for *_, image in rows(3)])
    for number, place in enumerate(places):
        dataset = prepared(place, tmp_path / "cache" / str(number))
        got = [(s.name, s.class_names[c]) for s in dataset.splits.values() for c in s.class_ids]
        assert got == want, place
        assert np.array_equal(np.concatenate([s.pixels for s in dataset.splits.values()]), pixels), place


def test_one_cache_file_is_held_at_a_time_and_a_new_one_is_noticed(tmp_path: Path) -> None:
    source = partial(caches(tmp_path / "caches", 2))
    before = source.settings()
    file = tmp_path / "caches" / "mini-imagenet-cache-test.pkl"
    value = pickle.loads(file.read_bytes())
    value["image_data"][:] = 7
    file.write_bytes(pickle.dumps(value))
    os.utime(file, ns=(1, 1))
    assert source.settings() != before
    images = dict(zip([item.split for item in source.scan()], source.read(source.scan())))
    assert (images["test"] == 7).all()
    assert (images["train"] != 7).any()
    assert mini_imagenet._load_cache.cache_info().maxsize == 1


def test_other_sizes_ignore_proportions(tmp_path: Path) -> None:
    place = class_folders(tmp_path / "folders", 1)
    wide = np.zeros((40, 80, 3), np.uint8)
    wide[:, 40:] = 255
    Image.fromarray(wide).save(place / "train" / "n00000001" / "00000000.png")
    source = partial(place, size=20)
    first = next(source.read(source.scan()))
    assert first.shape == (3, 20, 20)
    assert (first[:, :, :9] == 0).all()
    assert (first[:, :, 11:] == 255).all()


def test_the_official_numbers_are_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = tables(tmp_path / "tables", 3)
    source = MiniImagenet(str(place))
    said = message_of(source)
    for part in ("train has 6 classes, not 64", "n00000001 of train has 3 images, not 600", "and 11 more"):
        assert part in said
    assert "dataset.allow_partial=true" in said
    monkeypatch.setattr(mini_imagenet, "CLASSES", CLASSES)
    monkeypatch.setattr(mini_imagenet, "IMAGES", 3)
    assert len(source.scan()) == 39
    table = place / "val.csv"
    table.write_text("\n".join(table.read_text().splitlines()[:-1]))
    assert "n00000008 of val has 2 images, not 3; get what is missing" in message_of(source)


def test_the_real_numbers() -> None:
    assert mini_imagenet.CLASSES == {"train": 64, "val": 16, "test": 20}
    assert mini_imagenet.IMAGES == 600


def test_missing_images_are_named_all_at_once(tmp_path: Path) -> None:
    place = tables(tmp_path / "tables", 3)
    for name in ("n0000000100000000.png", "n0000000900000002.png"):
        (place / "images" / name).unlink()
    said = message_of(partial(place))
    assert "lacks 2 of the 39 images that the tables name: n0000000100000000.png; n0000000900000002.png" in said


@pytest.mark.parametrize("layout", [tables, class_folders])
def test_truncated_images_are_named_all_at_once(tmp_path: Path, layout) -> None:
    place = layout(tmp_path / "place", 3)
    files = sorted(place.rglob("*.png"))[1::10]
    for file in files:
        file.write_bytes(file.read_bytes()[:2000])
    said = message_of(partial(place))
    assert all(str(file) in said for file in files)
    assert said.count("is damaged or not an image") == len(files) == 4


def test_a_decompression_bomb_is_not_decoded(tmp_path: Path) -> None:
    place = tables(tmp_path / "tables", 1)
    Image.new("1", (9000, 9000)).save(place / "images" / "n0000000100000000.png")
    assert "n0000000100000000.png has 9000 x 9000 pixels, more than the limit" in message_of(partial(place))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("n01.png,n01\n", "must begin with the line 'filename,label'"),
        ("", "must begin with the line 'filename,label'"),
        ("filename,label\na.png\n", "line 2 of .* is 'a.png', not a filename and a label"),
        ("filename,label\n\nb.png,n01,x\n", "line 3 of"),
        ("filename,label\n../../secret.png,n01\n", r"lacks 1 of the .*secret\.png"),
        ("filename,label\n/etc/passwd,n01\n", "lacks 1 of the .*/etc/passwd"),
        ("filename,label\n{0},x\n{0},x\n", "name images more than once: images/{0}"),
        ("filename,label\n{0},n00000009\n", "name images more than once|class 'n00000009' .* in the splits val and"),
        ("\ufefffilename,label\n\udcff", "is not a text file"),
    ],
)
def test_tables_that_are_wrong(tmp_path: Path, text: str, message: str) -> None:
    place = tables(tmp_path / "tables", 1)
    name = "n0000000700000000.png"
    (place / "val.csv").write_bytes(text.replace("{0}", name).encode("utf-8", "surrogateescape"))
    with pytest.raises(BenchError, match=message.replace("{0}", name)):
        partial(place).scan()


def test_a_table_with_a_byte_order_mark_and_empty_lines(tmp_path: Path) -> None:
    place = tables(tmp_path / "tables", 1)
    table = place / "val.csv"
    table.write_bytes(b"\xef\xbb\xbf" + table.read_bytes().replace(b"\n", b"\r\n") + b"\r\n")
    assert len(partial(place).scan()) == sum(CLASSES.values())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"image_data": np.zeros((2, 84, 84, 3))}, "must hold 'image_data'"),
        ({"image_data": np.zeros((2, 84, 84), np.uint8)}, "must hold 'image_data'"),
        ({"class_dict": [1]}, "must hold 'class_dict'"),
        ({"class_dict": {"n01": [0, 99]}}, "class 'n01' .* has indices beyond its 5 images"),
        ({"class_dict": {"n01": [-1]}}, "class 'n01' .* has indices beyond its 5 images"),
        ({"class_dict": {"n01": ["0"]}}, "must be whole numbers"),
        ({"class_dict": {"n01": [0], "n02": [0]}}, "gives one image to more than one class"),
        ({"class_dict": {"n00000001": [0]}}, "class 'n00000001' .* is in the splits train and test"),
    ],
)
def test_cache_files_that_are_wrong(tmp_path: Path, change: dict, message: str) -> None:
    place = caches(tmp_path / "caches", 1)
    file = place / "mini-imagenet-cache-test.pkl"
    file.write_bytes(pickle.dumps(pickle.loads(file.read_bytes()) | change))
    with pytest.raises(BenchError, match=message):
        partial(place).scan()


def test_a_cache_file_that_would_run_code(tmp_path: Path) -> None:
    place = caches(tmp_path / "caches", 1)
    (place / "mini-imagenet-cache-train.pkl").write_bytes(b"cos\nsystem\n(S'touch ran'\ntR.")
    assert "train.pkl is refused: it asks for os.system" in message_of(partial(place))


def test_what_is_no_image_of_a_class(tmp_path: Path) -> None:
    place = class_folders(tmp_path / "folders", 1)
    (place / "train" / "readme.txt").write_text("x")
    assert "train holds 'readme.txt', which is no image of a class (train/<class>/<image>)" in message_of(
        partial(place)
    )


def test_two_folders_for_one_split(tmp_path: Path) -> None:
    place = class_folders(tmp_path / "folders", 1)
    (place / "valid").mkdir()
    assert "two folders for one split" in message_of(partial(place))


def test_nothing_there(tmp_path: Path) -> None:
    assert "--data-dir DIR" in message_of(MiniImagenet())
    said = message_of(MiniImagenet(str(tmp_path)))
    for part in ("holds no mini-ImageNet", "train.csv", "train/<class>/", "mini-imagenet-cache-train.pkl"):
        assert part in said


def test_settings_that_are_wrong() -> None:
    with pytest.raises(BenchError, match="size must be from 8 to 512"):
        MiniImagenet(size=4)
    with pytest.raises(BenchError, match="resize must be one of"):
        MiniImagenet(resize="bax")


def test_the_miniature_is_as_it_says() -> None:
    assert picture(101).shape == (84, 84, 3)
    assert {split for split, *_ in rows(1)} == set(SPLITS)
