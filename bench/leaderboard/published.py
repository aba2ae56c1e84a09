"""Numbers that papers print, beside ours: which printed row belongs to which method is data, in
configs/published.

``paper-results.csv`` holds every table of Khodadadeh et al. 2020; ``field-results.csv`` numbers of other papers, each
with where it was read (``at-source``: in the paper or in a table of its authors' repository; ``quoted``: in another
paper's) and with what keeps it from being compared. ``matches.csv`` and ``field-matches.csv`` say which of their rows a
method's exact name (a glob) on a dataset (names with spaces between them: the paper's images had the polarity of
``invert=False``) stands beside, and under which settings of the run.
"""

from __future__ import annotations

import csv
import fnmatch
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from bench.basics.errors import BenchError
from bench.planning import catalogue
from bench.planning.places import ROOT
from bench.planning.values import setting

# A match names its printed row by these columns of the results; an empty field there accepts anything.
_SELECTORS = (
    "table",
    "dataset",
    "method",
    "feature_extractor",
    "meta_learner",
    "generator",
    "sampler",
    "param",
)
FIELD = "field"
"""What stands for the table in ``field-results.csv``: a paper layout selects its rows by ``{table: field}``."""
_FIELD_SELECTORS = ("dataset", "method", "feature_extractor")
_MATCH = ("bench_dataset", "bench_method", "when", "note")
_RESULT = ("table", "dataset", "way", "shot", "k_val", "method", "feature_extractor", "accuracy", "ci95")
_COLUMNS = {
    "paper-results.csv": (*_RESULT, "meta_learner", "generator", "sampler", "param"),
    "field-results.csv": (*_RESULT, "source", "year", "venue", "read", "quoted_by", "place", "caveat"),
    "matches.csv": (*_MATCH, *_SELECTORS),
    "field-matches.csv": (*_MATCH, *_FIELD_SELECTORS),
}
_PAIRS = {
    "matches.csv": ("paper-results.csv", _SELECTORS),
    "field-matches.csv": ("field-results.csv", _FIELD_SELECTORS),
}
"""Which results the lines of a list of matches name, and by which columns."""


@dataclass(frozen=True, slots=True)
class Published:
    """One printed number; accuracy and interval in [0, 1]."""

    source: str
    """The paper that it is of."""
    table: str
    """Where it was read."""
    accuracy: float
    ci95: float | None
    note: str = ""
    quoted_by: str = ""
    """The paper that it was read in, where that is another one."""
    caveat: str = ""
    """What keeps it from being compared."""
    label: str = ""
    """What a table calls it."""

    @property
    def provenance(self) -> str:
        """Whose number it is, and where it was read."""
        if not self.caveat:
            return f"{self.source}, {self.table}"
        read = f"quoted by {self.quoted_by}" if self.quoted_by else "read at the source"
        return f"{self.source}, {read}, {self.table}"


def published(
    dataset: str, method: str, config: Mapping[str, Any], *, way: int, shot: int, query: int
) -> tuple[Published, ...]:
    """The printed numbers of a method at this task shape, those of Khodadadeh et al. 2020 first; usually none or one.

    None for images that only have the name of the paper's dataset.
    """
    if not is_dataset(dataset, config):
        return ()
    found = []
    for matches, (results, selectors) in _PAIRS.items():
        for match in _read(matches):
            if dataset not in match["bench_dataset"].split() or not fnmatch.fnmatchcase(method, match["bench_method"]):
                continue
            if not _holds(match["when"], config):
                continue
            for row in _read(results):
                shape = (row["way"], row["shot"], row["k_val"] or str(query))
                if shape != (str(way), str(shot), str(query)) or not row["accuracy"]:
                    continue
                if all(not match[name] or match[name] == row[name] for name in selectors):
                    found.append(_published(row, match["note"]))
    return tuple(found)


def is_dataset(name: str, config: Mapping[str, Any]) -> bool:
    """Whether a run's images are those of the dataset they are called by: read by its own class, not only named so."""
    target = setting(config, "dataset._target_")
    return target is not None and target in _classes(name.partition(",")[0])


@cache
def _classes(name: str) -> tuple[str, ...]:
    """The class of a dataset of this name, by its names of today and before; empty where there is none."""
    if name not in catalogue.options("dataset"):
        return ()
    values = catalogue.raw("dataset", name)
    return tuple(str(values[key]) for key in ("_target_", "identity") if key in values)


