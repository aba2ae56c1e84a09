"""How figures look, and how they become bytes: PNG on white, SVG without a background, in the colours of its reader.

Drawn on Figure objects of their own: pyplot's global state is not used.
"""

from __future__ import annotations

import hashlib
import io
import re
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple
from xml.sax.saxutils import quoteattr

import matplotlib
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, NullLocator

from bench.reporting.foreign import one_line

DPI = 110
FONT_SIZE = 9.0
SMALL = 8.0
INK = "#1b1f27"
"""Text and axes: in an SVG the colour of the text around it."""
FAINT = (INK, 0.62)
GRID = (INK, 0.13)
GREY = "#868d99"
"""Read on white and on black alike."""

BLUE, ORANGE, GREEN, VERMILLION, PURPLE, SKY = "#1a7fc4", "#e69f00", "#009e73", "#d55e00", "#cc79a7", "#56b4e9"
"""Of Okabe and Ito: told apart with every kind of sight. Their yellow is left out, for it is not seen on white; their
blue is lighter here, so that it is seen on black.
"""

_STYLE: dict[str, Any] = {
    "font.family": ["DejaVu Sans"],
    "font.size": FONT_SIZE,
    "text.color": INK,
    "axes.titlesize": 10.0,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.titley": 1.0,  # to find its place, matplotlib would measure everything else first
    "axes.facecolor": "none",
    "axes.edgecolor": (INK, 0.3),
    "axes.labelcolor": INK,
    "axes.axisbelow": True,
    "axes.grid": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.color": (INK, 0.3),
    "ytick.color": (INK, 0.3),
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "xtick.labelsize": SMALL,
    "ytick.labelsize": SMALL,
    "grid.color": GRID,
    "grid.linewidth": 0.8,
    "lines.solid_capstyle": "butt",
    "legend.frameon": False,
    "legend.fontsize": SMALL,
    "text.parse_math": False,  # a dollar sign in a name is a dollar sign
    "svg.fonttype": "none",
    "svg.hashsalt": "bench",
}


class Caption(NamedTuple):
    """What stands below a figure, and what is read out in its place. Plain text, which each format escapes."""

    title: str
    alt: str


@contextmanager
def house_style() -> Iterator[None]:
    """A fixed style on top of matplotlib's own defaults: a matplotlibrc of the user must not change a report."""
    with matplotlib.rc_context(), warnings.catch_warnings():
        # A letter that the font does not have is a box in a PNG; in an SVG the reader's own fonts have it.
        warnings.filterwarnings("ignore", r"Glyph \d+ .* missing from font")
        matplotlib.rcdefaults()
        style: dict[Any, Any] = {**sns.axes_style("ticks"), **_STYLE}
        matplotlib.rcParams.update(style)
        yield


def sheet(width: float, height: float) -> Figure:
    """An empty figure; inches."""
    figure = Figure(figsize=(width, height), dpi=DPI, facecolor="white")
    FigureCanvasAgg(figure)
    return figure


def panel(figure: Figure, left: float, top: float, width: float, height: float) -> Axes:
    """Axes at a place in inches from the upper left corner. (A constrained layout measures for seconds.)"""
    across, down = figure.get_size_inches()
    axis = figure.add_axes((left / across, 1 - (top + height) / down, width / across, height / down))
    axis.tick_params(length=3)
    # Given places, for the same reason.
    axis.xaxis.set_label_coords(0.5, -0.26 / height)
    axis.yaxis.set_label_coords(-0.42 / width, 0.5)
    return axis


