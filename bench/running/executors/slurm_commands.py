"""What is asked of SLURM's own commands: who is in the queue, when a job ends, what a state means."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

LONGEST_ANSWER = 60.0  # seconds that squeue and scontrol have; a busy controller takes its time

OVER = (
    *("BOOT_FAIL", "CANCELLED", "COMPLETED", "DEADLINE", "FAILED", "NODE_FAIL", "OUT_OF_MEMORY", "PREEMPTED"),
    *("REVOKED", "TIMEOUT"),
)
"""States of a task that will not go on; a requeued one is PENDING again a moment later."""

USUAL = ("None", "Priority", "Resources", "BeginTime", "JobArrayTaskLimit", "Dependency", "Cleaning", "Prolog")
"""Reasons to wait that end by themselves."""


class NoAnswer(Exception):
    """A command of SLURM failed; its own words."""


@dataclass(frozen=True, slots=True)
class Task:
    """One task of an array, or one job, as squeue has it."""

    id: str
    """``12_3``, or ``12`` where it is no array."""
    name: str
    state: str
    reason: str
    node: str

    @property
    def over(self) -> bool:
        """Whether it will not go on."""
        return self.state in OVER

    @property
    def running(self) -> bool:
        """Whether it is on a node."""
        return not self.over and self.state != "PENDING"


def tasks(names: Sequence[str] = ()) -> dict[str, Task]:
    """The tasks of this user by their ids, also those that ended within the last minutes. names: only of these jobs.

    One call, however many they are; no accounting is needed. NoAnswer where squeue fails.
    """
    words = ["squeue", "-h", "-r", "-t", "all", "-u", str(os.getuid()), "-o", "%i|%T|%r|%N|%j"]
    found = {}
    for line in answer(*words, *([f"--name={','.join(names)}"] if names else [])).splitlines():
        parts = line.strip().split("|", 4)
        if len(parts) == 5:
            id_, state, reason, node, name = parts
            found[id_] = Task(id_, name, state, reason, node)
    return found


def answer(*words: str) -> str:
    """What a command prints. NoAnswer in the words of the command, or where it gives none in time."""
    environment = {**os.environ, "SLURM_TIME_FORMAT": "standard"}
    try:
        done = subprocess.run(words, capture_output=True, text=True, timeout=LONGEST_ANSWER, env=environment)
    except subprocess.TimeoutExpired:
        raise NoAnswer(f"{words[0]} gave no answer within {LONGEST_ANSWER:g} s") from None
    except OSError as error:
        raise NoAnswer(f"{words[0]}: {error.strerror or error}") from None
    if done.returncode:
        raise NoAnswer(in_one_line(done.stderr) or f"{words[0]} ended with exit code {done.returncode}")
    return done.stdout


def in_one_line(stderr: str) -> str:
    """The sentences of a command's complaint, without its name before each."""
    lines = [line.strip() for line in stderr.splitlines() if line.strip()]
    for prefix in ("error: ", "fatal: "):
        lines = [line.partition(prefix)[2] if f": {prefix}" in line[:40] else line for line in lines]
    return "; ".join(dict.fromkeys(lines))


def largest_array() -> int:
    """How many tasks an array of this cluster may have."""
    with contextlib.suppress(NoAnswer, ValueError):
        for line in answer("scontrol", "show", "config").splitlines():
            key, _, value = line.partition("=")
            if key.strip() == "MaxArraySize":
                return int(value) - 1
    return 1000


def facts(job: str) -> dict[str, str]:
    """What the controller knows of one job; empty where it does not say.

    job: ``$SLURM_JOB_ID``, which of one task of an array is the number of the whole: SLURM then tells of all of them.
    """
    with contextlib.suppress(NoAnswer):
        for line in answer("scontrol", "--oneliner", "show", "job", job).splitlines():
            found = dict(word.split("=", 1) for word in line.split() if "=" in word)
            if found.get("JobId") == job:
                return found
    return {}


def end_of_job() -> float | None:
    """When the job that this process is part of must have ended, in seconds since 1970; None outside of one, and
    where that is not limited or not known.
    """
    with contextlib.suppress(KeyError, ValueError):
        return float(os.environ["SLURM_JOB_END_TIME"])  # SLURM 23 has it, 22 does not
    if (job := os.environ.get("SLURM_JOB_ID")) is None:
        return None
    with contextlib.suppress(KeyError, ValueError):
        return datetime.fromisoformat(facts(job)["EndTime"]).timestamp()
    return None
