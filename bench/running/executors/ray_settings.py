"""The settings of ``configs/executor/ray.yaml``: checked, and in Ray's words."""

from __future__ import annotations

import importlib.util
import os
import re
import socket
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.basics.errors import BenchError
from bench.running.executors.slurm_settings import THREADS

ADDRESS = re.compile(r"(ray://)?(\[[0-9a-fA-F:]+\]|[\w.-]+):(\d{1,5})(?(1)/?|)")

PROBE = 5.0  # seconds in which a machine must take a connection

LONGEST = 30
"""Bytes of the path of a folder that Ray may have its sockets below; those of a path to a socket are 107 at most."""

_UNITS = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}


def checked(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The same. BenchError for a value that Ray could not take."""
    found = dict(settings)
    for name, least in (("cpus", 1), ("retries", 0)):
        if found[name] < least:
            raise BenchError(f"executor.{name}={found[name]}: give a number from {least}")
    if not 0 <= found["gpus"] <= 1:
        raise BenchError(
            f"executor.gpus={found['gpus']}: a run uses one GPU or a part of one; give a number from 0 to 1"
        )
    if found["memory"] is not None:
        memory_of(found)
    address = found["address"]
    if address not in ("auto", "local") and not ADDRESS.fullmatch(str(address)):
        raise BenchError(f"executor.address={address}: write auto, local, host:6379 or ray://host:10001")
    if found["python"] is not None and not (isinstance(found["python"], str) and found["python"].isprintable()):
        raise BenchError(f"executor.python={found['python']!r}: give the path of an interpreter")
    for name, value in found["environment"].items():
        if not re.fullmatch(r"[A-Za-z_]\w*", str(name)) or not isinstance(value, str | int | float):
            raise BenchError(f"executor.environment: {name}: {value!r} is no variable; write {{HF_HOME: /data/hf}}")
    return found


def memory_of(settings: Mapping[str, Any]) -> int:
    """Bytes. BenchError for what is no size."""
    read = re.fullmatch(r"([1-9][0-9]*)([KMGT]?)", str(settings["memory"]))
    if read is None:
        raise BenchError(f"executor.memory={settings['memory']}: write it as in 8G or 500M")
    return int(read[1]) * _UNITS[read[2]]


def needed(settings: Mapping[str, Any]) -> None:
    """BenchError where what is needed to reach the cluster is not installed."""
    install = "pip install 'unsupervised-meta-bench[ray]'"
    if importlib.util.find_spec("ray") is None:
        raise BenchError(f"--executor ray needs ray: {install}")
    if address_of(settings).startswith("ray://") and importlib.util.find_spec("grpc") is None:
        raise BenchError(f"executor.address={settings['address']} needs grpcio: {install}")


def address_of(settings: Mapping[str, Any]) -> str:
    """Where ``auto`` is, by ``$RAY_ADDRESS``, and else the setting itself."""
    return os.environ.get("RAY_ADDRESS") or "auto" if settings["address"] == "auto" else str(settings["address"])


def reached(address: str) -> None:
    """BenchError where nobody takes a connection at the address of a cluster: Ray itself would try for a minute."""
    read = ADDRESS.fullmatch(address)
    if read is None:
        return
    try:
        socket.create_connection((read[2].strip("[]"), int(read[3])), timeout=PROBE).close()
    except (OSError, OverflowError) as error:
        why = getattr(error, "strerror", None) or error
        raise BenchError(
            f"no Ray cluster answers at {address} ({why}); executor.address is what 'ray start --head' printed, "
            "as in host:6379, or ray://host:10001 from a machine outside of the cluster"
        ) from error


def options(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Of a task: what a run takes, and how often it is begun again on another machine."""
    memory = {} if settings["memory"] is None else {"memory": memory_of(settings)}
    return {
        "num_cpus": settings["cpus"],
        "num_gpus": settings["gpus"],
        "max_retries": settings["retries"],
        **memory,
    }


def cannot(settings: Mapping[str, Any], machines: Sequence[Mapping[str, float]]) -> str | None:
    """Why no machine of a cluster could ever carry out a run; None where one can. Ray would wait for such a machine."""
    wanted = {"CPU": float(settings["cpus"]), "GPU": float(settings["gpus"])}
    if settings["memory"] is not None:
        wanted["memory"] = float(memory_of(settings))
    if any(all(one.get(kind, 0.0) >= much for kind, much in wanted.items()) for one in machines):
        return None
    names = {"CPU": "cpus", "GPU": "gpus", "memory": "memory"}
    for kind, much in wanted.items():
        most = max((one.get(kind, 0.0) for one in machines), default=0.0)
        if most < much:
            shown = f"{most / 2**30:.1f} GiB" if kind == "memory" else f"{most:g} {kind}s"
            return f"executor.{names[kind]}={settings[names[kind]]}: the largest machine of the Ray cluster has {shown}"
    asked = ", ".join(f"executor.{names[kind]}={settings[names[kind]]}" for kind, much in wanted.items() if much)
    return f"no machine of the Ray cluster has all of {asked}"


def environment(settings: Mapping[str, Any]) -> dict[str, str]:
    """Variables of the runs, beside those of the machine: this project's, and where plugins are imported from."""
    ours = {name: value for name, value in os.environ.items() if name.startswith("BENCH_")}
    if ours.get("BENCH_HOST"):  # this machine's name; empty, it says that none is to be told
        del ours["BENCH_HOST"]
    # A run has as many threads as it was given CPUs: Ray binds it to none.
    threads = {"OMP_NUM_THREADS": str(settings["cpus"])}
    hidden = {} if settings["gpus"] else {"CUDA_VISIBLE_DEVICES": ""}
    given = {str(name): str(value) for name, value in settings["environment"].items()}
    return {**ours, **import_paths(), **threads, **hidden, **given}


def import_paths() -> dict[str, str]:
    """``$PYTHONPATH`` with whole paths, if it is set: runs stand in other folders."""
    parts = filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))
    found = os.pathsep.join(os.path.abspath(one) for one in parts)
    return {"PYTHONPATH": found} if found else {}


def unset() -> list[str]:
    """Variables of a Ray worker that are none of a run's."""
    return [*THREADS, "PYTHONBREAKPOINT"]


def short_folder() -> str:
    """A new folder for a local cluster. BenchError where only folders with long paths can be written."""
    for base in dict.fromkeys((tempfile.gettempdir(), "/tmp")):
        if len(os.fsencode(base)) <= LONGEST and os.access(base, os.W_OK) and Path(base).is_dir():
            return tempfile.mkdtemp(prefix="ray-", dir=base)
    raise BenchError(
        f"Ray needs a folder for its sockets whose path has at most {LONGEST} characters, and {tempfile.gettempdir()} "
        "has more; set TMPDIR to one that can be written"
    )
