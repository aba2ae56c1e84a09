"""Of a run that was trained anew on purpose, one record counts: the newest that is finished."""

from __future__ import annotations

from collections.abc import MutableMapping, Sequence
from typing import Any

from bench.records.aside import number

SUPERSEDED = "superseded"


def supersede(runs: Sequence[MutableMapping[str, Any]]) -> None:
    """Give the earlier records of each run that status, and those that were given up unfinished, with the reason."""
    newest: dict[Any, float] = {}
    for run in runs:
        if run["status"] == "done":
            newest[_run(run)] = max(_turn(run), newest.get(_run(run), 0.0))
    for run in runs:
        given_up = run["status"] != "done" and number(run["path"])
        if given_up or (run["status"] == "done" and _turn(run) < newest[_run(run)]):
            run["status"], run["reason"] = SUPERSEDED, "the run was begun anew with --rerun"


def _run(run: MutableMapping[str, Any]) -> Any:
    path = run["path"]
    return path.with_name(path.name.removesuffix(f".{number(path)}"))


def _turn(run: MutableMapping[str, Any]) -> float:
    return number(run["path"]) or float("inf")
