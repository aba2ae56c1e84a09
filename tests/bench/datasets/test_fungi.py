"""FGVCx Fungi from its two halves and Meta-Dataset's split, and every way in which they do not fit together."""

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from miniatures_fungi import IMAGES, SPLIT, fungi, label_of, name_of
from PIL import Image

from bench.basics.errors import BenchError
from bench.contracts import TaskSpec
from bench.datasets import fungi as module
from bench.datasets.fungi import Fungi
from bench.datasets.prepare import load
from bench.tasks.manifest import draw


def partial(folder: Path, **settings: Any) -> Fungi:
    return Fungi(str(folder), allow_partial=True, **settings)


def message_of(source: Fungi) -> str:
    with pytest.raises(BenchError) as caught:
        if faults := [str(one) for one in source.read(source.scan()) if isinstance(one, BenchError)]:
            raise BenchError("; ".join(faults))
    assert "\n" not in str(caught.value)
    return str(caught.value)


def edit(file: Path, change: Callable[[Any], Any]) -> None:
    value = json.loads(file.read_text())
    change(value)
    file.write_text(json.dumps(value))


def test_both_halves_are_merged_and_repeated_names_are_different_classes(tmp_path: Path) -> None:
    place = fungi(tmp_path / "data" / "fungi")
    dataset = load(partial(place.parent), tmp_path / "cache")
    for key, split in (("train", "train"), ("valid", "val"), ("test", "test")):
        got = dataset.splits[split]
        counts = Counter(got.class_names[c] for c in got.class_ids)
        assert counts == {label_of(category): IMAGES[category] for category in SPLIT[key]}
        assert list(got.class_names) == sorted(label_of(category) for category in SPLIT[key])
        assert any("_val/" in name for name in got.image_ids)
        assert any("_train/" in name for name in got.image_ids)
    assert name_of(2) == name_of(3)
    assert dataset.image_shape == (3, 84, 84)


def test_pixels_by_another_road(tmp_path: Path) -> None:
    source = partial(fungi(tmp_path, most=4), size=40, resize="antialias")
    items = source.scan()
    for item, got in zip(items, source.read(items), strict=True):
        image = Image.open(tmp_path / item.file_id).resize((40, 40), Image.Resampling.BILINEAR)
        assert np.array_equal(got, np.asarray(image).transpose(2, 0, 1))


def test_a_task_takes_only_classes_with_enough_images(tmp_path: Path) -> None:
    dataset = load(partial(fungi(tmp_path / "fungi")), tmp_path / "cache")
    taken = {}
    for shot in (1, 2, 3):
        manifest = draw(dataset, "test", TaskSpec(2, shot, 15), 50, 0)
        taken[shot] = {str(name) for name in manifest.class_names.ravel()}
        enough = {label_of(one) for one in SPLIT["test"] if IMAGES[one] >= shot + 15}
        assert taken[shot] == enough
    assert len(taken[1]) == 6
    assert len(taken[2]) == 3
    with pytest.raises(BenchError, match="with at least 20 images each, but fungi/test has 1 of them"):
        draw(dataset, "test", TaskSpec(5, 5, 15), 50, 0)


def test_the_split_is_the_users_file_wherever_it_lies(tmp_path: Path) -> None:
    place = fungi(tmp_path / "fungi", most=2)
    want = partial(place).scan()
    file = place / "fungi_splits.json"
    file.rename(tmp_path / "mine.json")
    for name in (str(tmp_path / "mine.json"), "../mine.json"):
        assert partial(place, splits=name).scan() == want
    assert partial(tmp_path, splits="mine.json").scan() == want
    assert "there is no split file" in message_of(partial(place, splits="none.json"))


