"""Numbers that papers print, beside ours: which printed row belongs to which method is data, in
configs/published.

``paper-results.csv`` holds every table of Khodadadeh et al. 2020; ``matches.csv`` says which of its rows a
method's exact name (a glob) on a dataset (names with spaces between them: the paper's images had the polarity of
``invert=False``) stands beside, and under which settings of the run.
"""

from __future__ import annotations

import csv
import fnmatch
import importlib.resources
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from bench.basics.errors import BenchError
from bench.planning import catalogue
from bench.planning.values import setting

# A match names its printed row by these columns of paper-results.csv; an empty field there accepts anything.
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


@dataclass(frozen=True, slots=True)
class Published:
    """One printed number; accuracy and interval in [0, 1]."""

    source: str
    table: str
    accuracy: float
    ci95: float | None
    note: str = ""


def published(
    dataset: str, method: str, config: Mapping[str, Any], *, way: int, shot: int, query: int
) -> tuple[Published, ...]:
    """The printed numbers of a method at this task shape; usually none or one.

    None for images that only have the name of the paper's dataset.
    """
    if not is_dataset(dataset, config):
        return ()
    found = []
    for match in _read("matches.csv"):
        if dataset not in match["bench_dataset"].split() or not fnmatch.fnmatchcase(method, match["bench_method"]):
            continue
        if not _holds(match["when"], config):
            continue
        for row in _read("paper-results.csv"):
            shape = (row["way"], row["shot"], row["k_val"] or str(query))
            if shape != (str(way), str(shot), str(query)) or not row["accuracy"]:
                continue
            if all(not match[name] or match[name] == row[name] for name in _SELECTORS):
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


def printed(selector: Mapping[str, Any], shot: int) -> tuple[Published | None, dict[str, str]]:
    """The one printed row of these columns and ``param`` values, and its other facts (``way``, ``resamplings``).

    None where the paper prints a dash, and where it has no such row. BenchError when several rows fit.
    """
    wants = {name: str(wanted) for name, wanted in {**selector, "shot": shot}.items()}
    found = [
        facts
        for facts in _results()
        if all(name in facts and _same(facts[name], wanted) for name, wanted in wants.items())
    ]
    if len(found) > 1:
        raise BenchError(f"{len(found)} rows of configs/published/paper-results.csv fit {dict(selector)}; name one")
    if not found:
        return None, {}
    return (_published(found[0]) if found[0]["accuracy"] else None), found[0]


@cache
def _results() -> tuple[dict[str, str], ...]:
    """Every printed row, its ``param`` taken apart."""
    rows = _read("paper-results.csv")
    return tuple({**row, **dict(part.split("=", 1) for part in row["param"].split(";") if part)} for row in rows)


def _published(row: Mapping[str, str], note: str = "") -> Published:
    return Published(
        source="Khodadadeh et al. 2020",
        table=f"Table {row['table']}" if row["table"].isdigit() else row["table"].replace("Figure", "Figure "),
        accuracy=float(row["accuracy"]) / 100,
        ci95=float(row["ci95"]) / 100 if row["ci95"] else None,
        note=note,
    )


@cache
def _read(name: str) -> tuple[dict[str, str], ...]:
    path = importlib.resources.files("configs") / "published" / name
    try:
        return tuple(csv.DictReader(path.read_text(encoding="utf-8").splitlines()))
    except OSError as error:
        raise BenchError(f"cannot read {path}: {error.strerror or error}; install the package anew") from error


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
