"""How a paper arranges the runs of an experiment: rows, columns, which method fills a cell, which number it printed.

Read from the ``layout`` of ``configs/experiment/*.yaml``; the runs of such an experiment are its cells, so a
table cannot show anything that is not planned, and nothing planned is missing from the table. No torch, no Hydra.

    layout:                             # until version 0.1 called arrangement, which is still read
      corner: strength                    # title of the column of row labels
      published: {table: "7"}             # columns, or names in `param`, of configs/published/paper-results.csv
      caption: [what a reader must know]
      cost: true                          # rows may have lengths of their own, and say how long their training took
      columns:
        - {title: MAML, method: "mine-{kind}-maml", way: 5, shot: 1, published: {meta_learner: MAML}}
      rows:
        - {title: "A, 0.5", words: {kind: a}, overrides: [method.noise=0.5], published: {sampler: A}}
        - {title: "{value}", method: mine-b-maml, each: {setting: method.far, values: [0, 1], published: far}}
      measures:                           # facts of the runs beside accuracy
        - {title: redrawn, note: rejected_sets, published: redrawn}
      figure: {xlabel: far}               # see Figure

A cell joins what its row and its column say; a way that neither names is the experiment's. A row with ``each`` stands
for one row a value of a setting.
"""

from __future__ import annotations

import contextlib
import fnmatch
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, is_dataclass
from typing import Any

import yaml

from bench.basics.errors import BenchError, did_you_mean
from bench.basics.typed import typed
from bench.planning import catalogue
from bench.planning.values import plain, same, setting
from bench.planning.yaml_files import read_yaml


@dataclass(frozen=True, slots=True)
class Each:
    """A row for every value of a setting; a request or a record may bring other values than the paper's."""

    setting: str
    values: tuple[Any, ...]
    published: str = ""
    """The name that the published numbers give the setting."""
    notes: Mapping[Any, Mapping[str, float]] = field(default_factory=dict)
    """Value -> measures that hold by definition there, where runs do not note them."""


@dataclass(frozen=True, slots=True)
class Line:
    """A row or a column."""

    title: str
    method: tuple[str, ...] = ()
    """Exact names or globs; the first that exists is run, any of them fills the cell."""
    words: Mapping[str, str] = field(default_factory=dict)
    """Stand for ``{word}`` in the method of the other axis."""
    overrides: tuple[str, ...] = ()
    published: Mapping[str, Any] = field(default_factory=dict)
    way: int | None = None
    shot: int | None = None
    group: str = ""
    """Heading of neighbouring rows."""
    notes: Mapping[str, float] = field(default_factory=dict)
    """Measures that hold by definition, see :class:`Each`."""
    baseline: bool = False
    """A line across the figure instead of a point of it."""
    each: Each | None = None
    value: Any = None
    """Of the setting, in a row that stands for one value of it."""


@dataclass(frozen=True, slots=True)
class Measure:
    """A fact of the runs that the paper prints beside accuracy."""

    title: str
    note: str
    """Name in the ``notes`` of a record."""
    published: str = ""
    percent: bool = False


@dataclass(frozen=True, slots=True)
class Figure:
    """Accuracy against the setting of the row with ``each``, and what its generators make of one latent."""

    xlabel: str
    published: str = "published"
    """Label of the published points."""
    samples: int = 0
    """How many of the run's sample images to show for every value; 0 is none."""
    root_scale: bool = False
    """A square-root axis spreads small values."""


Standards = Mapping[str, Mapping[str, Any]]
"""Exact method name -> default of every setting of the method that tells cells apart in some experiment."""


@dataclass(frozen=True, slots=True)
class Cell:
    """One number of the paper and the runs that stand beside it."""

    row: Line
    column: Line
    methods: tuple[str, ...]
    overrides: tuple[str, ...]
    """What makes a run this cell's; those of the whole experiment are not among them."""
    settings: Mapping[str, Any]
    """Setting -> value of ``overrides``."""
    way: int | None
    """None where the layout names no way: whatever the runs answered, above all :attr:`PaperLayout.way`."""
    shot: int | None
    published: Mapping[str, Any]

    def variants(self) -> list[catalogue.Variant]:
        """The first of the methods that exists; none for a row whose method is not built (yet)."""
        known = catalogue.variants()
        for pattern in self.methods:
            found = fnmatch.filter(known, pattern)
            if found:
                return [known[name] for name in found]
        return []

    def fits(self, method: str, config: Mapping[str, Any], standards: Standards, besides: str = "") -> bool:
        """Whether a run of that name and configuration belongs here, whatever the setting ``besides`` is.

        Settings by which experiments tell cells apart must be those of the cell, or their defaults. How long and on
        what it was trained, and every other setting, may differ.
        """
        name = method.partition(",")[0]
        if not any(fnmatch.fnmatchcase(name, pattern) for pattern in self.methods):
            return False
        wanted = {**standards.get(name, {}), **self.settings}
        return all(
            same(setting(config, key), value)
            for key, value in wanted.items()
            if key != besides and (key in self.settings or setting(config, key) is not None)
        )


