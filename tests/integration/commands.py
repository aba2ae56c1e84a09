"""Running the real command line in a process of its own."""

import os
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

TINY = (
    "backbone.filters=8",
    "learner.eval_steps=5",
    "budget.evaluation_tasks=20",
)
"""Overrides that make every method run in a second or two."""

TINY_VAE = ("generator.channels=8", "generator.batch_size=1024")


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
        environment = {
            **os.environ,
            "BENCH_CACHE": str(self.cache),
            "OMP_NUM_THREADS": "1",
            "PYTHONHASHSEED": "0",
            "COLUMNS": "200",
            **self.environment,
        }
        environment.pop("BENCH_DATA", None) if "BENCH_DATA" not in self.environment else None
        command = [sys.executable, "-m", "bench", *map(str, arguments)]
        return subprocess.Popen(
            command,
            cwd=self.folder,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            **popen,
        )

    def __call__(self, *arguments: object, code: int = 0) -> subprocess.CompletedProcess:
        """Run to the end and check the exit code; whatever happens there is no traceback."""
        process = self.start(*arguments)
        out, err = process.communicate(timeout=300)
        assert process.returncode == code, f"exit {process.returncode}\n{out}\n{err}"
        assert "Traceback" not in out + err
        return subprocess.CompletedProcess(arguments, process.returncode, out, err)

    def error(self, *arguments: object) -> str:
        """The one sentence that a command answers bad input with."""
        lines = [line for line in self(*arguments, code=2).stderr.splitlines() if line.startswith("error: ")]
        assert len(lines) == 1
        return lines[0].removeprefix("error: ")


def scores(out: Path) -> dict[str, pd.DataFrame]:
    """Method -> per-task results of a folder of records."""
    return {path.parent.parent.name: pd.read_parquet(path) for path in sorted(out.glob("*/*/*/tasks.parquet"))}
