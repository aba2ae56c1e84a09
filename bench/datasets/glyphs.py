"""A dataset that needs no download: letters of many alphabets, drawn as if by hand. Shaped like Omniglot."""

from __future__ import annotations

import functools
import hashlib
import math
import unicodedata
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from bench.basics.errors import BenchError
from bench.basics.seeds import Seed
from bench.datasets.source import Item

if TYPE_CHECKING:  # matplotlib is slow to import
    from matplotlib.ft2font import FT2Font

FACES = (
    *("DejaVuSans", "DejaVuSans-Bold", "DejaVuSans-Oblique", "DejaVuSans-BoldOblique"),
    *("DejaVuSansMono", "DejaVuSansMono-Bold", "DejaVuSansMono-Oblique", "DejaVuSansMono-BoldOblique"),
    *("DejaVuSerif", "DejaVuSerif-Bold", "DejaVuSerif-Italic", "DejaVuSerif-BoldItalic"),
)
"""The text faces of DejaVu, all of which matplotlib ships."""

SHARES = (1200, 100, 323)
"""Train, val and test classes stand in the proportion of the Omniglot split of Khodadadeh et al. 2020."""

# Fractions of the image's side: in a 28-pixel drawing 24 pixels to the em, and no letter longer than 20.
EM = 24 / 28
LONGEST = 20 / 28
FINE = 2
"""Letters are rendered at FINE times the resolution of the drawings, then warped."""
SAMPLES = 4
"""Of SAMPLES x SAMPLES points in each pixel of a rendering."""
CURVE_PIECES = 4
"""Straight pieces that stand for one curve of an outline."""
KNOTS = 4
"""The smooth displacement is a cubic spline through KNOTS x KNOTS random vectors."""
STEPS = 64
"""Positions in a rendering are rounded to 1/STEPS pixel and the rest is integer arithmetic, so that the last
bit of a sine, which differs between processors, cannot change a pixel."""

MOVE, LINE, CURVE, CLOSE = 1, 2, 3, 79
"""matplotlib's codes of a path's vertices. A CURVE takes two: the control point and the end."""


