"""A user's own images: both layouts, folders and zip files, and every way to get them wrong."""

import io
import json
import os
import zipfile
from pathlib import Path

import numpy as np
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from bench.basics.errors import BenchError
from bench.datasets.decoding import decode
from bench.datasets.folder import Folder
from bench.datasets.prepare import load

REAL = Path(os.environ.get("BENCH_DATA", "/nowhere"))
GROCERY = yaml.safe_load((Path(__file__).parents[3] / "configs" / "dataset" / "grocery84.yaml").read_text())
SPLITS = {"train": ["ape", "bee"], "val": ["cat"], "test": ["dog", "elk"]}


def picture(seed: int, height: int = 20, width: int = 20) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8))


def as_bytes(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    data = io.BytesIO()
    image.save(data, kind, **options)
    return data.getvalue()


def by_split(folder: Path, names: dict[str, str] | None = None) -> Path:
    names = names or {"train": "train", "val": "val", "test": "test"}
    for split, home in names.items():
        for name in SPLITS[split]:
            place = folder / home / name
            place.mkdir(parents=True)
            for i in range(3):
                (place / f"{i}.png").write_bytes(as_bytes(picture(10 * ord(name[0]) + i)))
    return folder


def by_class(folder: Path, splits: dict | None = SPLITS) -> Path:
    by_split(folder)
    for split in SPLITS:
        for place in (folder / split).iterdir():
            place.rename(folder / place.name)
        (folder / split).rmdir()
    if splits is not None:
        (folder / "splits.json").write_text(json.dumps(splits))
    return folder


def zip_of(folder: Path, target: Path, prefix: str = "") -> Path:
    with zipfile.ZipFile(target, "w") as archive:
        for file in sorted(folder.rglob("*")):
            archive.write(file, prefix + str(file.relative_to(folder)))
    return target


def rows(source: Folder) -> list[tuple[str, str, str]]:
    return [(item.split, item.class_name, item.file_id.rpartition("/")[2]) for item in source.scan()]


WANT = [(split, name, f"{i}.png") for split, names in SPLITS.items() for name in names for i in range(3)]


def test_every_layout_is_the_same_dataset(tmp_path: Path) -> None:
    split, classes = by_split(tmp_path / "split"), by_class(tmp_path / "class")
    alias = by_split(tmp_path / "alias", {"train": "train", "val": "validation", "test": "test"})
    wrapped = by_split(tmp_path / "wrapped" / "my-data")
    lone = tmp_path / "lone"
    lone.mkdir()
    zip_of(split, lone / "images.zip", "anything/")
    beside = tmp_path / "beside"
    beside.mkdir()
    zip_of(by_class(tmp_path / "plain", None), beside / "images.zip")
    (beside / "splits.json").write_text(json.dumps(SPLITS))
    inner = zip_of(classes, tmp_path / "inner.zip")
    places = [split, classes, alias, wrapped.parent, lone, beside, beside / "images.zip", inner]
    for place in places:
        assert rows(Folder(str(place))) == WANT, place
        assert rows(Folder(data_dir=str(place))) == WANT
    pixels = [np.stack(list(source.read(source.scan()))) for source in map(Folder, map(str, places))]
    assert all(np.array_equal(pixels[0], other) for other in pixels)
    assert pixels[0].shape == (15, 3, 84, 84)


def test_paths_are_found_below_and_beside_data_dir(tmp_path: Path) -> None:
    by_class(tmp_path / "mine" / "images", None)
    (tmp_path / "mine" / "s.json").write_text(json.dumps(SPLITS))
    for data_dir in (tmp_path, tmp_path / "mine"):
        assert rows(Folder("mine/images", str(data_dir), splits="mine/s.json")) == WANT


def test_a_missing_val_split_is_empty_and_unnamed_classes_are_left_out(tmp_path: Path) -> None:
    source = Folder(str(by_class(tmp_path / "in", {"train": ["ape", "bee"], "test": ["dog"]})), size=8)
    dataset = load(source, tmp_path / "cache")
    assert {name: split.class_names for name, split in dataset.splits.items()} == {
        "train": ("ape", "bee"),
        "val": (),
        "test": ("dog",),
    }


def test_a_changed_file_makes_another_prepared_copy(tmp_path: Path) -> None:
    folder = by_split(tmp_path / "in")
    first = load(Folder(str(folder), size=8), tmp_path / "cache")
    (folder / "test" / "dog" / "0.png").write_bytes(as_bytes(picture(12345)))
    second = load(Folder(str(folder), size=8), tmp_path / "cache")
    assert first.content_hash != second.content_hash


# -------------------------------------------------------------------------------------------- pixels


def one(folder: Path, data: bytes, name: str = "0.png", **options: object) -> np.ndarray:
    """The pixels of one image, first of class ape."""
    by_split(folder)
    (folder / "train" / "ape" / "0.png").unlink()
    (folder / "train" / "ape" / name).write_bytes(data)
    source = Folder(str(folder), **options)  # type: ignore[arg-type]
    return next(source.read(source.scan()))


def test_the_central_square_is_kept(tmp_path: Path) -> None:
    image = picture(1, 20, 33)
    got = one(tmp_path / "a", as_bytes(image), size=20)
    assert np.array_equal(got, np.asarray(image)[:, 6:26].transpose(2, 0, 1))
    whole = one(tmp_path / "b", as_bytes(image), size=20, crop="none", resize="box")
    assert np.array_equal(whole, np.asarray(image.resize((20, 20), Image.Resampling.BOX)).transpose(2, 0, 1))


def test_grey_and_invert(tmp_path: Path) -> None:
    image = picture(2)
    grey = one(tmp_path / "a", as_bytes(image), size=20, channels=1)
    assert np.array_equal(grey[0], np.asarray(image.convert("L")))
    inverted = one(tmp_path / "b", as_bytes(image), size=20, channels=1, invert=True)
    assert np.array_equal(inverted, 255 - grey)


def test_exif_orientation_is_honoured(tmp_path: Path) -> None:
    image = picture(3)
    exif = Image.Exif()
    exif[0x0112] = 6  # stored lying on its left side
    got = one(tmp_path / "a", as_bytes(image, exif=exif), size=20)
    assert np.array_equal(got, np.asarray(image.rotate(-90)).transpose(2, 0, 1))


def test_other_kinds_of_png_and_jpeg(tmp_path: Path) -> None:
    image = picture(4)
    base = np.asarray(image).transpose(2, 0, 1)
    jpeg = one(tmp_path / "jpeg", as_bytes(image, "JPEG", quality=100, subsampling=0), "0.JPG", size=20)
    assert np.abs(jpeg.astype(int) - base).mean() < 3
    deep = Image.fromarray((np.asarray(image.convert("L")).astype(np.uint16) << 8) + 77)
    grey = np.broadcast_to(np.asarray(image.convert("L")), (3, 20, 20))
    assert np.array_equal(one(tmp_path / "16bit", as_bytes(deep), size=20), grey)
    clear = image.convert("RGBA")
    clear.putalpha(0)
    assert (one(tmp_path / "alpha", as_bytes(clear), size=20) == 255).all()
    bits = one(tmp_path / "bits", as_bytes(Image.new("1", (20, 20), 1)), size=20, channels=1)
    assert (bits == 255).all()
    palette = one(tmp_path / "palette", as_bytes(Image.new("P", (20, 20), 0)), size=20)
    assert (palette == palette[0, 0, 0]).all()


# -------------------------------------------------------------------------------------------- mistakes


def broken(folder: Path, how: str) -> Folder:
    options: dict[str, object] = {"size": 8}
    if how == "nothing there":
        return Folder(str(folder / "none"))
    if how == "no path":
        return Folder()
    if how == "empty":
        folder.mkdir()
    elif how == "flat":
        folder.mkdir()
        (folder / "0.png").write_bytes(as_bytes(picture(0)))
    elif how == "no splits":
        by_class(folder, None)
    elif how == "no test":
        by_split(folder, {"train": "train", "val": "val"})
    elif how == "no train":
        by_class(folder, {"test": ["ape"]})
    elif how == "two vals":
        by_split(folder, {"train": "train", "val": "val", "test": "valid"})
    elif how in (
        "empty class",
        "stray file",
        "truncated",
        "not an image",
        "gif in disguise",
        "class twice",
        "bomb",
    ):
        by_split(folder)
        place = folder / "train" / "ape"
        if how == "empty class":
            (folder / "train" / "void").mkdir()
        elif how == "stray file":
            (place / "notes.txt").write_text("")
        elif how == "truncated":
            (place / "1.png").write_bytes((place / "1.png").read_bytes()[:100])
        elif how == "not an image":
            (place / "1.png").write_text("hello")
        elif how == "gif in disguise":
            (place / "1.png").write_bytes(as_bytes(picture(0), "GIF"))
        elif how == "bomb":
            (place / "1.png").write_bytes(as_bytes(Image.new("1", (9000, 9000))))
        else:
            (folder / "test" / "ape").mkdir()
            (folder / "test" / "ape" / "0.png").write_bytes(as_bytes(picture(0)))
    else:
        splits = {
            "class in two splits": {"train": ["ape", "bee"], "test": ["ape"]},
            "unknown class": {"train": ["aep"], "test": ["dog"]},
            "unknown split": {"train": ["ape"], "exam": ["dog"]},
            "wrong form": {"train": "ape", "test": ["dog"]},
            "a list": ["ape"],
        }
        by_class(folder, splits.get(how))  # type: ignore[arg-type]
        if how == "no json":
            (folder / "splits.json").write_text("{")
    return Folder(str(folder), **options)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("nothing there", "the images of dataset 'folder' are not at .*none"),
        ("no path", "needs images; say where they are with --data-dir DIR"),
        ("empty", "holds no class folders; expected train/<class>/<image>.png"),
        ("flat", "holds no class folders"),
        ("no splits", "does not say which classes are for training and testing"),
        ("no test", "has no test split"),
        ("no train", r"splits\.json has no train split"),
        ("two vals", r"two folders for one split \(.*\)"),
        ("empty class", "class folder .*train/void holds no PNG or JPEG images"),
        ("stray file", r"train/ape/notes\.txt is neither PNG nor JPEG"),
        ("truncated", r"train/ape/1\.png is damaged or not an image"),
        ("not an image", r"train/ape/1\.png is damaged or not an image \(not recognised as PNG or JPEG\)"),
        ("gif in disguise", r"train/ape/1\.png is damaged or not an image"),
        ("bomb", r"train/ape/1\.png has 9000 x 9000 pixels, more than the limit"),
        ("class twice", "class 'ape' is in the splits test and train"),
        ("class in two splits", "names class 'ape' twice"),
        ("unknown class", r"names a class 'aep' that .* does not hold\. Did you mean 'ape'"),
        ("unknown split", "names a split 'exam'; the splits are train, val and test"),
        ("wrong form", "must be of the form"),
        ("a list", "must be of the form"),
        ("no json", r"splits\.json is not valid JSON .*mend it, or get it again"),
    ],
)
def test_mistakes_are_one_sentence_and_leave_nothing(tmp_path: Path, how: str, message: str) -> None:
    source = broken(tmp_path / "in", how)
    with pytest.raises(BenchError, match=message) as caught:
        load(source, tmp_path / "cache")
    assert "\n" not in str(caught.value)
    left = (tmp_path / "cache").iterdir() if (tmp_path / "cache").exists() else []
    assert [path for path in left if path.is_dir()] == []


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"size": 4}, "size must be from 8 to 512"),
        ({"channels": 2}, "channels must be 1 or 3"),
        ({"crop": "centre"}, "crop must be one of center, none"),
        ({"resize": "area"}, "resize must be one of"),
    ],
)
def test_settings_out_of_range(setting: dict, message: str) -> None:
    with pytest.raises(BenchError, match=message):
        Folder(**setting)