@dataclass(frozen=True, slots=True)
class PaperLayout:
    """The layout of one experiment."""

    experiment: str
    title: str
    dataset: str
    budget: str
    shots: tuple[int, ...]
    overrides: tuple[str, ...]
    """Of the whole experiment."""
    corner: str
    columns: tuple[Line, ...]
    lines: tuple[Line, ...]
    """The rows as written: one with ``each`` is not expanded."""
    measures: tuple[Measure, ...] = ()
    figure: Figure | None = None
    caption: tuple[str, ...] = ()
    published: Mapping[str, Any] = field(default_factory=dict)
    way: int = 5
    """The experiment's own, the smallest of several."""
    cost: bool = False
    """Whether trainings of different length stand in one table, of each cell the longest, and say what they took."""

    @property
    def each(self) -> Each | None:
        """The setting that has a row for every value."""
        return next((line.each for line in self.lines if line.each is not None), None)

    def rows(self, values: Iterable[Any] | None = None) -> list[Line]:
        """The rows; ``values`` replaces those of the setting with a row each."""
        found = []
        for line in self.lines:
            if line.each is None:
                found.append(line)
                continue
            for value in line.each.values if values is None else values:
                named = {line.each.published: value} if line.each.published else {}
                found.append(
                    Line(
                        title=line.title.replace("{value}", plain(value)),
                        method=line.method,
                        words=line.words,
                        overrides=(*line.overrides, f"{line.each.setting}={value}"),
                        published={**line.published, **named},
                        group=line.group,
                        notes=next((known for at, known in line.each.notes.items() if same(at, value)), {}),
                        value=value,
                    )
                )
        return found

    def cells(self, values: Iterable[Any] | None = None) -> list[list[Cell]]:
        """Row by row."""
        return [[self.cell(row, column) for column in self.columns] for row in self.rows(values)]

    def cell(self, row: Line, column: Line) -> Cell:
        """Where a row and a column meet."""
        words = {**column.words, **row.words}
        try:
            methods = tuple(pattern.format(**words) for pattern in row.method or column.method)
        except KeyError as error:
            raise BenchError(
                f"configs/experiment/{self.experiment}.yaml: row {row.title!r} needs a word {error} for {column.method}"
            ) from error
        except (ValueError, IndexError, AttributeError) as error:
            told = f"method {row.method or column.method} of row {row.title!r}: {error}"
            raise BenchError(f"configs/experiment/{self.experiment}.yaml: {told}") from error
        only = self.shots[0] if len(self.shots) == 1 else None
        overrides = (*column.overrides, *row.overrides)
        named = any(line.way for line in (*self.columns, *self.lines))
        return Cell(
            row=row,
            column=column,
            methods=methods,
            overrides=overrides,
            settings={key: _read(value) for key, _, value in (text.partition("=") for text in overrides)},
            way=column.way or row.way or (self.way if named else None),
            shot=column.shot or row.shot or only,
            published={**self.published, **column.published, **row.published},
        )


def _read(text: str) -> Any:
    try:
        return yaml.safe_load(text)
    except (yaml.YAMLError, ValueError) as error:
        raise BenchError(
            f"the value {text!r} in a paper layout cannot be read: {' '.join(str(error).split())}"
        ) from error


def paper_layouts() -> list[PaperLayout]:
    """Of every experiment that has one; one with a mistake is left out, as ``bench list plugins`` says."""
    found = []
    for name in catalogue.options("experiment"):
        with contextlib.suppress(BenchError):
            found.append(paper_layout(name))
    return [one for one in found if one is not None]


def standards(known: Iterable[PaperLayout]) -> Standards:
    """The defaults that hold in cells which do not set them; ``known``: every layout."""
    keys = {key for one in known for row in one.cells() for cell in row for key in cell.settings}
    names = {key.removeprefix("method.") for key in keys if key.startswith("method.")}
    defaults = {family: catalogue.raw("method", family) for family in catalogue.options("method")}
    return {
        name: {f"method.{key}": defaults[variant.family][key] for key in names if key in defaults[variant.family]}
        for name, variant in catalogue.variants().items()
    }