def printed(selector: Mapping[str, Any], shot: int, way: int | None = None) -> tuple[Published | None, dict[str, str]]:
    """The one printed row of these columns and ``param`` values, and its other facts (``way``, ``resamplings``).

    ``way``: None for any. None where the paper prints a dash, and where it has no such row. BenchError when several
    rows fit.
    """
    asked = {**selector, "shot": shot} | ({} if way is None else {"way": way})
    wants = {name: str(wanted) for name, wanted in asked.items()}
    found = [
        facts
        for facts in _results()
        if all(name in facts and _same(facts[name], wanted) for name, wanted in wants.items())
    ]
    if len(found) > 1:
        raise BenchError(f"{len(found)} rows of configs/published fit {dict(selector)}; name one")
    if not found:
        return None, {}
    return (_published(found[0]) if found[0]["accuracy"] else None), found[0]


@cache
def _results() -> tuple[dict[str, str], ...]:
    """Every printed row, its ``param`` taken apart."""
    rows = (*_read("paper-results.csv"), *_read("field-results.csv"))
    return tuple(
        {**row, **dict(part.split("=", 1) for part in row.get("param", "").split(";") if part)} for row in rows
    )


def _published(row: Mapping[str, str], note: str = "") -> Published:
    accuracy, ci95 = float(row["accuracy"]) / 100, float(row["ci95"]) / 100 if row["ci95"] else None
    if row["table"] == FIELD:
        label = f"{row['source']}, quoted by {row['quoted_by']}" if row["quoted_by"] else row["source"]
        told = {"quoted_by": row["quoted_by"], "caveat": row["caveat"], "label": label}
        return Published(row["source"], row["place"], accuracy, ci95, note, **told)
    table = f"Table {row['table']}" if row["table"].isdigit() else row["table"].replace("Figure", "Figure ")
    return Published("Khodadadeh et al. 2020", table, accuracy, ci95, note, label=table)


@cache
def _read(name: str) -> tuple[dict[str, str], ...]:
    path = ROOT / "configs" / "published" / name
    try:
        rows = tuple(csv.DictReader(path.read_text(encoding="utf-8").splitlines()))
    except OSError as error:
        raise BenchError(f"cannot read {path}: {error.strerror or error}; install the package anew") from error
    for number, row in enumerate(rows, start=2):
        if fault := _fault(row, _COLUMNS[name]):
            raise BenchError(f"configs/published/{name}, line {number}: {fault}")
    return rows


def _fault(row: Mapping[str, str | None], columns: Sequence[str]) -> str | None:
    """What a line may not say."""
    if lost := [name for name in columns if row.get(name) is None]:
        return f"it has no {', '.join(lost)}; the columns are {', '.join(columns)}"
    if strange := [str(name) for name in row if name not in columns]:
        return f"there is no column {', '.join(strange)}; the columns are {', '.join(columns)}"
    for name in ("way", "shot"):
        if name in columns and not re.fullmatch("[1-9][0-9]*", str(row[name])):
            return f"{name} must be a whole number, not {row[name]!r}"
    for name in ("accuracy", "ci95"):
        if row.get(name) and not re.fullmatch(r"\d{1,2}(\.\d+)?|100(\.0+)?", str(row[name])):
            return f"{name} must be percent, not {row[name]!r}"
    if "read" not in columns:
        return None
    if row["read"] not in ("at-source", "quoted"):
        return f"read must be at-source or quoted, not {row['read']!r}"
    if (row["read"] == "quoted") != bool(row["quoted_by"]):
        return "quoted_by names the paper that quotes the number, where it is read as quoted, and nowhere else"
    if lost := [name for name in ("source", "year", "venue", "place", "caveat") if not row[name]]:
        return f"a number of the field needs its {', '.join(lost)}"
    return None if row["table"] == FIELD else f"table must be {FIELD!r}, not {row['table']!r}"


def _holds(when: str, config: Mapping[str, Any]) -> bool:
    """Whether ``a.b=1;c=2`` is true of a run's configuration."""
    for condition in filter(None, when.split(";")):
        key, _, wanted = condition.partition("=")
        value: Any = config
        for part in key.split("."):
            value = value.get(part) if isinstance(value, Mapping) else None
        if not _same(value, wanted):
            return False
    return True


def _same(value: Any, wanted: str) -> bool:
    try:
        return float(value) == float(wanted)
    except (TypeError, ValueError):
        return str(value) == wanted
