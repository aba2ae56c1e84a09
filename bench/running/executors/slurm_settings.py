"""The settings of ``configs/executor/slurm.yaml``: checked, and in submitit's words."""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping
from typing import Any

from bench.basics.errors import BenchError

NEEDED = ("sbatch", "srun", "squeue", "scontrol", "scancel")

THREADS = (
    *("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS", "VECLIB_MAXIMUM_THREADS"),
    *("OMP_PROC_BIND", "OMP_PLACES", "KMP_AFFINITY", "GOMP_CPU_AFFINITY"),
)
"""Not handed on to jobs: they are of the machine that the command was typed on."""

_LEAST = {"requeue": 0, "cpus": 1, "parallel": 1, "bundle": 1, "signal": 1, "poll": 0}

_OURS = ("array", "output", "error", "job-name", "signal", "export", "parsable", "wait", "time", "open-mode")


def checked(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The same. BenchError for a value that SLURM could not take, or would take for something else."""
    found = dict(settings)
    for name, least in _LEAST.items():
        if found[name] < least:
            raise BenchError(f"executor.{name}={found[name]}: give a number from {least}")
    if seconds_of(found) <= found["signal"]:
        raise BenchError(
            f"executor.signal={found['signal']}: a task is told so many seconds before its end, and has only "
            f"executor.time={found['time']}"
        )
    if found["memory"] is not None and not re.fullmatch(r"[1-9][0-9]*[KMGT]?", str(found["memory"])):
        raise BenchError(f"executor.memory={found['memory']}: write it as in 8G or 500M")
    if found["gpus"] is not None and not re.fullmatch(r"([\w.-]+:)?[0-9]+", str(found["gpus"])):
        raise BenchError(f"executor.gpus={found['gpus']}: write a number, or a kind and a number as in a100:1")
    for name in ("partition", "account", "qos", "container", "python"):
        if found[name] is not None and not (isinstance(found[name], str | int) and str(found[name]).isprintable()):
            raise BenchError(f"executor.{name}={found[name]!r}: give one word")
    if not all(isinstance(line, str) for line in found["setup"]):
        raise BenchError(f"executor.setup={found['setup']}: write lines of shell, as in ['module load cuda']")
    for option, value in found["options"].items():
        if not re.fullmatch(r"[a-z][a-z-]*", str(option)) or not str(value).isprintable():
            raise BenchError(f"executor.options: {option!r} is no long option of sbatch; write {{constraint: a100}}")
        if option in _OURS:
            raise BenchError(f"executor.options cannot set {option}, which is set here; other executor.* may do it")
    return found


def seconds_of(settings: Mapping[str, Any]) -> float:
    """The time of a task. BenchError where it is not written out: SLURM takes 90 for minutes and 1:30 for a minute
    and a half, and YAML takes 1:30:00 without quotes for the number 5400.
    """
    read = re.fullmatch(r"(?:(\d+)-)?(\d+):([0-5]\d):([0-5]\d)", str(settings["time"]))
    if read is None or not any(int(part or 0) for part in read.groups()):
        raise BenchError(
            f"executor.time={settings['time']}: write [days-]hours:minutes:seconds; 90 minutes are 01:30:00"
        )
    days, hours, minutes, seconds = (int(part or 0) for part in read.groups())
    return float(((days * 24 + hours) * 60 + minutes) * 60 + seconds)


def parameters(settings: Mapping[str, Any]) -> dict[str, Any]:
    """What submitit's SlurmExecutor is set to."""
    container = settings["container"]
    wanted = {
        "partition": settings["partition"],
        "account": settings["account"],
        "qos": settings["qos"],
        "time": int(-(-seconds_of(settings) // 60)),
        "mem": settings["memory"],
        "nodes": 1,
        "ntasks_per_node": 1,
        "cpus_per_task": settings["cpus"],
        "gpus_per_node": settings["gpus"] or None,
        "array_parallelism": settings["parallel"],
        "signal_delay_s": settings["signal"],
        "setup": [f"unset {' '.join(THREADS)}", *settings["setup"]],
        # Since SLURM 22.05 a step does not have the CPUs of its job by itself.
        "srun_args": [
            f"--cpus-per-task={settings['cpus']}",
            *([f"--container-image={container}"] if container is not None else []),
        ],
        "additional_parameters": {"requeue": True, **settings["options"]},
        "stderr_to_stdout": True,
    }
    return {"wckey": None, **{name: value for name, value in wanted.items() if value is not None}}


def needed() -> None:
    """BenchError where submitit is not installed, or this is no machine of a SLURM cluster."""
    try:
        import submitit  # noqa: F401
    except ImportError:
        raise BenchError("--executor slurm needs submitit: pip install 'unsupervised-meta-bench[slurm]'") from None
    if missing := [name for name in NEEDED if shutil.which(name) is None]:
        raise BenchError(
            f"--executor slurm needs {', '.join(missing)} here: type the command on a login node of the cluster"
        )
