"""What a task of a SLURM array does: it starts ``bench work`` for its items, passes signals on, and is requeued.

submitit pickles this object, and nothing but it: a path and a few numbers.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import FrameType
from typing import TYPE_CHECKING

from bench.running.executors.slurm_commands import end_of_job, facts

if TYPE_CHECKING:
    from submitit.helpers import DelayedSubmission

LEFT = 75
"""Exit code of ``bench work`` where another attempt would go on."""

ANNOUNCED = (signal.SIGUSR1, signal.SIGUSR2)

LAST = 15.0
"""Seconds before the end of its time at which a task waits no longer for a run that was told to save; its last
checkpoint is on the disk, and to be requeued takes a moment too.
"""


@dataclass(frozen=True, slots=True)
class Bundle:
    """``size`` items of a plan, from ``size`` times ``number``."""

    plan: str
    number: int
    size: int
    seconds: float
    """Of the task."""
    requeues: int
    """How often it may still go back into the queue."""

    def __call__(self) -> int:
        """Within the job, called by submitit. Ends the process by SystemExit where something failed or is left."""
        ends = end_of_job() or time.time() + self.seconds
        came: list[int] = []

        def note(number: int, frame: FrameType | None) -> None:
            came.append(number)

        before = {one: signal.signal(one, note) for one in (*ANNOUNCED, signal.SIGTERM)}
        code = _to_the_end(self.command(), {**os.environ, "SLURM_JOB_END_TIME": f"{ends:.0f}"}, came, ends)
        if code == 0:
            return code
        stopped = code not in (1, 2) and (any(one in ANNOUNCED for one in came) or (came and not _cancelled()))
        if code == LEFT or stopped:
            if self.requeues <= 0:
                _say("it was requeued as often as executor.requeue allows")
                raise SystemExit(LEFT)
            for number, how in before.items():
                signal.signal(number, how)
            signal.raise_signal(_requeueing())  # submitit calls checkpoint(), keeps what it gives, and requeues
        raise SystemExit(code if code > 0 else 128 - code)

    def command(self) -> list[str]:
        """The worker's command line."""
        words = [sys.executable, "-P", "-m", "bench", "work", self.plan]
        return [*words, "--index", str(self.number), *(["--bundle", str(self.size)] if self.size > 1 else [])]

    def checkpoint(self) -> DelayedSubmission:
        """What the requeued task does: the same, for what was done is there and what was begun has a checkpoint."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(replace(self, requeues=self.requeues - 1))


def _to_the_end(command: list[str], environment: Mapping[str, str], came: list[int], ends: float) -> int:
    """The exit code of a child; the first signal is passed on to it as SIGTERM, once.

    SLURM may send its signals to every process of a task, or to this one only. So the child ignores the announcements,
    and hears of them from here.
    """
    how = {one: signal.signal(one, signal.SIG_IGN) for one in ANNOUNCED}  # a child inherits what is ignored
    try:
        child = subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL)
    finally:
        for number, handler in how.items():
            signal.signal(number, handler)
    told = False
    # Not child.wait(): a signal's handler may come at any place in it, and it holds a lock.
    while child.poll() is None:
        if came and not told:
            _say(f"{signal.Signals(came[0]).name}: the run is told to save what it has")
            child.terminate()
            told = True
        elif told and time.time() > ends - LAST:
            child.kill()
        time.sleep(0.1)
    return child.returncode


def _requeueing() -> signal.Signals:
    from submitit.core.job_environment import JobEnvironment

    return signal.Signals[f"SIG{JobEnvironment.USR_SIG}"]


def _cancelled() -> bool:
    """Whether somebody wants this job to be over; else a SIGTERM announces that its place is needed."""
    state = facts(os.environ.get("SLURM_JOB_ID", "")).get("JobState", "")
    return not state.startswith(("RUNNING", "PREEMPTED", "SUSPENDED"))


def _say(text: str) -> None:
    sys.stderr.write(f"bench: {text}\n")
    sys.stderr.flush()