def numbers(axis: Axes, which: str, count: int = 7) -> None:
    """Round numbers along the ``x`` or ``y`` axis, and no small ticks between them; after its limits are set."""
    one, ends = (axis.xaxis, axis.get_xlim()) if which == "x" else (axis.yaxis, axis.get_ylim())
    if one.get_scale() == "log":
        decades = range(-12, 13)
        steps: Sequence[Sequence[int]] = ((1, 2, 5), (1, 3), (1,))
        each = [[digit * 10.0**power for power in decades for digit in some] for some in steps]
        each = [[value for value in values if ends[0] <= value <= ends[1]] for values in each]
        ticks = next((values for values in each if len(values) <= count), each[-1][:: -(-len(each[-1]) // count)])
    else:
        found = MaxNLocator(count, steps=[1, 2, 5, 10]).tick_values(*sorted(ends))
        ticks = [round(float(value), 10) for value in found if min(ends) <= value <= max(ends)]
    one.set_minor_locator(NullLocator())
    digits = 0 if one.get_scale() == "log" else max((len(f"{v:.8g}".partition(".")[2]) for v in ticks), default=0)
    one.set_ticks(ticks, [f"{value:,.{digits}f}" if digits else f"{value:,.8g}" for value in ticks])


def write(figure: Figure, left: float, top: float, text: str, **look: Any) -> None:
    """Text at a place in inches from the upper left corner of the figure."""
    across, down = figure.get_size_inches()
    figure.text(left / across, 1 - top / down, text, **{"va": "top", "fontsize": SMALL, **look})


def png(figure: Figure) -> bytes:
    """PNG bytes that depend on the picture alone."""
    buffer = io.BytesIO()
    # Without a Software entry: it names the version of matplotlib.
    figure.savefig(buffer, format="png", dpi=DPI, metadata={"Software": None})
    return buffer.getvalue()


def svg(figure: Figure, name: str, alt: str) -> bytes:
    """SVG bytes that depend on the picture alone; text is text. It asks for nothing from outside, can stand in a page
    beside others (its ids begin with a digest of ``name``, nothing of its style reaches the page), and takes the colour
    of the text around it; alone it follows the reader's choice of light or dark.
    """
    buffer = io.BytesIO()
    metadata = dict.fromkeys(("Date", "Creator", "Format", "Type"))
    figure.savefig(buffer, format="svg", facecolor="none", metadata=metadata)
    head, _, body = buffer.getvalue().decode("utf-8").partition("<svg")[2].partition(">")
    size = "".join(re.findall(r' (?:width|height|viewBox)="[^"]*"', head))
    # The style sheet is for all elements, those of a page too; its two lines stand in the opening tag instead.
    body = re.sub(r"<defs>\s*<style[^>]*>[^<]*</style>\s*</defs>", "", body, count=1)
    begin = f"f{hashlib.sha256(name.encode('utf-8', 'surrogatepass')).hexdigest()[:8]}-"
    used = set(re.findall(r'(?:url\(#|xlink:href="#)([^)"]+)', body))
    body = re.sub(r"<[^>]*>", lambda tag: _tag(tag[0], begin, used), body)
    return (_opening(size, alt) + re.sub(r">\s+<", "><", body)).encode("utf-8")


_ALONE = f"svg:root{{color:{INK}}}@media (prefers-color-scheme:dark){{svg:root{{color:#e8eaee}}}}"
"""``svg:root`` is an image of its own, never one inside a page."""


def _opening(size: str, alt: str) -> str:
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" version="1.1"{size} '
        f'role="img" aria-label={quoteattr(one_line(alt))} stroke-linejoin="round" stroke-linecap="butt">'
        f"<style>{_ALONE}</style>"
    )


def _tag(tag: str, begin: str, used: set[str]) -> str:
    """An opening tag with our colours and fonts. Ids that something refers to get a beginning of their own; the others
    go. What is written between tags is never touched.
    """
    tag = tag.replace(INK, "currentColor").replace("'DejaVu Sans'", "'DejaVu Sans', Verdana, sans-serif")
    tag = re.sub(r' transform="rotate\(-0 [^"]*"', "", tag)
    tag = re.sub(r' id="([^"]*)"', lambda one: f' id="{begin}{one[1]}"' if one[1] in used else "", tag)
    return re.sub(r'(url\(#|xlink:href="#)', rf"\g<1>{begin}", tag)


def alike(texts: Sequence[str]) -> str:
    """``a, b and c``."""
    return " and ".join([", ".join(texts[:-1]), texts[-1]] if len(texts) > 1 else texts)
