"""The embedded dataset: the same pixels everywhere, in the place and shape that the settings say."""

import hashlib
import os
import subprocess
import sys
import unicodedata

import numpy as np
import pytest
from matplotlib.path import Path as Outline

from bench.basics.errors import BenchError
from bench.datasets.glyphs import FACES, Glyphs, _font, letters, outline, rasterise

STILL = {"rotation": 0.0, "log_scale": 0.0, "shear": 0.0, "shift": 0.0, "displacement": 0.0}


def drawings(source: Glyphs, codes: list[int]) -> dict[int, np.ndarray]:
    fonts = [_font(face) for face in FACES]
    return {code: source._draw(f"U+{code:04X}", source._render(fonts, code)) for code in codes}


def digest_of_a_few() -> str:
    images = drawings(Glyphs(), [ord(letter) for letter in "AgЖ"])
    return hashlib.sha256(b"".join(image.tobytes() for image in images.values())).hexdigest()


def test_the_pixels_are_these() -> None:
    # The same under matplotlib 3.8 and 3.11, NumPy 1.26 and 2.4. If this changes, raise prepare.VERSION.
    assert digest_of_a_few() == "ab2568244c0500533cd973541c52c8b09a1efcb9a020c35ea1aeab8794e2239f"


def test_every_process_draws_the_same() -> None:
    code = "from test_glyphs import digest_of_a_few as d; print(d(), end='')"
    # This process has another hash seed: a random one, unless the environment fixes it.
    other = "2" if os.environ.get("PYTHONHASHSEED") == "1" else "1"
    path = os.pathsep.join([os.path.dirname(__file__), *sys.path])
    environment = {**os.environ, "PYTHONHASHSEED": other, "PYTHONPATH": path}
    run = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert run.stdout == digest_of_a_few()


def test_letters_are_letters_of_all_faces() -> None:
    found = letters()
    assert len(found) == 1511
    assert all(unicodedata.category(chr(code)).startswith("L") for code in found)
    assert {ord(letter) for letter in "AzßЖΩ"} <= set(found)
    assert ord("1") not in found


@pytest.mark.slow
def test_classes_and_splits() -> None:
    items = Glyphs().scan()
    names = {split: {item.class_name for item in items if item.split == split} for split in ("train", "val", "test")}
    assert {split: len(classes) for split, classes in names.items()} == {
        "train": 1034,
        "val": 86,
        "test": 278,
    }
    assert len(items) == 20 * 1398
    assert not names["train"] & names["val"] | names["val"] & names["test"] | names["train"] & names["test"]
    everything = set.union(*names.values())
    assert "U+0041" in everything  # the Latin A stands for the Greek and the Cyrillic one
    assert not {"U+0391", "U+0410"} & everything
    assert {"U+004F", "U+006F"} <= everything  # O and o differ in size
    order = [(("train", "val", "test").index(item.split), item.class_name, item.file_id) for item in items]
    assert order == sorted(order)


def test_each_face_is_drawn_before_any_comes_again() -> None:
    faces = Glyphs()._faces_of("U+0041")
    assert sorted(faces[:12]) == list(range(12))
    assert len(set(faces[12:])) == 8
    assert not np.array_equal(faces, Glyphs()._faces_of("U+0042"))


def test_an_undeformed_letter_is_the_rendering_itself() -> None:
    source = Glyphs(**STILL)
    image = drawings(source, [ord("H")])[ord("H")]
    pictures = source._render([_font(face) for face in FACES], ord("H"))[source._faces_of("U+0048")].astype(float)
    # A drawing's pixel centre lies on the corner of four pixels of the rendering: it is their mean.
    mean = pictures.reshape(20, 28, 2, 28, 2).mean(axis=(2, 4))
    assert np.abs(image - mean).max() <= 1
    # Centred: as far from the left as from the right, from the top as from the bottom.
    for one in image:
        for axis in (0, 1):
            ink = np.flatnonzero(one.max(axis=axis) > 0)
            assert abs(ink[0] - (27 - ink[-1])) <= 1


