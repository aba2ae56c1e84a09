"""The report as one HTML file that needs nothing else: styles, script and figures are inside it."""

from __future__ import annotations

import base64
import hashlib
import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import TYPE_CHECKING

from markupsafe import Markup
from PIL import Image

from bench.leaderboard.headline import Headline
from bench.leaderboard.loading import Frames
from bench.leaderboard.table import Leaderboard, Table
from bench.reporting import layout
from bench.reporting.citation import citations
from bench.reporting.curves import Curves
from bench.reporting.inspections import Section
from bench.reporting.page import PageBoard, boards, side_words
from bench.reporting.page_data import data
from bench.reporting.rendering import environment

if TYPE_CHECKING:
    from bench.reporting.figures_style import Caption

MOST_COLOURS = 1024
"""Of a drawing."""

__all__ = ["Beside", "Picture", "html", "pictures"]


@dataclass(frozen=True, slots=True)
class Beside:
    """What lies in the folder of the page and may be linked to."""

    pages: tuple[tuple[str, str], ...] = ()
    """(file, title) of other pages."""
    files: tuple[str, ...] = ()
    """Tables and texts."""
    records: str = ""
    """The address of the folder of the records, with a slash at its end; empty where they lie elsewhere."""


@dataclass(frozen=True, slots=True)
class Picture:
    """A figure inside the page."""

    svg: Markup | None
    """SVG; None for pixels."""
    link: str
    """``data:`` URI of pixels."""
    alt: str
    title: str


def html(
    leaderboard: Leaderboard,
    figures: Mapping[str, bytes],
    synthetic: Sequence[Section] = (),
    commands: Sequence[Sequence[str]] = (),
    *,
    frames: Frames | None = None,
    curves: Curves | None = None,
    captions: Mapping[str, Caption] | None = None,
    beside: Beside | None = None,
) -> str:
    """``figures``: file name -> PNG or SVG; of two that differ in that alone the SVG is shown. SVG is trusted.

    ``synthetic``: measurements of the methods' synthetic tasks; may be empty. ``commands``: for each table, the lines
    that make its runs again. ``frames``: where the tables come from, for the commands and records of each row.
    ``curves``: of runs. ``captions``: file name without its ending -> what to say of it.
    """
    shown = pictures(figures, captions or {})
    made = boards(leaderboard.tables, frames)
    return (
        environment(autoescape=True)
        .get_template("report.html.j2")
        .render(
            name=", ".join(dict.fromkeys(table.dataset.partition(",")[0] for table in leaderboard.tables)),
            about=_about(leaderboard),
            boards=[
                {
                    "board": board,
                    "slug": board.table.slug,
                    "key": layout.key(board.table),
                    "evaluated": layout.evaluated(board.table),
                    "provenance": layout.provenance(board.table),
                    "homepage": _homepage(board.table),
                    "notes": layout.notes(board.table),
                    "side": side_words(board.lines),
                    "commands": commands[number] if number < len(commands) else (),
                    "pictures": [one for name, one in shown.items() if name.startswith(f"{board.table.slug}.")],
                    "data": data(board.table, curves or {}),
                    "chooser": _chooser(board),
                }
                for number, board in enumerate(made)
            ],
            citations=citations(leaderboard.tables),
            accounted=layout.accounted(leaderboard),
            unfinished=leaderboard.unfinished,
            problems=leaderboard.problems,
            how_to_read=layout.HOW_TO_READ,
            synthetic=synthetic,
            figures={f"{name}.png": one.link for name, one in shown.items()},
            beside=beside or Beside(),
            headline_text=_headline_text,
        )
    )


def pictures(figures: Mapping[str, bytes], captions: Mapping[str, Caption]) -> dict[str, Picture]:
    """Name without its ending -> the figure."""
    found: dict[str, Picture] = {}
    for name, content in figures.items():
        stem, ending = PurePath(name).stem, PurePath(name).suffix
        caption = captions.get(stem)
        title, alt = (caption.title, caption.alt) if caption is not None else ("", "")
        if ending == ".svg":
            found[stem] = Picture(drawing(content), "", alt, title)
        elif stem not in found:
            link = f"data:image/png;base64,{base64.b64encode(_few_colours(content)).decode()}"
            found[stem] = Picture(None, link, alt or "The numbers of the table as a picture", title)
    return found


def drawing(content: bytes) -> Markup:
    """An SVG of ours as a part of a page: hundredths of a point are enough, and looks that its elements share are said
    once, in a style sheet whose names are its own. What is written between tags stays.
    """
    svg = re.sub(r"<style>.*?</style>", "", content.decode("utf-8"), count=1, flags=re.DOTALL)
    begin = f"d{hashlib.sha256(content).hexdigest()[:6]}-"
    looks: dict[str, str] = {}

    def slim(tag: re.Match[str]) -> str:
        text = re.sub(r"(\d\.\d\d)\d+", r"\1", tag[0]).replace(" \n", " ")
        return re.sub(
            r' style="([^"]*)"', lambda one: f' class="{looks.setdefault(one[1], begin + str(len(looks)))}"', text
        )

    svg = re.sub(r"<[^>]*>", slim, svg)
    sheet = "".join(f".{name}{{{look}}}" for look, name in looks.items())
    return Markup(svg.replace(">", f"><style>{sheet}</style>", 1))


def _few_colours(png: bytes) -> bytes:
    """A picture of few colours with a palette, which is a third as large; photographs stay as they are."""
    try:
        picture = Image.open(io.BytesIO(png)).convert("RGB")
    except OSError:
        return png
    if picture.getcolors(MOST_COLOURS) is None:
        return png
    small = io.BytesIO()
    picture.quantize(256, dither=Image.Dither.NONE).save(small, "PNG", optimize=True)
    return min(png, small.getvalue(), key=len)


def _about(leaderboard: Leaderboard) -> str:
    """Of several reports on one dataset this tells which is which."""
    ways = sorted({way for table in leaderboard.tables for way in table.ways})
    told = " and ".join([*(f"{way}-" for way in ways[:-1]), *(f"{way}-way" for way in ways[-1:])])
    return f"leaderboard of unsupervised meta-learning, {told} tasks"


def _headline_text(one: Headline) -> str:
    return one.text


def _homepage(table: Table) -> str:
    """Only what leads to a web page."""
    found = table.made.homepage
    return found if found.startswith(("https://", "http://")) and found.isprintable() and " " not in found else ""


def _chooser(board: PageBoard) -> dict[str, tuple[str, str, bool]]:
    """Key -> (title, what it says, whether it is shown unasked) of the columns that can be chosen."""
    return {
        column.key: (column.title if column.key != "rank" else "rank", column.hint, column.shown)
        for column in board.columns
    }
