"""``make gpu-check``: everything that only a GPU can show, in one call of at most ten minutes.

One after the other, each in a process of its own with a limit, results in one folder: the tests marked ``gpu``; the
table of ``python -m bench.speed``; a run at a paper's length alone, and four at a time; and with the time that is left,
an experiment at the paper's lengths. What fails or takes too long is named in the summary and stops nothing.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from rich.console import Console

from bench.basics.errors import BenchError
from bench.basics.files import write_json

LENGTH = "budget.meta_iterations=5000"


@dataclass(frozen=True, slots=True)
class Stage:
    """A command after the interpreter's name, and the seconds it may take; its output goes to ``<name>.log``."""

    name: str
    command: tuple[str, ...]
    limit: float


@dataclass(frozen=True, slots=True)
class Ended:
    """How a stage ended: exit code (None: over its limit, or no time left for it), seconds."""

    name: str
    code: int | None
    seconds: float
    command: str


def stages(out: Path, row: str, experiment: str, data_dir: str | None, overrides: Sequence[str] = ()) -> list[Stage]:
    """What is done, in order. Runs are of Omniglot where ``data_dir`` is given, else of the embedded glyphs.

    row: the method whose training is timed, alone and four at a time. overrides: further words for the last stage.
    """
    images = ["--dataset", "omniglot", "--data-dir", data_dir] if data_dir else ["--dataset", "glyphs"]
    run = ["-m", "bench", "run", "--device", "cuda", "--budget", "paper", "--shots", "1,5", *images]
    one = [*run, "--methods", row, "--no-references", LENGTH, "budget.validate_every=0"]
    four = ["--workers", "4", "--per-gpu", "4"]
    whole = [*run, "--experiment", experiment, LENGTH, *four, *overrides]
    return [
        Stage(
            "tests",
            ("-m", "pytest", "-q", "-m", "gpu", "-p", "no:cacheprovider", "--continue-on-collection-errors", "tests"),
            180,
        ),
        Stage("speed", ("-m", "bench.speed", "--device", "cuda", "--json", str(out / "speed.json")), 180),
        Stage("alone", (*one, "--out", str(out / "alone")), 120),
        Stage("together", (*one, "--seeds", "1-4", *four, "--out", str(out / "together")), 180),
        Stage("rows", (*whole, "--out", str(out / "rows")), 600),
    ]


def check(out: Path, todo: Sequence[Stage], seconds: float, console: Console) -> list[Ended]:
    """Run the stages while there is time; ``summary.json`` is whole after each."""
    out.mkdir(parents=True, exist_ok=True)
    began, ended = time.monotonic(), list[Ended]()
    for stage in todo:
        left = min(stage.limit, seconds - (time.monotonic() - began))
        started = time.monotonic()
        code: int | None = None
        if left >= 5:
            with open(out / f"{stage.name}.log", "w", encoding="utf-8") as log:
                process = subprocess.Popen([sys.executable, *stage.command], stdout=log, stderr=subprocess.STDOUT)
                try:
                    code = process.wait(left)
                except subprocess.TimeoutExpired:
                    _stop(process)
                except BaseException:
                    _stop(process)
                    raise
        taken = time.monotonic() - started
        ended.append(Ended(stage.name, code, round(taken, 1), " ".join(("python", *stage.command))))
        said = (
            "over its limit" if code is None and left >= 5 else "no time left" if code is None else f"exit code {code}"
        )
        console.print(f"{stage.name}: {said}, {taken:.0f} s, {out / (stage.name + '.log')}", highlight=False)
        write_json(out / "summary.json", {"stages": [asdict(one) for one in ended]})
    return ended


def _stop(process: subprocess.Popen[bytes]) -> None:
    """As Ctrl-C would, so that runs keep what they have; by force where that is not enough."""
    process.terminate()
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def main(arguments: Sequence[str] | None = None) -> None:
    """See the module."""
    parser = argparse.ArgumentParser(prog="python -m bench.speed.gpu_check", description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("runs/gpu-check"), help="folder of the results")
    parser.add_argument("--data-dir", help="folder that Omniglot lies in; without it, the embedded glyphs")
    parser.add_argument("--minutes", type=float, default=9.5, help="in all (9.5)")
    parser.add_argument("--row", required=True, help="a method to time")
    parser.add_argument("--experiment", required=True, help="what to run in the time that is left")
    parser.add_argument("words", nargs="*", help="further words for that, after --")
    parser.add_argument("--only", default="", help="names of stages, comma-separated")
    chosen = parser.parse_args(arguments)
    todo = stages(chosen.out, chosen.row, chosen.experiment, chosen.data_dir, chosen.words)
    if chosen.only:
        wanted = chosen.only.split(",")
        known = [stage.name for stage in todo]
        if unknown := [name for name in wanted if name not in known]:
            parser.error(f"--only takes {', '.join(known)}, not {', '.join(unknown)}")
        todo = [stage for stage in todo if stage.name in wanted]
    if not torch.cuda.is_available():
        parser.error("this PyTorch sees no CUDA device, and everything here needs one")
    try:
        ended = check(chosen.out, todo, 60 * chosen.minutes, Console())
    except (BenchError, OSError) as error:
        parser.error(str(error))
    raise SystemExit(0 if all(one.code == 0 for one in ended) else 1)


if __name__ == "__main__":
    main()
