"""A user's own images: another file is never read for the one that was named, and no image is left out unsaid."""

import json
import os
import zipfile
from pathlib import Path

import pytest
from test_folder import SPLITS, WANT, as_bytes, by_class, by_split, picture, rows, zip_of

from bench.basics.errors import BenchError
from bench.datasets.folder import Folder
from bench.datasets.fungi import Fungi


def fault(source: Folder) -> str:
    with pytest.raises(BenchError) as caught:
        source.scan()
    message = str(caught.value)
    assert "\n" not in message
    message.encode()
    return message


@pytest.mark.parametrize("path", ["/mnt/gone/photos", "v2/photos", "../photos", "photos/photos"])
def test_a_path_that_is_not_there_is_never_another(tmp_path: Path, path: str) -> None:
    by_split(tmp_path / "D" / "photos")
    assert f"are not at {tmp_path / 'D' / path}" in fault(Folder(path, str(tmp_path / "D")))


def test_splits_that_are_not_there_are_never_others(tmp_path: Path) -> None:
    by_class(tmp_path / "D", SPLITS)
    for splits in ("fold2/splits.json", "/gone/splits.json"):
        assert "the splits of dataset 'folder' are not at" in fault(Folder(None, str(tmp_path / "D"), splits=splits))
    (tmp_path / "D" / "fold2.json").write_text(json.dumps({"train": ["ape"], "test": ["bee"]}))
    found = Folder(None, str(tmp_path / "D"), splits="fold2.json").scan()
    assert {item.class_name for item in found} == {"ape", "bee"}


def test_a_split_file_of_fungi_in_two_places_is_asked_for(tmp_path: Path) -> None:
    root = tmp_path / "fungi"
    (root / "images").mkdir(parents=True)
    for file in (root / "train.json", root / "val.json"):
        file.write_text("{}")
    for file in (root / "s.json", tmp_path / "s.json"):
        file.write_text("{}")
    with pytest.raises(BenchError, match=r"there are both .*s\.json and .*s\.json; give dataset\.splits a whole path"):
        Fungi(str(tmp_path), splits="s.json").settings()


@pytest.mark.parametrize("loose", ["train/ape/more/9.png", "train/loose.png", "loose.png", "train/ape/more/b/9.JPG"])
@pytest.mark.parametrize("zipped", [False, True])
def test_an_image_outside_the_class_folders_is_refused(tmp_path: Path, loose: str, zipped: bool) -> None:
    folder = by_split(tmp_path / "in")
    (folder / loose).parent.mkdir(parents=True, exist_ok=True)
    (folder / loose).write_bytes(as_bytes(picture(1)))
    (folder / "README.txt").write_text("beside the splits")
    place = zip_of(folder, tmp_path / "in.zip") if zipped else folder
    message = fault(Folder(str(place)))
    assert f"an image that is not directly in a class folder: {loose}" in message


def test_an_image_in_a_folder_too_deep_or_a_pipe_is_refused(tmp_path: Path) -> None:
    folder = by_split(tmp_path / "in")
    deep = folder / "train/ape/3/4/5/6"
    deep.mkdir(parents=True)
    assert rows(Folder(str(folder))) == WANT  # an empty folder holds nothing to leave out
    (deep / "9.png").write_bytes(b"x")
    assert "lies deeper than 6 folders" in fault(Folder(str(folder)))
    (deep / "9.png").unlink()
    os.mkfifo(folder / "train" / "ape" / "9.png")
    assert "9.png is no file but a pipe" in fault(Folder(str(folder)))


def test_a_name_that_is_not_utf8_is_shown_escaped(tmp_path: Path) -> None:
    folder = by_split(tmp_path / "in")
    (folder / "train" / "ape" / "0.png").rename(os.fsdecode(os.fsencode(folder / "train" / "ape") + b"/caf\xe9.png"))
    assert r"train/ape/caf\xe9.png is not UTF-8" in fault(Folder(str(folder)))
    strange = os.fsdecode(os.fsencode(tmp_path) + b"/\xff")
    by_split(Path(strange))
    assert r"/\xff is not UTF-8" in fault(Folder(strange))
    assert "named" not in fault(Folder(None, strange))


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (json.dumps(SPLITS).encode("utf-16"), "is in UTF-16 or UTF-32; save it as UTF-8"),
        (json.dumps(SPLITS).encode("utf-16-le"), "is in UTF-16 or UTF-32; save it as UTF-8"),
        ('{"train": ["café"]}'.encode("latin-1"), "is not in UTF-8"),
        (b'{"train": ["ape"],\n "test": ["bee",\n]}', "a comma after the last entry, in line 2"),
        (b'{"train": ["ape"], "test": ["bee"],}', "a comma after the last entry, in line 1"),
        (b'{"train": ["ape"], "test": [NaN]}', "NaN is no number of JSON"),
        (b'{"train": ["ape"], "train": ["bee"], "test": ["cat"]}', "'train' is there twice"),
        (b"[" * 200_000, "nested too deeply"),
        (b"", "Expecting value"),
    ],
)
@pytest.mark.parametrize("zipped", [False, True])
def test_a_splits_file_is_the_users_own(tmp_path: Path, data: bytes, reason: str, zipped: bool) -> None:
    folder = by_class(tmp_path / "in", None)
    (folder / "splits.json").write_bytes(data)
    place = zip_of(folder, tmp_path / "in.zip") if zipped else folder
    message = fault(Folder(str(place)))
    assert "splits.json" in message
    assert reason in message
    assert "damaged" not in message
    assert "delete" not in message