def test_without_a_file_the_split_is_that_of_meta_dataset(tmp_path: Path) -> None:
    split_of = module.meta_dataset_split(1394)
    ids = {split: sorted(one for one, of in split_of.items() if of == split) for split in ("train", "val", "test")}
    assert {split: len(of) for split, of in ids.items()} == module.CLASSES
    # Written down from the published file, meta_dataset/dataset_conversion/splits/fungi_splits.json.
    assert {226, 283, 256, 334, 919, 267, 1378, 1258, 1025, 144} <= {*ids["train"]}
    assert ids["val"][:12] == [0, 4, 6, 15, 22, 28, 32, 36, 45, 58, 61, 64]
    assert ids["val"][-6:] == [1341, 1350, 1354, 1363, 1375, 1379]
    assert ids["test"][:12] == [8, 9, 19, 38, 44, 53, 55, 62, 63, 69, 70, 78]
    assert ids["test"][-5:] == [1366, 1373, 1376, 1382, 1388]
    place = fungi(tmp_path, most=2)
    (place / "fungi_splits.json").unlink()
    assert {item.split for item in partial(place).scan()} == {"train", "val", "test"}


def test_what_is_read_decides_the_settings(tmp_path: Path) -> None:
    source = partial(fungi(tmp_path, most=2))
    before = source.settings()
    edit(tmp_path / "fungi_splits.json", lambda value: value["valid"].append(value["train"].pop()))
    assert source.settings() != before


def test_missing_photographs_are_named_all_at_once(tmp_path: Path) -> None:
    source = partial(fungi(tmp_path, most=2))
    gone = [item.file_id for item in source.scan()][::9]
    for name in gone:
        (tmp_path / name).unlink()
    said = message_of(source)
    assert f"lacks {len(gone)} of the 27 images" in said
    assert all(name.removeprefix("images/") in said for name in gone)


def test_truncated_photographs_are_named_all_at_once(tmp_path: Path) -> None:
    source = partial(fungi(tmp_path, most=2))
    broken = [tmp_path / item.file_id for item in source.scan()][::9]
    for file in broken:
        file.write_bytes(file.read_bytes()[:-700])
    said = message_of(source)
    assert all(f"{file} is damaged or not an image" in said for file in broken)
    with pytest.raises(BenchError, match="is damaged or not an image"):
        load(source, tmp_path / "cache")
    assert [path for path in (tmp_path / "cache").iterdir() if path.is_dir()] == []


def test_a_decompression_bomb_is_not_decoded(tmp_path: Path) -> None:
    source = partial(fungi(tmp_path, most=1))
    file = tmp_path / source.scan()[0].file_id
    Image.new("L", (9000, 9000)).save(file, "JPEG")
    assert "has 9000 x 9000 pixels, more than the limit" in message_of(source)


def test_the_official_numbers_are_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = fungi(tmp_path, most=2)
    said = message_of(Fungi(str(place)))
    for part in ("train has 6 classes, not 994", "val has 1 classes, not 200", "dataset.allow_partial=true"):
        assert part in said
    assert "train.json lists 27 images, not 85578; val.json lists 0 images, not 4182; " in said
    monkeypatch.setattr(module, "CLASSES", {"train": 6, "val": 1, "test": 7})
    monkeypatch.setattr(module, "IMAGES", {"train.json": 27, "val.json": 0})
    assert len(Fungi(str(place)).scan()) == 27
    for half in ("train", "val"):
        edit(place / f"{half}.json", lambda value: value["categories"].append({"id": 14, "name": "Boletus"}))
    assert "0014.Boletus is in no split" in message_of(Fungi(str(place)))
    assert len(partial(place).scan()) == 27
    splits = place / "fungi_splits.json"
    edit(splits, lambda value: value["test"].append("0014.Boletus"))
    assert "test has 8 classes, not 7; 0014.Boletus has no images" in message_of(Fungi(str(place)))


def test_the_real_numbers() -> None:
    assert module.CLASSES == {"train": 994, "val": 200, "test": 200}
    assert sum(module.IMAGES.values()) == 89_760


