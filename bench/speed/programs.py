"""Rows without a peer: whole commands, from start to exit, in a process of their own."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from bench.basics.errors import BenchError
from bench.speed.contest import OURS, Contest, Side

SMALL_RUN = ("--dataset", "glyphs", "--methods", "umtra", "--budget", "smoke")


def contests(device: str, threads: int, records: Path) -> list[Contest]:
    """A small ``bench run`` (training, 40 tasks of 1 and 5 shots); on a CPU also ``bench report`` on records."""
    rows = [Contest("bench run, glyphs, umtra, smoke", lambda: _run(device, threads))]
    if device == "cpu" and any(records.rglob("run.json")):
        rows.insert(0, Contest(f"bench report, {records}", lambda: _report(threads, records)))
    return rows


def _report(threads: int, records: Path) -> Mapping[str, Side]:
    places = _places()
    return {OURS: lambda: _bench(["report", "--runs", str(records), "--out", str(next(places))], threads)}


def _run(device: str, threads: int) -> Mapping[str, Side]:
    places = _places()
    return {OURS: lambda: _bench(["run", *SMALL_RUN, "--device", device, "--out", str(next(places))], threads)}


def _places() -> Iterator[Path]:
    """A new folder each time; all go away with the last reference to this."""
    folder = tempfile.TemporaryDirectory(prefix="bench-speed-")
    return (Path(folder.name) / str(i) for i in itertools.count())


def _bench(arguments: list[str], threads: int) -> None:
    """BenchError with the last line that it said where it fails."""
    done = subprocess.run(
        [sys.executable, "-m", "bench", *arguments],
        env={**os.environ, "OMP_NUM_THREADS": str(threads)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode:
        said = done.stdout.strip().splitlines()
        raise BenchError(f"bench {' '.join(arguments)} ended with {done.returncode}: {said[-1] if said else ''}")
