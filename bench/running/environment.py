"""What a run is made on: the device, the versions of what computes, and the memory that it took at most."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import os
import platform
import re
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import torch

import bench
from bench.basics.cpus import usable_cpus
from bench.basics.errors import BenchError
from bench.basics.holders import host


def resolve_device(name: str, here: bool = True) -> torch.device:
    """``auto`` (the GPU where there is one), ``cpu``, ``cuda`` or ``cuda:1``. here: it must be in this machine."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise BenchError(f"unknown device {name!r}; use auto, cpu, cuda or cuda:1") from error
    if device.type == "cuda" and here and not torch.cuda.is_available():
        raise BenchError("--device cuda: torch sees no CUDA device on this machine; use --device cpu or auto")
    if device.type == "cuda" and here and (device.index or 0) >= torch.cuda.device_count():
        raise BenchError(f"--device {name}: this machine has {torch.cuda.device_count()} CUDA devices, counted from 0")
    if device.type not in ("cpu", "cuda"):
        raise BenchError(f"device {name!r} is not supported; use auto, cpu or cuda")
    return device


def environment(device: torch.device) -> dict[str, Any]:
    """What the numbers of a record were made on."""
    gpu = torch.cuda.get_device_name(device) if device.type == "cuda" else None
    return {
        **({"host": name} if (name := host()) else {}),
        "bench": bench.__version__,
        **({"commit": found} if (found := commit(Path(bench.__file__).parents[1])) else {}),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "platform": platform.platform(),
        "device": gpu or "cpu",
        "cpus": os.cpu_count(),
        "usable_cpus": usable_cpus(),
        "threads": torch.get_num_threads(),
        **({"triton": _version("triton")} if gpu else {}),
    }


_COMMIT = re.compile("[0-9a-f]{40}([0-9a-f]{24})?")


def commit(checkout: Path) -> str | None:
    """The git commit that is checked out in a folder; None where that is no checkout, or git's files do not say it."""
    try:
        folder = checkout / ".git"
        if folder.is_file():  # of a worktree or a submodule
            folder = checkout / folder.read_text().removeprefix("gitdir:").strip()
        shared = folder / "commondir"
        common = folder / shared.read_text().strip() if shared.is_file() else folder
        head = (folder / "HEAD").read_text().strip()
        if head.startswith("ref:"):
            head = _resolved(head.removeprefix("ref:").strip(), folder, common)
    except (OSError, UnicodeDecodeError):
        return None
    return head if _COMMIT.fullmatch(head) else None


def _resolved(name: str, folder: Path, common: Path) -> str:
    """What a branch points to: its own file counts more than the list of packed ones."""
    for place in (folder, common):
        if (place / name).is_file():
            return (place / name).read_text().strip()
    packed = (line.split() for line in (common / "packed-refs").read_text().splitlines())
    return next((words[0] for words in packed if words[1:] == [name]), "")


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def reset_peak_memory(device: torch.device) -> None:
    """Start counting the peak memory anew: of the GPU, or of this process where the system can (Linux)."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    gc.collect()
    # What an earlier run of this process freed is kept for reuse; give it back, or it counts for this run.
    with contextlib.suppress(AttributeError, OSError):
        ctypes.CDLL(None).malloc_trim(0)
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def peak_memory_mib(device: torch.device) -> float | None:
    """Peak device memory on a GPU, peak resident memory of the process on a CPU."""
    if device.type == "cuda":
        return round(torch.cuda.max_memory_allocated(device) / 2**20, 1)
    try:
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return round(int(line.split()[1]) / 1024, 1)
    except OSError:
        pass
    try:
        import resource
    except ImportError:  # not a Unix
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(peak / (2**20 if platform.system() == "Darwin" else 1024), 1)
