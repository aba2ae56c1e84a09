"""Running the real command line in a process of its own."""

import multiprocessing
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from multiprocessing import forkserver
from pathlib import Path

import pandas as pd

TINY = (
    "backbone.filters=8",
    "learner.eval_steps=5",
    "budget.evaluation_tasks=20",
)
"""Overrides that make every method run in a second or two."""

TINY_VAE = ("generator.channels=8", "generator.batch_size=1024")

FIXED = {"OMP_NUM_THREADS": "1", "PYTHONHASHSEED": "0"}
"""What an interpreter reads as it starts."""


@dataclass
class Bench:
    """``bench`` with a cache and one thread; ``out`` is the default folder of records."""

    cache: Path
    folder: Path
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def out(self) -> Path:
        return self.folder / "runs"

    def start(self, *arguments: object, **popen) -> subprocess.Popen:
        """A new interpreter, to stop or to watch."""
        return subprocess.Popen(
            [sys.executable, "-m", "bench", *map(str, arguments)],
            cwd=self.folder,
            env=self._environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            **popen,
        )

    def __call__(self, *arguments: object, code: int = 0) -> subprocess.CompletedProcess:
        """Run to the end and check the exit code; whatever happens there is no traceback."""
        if "PYTHONHASHSEED" in self.environment or "work" in arguments:  # what an interpreter fixes as it starts
            process = self.start(*arguments)
            out, err = process.communicate(timeout=300)
            found = process.returncode
        else:
            found, out, err = _forked([*map(str, arguments)], self.folder, self._environment())
        assert found == code, f"exit {found}\n{out}\n{err}"
        assert "Traceback" not in out + err
        return subprocess.CompletedProcess(arguments, found, out, err)

    def _environment(self) -> dict[str, str]:
        inherited = {name: value for name, value in os.environ.items() if name != "BENCH_DATA"}
        return {**inherited, "BENCH_CACHE": str(self.cache), **FIXED, "COLUMNS": "200", **self.environment}

    def error(self, *arguments: object) -> str:
        """The one sentence that a command answers bad input with."""
        lines = [line for line in self(*arguments, code=2).stderr.splitlines() if line.startswith("error: ")]
        assert len(lines) == 1
        return lines[0].removeprefix("error: ")


def _forked(arguments: Sequence[str], folder: Path, environment: Mapping[str, str]) -> tuple[int | None, str, str]:
    """Exit code and what was printed, from a fork of a process that has imported everything: seconds sooner."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["ready"])
    before = dict(os.environ)
    try:
        os.environ.update(FIXED, PYTHONPATH=str(Path(__file__).parent))  # where the server looks for it
        forkserver.ensure_running()
    finally:
        os.environ.clear()
        os.environ.update(before)
    with tempfile.TemporaryDirectory() as printed:
        out, err = Path(printed, "out"), Path(printed, "err")
        process = context.Process(target=_main, args=(arguments, folder, dict(environment), out, err))
        process.start()
        process.join(timeout=300)
        if process.exitcode is None:
            process.kill()
            process.join()
        return process.exitcode, out.read_text(), err.read_text()


def _main(arguments: Sequence[str], folder: Path, environment: Mapping[str, str], out: Path, err: Path) -> None:
    """What ``python -m bench`` does, here."""
    for file, descriptor in ((out, 1), (err, 2)):
        os.dup2(os.open(file, os.O_WRONLY | os.O_CREAT), descriptor)
    os.setsid()
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    sys.path[:0] = filter(None, environment.get("PYTHONPATH", "").split(os.pathsep))
    tempfile.tempdir = None  # to be read from the environment anew
    sys.argv = ["bench", *arguments]
    from bench.cli import main

    main()


def scores(out: Path) -> dict[str, pd.DataFrame]:
    """Method -> per-task results of a folder of records."""
    return {path.parent.parent.name: pd.read_parquet(path) for path in sorted(out.glob("*/*/*/tasks.parquet"))}