@dataclass(frozen=True, slots=True)
class Glyphs:
    """Every Unicode letter (category L*) that all twelve DejaVu text faces have, 20 drawings of each.

    Letters that look the same in every face, as the Latin, Greek and Cyrillic A do, are one class: 1,511
    letters make 1,398 classes at 28 x 28. A drawing is one face, deformed: rotated, scaled, sheared and
    shifted by normal amounts, then displaced smoothly. A letter's bounding box is centred; letters keep their
    relative sizes, except that one longer than 20/28 of the image's side is shrunk to that. Images are
    1 x ``size`` x ``size``, ink is 255.

    Only the fonts' outlines are used, not a font renderer, whose versions draw slightly different pixels.
    """

    size: int = 28
    drawings: int = 20
    """Images per class."""
    rotation: float = 12.0
    """Standard deviation, degrees."""
    log_scale: float = 0.12
    """Standard deviation of the natural logarithm."""
    shear: float = 0.15
    """Standard deviation of the horizontal shear factor."""
    shift: float = 1.5
    """Standard deviation along each axis, in 1/28 of the image's side (pixels of a 28 x 28 image)."""
    displacement: float = 1.2
    """Standard deviation of the smooth displacement at its knots, in 1/28 of the image's side."""
    seed: int = 0
    """Of the drawings and of the split of classes."""

    def __post_init__(self) -> None:
        whole = {"size": (8, 256), "drawings": (2, 1000)}
        real = {
            "rotation": (0, 90),
            "log_scale": (0, 1),
            "shear": (0, 1),
            "shift": (0, 14),
            "displacement": (0, 14),
        }
        for name, (least, most) in (whole | real).items():
            value = getattr(self, name)
            if not least <= value <= most:
                raise BenchError(f"glyphs: {name} must be from {least} to {most}, not {value!r}")

    @property
    def name(self) -> str:
        """``glyphs``."""
        return "glyphs"

    def settings(self) -> Mapping[str, Any]:
        """The fields, and what the letters are drawn with."""
        return {**asdict(self), "faces": _faces_digest()}

    def scan(self) -> list[Item]:
        """Classes are named by their first code point (``U+0041``), images by class, number and face."""
        classes = [_class_name(code) for code in self._distinct_letters()]
        order = Seed(self.seed).at("glyphs", "split").numpy().permutation(len(classes))
        train = round(len(classes) * SHARES[0] / sum(SHARES))
        val = round(len(classes) * SHARES[1] / sum(SHARES))
        parts = {"train": order[:train], "val": order[train : train + val], "test": order[train + val :]}
        return [
            Item(split, class_name, f"{class_name}/{number:03d}-{FACES[face]}")
            for split, part in parts.items()
            for class_name in sorted(classes[i] for i in part)
            for number, face in enumerate(self._faces_of(class_name))
        ]

    def read(self, items: Sequence[Item]) -> Iterator[NDArray[np.uint8]]:
        """Draws a class at a time."""
        fonts = [_font(face) for face in FACES]
        drawn, images = "", np.empty(0, dtype=np.uint8)
        for item in items:
            if item.class_name != drawn:
                drawn = item.class_name
                images = self._draw(drawn, self._render(fonts, int(drawn.removeprefix("U+"), 16)))
            yield images[int(item.file_id.split("/")[1].split("-")[0])][None]

    def preprocessing(self) -> Mapping[str, str]:
        """From the outlines of fonts to pixels."""
        fine = FINE * self.size
        return {
            "outlines": f"twelve text faces of DejaVu (SHA-256 of their files {_faces_digest()}), a curve as "
            f"{CURVE_PIECES} straight pieces, no font renderer",
            "drawing": f"{fine} x {fine} pixels, each 255 times the share of its {SAMPLES} x {SAMPLES} points inside, "
            "by the non-zero rule; 24 pixels of 28 to the em, no letter longer than 20",
            "deformation": f"normal, standard deviations: rotation {self.rotation} degrees, log scale "
            f"{self.log_scale}, shear {self.shear}, shift {self.shift} and smooth displacement {self.displacement} of "
            f"28 pixels; seed {self.seed}",
            "resize": f"to {self.size} x {self.size} pixels: the mean of 2 x 2 neighbours, then bilinear at positions "
            f"rounded to 1/{STEPS} pixel, halves rounded up",
            "polarity": "ink is 255, paper 0",
        }

    def _distinct_letters(self) -> list[int]:
        """The first code point of every distinct, non-empty picture of a letter in all faces."""
        fonts = [_font(face) for face in FACES]
        first: dict[bytes, int] = {}
        for code in letters():
            pictures = self._render(fonts, code)
            if pictures.any(axis=(1, 2)).all():
                first.setdefault(hashlib.sha256(pictures.tobytes()).digest(), code)
        return list(first.values())

    def _render(self, fonts: Sequence[FT2Font], code: int) -> NDArray[np.uint8]:
        """One letter in every face, uint8 [faces, FINE * size, FINE * size], centred by its bounding box."""
        side = FINE * self.size
        outlines = [outline(font, code) for font in fonts]
        for i, (edges, font) in enumerate(zip(outlines, fonts, strict=True)):
            if not len(edges):
                return np.zeros((len(fonts), side, side), dtype=np.uint8)
            low, high = edges.min(axis=(0, 1)), edges.max(axis=(0, 1))
            scale = min(EM * side / font.units_per_EM, LONGEST * side / max(high - low))
            # Fonts count y upwards, images downwards.
            outlines[i] = (edges - (low + high) / 2) * (scale, -scale)
        return rasterise(outlines, side)

    def _faces_of(self, class_name: str) -> NDArray[np.int64]:
        """The face of each drawing: all faces in random order, again and again."""
        rng = Seed(self.seed).at("glyphs", "faces", class_name).numpy()
        rounds = [rng.permutation(len(FACES)) for _ in range(math.ceil(self.drawings / len(FACES)))]
        return np.concatenate(rounds)[: self.drawings]

    def _draw(self, class_name: str, pictures: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """All drawings of a class, uint8 [drawings, size, size]."""
        rng = Seed(self.seed).at("glyphs", "drawings", class_name).numpy()
        n, unit = self.drawings, self.size / 28

        def normal(sd: float, *shape: int) -> NDArray[np.float64]:
            return sd * rng.standard_normal((n, *shape))[..., None, None]

        angle, zoom = np.radians(normal(self.rotation)), np.exp(-normal(self.log_scale))
        shear, shift = normal(self.shear), normal(self.shift * unit, 2)
        knots = rng.standard_normal((n, 2, KNOTS, KNOTS)) * self.displacement * unit
        basis = _smooth_basis(self.size)
        smooth = basis @ knots @ basis.T

        # Where in the undeformed letter each pixel of the drawing comes from, relative to the centre.
        centred = np.arange(self.size) - (self.size - 1) / 2
        y, x = centred[:, None] - shift[:, 0], centred[None, :] - shift[:, 1]
        from_y = zoom * (np.cos(angle) * y - np.sin(angle) * x)
        from_x = zoom * (np.cos(angle) * x + np.sin(angle) * y) + shear * from_y
        sources = _soften(pictures)[self._faces_of(class_name)]
        return _sample(sources, from_y + smooth[:, 0], from_x + smooth[:, 1])


def letters() -> list[int]:
    """Code points of category L* that every face has, ascending."""
    common = set.intersection(*(set(_font(face).get_charmap()) for face in FACES))
    return sorted(code for code in common if unicodedata.category(chr(code)).startswith("L"))


def _font(face: str) -> FT2Font:
    from matplotlib import ft2font

    make: Any = ft2font.FT2Font
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            # Without it matplotlib up to 3.10 coarsens outlines; later ones never do, and drop the argument.
            font: FT2Font = make(_face_path(face), hinting_factor=1)
        except TypeError:
            font = make(_face_path(face))
    return font


def outline(font: FT2Font, code: int) -> NDArray[np.float64]:
    """The closed outline of a letter in font units, as directed edges [e, 2 (from, to), 2 (x, y)]."""
    from matplotlib import ft2font

    flags: Any = getattr(ft2font, "LoadFlags", None)  # since matplotlib 3.10
    font.load_char(code, flags=flags.NO_SCALE if flags else vars(ft2font)["LOAD_NO_SCALE"])
    points, codes = font.get_path()
    points, codes = np.rint(np.asarray(points, dtype=np.float64) * 64), np.asarray(codes)
    at = np.arange(len(codes))
    start = np.maximum.accumulate(np.where(codes == MOVE, at, 0))
    lines, closes = at[codes == LINE], at[codes == CLOSE]
    controls = at[codes == CURVE][::2]
    t = np.arange(CURVE_PIECES + 1)[:, None, None] / CURVE_PIECES
    curves = (1 - t) ** 2 * points[controls - 1] + 2 * t * (1 - t) * points[controls] + t**2 * points[controls + 1]
    tails = [points[lines - 1], points[closes - 1], curves[:-1].reshape(-1, 2)]
    heads = [points[lines], points[start[closes]], curves[1:].reshape(-1, 2)]
    return np.stack([np.concatenate(tails), np.concatenate(heads)], axis=1)


def rasterise(outlines: Sequence[NDArray[np.float64]], side: int) -> NDArray[np.uint8]:
    """Fill n outlines, each edges [e, 2, 2 (x, y)] in pixels from the centre, into uint8 [n, side, side].

    By the non-zero winding rule. A pixel is 255 times the share of its SAMPLES x SAMPLES points inside.
    """
    edges = np.concatenate(outlines) * SAMPLES
    image = np.repeat(np.arange(len(outlines)), [len(one) for one in outlines])
    # Work on the smallest centred square that holds every outline, in sample points.
    reach = min(side // 2, math.ceil(np.abs(edges).max() / SAMPLES)) if len(edges) else 0
    fine = 2 * reach * SAMPLES
    (x0, y0), (x1, y1) = edges[:, 0].T + fine / 2, edges[:, 1].T + fine / 2
    # Sample row k lies at k + 1/2; an edge crosses the rows first … last-1.
    first = np.ceil(np.minimum(y0, y1) - 0.5).clip(0, fine).astype(np.int64)
    crossings = np.ceil(np.maximum(y0, y1) - 0.5).clip(0, fine).astype(np.int64) - first
    edge = np.repeat(np.arange(len(edges)), crossings)
    row = np.arange(len(edge)) - np.repeat(np.cumsum(crossings) - crossings, crossings) + first[edge]
    x = x0[edge] + (row + 0.5 - y0[edge]) * ((x1 - x0)[edge] / (y1 - y0)[edge])
    column = np.ceil(x - 0.5).clip(0, fine).astype(np.int64)
    turns = np.zeros((len(outlines), fine, fine + 1), dtype=np.int8)
    np.add.at(turns, (image[edge], row, column), np.sign(y1 - y0).astype(np.int8)[edge])
    inside = (turns.cumsum(axis=2, dtype=np.int8)[:, :, :fine] != 0).view(np.uint8)
    rows = functools.reduce(np.add, (inside[:, i::SAMPLES] for i in range(SAMPLES)))
    covered = functools.reduce(np.add, (rows[:, :, i::SAMPLES] for i in range(SAMPLES))).astype(np.int64)
    margin = side // 2 - reach
    values = (covered * 255 // SAMPLES**2).astype(np.uint8)
    return np.pad(values, ((0, 0), (margin, margin), (margin, margin)))


def _class_name(code: int) -> str:
    return f"U+{code:04X}"


def _face_path(face: str) -> str:
    import matplotlib

    return str(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / f"{face}.ttf")


@functools.cache
def _faces_digest() -> str:
    digest = hashlib.sha256()
    for face in FACES:
        try:
            digest.update(Path(_face_path(face)).read_bytes())
        except OSError as error:
            raise BenchError(
                f"the glyphs dataset needs a font of matplotlib, and there is none at {_face_path(face)}; "
                "reinstall matplotlib"
            ) from error
    return digest.hexdigest()


@functools.cache
def _smooth_basis(size: int) -> NDArray[np.float64]:
    """[size, KNOTS]: the cubic splines through the unit vectors at evenly spaced knots."""
    from scipy.interpolate import CubicSpline

    basis: NDArray[np.float64] = CubicSpline(np.linspace(0, size - 1, KNOTS), np.eye(KNOTS))(np.arange(size))
    return basis


def _soften(pictures: NDArray[np.uint8]) -> NDArray[np.int32]:
    """The mean of each 2 x 2 block of neighbours, [n, s, s] -> [n, s+1, s+1] around it: against aliasing."""
    wide = np.pad(pictures.astype(np.int32), ((0, 0), (1, 1), (1, 1)))
    return (wide[:, :-1, :-1] + wide[:, 1:, :-1] + wide[:, :-1, 1:] + wide[:, 1:, 1:] + 2) // 4


def _sample(sources: NDArray[np.int32], from_y: NDArray[np.float64], from_x: NDArray[np.float64]) -> NDArray[np.uint8]:
    """Bilinear samples of [n, s, s] at positions [n, size, size] in drawing pixels from the centre."""
    side = sources.shape[-1]

    def position(offset: NDArray[np.float64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        at = np.rint((offset * FINE + (side - 1) / 2) * STEPS).astype(np.int64)
        return np.divmod(np.clip(at, 0, (side - 1) * STEPS - 1), STEPS)

    (row, down), (column, right) = position(from_y), position(from_x)
    image = np.arange(len(sources))[:, None, None]
    above = sources[image, row, column] * (STEPS - right) + sources[image, row, column + 1] * right
    below = sources[image, row + 1, column] * (STEPS - right) + sources[image, row + 1, column + 1] * right
    total = above * (STEPS - down) + below * down
    return ((total + STEPS * STEPS // 2) // (STEPS * STEPS)).astype(np.uint8)