def test_a_splits_file_with_a_mark_is_read(tmp_path: Path) -> None:
    folder = by_class(tmp_path / "in", None)
    (folder / "splits.json").write_bytes(json.dumps(SPLITS).encode("utf-8-sig"))
    assert rows(Folder(str(folder))) == WANT
    assert rows(Folder(str(zip_of(folder, tmp_path / "in.zip")))) == WANT


def test_a_class_in_another_form_of_unicode_is_told_apart(tmp_path: Path) -> None:
    folder = by_class(tmp_path / "in", {"train": ["cafe\u0301"], "test": ["bee"]})
    (folder / "ape").rename(folder / "caf\u00e9")
    assert r"It holds 'caf\xe9', the same letters in another form of Unicode" in fault(Folder(str(folder)))


def test_a_folder_that_is_no_split_is_named(tmp_path: Path) -> None:
    folder = by_split(tmp_path / "in")
    (folder / "val").rename(folder / "vall")
    assert "beside them 'vall', which is none. Did you mean 'val'?" in fault(Folder(str(folder)))


# ------------------------------------------------------------------------------------------- zip files


def test_splits_at_the_top_of_a_zip_whose_classes_lie_deeper(tmp_path: Path) -> None:
    by_class(tmp_path / "in" / "photos", None)
    (tmp_path / "in" / "splits.json").write_text(json.dumps(SPLITS))
    for place in (tmp_path / "in", zip_of(tmp_path / "in", tmp_path / "in.zip")):
        assert rows(Folder(str(place))) == WANT
    (tmp_path / "in" / "photos" / "splits.json").write_text(json.dumps({"train": ["ape"], "test": ["bee"]}))
    for place in (tmp_path / "in", zip_of(tmp_path / "in", tmp_path / "two.zip")):
        assert "differ; say with dataset.splits=FILE which one is meant" in fault(Folder(str(place)))


def test_a_zip_in_capitals_and_several_zips(tmp_path: Path) -> None:
    lone = tmp_path / "lone"
    lone.mkdir()
    zip_of(by_split(tmp_path / "in"), lone / "PHOTOS.ZIP")
    assert rows(Folder(str(lone))) == WANT
    zip_of(tmp_path / "in", lone / "b.zip")
    message = fault(Folder(None, str(lone)))
    assert "holds 2 zip files, PHOTOS.ZIP, b.zip; say which one is meant, as in dataset.path=PHOTOS.ZIP" in message
    assert rows(Folder("b.zip", str(lone))) == WANT
    (lone / "b.zip").unlink()
    (lone / "cover.png").write_bytes(b"x")
    assert "beside it cover.png, which would be left out" in fault(Folder(str(lone)))


def test_backslashes_stand_between_folders(tmp_path: Path) -> None:
    folder = by_split(tmp_path / "in")
    with zipfile.ZipFile(tmp_path / "windows.zip", "w") as archive:
        for file in sorted(folder.rglob("*.png")):
            archive.writestr(str(file.relative_to(folder)).replace("/", "\\"), file.read_bytes())
    source = Folder(str(tmp_path / "windows.zip"))
    assert rows(source) == WANT
    assert source.settings()["files"] == Folder(str(zip_of(folder, tmp_path / "u.zip"))).settings()["files"]
    assert next(iter(source.read(source.scan()))).shape == (3, 84, 84)
    with zipfile.ZipFile(tmp_path / "windows.zip", "a") as archive:
        archive.writestr("train/ape/0.png", b"x")
    assert "holds 'train/ape/0.png' twice" in fault(source)


def test_an_encrypted_zip_is_not_called_damaged(tmp_path: Path) -> None:
    path = zip_of(by_split(tmp_path / "in"), tmp_path / "in.zip")
    data = bytearray(path.read_bytes())
    for mark, flags in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        at = data.find(mark)
        while at >= 0:
            data[at + flags] |= 1
            at = data.find(mark, at + 4)
    path.write_bytes(data)
    source = Folder(str(path))
    assert "is encrypted; pack it again without a password" in str(next(iter(source.read(source.scan()))))