ANNOTATIONS = {
    "no list": (lambda v: v.pop("images"), "must hold a list 'images'"),
    "no names": (
        lambda v: v["images"][1].pop("file_name"),
        r"entry 1 of 'images' in .* must have id \(int\) and file_",
    ),
    "text for an id": (lambda v: v["categories"][0].update(id="0"), "entry 0 of 'categories'"),
    "truth for an id": (lambda v: v["categories"][0].update(id=True), "entry 0 of 'categories'"),
    "no mapping": (lambda v: v["annotations"].insert(0, 3), "entry 0 of 'annotations'"),
    "other names": (lambda v: v["categories"][3].update(name="Boletus"), "calls category 3 'Agaricus b"),
    "unknown category": (lambda v: v["annotations"][0].update(category_id=99), "into an unknown category 99"),
    "unknown image": (lambda v: v["images"].pop(0), "annotate images that they do not list: 1"),
    "no annotation": (lambda v: v["annotations"].pop(0), "give no category to the images 1"),
    "annotated twice": (lambda v: v["annotations"].append(v["annotations"][0]), "annotates image 1 a second time"),
    "listed twice": (lambda v: v["images"].append(v["images"][0]), "has an image of the id 1, as"),
    "one file twice": (lambda v: v["images"][0].update(file_name=v["images"][1]["file_name"]), "list files more than"),
    "outside": (lambda v: v["images"][0].update(file_name="images/../../x.jpg"), r"lacks 1 of .*: \.\./\.\./x\.jpg"),
    "absolute": (lambda v: v["images"][0].update(file_name="/etc/passwd"), "lacks 1 of .*: /etc/passwd"),
}


@pytest.mark.parametrize("case", ANNOTATIONS)
def test_annotations_that_are_wrong(tmp_path: Path, case: str) -> None:
    change, message = ANNOTATIONS[case]
    edit(fungi(tmp_path, most=1) / "train.json", change)
    with pytest.raises(BenchError, match=message):
        partial(tmp_path).scan()


SPLITS = {
    "a list": (lambda v: [v], "must be of Meta-Dataset's form"),
    "val for valid": (lambda v: {**v, "val": []}, "must be of Meta-Dataset's form"),
    "no id": (lambda v: {**v, "valid": ["Agaricus a"]}, "has an entry 'Agaricus a' under 'valid'"),
    "a number": (lambda v: {**v, "valid": [1]}, "has an entry 1 under 'valid'"),
    "text": (lambda v: {**v, "valid": "0001"}, "has an entry '0001' under 'valid'"),
    "twice": (lambda v: {**v, "valid": v["test"][:1]}, "names category 12 twice"),
    "another name": (lambda v: {**v, "valid": ["0001.Boletus"]}, "calls category 1 'Boletus', but the annotations"),
}


@pytest.mark.parametrize("case", SPLITS)
def test_splits_that_are_wrong(tmp_path: Path, case: str) -> None:
    change, message = SPLITS[case]
    file = fungi(tmp_path, most=1) / "fungi_splits.json"
    file.write_text(json.dumps(change(json.loads(file.read_text()))))
    with pytest.raises(BenchError, match=message):
        partial(tmp_path).scan()


@pytest.mark.parametrize("text", ["", "{", "[" * 100_000, "\udcff"])
def test_json_that_is_damaged(tmp_path: Path, text: str) -> None:
    (fungi(tmp_path, most=1) / "train.json").write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(BenchError, match=r"train\.json is not (valid JSON|what it should be|in UTF-8)"):
        partial(tmp_path).settings()


def test_nothing_there(tmp_path: Path) -> None:
    assert "--data-dir DIR" in message_of(Fungi())
    assert "holds no FGVCx Fungi; expected train.json and val.json" in message_of(Fungi(str(tmp_path)))


def test_settings_that_are_wrong() -> None:
    with pytest.raises(BenchError, match="size must be from 8 to 512"):
        Fungi(size=4)
    with pytest.raises(BenchError, match="resize must be one of"):
        Fungi(resize="bax")
