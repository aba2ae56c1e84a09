"""What a worker process needs to execute one run, and where that run says how far it is."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bench.planning.plan import PlannedRun


@dataclass(frozen=True, slots=True)
class Job:
    """Everything a worker process needs to execute one run."""

    run: PlannedRun
    manifests: tuple[Path, ...]
    cache: Path
    artifacts: Path
    device: str
    threads: int | None = None
    time_limit: float | None = None
    notes: Mapping[str, Any] = field(default_factory=dict)
    """What the record is to say of how the run came to be executed."""
    scratch: str | None = None
    """A folder on a disk of the host itself, to which the prepared dataset is copied before the clock starts; may hold
    variables, such as ``$TMPDIR``, of the host that carries the run out."""

    def absolute(self) -> Job:
        """The same wherever the process goes: somebody's code may change its working directory."""
        run = replace(self.run, folder=self.run.folder.absolute())
        manifests = tuple(path.absolute() for path in self.manifests)
        return replace(
            self, run=run, manifests=manifests, cache=self.cache.absolute(), artifacts=self.artifacts.absolute()
        )


def append_log(folder: Path, line: str) -> None:
    """Append to log.txt; a full disk must not end a run for the sake of its log."""
    with (
        contextlib.suppress(OSError),
        open(folder / "log.txt", "a", encoding="utf-8", errors="backslashreplace") as file,
    ):
        file.write(f"{datetime.now(UTC).isoformat(timespec='seconds')} {line}\n")