def paper_layout(name: str) -> PaperLayout | None:
    """Of one experiment; None where its YAML has none. BenchError for an unknown name and for a mistake in it."""
    values = catalogue.raw("experiment", name)
    written = next((key for key in ("layout", "arrangement") if key in values), None)
    if written is None:
        return None
    where = f"configs/experiment/{name}.yaml"
    given = dict(_mapping(values[written], where))
    columns = [_line(one, where) for one in _list(given.pop("columns", None) or [{"title": ""}], where)]
    lines = [_line(one, where) for one in _list(given.pop("rows", []), where)]
    measures = [_made(Measure, _mapping(one, where), where) for one in _list(given.pop("measures", []), where)]
    figure = given.pop("figure", None)
    _check({key: given[key] for key in _Head.__dataclass_fields__ if key in given}, _Head, where)
    found: PaperLayout = _made(
        PaperLayout,
        {
            "corner": "",
            **given,
            "caption": tuple(given.get("caption", ())),
            "experiment": name,
            "title": str(values.get("title", name)),
            "dataset": values.get("dataset", ""),
            "budget": values.get("budget", "quick"),
            "way": _way_of(values),
            "shots": tuple(values.get("shots", (1,))),
            "overrides": tuple(values.get("overrides", ())),
            "columns": tuple(columns),
            "lines": tuple(lines),
            "measures": tuple(measures),
            "figure": None if figure is None else _made(Figure, _mapping(figure, where), where),
        },
        where,
    )
    if not lines:
        raise BenchError(f"{where}: a paper layout needs rows")
    if sum(line.each is not None for line in lines) > 1:
        raise BenchError(f"{where}: at most one row may stand for many with 'each'")
    if found.figure is not None and found.each is None:
        raise BenchError(f"{where}: a figure needs a row with 'each'")
    for cell in (cell for row in found.cells() for cell in row):
        if not cell.methods:
            raise BenchError(f"{where}: neither row {cell.row.title!r} nor column {cell.column.title!r} has a method")
        for key in cell.settings:
            if key in catalogue.groups():
                raise BenchError(f"{where}: {key!r} chooses a component, which cannot tell cells apart; name methods")
    return found


def _way_of(values: Mapping[str, Any]) -> int:
    """Of the tasks of an experiment: as its file says, else as is usual on its dataset."""
    if values.get("ways"):
        return int(min(values["ways"]))
    told = dict(text.split("=", 1) for text in values.get("overrides", ()))
    dataset = str(values.get("dataset", ""))
    usual = catalogue.raw("dataset", dataset).get("recommend", {}) if dataset in catalogue.options("dataset") else {}
    root = read_yaml(catalogue.config_folders()[0] / "config.yaml")
    way: Any = _read(told["way"]) if "way" in told else usual.get("tasks", {}).get("way", root["way"])
    return int(way if isinstance(way, int) else root["way"])


def _line(value: Any, where: str) -> Line:
    given = dict(_mapping(value, where))
    methods = given.pop("method", [])
    each = given.pop("each", None)
    if each is not None:
        told = _mapping(each, where)
        each = _made(Each, {**told, "values": tuple(_list(told.get("values", []), where))}, where)
    line: Line = _made(
        Line,
        {
            **given,
            "title": str(given.get("title", "")),
            "method": (methods,) if isinstance(methods, str) else tuple(_list(methods, where)),
            "overrides": tuple(_list(given.get("overrides", []), where)),
            "each": each,
        },
        where,
    )
    return line


def _mapping(value: Any, where: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise BenchError(f"{where}: expected a mapping, not {value!r}")
    return value


def _list(value: Any, where: str) -> list[Any]:
    if not isinstance(value, list):
        raise BenchError(f"{where}: expected a list, not {value!r}")
    return value


@dataclass(frozen=True, slots=True)
class _Head:
    """What a layout says beside its lines, as its YAML has it."""

    corner: str = ""
    caption: tuple[str, ...] = ()
    published: Mapping[str, Any] = field(default_factory=dict)
    cost: bool = False


def _check(values: Mapping[str, Any], kind: type[Any], where: str) -> None:
    """BenchError where a value is not of the type that ``kind`` says; parts that are made already are."""
    try:
        typed(kind, {key: value for key, value in values.items() if not is_dataclass(value)}, ignore_unknown=True)
    except ValueError as error:
        raise BenchError(f"{where}: a {kind.__name__.lower().lstrip('_')} of a paper layout: {error}") from error


def _made(kind: type[Any], values: Mapping[str, Any], where: str) -> Any:
    known: Sequence[str] = [one.name for one in fields(kind)]
    for key in values:
        if key not in known:
            hint = did_you_mean(key, known)
            raise BenchError(f"{where}: a {kind.__name__.lower()} of a paper layout has no {key!r}.{hint}")
    try:
        made = kind(**values)
    except TypeError as error:
        raise BenchError(f"{where}: a {kind.__name__.lower()} of a paper layout is incomplete: {error}") from error
    if kind is not PaperLayout:  # whose parts have been checked
        _check(values, kind, where)
    return made
