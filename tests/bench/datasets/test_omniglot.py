"""Omniglot: miniature trees for behaviour, and the real release, where it is, for the published splits."""

import hashlib
import http.server
import io
import os
import random
import threading
import zipfile
from collections import Counter
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from bench.basics.errors import BenchError
from bench.datasets import omniglot
from bench.datasets.omniglot import PARTS, Omniglot, download
from bench.datasets.prepare import load

REAL = Path(os.environ.get("BENCH_DATA", "/nowhere"))
needs_omniglot = pytest.mark.skipif(
    not (REAL / "omniglot").is_dir(), reason="needs $BENCH_DATA/omniglot with the official images"
)


def drawing(number: int) -> bytes:
    """A 105 x 105 1-bit PNG, a black square on white."""
    image = Image.new("1", (105, 105), 1)
    image.paste(0, (number % 60, 20, number % 60 + 40, 60))
    data = io.BytesIO()
    image.save(data, "PNG")
    return data.getvalue()


def miniature(folder: Path, characters: int = 10) -> Path:
    number = 0
    for part in PARTS:
        for character in range(1, characters + 1):
            place = folder / part / f"Alphabet_({part[-3:]})" / f"character{character:02d}"
            place.mkdir(parents=True)
            for drawer in range(1, 4):
                number += 1
                (place / f"{character:04d}_{drawer:02d}.png").write_bytes(drawing(number))
    return folder


def zipped(tree: Path, folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for part in PARTS:
        with zipfile.ZipFile(folder / f"{part}.zip", "w") as archive:
            for file in sorted((tree / part).rglob("*.png")):
                archive.write(file, file.relative_to(tree))
    return folder


def test_a_folder_a_zip_and_a_folder_called_omniglot_are_the_same(tmp_path: Path) -> None:
    tree = miniature(tmp_path / "tree")
    places = [tree, zipped(tree, tmp_path / "zips"), zipped(tree, tmp_path / "data" / "omniglot").parent]
    made = [load(Omniglot(str(place), allow_partial=True), tmp_path / "cache") for place in places]
    assert len({dataset.content_hash for dataset in made}) == 1
    counts = {name: len(split.class_names) for name, split in made[0].splits.items()}
    assert counts == {"train": 15, "val": 1, "test": 4}  # 20 characters as 1200 : 100 : 323


def test_ink_is_bright_and_paper_dark_unless_told_otherwise(tmp_path: Path) -> None:
    tree = str(miniature(tmp_path / "tree"))
    usual, plain = (Omniglot(tree, allow_partial=True, invert=invert) for invert in (True, False))
    items = usual.scan()[:5]
    for ink, paper in zip(usual.read(items), plain.read(items), strict=True):
        assert ink.shape == (1, 28, 28)
        assert ink[0, 27, 0] == 0
        assert ink.max() == 255
        assert np.array_equal(ink, 255 - paper)


def test_two_partial_copies_do_not_share_a_cache(tmp_path: Path) -> None:
    one, other = (Omniglot(str(miniature(tmp_path / str(n), n)), allow_partial=True) for n in (10, 12))
    assert one.settings() != other.settings()


def test_a_miniature_is_not_the_official_release(tmp_path: Path) -> None:
    tree = miniature(tmp_path / "tree")
    with pytest.raises(BenchError, match=r"is not the official Omniglot: it has 3 drawings of .*, not 20"):
        Omniglot(str(tree)).scan()
    for file in tree.rglob("*_03.png"):
        for drawer in range(4, 21):
            (file.parent / file.name.replace("_03", f"_{drawer:02d}")).write_bytes(file.read_bytes())
    with pytest.raises(BenchError, match="is not the official Omniglot: it has 10 characters, not 964"):
        Omniglot(str(tree)).scan()


@pytest.mark.parametrize("data_dir", [None, "empty"])
def test_without_data_the_error_says_how_to_get_them(tmp_path: Path, data_dir: str | None) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(BenchError, match=r"'bench prepare omniglot --download'.* --data-dir DIR"):
        Omniglot(data_dir and str(tmp_path / data_dir)).scan()


def test_damage_is_named(tmp_path: Path) -> None:
    tree = miniature(tmp_path / "tree")
    source = Omniglot(str(tree), allow_partial=True)
    file = next(iter(sorted(tree.rglob("*.png"))))
    for damage in (drawing(1)[:60], b"", b"garbage"):
        file.write_bytes(damage)
        with pytest.raises(BenchError, match=rf"{file.name} in .* is not an Omniglot drawing"):
            list(source.read(source.scan()))
    small = io.BytesIO()
    Image.new("1", (28, 28)).save(small, "PNG")
    file.write_bytes(small.getvalue())
    with pytest.raises(BenchError, match="it is 28 x 28, not 105 x 105"):
        list(source.read(source.scan()))
    (file.parent / "notes.txt").write_text("")
    with pytest.raises(BenchError, match=r"notes\.txt', which is no drawing"):
        source.scan()


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"split": "other"}, "split must be lasium or vinyals"),
        ({"size": 4}, "size must be from 8 to 105"),
        ({"resize": "boxx"}, "Did you mean 'box'"),
    ],
)
def test_settings_out_of_range(setting: dict, message: str) -> None:
    with pytest.raises(BenchError, match=message):
        Omniglot(**setting)


