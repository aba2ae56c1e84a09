"""The process that speaks with Ray, beside the command: ``python -m bench.running.executors.ray_driver``.

Ray's library ends its process when the head of the cluster is lost, prints what it likes, and waits for minutes; here
it can do all that without the command. Lines of JSON go in and out:

    {"connect": ADDRESS, "cpus": 2, "temp": FOLDER}      first; ``auto`` and ``local`` start a cluster in FOLDER
    {"run": 3, "options": {...}, "task": [...]}          a task of Ray, with these arguments of :func:`carry_out`
    {"stop": true}                                       cancel what was begun; the end of the input ends all

    {"imported": VERSION}, then {"connected": ADDRESS, "local": false, "nodes": [...]} or {"refused": WHY}
    {"nodes": [{"CPU": 2.0, ...}, ...]}                  every few seconds: the machines that are there
    {"ended": 3, "code": 0, "said": "..."}, {"lost": 3, "why": "..."} or {"cancelled": 3}
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import shutil
import sys
import threading
import time
from typing import Any

BEAT = 3.0  # seconds between two looks at the machines

STORE = 100 * 2**20  # bytes of a local cluster's shared memory; what comes back from a task is a line


def carry_out(source: str, words: list[str], unset: list[str], environment: dict[str, str], grace: float) -> Any:
    """On the worker: what the supervisor says of a command. Pickled by value, so nothing of ``bench`` is needed there.

    source: the text of ``ray_supervisor.py``. words: the command; a leading empty word is this worker's interpreter.
    """
    import json
    import os
    import select
    import signal
    import subprocess
    import sys
    import time

    import ray

    # A cluster that was started in the background of a shell ignores it, and Ray's cancelling rests on it.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    keep = {name: value for name, value in os.environ.items() if name not in unset and not name.startswith("RAY_")}
    job = {"RAY_JOB_ID": ray.get_runtime_context().get_job_id()}
    command = [words[0] or sys.executable, *words[1:]]
    process = subprocess.Popen(
        [sys.executable, "-c", source, json.dumps(command), str(grace)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={**keep, **job, **environment},
    )
    process.wait()
    assert process.stdin is not None
    assert process.stdout is not None
    descriptor = process.stdout.fileno()

    def read(until: float) -> bytes:
        found = b""
        while time.monotonic() < until:
            if select.select([descriptor], [], [], 0.2)[0]:
                if not (part := os.read(descriptor, 65536)):
                    break
                found += part
        return found

    try:
        answer = read(float("inf"))
    except KeyboardInterrupt:  # the task was cancelled
        process.stdin.close()
        read(time.monotonic() + grace + 5)
        raise
    return json.loads(answer) if answer else {"code": -9, "said": "what watches over it on its machine was ended"}


def main() -> None:
    """Until the input ends, or Ray ends this process."""
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what Ray prints is no line of ours
    lines: queue.Queue[dict[str, Any] | None] = queue.Queue()
    first = json.loads(sys.stdin.readline())

    def tell(**facts: Any) -> None:
        out.write(json.dumps(facts) + "\n")
        out.flush()

    import ray

    tell(imported=ray.__version__)
    try:
        local = connect(ray, first)
    except BaseException as error:
        return tell(refused=in_one_line(error))
    threading.Thread(target=read_lines, args=(lines,), daemon=True).start()
    try:
        with contextlib.suppress(BrokenPipeError):
            where = ray.get_runtime_context().gcs_address if first["connect"] == "auto" else first["connect"]
            tell(connected=where, local=local, nodes=machines(ray))
            follow(ray, lines, tell)
    finally:
        with contextlib.suppress(Exception):
            ray.shutdown()
        shutil.rmtree(first["temp"], ignore_errors=True)


def connect(ray: Any, wanted: dict[str, Any]) -> bool:
    """Whether a cluster was started here, because none is there. Whatever Ray raises where it cannot be."""
    quiet = {"log_to_driver": False, "logging_level": "ERROR"}
    address = wanted["connect"]
    if address == "auto":
        with contextlib.suppress(ConnectionError):
            ray.init(address="auto", **quiet)
            return False
        address = "local"
    if address != "local":
        ray.init(address=address, **quiet)
        return False
    ray.init(
        address="local",
        num_cpus=wanted["cpus"],  # Ray itself would count the machine's
        include_dashboard=False,
        object_store_memory=STORE,
        _temp_dir=wanted["temp"],
        **quiet,
    )
    return True


def read_lines(lines: queue.Queue[dict[str, Any] | None]) -> None:
    """What is typed into this process; None at its end."""
    for line in sys.stdin:
        lines.put(json.loads(line))
    lines.put(None)


def machines(ray: Any) -> list[dict[str, float]]:
    """What each that is there has: CPU, GPU, memory in bytes."""
    return [node["Resources"] for node in ray.nodes() if node["Alive"]]


def follow(ray: Any, lines: queue.Queue[dict[str, Any] | None], tell: Any) -> None:
    """Begin tasks as they are asked for, and tell how each ended."""
    remote = ray.remote(carry_out)
    begun: dict[Any, int] = {}
    stopped = False
    looked = time.monotonic()
    while True:
        with contextlib.suppress(queue.Empty):
            while True:
                asked = lines.get(block=not begun, timeout=BEAT)
                if asked is None:
                    return
                if "stop" in asked:
                    stopped = True
                    for ref in begun:
                        ray.cancel(ref)
                elif stopped:
                    tell(cancelled=asked["run"])
                else:
                    begun[remote.options(**asked["options"]).remote(*asked["task"])] = asked["run"]
        if begun:
            ready, _ = ray.wait(list(begun), num_returns=len(begun), timeout=0.3)
            for ref in ready:
                tell(**ending(ray, ref, begun.pop(ref)))
        if time.monotonic() - looked > BEAT:
            tell(nodes=machines(ray))
            looked = time.monotonic()


def ending(ray: Any, ref: Any, number: int) -> dict[str, Any]:
    """How a task ended, as a line."""
    try:
        return {"ended": number, **ray.get(ref)}
    except ray.exceptions.TaskCancelledError:
        return {"cancelled": number}
    except ray.exceptions.RayTaskError as error:
        return {"ended": number, "code": 2, "said": in_one_line(error.cause if hasattr(error, "cause") else error)}
    except Exception as error:  # of a machine or a worker that is gone, after all retries
        return {"lost": number, "why": in_one_line(error)}


def in_one_line(error: BaseException) -> str:
    """Ray's message, which may have many lines, as one of bounded length."""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text[:400]}" if text else type(error).__name__


if __name__ == "__main__":
    main()
