"""``python -m bench.speed``: this benchmark's computations beside other people's, in turns, as ratios.

Peers are plain PyTorch, always, and of learn2learn, higher, torchopt, torchmeta and easyfsl those that are installed.
What is not is left out, and the table says so. They are installed by one command:

    pip install 'unsupervised-meta-bench[peers]' && pip install --no-deps --use-pep517 \\
        --config-settings=--build-option=build_ext learn2learn==0.2.0 torchmeta==1.8.0

The last two come without their dependencies (torchmeta caps torch below 1.10), and learn2learn is told to make its C
code anew: what it ships does not compile since Python 3.11.

Setting: 5-way, 1 support and 5 query images per class, 28x28x1, meta-batch 4, 5 inner steps; a step includes Adam. All
sides compute in float32, in convolutions on a GPU too. On a machine that others use too, start it with
``GOMP_SPINCOUNT=0 OMP_WAIT_POLICY=passive`` in the environment: where a core is taken away, threads that wait by
spinning take from each other what is left.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from bench.basics.allocator import keep_temporaries
from bench.basics.errors import BenchError
from bench.basics.files import write_json, write_text
from bench.running.precision import computing_in
from bench.speed import data, learners, programs, table, trainings
from bench.speed.contest import Contest, Result, measure
from bench.speed.machine import facts
from bench.speed.peers import libraries

INSTALL = """\
pip install 'unsupervised-meta-bench[peers]' && pip install --no-deps --use-pep517 \\
    --config-settings=--build-option=build_ext learn2learn==0.2.0 torchmeta==1.8.0"""

RECORDS = Path("reports/omniglot/records")
ROUNDS = {"cpu": 7, "cuda": 5}
LIMIT = {"cpu": 60.0, "cuda": 2.0}
"""Seconds after which a row begins no further round: on a GPU all rows are to be done within two minutes."""


def contests(device: torch.device, threads: int, found: Mapping[str, Any]) -> list[Contest]:
    """Every row of the table, on ``device``, beside the libraries that were found."""
    return [
        *learners.contests(device, found),
        *trainings.contests(device),
        *data.contests(device),
        *programs.contests(str(device), threads, RECORDS),
    ]


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print the table, and write every round to ``--json``; or render the page of ``--page``."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.speed", description="Our computations beside other people's, in turns."
    )
    parser.add_argument("--rounds", type=int, help="timed rounds of every row (7; on a GPU 5)")
    parser.add_argument("--limit", type=float, help="seconds after which a row begins no new round (60; on a GPU 2)")
    parser.add_argument("--threads", type=int, default=2, help="CPU threads (2)")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--rows", default="", help="only rows whose name contains this text; several: a,b")
    parser.add_argument("--json", type=Path, help="also write machine, versions and every round's seconds to this file")
    parser.add_argument("--page", type=Path, help="measure nothing; write README.md of the JSON files in this folder")
    chosen = parser.parse_args(arguments)
    if chosen.page:
        try:
            write_text(chosen.page / "README.md", table.page(chosen.page, INSTALL))
        except BenchError as error:
            parser.error(str(error))
        return
    if chosen.threads < 1 or (chosen.rounds is not None and chosen.rounds < 1):
        parser.error("--rounds and --threads must be at least 1")
    if chosen.limit is not None and not chosen.limit >= 0:
        parser.error("--limit must be 0 or more")
    try:
        device = torch.device(chosen.device)
    except RuntimeError:
        parser.error(f"--device must be cpu or cuda, not {chosen.device!r}")
    if device.type not in ROUNDS:
        parser.error(f"--device must be cpu or cuda, not {chosen.device!r}")
    if device.type == "cuda" and not torch.cuda.is_available():
        parser.error("this PyTorch sees no CUDA device; use --device cpu")
    kept = keep_temporaries()
    torch.set_num_threads(chosen.threads)
    machine = facts(device)
    found, missing = libraries.find()
    wanted = [part.strip() for part in chosen.rows.split(",")]
    rows = [row for row in contests(device, chosen.threads, found) if any(part in row.name for part in wanted)]
    if not rows:
        parser.error(f"no row's name contains {chosen.rows!r}")
    if device.type == "cuda":  # what is asked is asked of a CPU
        rows = [replace(row, target=0.0) for row in rows]
    rounds = chosen.rounds or ROUNDS[device.type]
    limit = LIMIT[device.type] if chosen.limit is None else chosen.limit
    settings = {"threads": chosen.threads, "device": str(device), "rounds": rounds, "keeps_freed_memory": kept}
    peers = {"peers": libraries.versions(list(found)), "missing": missing}
    results: list[Result] = []
    with computing_in("float32"), Console(stderr=True).status("") as status:
        for number, row in enumerate(rows, 1):
            status.update(f"{number} of {len(rows)}: {row.name}")
            results.append(measure(row, rounds, device, limit))
            if chosen.json:  # after every row: whoever ends this early keeps what is measured
                written = [asdict(result) for result in results]
                write_json(chosen.json, {"schema": table.SCHEMA, **machine, **settings, **peers, "results": written})
    console = Console(width=None if sys.stdout.isatty() else 140)
    title = f"{learners.SPEC}, {chosen.threads} threads, {machine['gpu'] or machine['cpu']}, torch {torch.__version__}"
    console.print(table.on_screen(results, title))
    for line in (*(f"{name}: {why}" for name, why in missing.items()), *table.failures(results)):
        console.print(line, markup=False, highlight=False)
    if missing:
        console.print(f"to install what is missing:\n{INSTALL}", markup=False, highlight=False)
