"""Folders that torchmeta prepared: what is read, and what is refused. torchmeta's own reading is compared elsewhere."""

import json

import numpy as np
import prepared_folders
import pytest

from bench.basics.errors import BenchError
from bench.datasets.prepare import load
from bench.datasets.torchmeta import TorchmetaFolder
from bench.datasets.torchmeta_folders import LAYOUTS, read_prepared

h5py = pytest.importorskip("h5py", reason="h5py is not installed; pip install -e '.[dev]'")


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    return prepared_folders.write_all(tmp_path_factory.mktemp("prepared"))


@pytest.fixture
def mini(tmp_path):
    """A folder of its own, to be damaged."""
    prepared_folders.write_per_split(tmp_path, "miniimagenet", None, np.random.default_rng(0))
    return tmp_path


@pytest.mark.parametrize("name", sorted(LAYOUTS))
def test_a_folder_is_a_dataset_with_torchmetas_classes_and_splits(prepared, name, tmp_path):
    source = TorchmetaFolder(data_dir=str(prepared), folder=name, size=16, channels=1 if "omni" in name else 3)
    dataset = load(source, tmp_path)
    for split, part in dataset.splits.items():
        if split not in LAYOUTS[name].splits:
            assert len(part) == 0
            continue
        theirs = read_prepared(prepared, name, split)
        assert part.class_names == tuple(sorted(theirs.classes))
        counts = dict(zip(theirs.classes, theirs.counts(), strict=True))
        assert np.bincount(part.class_ids).tolist() == [counts[one] for one in part.class_names]
        assert part.pixels.shape[1:] == (source.channels, 16, 16)


def test_pixels_of_the_right_size_are_left_alone(prepared, tmp_path):
    dataset = load(TorchmetaFolder(data_dir=str(prepared), folder="fc100", size=32), tmp_path)
    part, theirs = dataset.splits["val"], read_prepared(prepared, "fc100", "val")
    row = part.image_ids.index("coarse_val/val_3/000010")
    assert np.array_equal(part.pixels[row].transpose(1, 2, 0), theirs.images("coarse_val/val_3")[10])
    assert dataset.name == "torchmeta"


def test_links_out_of_the_file_are_not_followed(mini):
    secret = mini / "secret.hdf5"
    with h5py.File(secret, "w") as file:
        file.create_dataset("images", data=np.zeros((5, 84, 84, 3), dtype=np.uint8))
    (mini / "raw").write_bytes(bytes(5 * 84 * 84 * 3))
    path = mini / "miniimagenet" / "train_data.hdf5"
    with h5py.File(path, "a") as file:
        group = file["datasets"]
        for name in ("n0000", "n0001", "n0002", "n0003"):
            del group[name]
        group["n0000"] = h5py.ExternalLink(str(secret), "images")
        group["n0001"] = h5py.SoftLink("/datasets/n0004")
        group.create_dataset("n0002", (5, 84, 84, 3), np.uint8, external=[(str(mini / "raw"), 0, h5py.h5f.UNLIMITED)])
        layout = h5py.VirtualLayout((5, 84, 84, 3), np.uint8)
        layout[:] = h5py.VirtualSource(str(secret), "images", (5, 84, 84, 3))
        group.create_virtual_dataset("n0003", layout)
    part = read_prepared(mini, "miniimagenet", "train")
    for name, message in (("n0000", "is a link"), ("n0001", "is a link"), ("n0002", "no images of its own")):
        with pytest.raises(BenchError, match=message):
            part.images(name)
    with pytest.raises(BenchError, match="no images of its own"):
        part.images("n0003")
    assert len(part.images("n0004")) == prepared_folders.IMAGES


def replaced(root, name, make):
    with h5py.File(root / "miniimagenet" / "train_data.hdf5", "a") as file:
        del file["datasets"][name]
        make(file["datasets"])
    return read_prepared(root, "miniimagenet", "train")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda g: None, "has no images of class 'n0002'"),
        (lambda g: g.create_group("n0002"), "no images of its own"),
        (lambda g: g.create_dataset("n0002", data=np.zeros((2, 84, 84, 3))), r"not float64 \[2, 84, 84, 3\]"),
        (lambda g: g.create_dataset("n0002", data=np.zeros((2, 8), np.uint8)), r"not uint8 \[2, 8\]"),
    ],
)
def test_classes_without_images_are_named(mini, make, message):
    with pytest.raises(BenchError, match=message):
        replaced(mini, "n0002", make).counts()


def packed(group, content):
    dataset = group.create_dataset("n0002", (1,), dtype=h5py.special_dtype(vlen=np.uint8))
    dataset[0] = np.frombuffer(content, dtype=np.uint8)


def test_image_files_inside_are_checked(mini):
    part = replaced(mini, "n0002", lambda group: packed(group, b"not an image"))
    with pytest.raises(BenchError, match="n0002 is damaged or neither PNG nor JPEG"):
        part.images("n0002")


def test_what_is_missing_or_damaged_is_named(mini):
    folder = mini / "miniimagenet"
    with pytest.raises(BenchError, match=r"this split of .* has no class 'n0009'"):
        read_prepared(mini, "miniimagenet", "train").images("n0009")
    with pytest.raises(BenchError, match=r"unknown torchmeta folder 'miniimagnet'; .* Did you mean 'miniimagenet'"):
        read_prepared(mini, "miniimagnet", "train")
    with pytest.raises(BenchError, match="omniglot-lake has the splits train, test, not 'val'"):
        read_prepared(mini, "omniglot-lake", "val")
    with pytest.raises(BenchError, match=r"cub/train_data\.hdf5 does not exist"):
        read_prepared(mini, "cub", "train")
    for labels, message in (
        ({"a": 1}, "must be a JSON list"),
        ([], "must be"),
        ([1], "must be"),
        (["a", "a"], "'a' twice"),
    ):
        (folder / "val_labels.json").write_text(json.dumps(labels))
        with pytest.raises(BenchError, match=message):
            read_prepared(mini, "miniimagenet", "val")
    (folder / "train_data.hdf5").write_bytes(b"nothing")
    with pytest.raises(BenchError, match=r"train_data\.hdf5 is not a readable HDF5 file"):
        read_prepared(mini, "miniimagenet", "train").counts()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"folder": "mini"}, "folder must be one of omniglot"),
        ({"size": 4}, "size must be from 8 to 512"),
        ({"channels": 2}, "channels must be 1 or 3"),
        ({"resize": "cubic"}, "resize must be one of"),
    ],
)
def test_bad_settings_are_refused(settings, message):
    with pytest.raises(BenchError, match=message):
        TorchmetaFolder(**settings)
    with pytest.raises(BenchError, match="--data-dir DIR"):
        TorchmetaFolder().scan()
