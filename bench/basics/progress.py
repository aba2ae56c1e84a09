"""Showing progress: a live bar on a terminal, a line now and then in a log."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeRemainingColumn,
)
from rich.table import Column

QUIET = 2.0
"""Seconds that work may take without a line in a log."""


def for_people(seconds: float) -> str:
    """``40 s``, ``12 min``, ``1 h 40 min``."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"


def of_all_runs(left: str) -> str:
    """``all runs: about 1 h 5 min left``; empty where nothing can be said."""
    return f"all runs: {left} left" if left else ""


class Pace:
    """How long a stage will take, at the pace since it was first heard of."""

    def __init__(self) -> None:
        self._stage = ""
        self._before, self._began = 0, 0.0

    def left(self, stage: str, done: int, total: int) -> str:
        """``40 s left``, ``12 min left``, ``1 h 40 min left``; empty where nothing can be said."""
        now = time.monotonic()
        if stage != self._stage or done < self._before:
            self._stage, self._before, self._began = stage, done, now
        if not self._before < done < total:
            return ""
        return f"{for_people((now - self._began) / (done - self._before) * (total - done))} left"


class Reporter:
    """Shows what runs are doing, on stderr, so that what a command prints can be piped.

    On a terminal one bar moves; elsewhere a line is printed when a stage begins, every ``seconds`` seconds, and when
    it ends. Both say how long the stage will take at the pace since it began, and all runs where that is known.
    """

    def __init__(self, console: Console | None = None, seconds: float = 30.0) -> None:
        self.console = console or Console(stderr=True)
        self.seconds = seconds
        self.name = ""
        self.whole: Callable[[str, int, int], str] | None = None
        """Told of every stage as this is; says how long all that was asked for will take, or nothing."""
        self._last = ("", 0.0)
        self._pace = Pace()
        self._bar: Progress | None = None
        self._task: Any = None
        # Not under FORCE_COLOR alone, which would fill a log with the frames of a bar.
        if self.console.is_terminal and self.console.file.isatty():
            self._bar = Progress(
                SpinnerColumn(),
                TextColumn("{task.description}", markup=False, table_column=Column(no_wrap=True, overflow="ellipsis")),
                BarColumn(20),
                MofNCompleteColumn(),
                TimeRemainingColumn(),
                TextColumn("{task.fields[whole]}", markup=False, table_column=Column(no_wrap=True)),
                TextColumn("{task.fields[metrics]}", markup=False, table_column=Column(no_wrap=True)),
                console=self.console,
                transient=True,
            )

    @property
    def live(self) -> bool:
        """Whether a bar moves; else lines are printed."""
        return self._bar is not None

    def __enter__(self) -> Reporter:
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    @contextlib.contextmanager
    def aside(self) -> Iterator[None]:
        """No bar moves within the block: somebody is asked something."""
        if self._bar is not None:
            self._bar.stop()
        try:
            yield
        finally:
            if self._bar is not None:
                self._bar.start()

    def say(self, text: str) -> None:
        """Print one line that stays. Where nothing can be printed, on a full disk say, the work goes on in silence."""
        with contextlib.suppress(OSError, ValueError):
            self.console.print(text, highlight=False, markup=False, soft_wrap=True)

    @contextlib.contextmanager
    def during(self, what: str) -> Iterator[None]:
        """Work that cannot say how far it is: the bar names it, a log only if it takes longer than ``QUIET``."""
        if self._bar is not None:
            self(what, 0, 0, {})
            yield
            return
        timer = threading.Timer(QUIET, self.say, (f"  {what}",))
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()

    def begin(self, name: str) -> None:
        """A new run starts."""
        self.name = name
        self._last = ("", 0.0)
        self._pace = Pace()

    def __call__(self, stage: str, done: int, total: int, metrics: Mapping[str, float]) -> None:
        """A ``ProgressCallback``."""
        shown = "  ".join(f"{name} {value:.3f}" for name, value in metrics.items())
        whole = self.whole(stage, done, total) if self.whole is not None else ""
        if self._bar is not None:
            description = f"{self.name}: {stage}" if self.name else stage
            if self._task is None:
                self._task = self._bar.add_task(description, total=total or None, metrics=shown, whole="")
            self._bar.update(self._task, description=description, completed=done, total=total or None)
            self._bar.update(self._task, metrics=shown, whole=of_all_runs(whole))
            return
        left = ", ".join(part for part in (self._pace.left(stage, done, total), of_all_runs(whole)) if part)
        last_stage, last_time = self._last
        now = time.monotonic()
        if stage != last_stage or now - last_time >= self.seconds or (done == total and total):
            if stage == last_stage and done == total and now - last_time < 1.0:
                return
            self._last = (stage, now)
            where = f"{self.name}: " if self.name else ""
            count = f" {done}/{total}" if total else ""
            parts = (f"  {where}{stage}{count}", shown, left)
            self.say("  ".join(part for part in parts if part))
