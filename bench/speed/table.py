"""The results as a table on the screen and as a page that holds those of several machines."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich import box
from rich.markup import escape
from rich.table import Table

from bench.basics.errors import BenchError
from bench.speed.contest import OURS, Result

SCHEMA = 2
COLUMNS = ("", "ours", "peer", "its time", "ratio", "min–max", "target")

_HEAD = """# Speed

Written by `python -m bench.speed --page {folder}` from the measurements beside it; each was taken by

```sh
{install}
python -m bench.speed --json {folder}/NAME.json
```

Both sides of a row do the same mathematics on the same tensors, in one process and in turns: a round is once ours and
once each peer. Times are medians over the rounds, the ratio is the median of peer / ours round by round, so it hardly
feels other users of the machine; min–max is its range. `plain` is the loop or the module that one writes in PyTorch
without a library. A target is asked of a CPU, about learn2learn where it is there, else about `plain` or scikit-learn.
Rows without a peer are whole commands.
"""


def lines(results: Sequence[Result]) -> list[tuple[str, ...]]:
    """The cells of the table, a line for each peer of each row."""
    found: list[tuple[str, ...]] = []
    for result in results:
        ours = _time(result.median(OURS)) if OURS in result.seconds else "failed"
        named = False
        for peer in result.peers:
            ratios, target = result.ratios(peer), ""
            if peer == result.reference:
                target = f"{result.target:g} {'met' if result.ratio(peer) >= result.target else 'missed'}"
            spread = f"{min(ratios):.2f}–{max(ratios):.2f}"
            cells = (peer, _time(result.median(peer)), f"{result.ratio(peer):.2f}", spread, target)
            found.append(("" if named else result.name, "" if named else ours, *cells))
            named = True
        failed = [(side, why) for side, why in result.failed.items() if side != OURS]
        for side, _ in failed:
            found.append(("" if named else result.name, "" if named else ours, side, "failed", "", "", ""))
            named = True
        if not named:
            found.append((result.name, ours, "", "", "", "", ""))
    return found


def failures(results: Sequence[Result]) -> list[str]:
    """What went wrong, a sentence each."""
    return [f"{result.name}, {side}: {why}" for result in results for side, why in result.failed.items()]


def on_screen(results: Sequence[Result], title: str) -> Table:
    """For a terminal."""
    shown = Table(title=title, box=box.SIMPLE)
    for column in COLUMNS:
        shown.add_column(column, no_wrap=True, justify="left" if column in ("", "peer") else "right")
    for cells in lines(results):
        shown.add_row(*(escape(cell) for cell in cells))
    return shown


def page(folder: Path, install: str) -> str:
    """Markdown of all measurements in the folder, the latest first; BenchError where there is none or a bad one."""
    measured = [(path, _read(path)) for path in sorted(folder.glob("*.json"))]
    if not measured:
        raise BenchError(f"{folder} has no measurement; write one there with --json {folder}/NAME.json")
    measured.sort(key=lambda one: str(one[1]["date"]), reverse=True)
    parts = [_HEAD.format(folder=folder.as_posix(), install=install), *(_section(path, one) for path, one in measured)]
    return "\n".join(parts)


def results_of(measured: Mapping[str, Any]) -> list[Result]:
    """The results in a measurement that was read."""
    return [Result(**one) for one in measured["results"]]


def _section(path: Path, one: Mapping[str, Any]) -> str:
    results = results_of(one)
    if one["gpu"]:  # what is asked is asked of a CPU
        results = [replace(result, target=0.0) for result in results]
    where = one["gpu"] or f"{one['cpu']}, {one['cores']} cores"
    told = [
        f"{one['threads']} CPU threads, {one['system']}, Python {one['python']}, PyTorch {one['torch']}",
        *([f"CUDA {one['cuda']}, on {one['cpu']}"] if one["gpu"] else []),
        f"up to {one['rounds']} rounds; load average before it {one['load']}",
        *([" ".join(f"{name}={value}" for name, value in one["waiting"].items())] if one.get("waiting") else []),
        "peers: " + (", ".join(f"{name} {version}" for name, version in one["peers"].items()) or "none installed"),
        *([f"not here: {', '.join(f'{n} ({why})' for n, why in one['missing'].items())}"] if one["missing"] else []),
    ]
    rows = [" | ".join(cell.replace("|", "/") for cell in cells) for cells in lines(results)]
    head = [" | ".join(COLUMNS), " | ".join(["---"] * 3 + ["---:"] * 4)]
    failed = [f"- failed: {' '.join(line.split())}" for line in failures(results)]
    return "\n".join(
        [f"## {where}, {one['date']}", "", "; ".join(told) + f". Every round: [`{path.name}`]({path.name}).", ""]
        + [f"| {row} |" for row in (*head, *rows)]
        + (["", *failed] if failed else [])
        + [""]
    )


def _read(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        if found["schema"] != SCHEMA:
            raise ValueError(f"schema {found['schema']} instead of {SCHEMA}")
        _section(path, found)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise BenchError(f"{path} is no measurement of bench.speed: {error!r}; delete it or measure again") from error
    return dict(found)


def _time(seconds: float) -> str:
    return f"{seconds:.2f} s" if seconds >= 1 else f"{1e3 * seconds:.{1 if seconds < 0.1 else 0}f} ms"
