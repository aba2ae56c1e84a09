"""Who has a claim: what stands in its file, and whether the process behind it is still there."""

from __future__ import annotations

import functools
import hashlib
import json
import os
import platform
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

HOLDER = "holder.json"

SILENT = 8
"""Heartbeats that must be missing before a holder that cannot be looked for is taken for dead: 120 s of 15 s each."""


def heartbeat() -> float:
    """``$BENCH_HEARTBEAT``, else 15: seconds between two signs of life of a holder."""
    try:
        return max(0.05, float(os.environ.get("BENCH_HEARTBEAT", "15")))
    except ValueError:
        return 15.0


def host() -> str:
    """``$BENCH_HOST``, else what this machine calls itself. Empty where it is not to be told."""
    return os.environ.get("BENCH_HOST", platform.node())


@dataclass(frozen=True, slots=True)
class Holder:
    """Who has a claim."""

    host: str
    pid: int
    since: str
    """ISO 8601, UTC, by its own clock."""
    heartbeat_age: float
    """Seconds since its last sign of life; of another host only about right, as far as the clocks agree."""
    alive: bool | None
    """False: its process is gone, or has been silent for too long; None: on another machine, and not silent."""
    job: str | None = None
    """Of the scheduler that started it: ``slurm 123_4``, ``ray 01000000``."""
    token: str = ""
    beat: float = 15.0
    """Seconds between its signs of life."""

    def __str__(self) -> str:
        if not self.since:
            return "a process whose claim cannot be read"
        told = [self.host or "a host without a name", f"process {self.pid}", *([self.job] if self.job else [])]
        return f"{', '.join(told)}, since {self.since}, last heartbeat {self.heartbeat_age:.0f} s ago"


@dataclass(frozen=True, slots=True)
class Seen:
    """What lies in a claim's folder. facts: None where its holder is being removed."""

    token: str
    changed: int = 0
    """Nanoseconds, by the clock of the file system."""
    facts: dict[str, Any] | None = None

    @property
    def beat(self) -> float:
        found = (self.facts or {}).get("beat")
        return min(max(0.05, float(found)), 3600.0) if isinstance(found, int | float) and found == found else 15.0

    @property
    def age(self) -> float:
        """Seconds, by this host's clock."""
        return time.time() - self.changed / 1e9

    def running(self) -> bool | None:
        """Whether its process is there; None where that cannot be seen from here."""
        facts = self.facts or {}
        pid, machine = facts.get("pid"), _machine()
        if not machine or facts.get("machine") != machine or not isinstance(pid, int) or pid < 1:
            return None
        return _running(pid, str(facts.get("started")))

    def holder(self) -> Holder:
        facts = self.facts or {}
        running = self.running()
        alive = False if running is False or self.age > SILENT * self.beat else running
        pid, job = facts.get("pid"), facts.get("job")
        return Holder(
            host=str(facts.get("host", "")),
            pid=pid if isinstance(pid, int) else 0,
            since=str(facts.get("since", "")),
            heartbeat_age=max(0.0, self.age),
            alive=alive,
            job=str(job) if job else None,
            token=self.token,
            beat=self.beat,
        )


def look(path: Path) -> Seen | None:
    """What is there; None where nobody has the claim."""
    try:
        tokens = sorted(os.listdir(path))
    except FileNotFoundError:
        return None
    if not tokens:
        return None
    token = tokens[0]  # there is never another
    try:
        with open(path / token / HOLDER, "rb") as file:
            changed, text = os.fstat(file.fileno()).st_mtime_ns, file.read(2**16)
    except (FileNotFoundError, NotADirectoryError):
        return Seen(token)
    try:
        facts = json.loads(text)
    except ValueError:  # of a machine that lost its power; time will tell
        facts = {}
    return Seen(token, changed, facts if isinstance(facts, dict) else {})


def facts_of_this_process() -> dict[str, Any]:
    """What a claim of this process says of it."""
    return {
        "host": host(),
        "pid": os.getpid(),
        "machine": _machine(),
        "started": _state(os.getpid())[1],
        "since": datetime.now(UTC).isoformat(timespec="seconds"),
        "job": _job(),
        "beat": heartbeat(),
    }


def _job() -> str | None:
    """The scheduler's name of the job that this process is part of."""
    if array := os.environ.get("SLURM_ARRAY_JOB_ID"):
        return f"slurm {array}_{os.environ.get('SLURM_ARRAY_TASK_ID', '')}"
    for name, variable in (("slurm", "SLURM_JOB_ID"), ("ray", "RAY_JOB_ID")):
        if found := os.environ.get(variable):
            return f"{name} {found}"
    return None


@functools.cache
def _machine() -> str:
    """Whose process numbers these are: this boot of this machine, or of this container; empty where that is unknown."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="utf-8").strip()
        numbers = os.readlink("/proc/self/ns/pid")
    except OSError:
        return ""
    return hashlib.sha256(f"{platform.node()} {boot} {numbers}".encode()).hexdigest()[:16]


def _running(pid: int, started: str) -> bool | None:
    """Whether a process of this machine is there, and is the one that began then; None where it is hidden from us."""
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:
        pass  # it is another user's
    state, found = _state(pid)
    return None if found is None else found == started and state not in ("Z", "X")


def _state(pid: int) -> tuple[str, str | None]:
    """(R, S, D, T; Z and X for one that has ended; when it began, in ticks since the machine did)."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return "", None
    fields = text.rpartition(")")[2].split()  # its name may have spaces and brackets
    return fields[0], fields[19]
