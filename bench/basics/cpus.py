"""How many CPUs this process may use, which may be fewer than the machine has."""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Iterator
from pathlib import Path


def usable_cpus() -> int:
    """CPUs that this process may keep busy: by its affinity, its quota of time and its SLURM job; at least 1."""
    quota, given = cpu_quota(), cpus_of_job()
    # A quota of 1.5 CPUs keeps two threads busy, if not all the time.
    bounds = [affinity(), *([math.ceil(quota)] if quota is not None else []), *([given] if given else [])]
    return max(1, min(bounds))


def cpus_of_job() -> int | None:
    """CPUs that SLURM gave to each task of the job that this process is part of; None outside of one.

    Many clusters bind tasks to them, so that the affinity says it too; those without task/affinity or cgroups do not.
    """
    if "SLURM_JOB_ID" not in os.environ:
        return None
    for name in ("SLURM_CPUS_PER_TASK", "SLURM_CPUS_ON_NODE"):
        if (found := os.environ.get(name, "")).isdecimal() and int(found) > 0:
            return int(found)
    return None


def limited_by_quota() -> bool:
    """Whether less is allowed than the affinity. Libraries know the affinity themselves, but of no quota."""
    return usable_cpus() < affinity()


def affinity() -> int:
    """CPUs that the scheduler may put this process on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def cpu_quota(root: Path = Path("/sys/fs/cgroup"), groups: Path = Path("/proc/self/cgroup")) -> float | None:
    """CPUs' worth of time that the control groups of this process grant it, such as 1.5; None without a limit.

    Of both versions of control groups, and of every group on the way up: the least of them counts.
    """
    found = []
    for folder in _folders(root, groups):
        with contextlib.suppress(OSError, ValueError, IndexError, ZeroDivisionError):
            found.append(_quota(folder))
    return min((one for one in found if one is not None), default=None)


def _folders(root: Path, groups: Path) -> Iterator[Path]:
    lines = ["0::/"]  # in a container the group's own folder is often mounted as the root of all
    with contextlib.suppress(OSError):
        lines += groups.read_text(encoding="utf-8").splitlines()
    for line in lines:
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        names = controllers.split(",")
        mounts = [root] if not controllers else [root / controllers, root / "cpu"] if "cpu" in names else []
        for mount in mounts:
            folder = mount / path.strip("/")
            yield from (one for one in (folder, *folder.parents) if one.is_relative_to(mount))
    yield root / "cpu"


def _quota(folder: Path) -> float | None:
    if (new := folder / "cpu.max").exists():
        quota, period = new.read_text(encoding="utf-8").split()
        return None if quota == "max" else int(quota) / int(period)
    quota, period = ((folder / f"cpu.cfs_{one}_us").read_text(encoding="utf-8") for one in ("quota", "period"))
    return int(quota) / int(period) if int(quota) > 0 else None