def test_download_fetches_what_is_missing_and_checks_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    served = zipped(miniature(tmp_path / "tree"), tmp_path / "served")
    parts = {
        part: omniglot._Part(hashlib.md5((served / f"{part}.zip").read_bytes()).hexdigest(), "", 0) for part in PARTS
    }
    handler = partial(_Quiet, directory=str(served))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        url = f"http://127.0.0.1:{server.server_port}/"
        with pytest.raises(BenchError, match="is not the expected file"):
            download(tmp_path / "data", url)  # a miniature has not the official MD5
        monkeypatch.setattr(omniglot, "PARTS", parts)
        assert download(tmp_path / "data", url) == tmp_path / "data" / "omniglot"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
    download(tmp_path / "data", url)  # the server is gone, and nothing is missing
    assert len(Omniglot(str(tmp_path / "data"), allow_partial=True).scan()) == 60


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


# ------------------------------------------------------------------------------------------- the real images


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> tuple[Omniglot, list]:
    source = Omniglot(str(REAL))
    return source, source.scan()


def characters_in_the_archives() -> list[str]:
    found = []
    for part in PARTS:
        with zipfile.ZipFile(REAL / "omniglot" / f"{part}.zip") as archive:
            found += {name.rpartition("/")[0] for name in archive.namelist() if name.endswith(".png")}
    return sorted(found)


@pytest.mark.omniglot
@needs_omniglot
def test_the_lasium_split_is_pythons_shuffle_with_seed_47(real: tuple[Omniglot, list]) -> None:
    items = real[1]
    shuffled = characters_in_the_archives()
    assert len(shuffled) == 1623
    state = random.getstate()
    random.seed(47)
    random.shuffle(shuffled)
    random.setstate(state)
    want = {"train": set(shuffled[:1200]), "val": set(shuffled[1200:1300]), "test": set(shuffled[1300:])}
    for split, classes in want.items():
        assert {item.class_name for item in items if item.split == split} == classes
    assert Counter(item.split for item in items) == {"train": 24000, "val": 2000, "test": 6460}
    assert len({item.file_id for item in items}) == 32460
    assert shuffled[:3] == FIRST


FIRST = [
    "images_evaluation/Angelic/character16",
    "images_background/Early_Aramaic/character11",
    "images_background/Tifinagh/character47",
]


@pytest.mark.omniglot
@needs_omniglot
def test_the_vinyals_split_has_its_published_counts() -> None:
    names = characters_in_the_archives()
    chosen = Omniglot(str(REAL), split="vinyals")._split(names)
    assert {split: len(classes) for split, classes in chosen.items()} == {
        "train": 1028,
        "val": 172,
        "test": 423,
    }
    assert sorted(name for classes in chosen.values() for name in classes) == names
    # SHA-256 of the sorted characters of each split, computed from the files that torchmeta 1.8.0 ships.
    for split, digest in VINYALS_DIGESTS.items():
        assert hashlib.sha256("\n".join(sorted(chosen[split])).encode()).hexdigest() == digest


VINYALS_DIGESTS = {
    "train": "55fb4a4f5b4f8a45bce46451f717e02975d3e80cb8dd062a4f0313d04bb3d2c7",
    "val": "978680cddffa09877dc452c14f7990a6931c424ce606a698d10f91b3f2736c77",
    "test": "cd7a4fc76e0d3b993ca34d27c28fdaaad7022606473da6c78ce24218787a9ab4",
}


@pytest.mark.omniglot
@needs_omniglot
def test_real_pixels_by_another_road(real: tuple[Omniglot, list]) -> None:
    source, items = real
    chosen = [items[i] for i in range(0, len(items), 1500)]
    for item, got in zip(chosen, source.read(chosen), strict=True):
        with zipfile.ZipFile(REAL / "omniglot" / f"{item.file_id.split('/')[0]}.zip") as archive:
            bits = np.asarray(Image.open(io.BytesIO(archive.read(item.file_id))))
        assert bits.dtype == bool
        ink = torch.from_numpy(1.0 - bits.astype(np.float64))[None, None]
        want = torch.nn.functional.interpolate(ink, (28, 28), mode="bilinear", align_corners=False)[0] * 255
        assert np.abs(got - want.numpy()).max() <= 0.5


@pytest.mark.omniglot
@needs_omniglot
def test_one_changed_image_is_not_official(tmp_path: Path) -> None:
    for part in PARTS:
        with (
            zipfile.ZipFile(REAL / "omniglot" / f"{part}.zip") as old,
            zipfile.ZipFile(tmp_path / f"{part}.zip", "w") as new,
        ):
            for name in old.namelist():
                data = old.read(name)
                if name.endswith("Greek/character01/0394_01.png"):
                    data = drawing(1)
                new.writestr(name, data)
    with pytest.raises(BenchError, match="its images differ; get it again"):
        Omniglot(str(tmp_path)).scan()