@pytest.mark.parametrize(("field", "value"), [("shift", 2.0), ("rotation", 20.0), ("log_scale", 0.3)])
def test_each_deformation_does_what_it_says(field: str, value: float) -> None:
    source = Glyphs(**{**STILL, field: value, "drawings": 400})
    still = Glyphs(**{**STILL, "drawings": 400})
    images = drawings(source, [ord("H")])[ord("H")].astype(float)
    base = drawings(still, [ord("H")])[ord("H")].astype(float)
    at = np.arange(28) - 13.5
    mass, before = images.sum(axis=(1, 2)), base.sum(axis=(1, 2))
    centre = np.stack([images.sum(axis=2) @ at, images.sum(axis=1) @ at]) / mass
    start = np.stack([base.sum(axis=2) @ at, base.sum(axis=1) @ at]) / before
    if field == "shift":
        assert (centre - start).std() == pytest.approx(value, rel=0.1)
    elif field == "log_scale":
        assert (np.log(mass / before) / 2).std() == pytest.approx(value, rel=0.15)
    else:
        assert mass / before == pytest.approx(1, abs=0.05)
        assert np.abs(images - base).mean() > 5


def test_larger_drawings_are_the_same_letters_larger() -> None:
    small = drawings(Glyphs(), [ord("R")])[ord("R")].astype(float)
    large = drawings(Glyphs(size=56), [ord("R")])[ord("R")].astype(float)
    halved = large.reshape(20, 28, 2, 28, 2).mean(axis=(2, 4))
    correlation = np.corrcoef(small.ravel(), halved.ravel())[0, 1]
    assert correlation > 0.95


def test_rasterise_against_matplotlibs_point_in_polygon() -> None:
    # One point a pixel at the same places, and matplotlib's own inside test, on a letter without overlaps.
    font = _font("DejaVuSerif")
    edges = outline(font, ord("B"))
    low, high = edges.min(axis=(0, 1)), edges.max(axis=(0, 1))
    edges = (edges - (low + high) / 2) * 30 / max(high - low)
    shares = rasterise([edges], 40)[0].astype(float) / 255
    points, codes = font.get_path()  # of the letter that outline() loaded
    path = Outline((points * 64 - (low + high) / 2) * 30 / max(high - low), codes)
    at = (np.arange(160) + 0.5) / 4 - 20
    inside = np.zeros((160, 160), dtype=int)
    grid = np.stack(np.meshgrid(at, at), axis=-1).reshape(-1, 2)
    polygons = path.to_polygons(closed_only=True)
    for polygon in polygons:  # even-odd: the holes of a B lie inside its outer contour
        inside ^= Outline(polygon).contains_points(grid).reshape(160, 160)
    want = inside.reshape(40, 4, 40, 4).mean(axis=(1, 3))
    assert np.abs(shares - want).mean() < 0.004
    assert want.mean() > 0.1


def test_rasterise_a_square_with_a_hole_and_an_overlap() -> None:
    def square(side: float, turn: int = 1) -> np.ndarray:
        corners = np.array([(-1, -1), (1, -1), (1, 1), (-1, 1)])[::turn] * side / 2
        return np.stack([corners, np.roll(corners, -1, axis=0)], axis=1)

    ring = rasterise([np.concatenate([square(8), square(4, -1)])], 10)[0]
    assert (ring == 255).sum() == 64 - 16
    assert (ring == 0).sum() == 100 - 48
    same = rasterise([np.concatenate([square(8), square(4)])], 10)[0]  # wound twice is inside, too
    assert (same == 255).sum() == 64
    half = rasterise([square(5)], 10)[0]  # half-covered pixels at the edges
    assert half[5, 2] == 255 // 2
    assert half[2, 2] == 255 // 4


@pytest.mark.parametrize("setting", [{"size": 4}, {"drawings": 1}, {"shear": -0.1}, {"displacement": 99.0}])
def test_settings_out_of_range(setting: dict) -> None:
    with pytest.raises(BenchError, match=f"glyphs: {next(iter(setting))} must be from"):
        Glyphs(**setting)