@settings(suppress_health_check=[HealthCheck.too_slow], max_examples=150)
@given(st.data())
def test_a_corrupt_file_is_an_image_or_a_bench_error(data: st.DataObject) -> None:
    whole = bytearray(as_bytes(picture(5), data.draw(st.sampled_from(["PNG", "JPEG"]))))
    for _ in range(data.draw(st.integers(1, 5))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(whole)))
    try:
        pixels = decode(bytes(whole[:cut]), 3, "x.png")
    except BenchError:
        return
    assert pixels.dtype == np.uint8


# --------------------------------------------------------------------------------------- real photographs


@pytest.mark.grocery
@pytest.mark.skipif(not (REAL / "grocery84").is_dir(), reason="needs $BENCH_DATA/grocery84")
@pytest.mark.parametrize("inside", ["", "grocery84"])
def test_grocery84(tmp_path: Path, inside: str) -> None:
    preset = {key: value for key, value in GROCERY.items() if key not in ("_target_", "card", "recommend")}
    dataset = load(Folder(**{**preset, "data_dir": str(REAL / inside)}), tmp_path)
    counts = {name: (len(split.class_names), len(split)) for name, split in dataset.splits.items()}
    assert counts == {"train": (51, 3177), "val": (13, 835), "test": (17, 1409)}
    assert dataset.name == "grocery84"
    split = dataset.splits["val"]
    with zipfile.ZipFile(REAL / "grocery84" / "grocery84.zip") as archive:
        want = np.asarray(Image.open(io.BytesIO(archive.read(split.image_ids[3]))))
    assert np.array_equal(split.pixels[3], want.transpose(2, 0, 1))
    mean = np.concatenate([s.pixels for s in dataset.splits.values()]).mean(axis=(0, 2, 3))
    assert mean == pytest.approx([134.8, 101.3, 66.0], abs=0.1)
