"""CelebA in its official layout, whole and with everything that can be wrong with it."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from miniatures import ATTRIBUTES, celeba
from PIL import Image

from bench.basics.errors import BenchError
from bench.contracts import TaskSpec
from bench.datasets.celeba import BLOCKS, IDENTITIES, IMAGES, CelebA, CelebAAttributes
from bench.datasets.prepare import load
from bench.tasks.manifest import draw


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return celeba(tmp_path_factory.mktemp("raw"))


def partial(kind, folder: Path, **settings):
    return kind(data_dir=str(folder), allow_partial=True, **{"size": 16, **settings})


def test_classes_are_people_and_splits_are_the_official_ones(raw: Path, tmp_path: Path) -> None:
    dataset = load(partial(CelebA, raw.parent), tmp_path)  # the folder above `celeba` will do
    identity = dict(line.split() for line in (raw / "identity_CelebA.txt").read_text().splitlines())
    part = dict(line.split() for line in (raw / "list_eval_partition.txt").read_text().splitlines())
    for number, split in enumerate(dataset.splits.values()):
        assert sorted(split.image_ids) == sorted(file for file, one in part.items() if one == str(number))
        assert [int(split.class_names[c]) for c in split.class_ids] == [int(identity[f]) for f in split.image_ids]


def test_pixels_by_another_road(raw: Path) -> None:
    source = partial(CelebA, raw, size=40, resize="antialias", crop="progan")
    items = source.scan()[:20]
    for item, got in zip(items, source.read(items), strict=True):
        image = Image.open(raw / "img_align_celeba" / item.file_id)
        assert image.size == (178, 218)
        box = (round(178 * 0.25), round(218 * 0.25), round(178 * 0.75), round(218 * 0.8))
        plain = np.asarray(image.crop(box).resize((40, 40), Image.Resampling.BILINEAR)).transpose(2, 0, 1)
        assert np.array_equal(got, plain)


def test_people_of_too_few_photographs_are_left_out_of_tasks_by_shot(raw: Path, tmp_path: Path) -> None:
    dataset = load(partial(CelebA, raw), tmp_path)
    assert Counter(Counter(dataset.splits["test"].class_ids.tolist()).values()) == {3: 2, 20: 5}
    assert len(set(draw(dataset, "test", TaskSpec(5, 1, 2), 200, 0).class_names.ravel())) == 7
    assert len(set(draw(dataset, "test", TaskSpec(5, 5, 15), 200, 0).class_names.ravel())) == 5
    with pytest.raises(BenchError, match="5 classes with at least 21 images each, but celeba/test has 0"):
        draw(dataset, "test", TaskSpec(5, 6, 15), 1, 0)


def test_windows_line_ends_and_a_zip_file_change_nothing(raw: Path, tmp_path: Path) -> None:
    other = celeba(tmp_path / "other", windows=True, zipped=True)
    for kind in (CelebA, CelebAAttributes):
        one, two = load(partial(kind, raw), tmp_path / "a"), load(partial(kind, other), tmp_path / "b")
        assert one.content_hash == two.content_hash
    hashes = {load(partial(CelebA, other, crop=c), tmp_path / "b").content_hash for c in ("none", "progan", "center")}
    assert len(hashes) == 3


def test_attributes_are_what_the_list_says_and_only_those_of_the_split(raw: Path, tmp_path: Path) -> None:
    dataset = load(partial(CelebAAttributes, raw), tmp_path)
    lines = (raw / "list_attr_celeba.txt").read_text().splitlines()[2:]
    held = {line.split()[0]: np.array([int(word) == 1 for word in line.split()[1:]]) for line in lines}
    assert list(BLOCKS.values()) == [slice(0, 20), slice(20, 30), slice(30, 40)]
    for name, split in dataset.splits.items():
        assert split.attributes.names == ATTRIBUTES[BLOCKS[name]]
        assert np.array_equal(split.attributes.values, np.stack([held[f][BLOCKS[name]] for f in split.image_ids]))
        assert split.labelled().attributes is split.attributes
    assert not hasattr(dataset.splits["train"].unlabelled(), "attributes")


@pytest.mark.parametrize("kind", [CelebA, CelebAAttributes])
def test_missing_and_truncated_photographs_are_named_all_at_once(tmp_path: Path, kind) -> None:
    home = celeba(tmp_path, missing=(7, 300), truncated=(12, 350))
    with pytest.raises(BenchError) as caught:
        load(partial(kind, home), tmp_path / "cache")
    said = str(caught.value)
    assert said.startswith("2 of 376 images of dataset")
    for number in (12, 350):
        assert f"{home}/img_align_celeba/{number:06d}.jpg is damaged or not an image" in said
    assert [path for path in (tmp_path / "cache").iterdir() if path.is_dir()] == []


def test_without_leave_missing_photographs_are_refused_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = celeba(tmp_path, missing=(7, 300))
    parts = Counter(line.split()[1] for line in (home / "list_eval_partition.txt").read_text().splitlines())
    for split, part in (("train", "0"), ("val", "1"), ("test", "2")):
        monkeypatch.setitem(IMAGES, split, parts[part])
    with pytest.raises(BenchError, match=r"lacks 2 of the 378 images that .*: 000007\.jpg, 000300\.jpg; get them"):
        CelebA(data_dir=str(home), size=16).scan()


def test_the_official_counts_are_checked(raw: Path, tmp_path: Path) -> None:
    assert sum(IMAGES.values()) == 202_599
    assert IDENTITIES == 10_177
    for kind in (CelebA, CelebAAttributes):
        with pytest.raises(BenchError, match=r"there are 166 train images in .*list_eval_partition\.txt, not 162770"):
            load(kind(data_dir=str(raw), size=16), tmp_path)


def test_nobody_is_in_two_splits(tmp_path: Path) -> None:
    with pytest.raises(BenchError, match=r"identity .* has images in the splits train and test"):
        load(partial(CelebA, celeba(tmp_path, shared_identity=True)), tmp_path / "cache")


def test_what_the_folder_lacks_is_named(tmp_path: Path) -> None:
    with pytest.raises(BenchError, match="--data-dir DIR"):
        CelebA().scan()
    with pytest.raises(
        BenchError, match=r"lacks img_align_celeba/ or img_align_celeba\.zip, list_eval_partition\.txt, identity_CelebA"
    ):
        partial(CelebA, tmp_path).scan()
    home = celeba(tmp_path)
    (home / "list_attr_celeba.txt").unlink()
    with pytest.raises(BenchError, match=r"celeba lacks list_attr_celeba\.txt"):
        partial(CelebAAttributes, tmp_path).scan()
    assert partial(CelebA, tmp_path).scan()


@pytest.mark.parametrize(
    ("file", "old", "new", "message"),
    [
        ("list_eval_partition.txt", "000003.jpg 0", "000003.jpg 3", "line 3 of .* says '3'; 0 is train"),
        ("list_eval_partition.txt", "000003.jpg 0", "000003.jpg", "line 3 of .* has 1 columns, not 2"),
        ("list_eval_partition.txt", "000003.jpg 0", "../003.jpg 0", "no path inside the folder of the images"),
        ("list_eval_partition.txt", "000003.jpg 0", "/etc/passwd 0", "no path inside the folder of the images"),
        ("list_eval_partition.txt", "000003.jpg 0", "000002.jpg 0", "line 3 of .* names 000002.jpg a second time"),
        ("identity_CelebA.txt", "000003.jpg", "999999.jpg", "says nothing of 1 images .* 000003.jpg"),
        ("list_attr_celeba.txt", "Young", "Male", "the names of 40 attributes"),
        ("list_attr_celeba.txt", "378\n", "379\n", "has 378 images, not 379"),
        ("list_attr_celeba.txt", "000003.jpg ", "000003.jpg 0 ", "line 5 of .* must be an image and 40 times 1 or -1"),
    ],
)
def test_a_damaged_list_is_named_with_its_line(tmp_path: Path, file: str, old: str, new: str, message: str) -> None:
    home = celeba(tmp_path)
    text = (home / file).read_text()
    assert old in text
    (home / file).write_text(text.replace(old, new, 1))
    with pytest.raises(BenchError, match=message):
        partial(CelebAAttributes if file.startswith("list_attr") else CelebA, home).scan()


@pytest.mark.parametrize(
    ("setting", "message"), [({"size": 4}, "size must be"), ({"crop": "progen"}, "Did you mean 'progan'")]
)
def test_settings_are_checked(setting: dict, message: str) -> None:
    with pytest.raises(BenchError, match=message):
        CelebA(**setting)
