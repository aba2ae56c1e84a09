"""Several drivers over one folder, they and their workers killed at random: every run is there once, and right."""

import contextlib
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
from commands import Bench
from photos import write_photos

METHODS = "lasium-n-vae-protonet,lasium-ro-vae-protonet,umtra-protonet,embedding-prototype-pixels"
SMALL = (
    *("--dataset", "folder", "--data-dir", "../photos", "dataset.name=mine", "dataset.size=28", "--shots", "1"),
    *("--budget", "smoke", "--no-references", "backbone.filters=8", "budget.evaluation_tasks=20", "query=5"),
    *("budget.checkpoint_seconds=0.0", "budget.meta_iterations=30", "train.query=3"),
    *("generator.channels=8", "generator.batch_size=20"),
)


FORKED_OFF = "multiprocessing.forkserver"
"""In the command line of the process that workers are forked off, and so in theirs."""
SPAWNED = "spawn_main"
"""In that of a worker which is not forked."""


def start(bench, command):
    """A driver. Nobody listens to it: workers that outlive it would keep its pipes open."""
    return subprocess.Popen(
        [sys.executable, "-m", "bench", *command, "--workers", "2"],
        cwd=bench.folder,
        env=bench._environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def workers_of(driver) -> list[int]:
    """Processes that it has started for its runs."""
    found = {pid: command_of(pid) for pid in children_of(driver.pid)}
    forked = [pid for server, command in found.items() if FORKED_OFF in command for pid in children_of(server)]
    return forked + [pid for pid, command in found.items() if SPAWNED in command]


def children_of(pid: int) -> list[int]:
    found: list[int] = []
    for path in Path("/proc", str(pid), "task").glob("*/children"):
        with contextlib.suppress(OSError):
            found += [int(one) for one in path.read_text().split()]
    return found


def command_of(pid: int) -> str:
    with contextlib.suppress(OSError):
        return Path("/proc", str(pid), "cmdline").read_text()
    return ""


def kill(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def test_three_drivers_killed_at_random_leave_every_run_once(tmp_path, wanted, counted):
    seeds = max(1, wanted("runs") // 4)
    command = ("run", "--methods", METHODS, "--seeds", f"0-{seeds - 1}", *SMALL)
    whole, bench = (Bench(tmp_path / "cache", tmp_path / name) for name in ("whole", "shared"))
    write_photos(tmp_path / "photos")
    for one in (whole, bench):
        one.folder.mkdir()
    whole(*command)
    rng = random.Random(int(os.environ.get("BENCH_FAULTS_SEED", "0")))
    drivers = [start(bench, command) for _ in range(3)]
    seen: set[int] = set()
    for turn in range(wanted("runs")):
        number = rng.randrange(3)
        while drivers[number].poll() is None and not workers_of(drivers[number]):
            time.sleep(0.05)
        time.sleep(rng.uniform(0.0, 3.0))
        workers = workers_of(drivers[number])
        seen |= {*workers}
        if turn % 2 and workers:
            kill(rng.choice(workers))
            counted("kills of workers")
        else:
            drivers[number].kill()
            drivers[number].wait()
            drivers[number] = start(bench, command)
            counted("kills of drivers")
    for driver in drivers:
        seen |= {*workers_of(driver)}
        driver.kill()
        driver.wait()
    bench(*command)
    for _ in range(600):
        if not any(name in command_of(pid) for pid in seen for name in (FORKED_OFF, SPAWNED)):
            break
        time.sleep(0.1)
    found = records(bench.out)
    assert found.keys() == records(whole.out).keys(), "every record once"
    for place, expected in records(whole.out).items():
        pd.testing.assert_frame_equal(found[place], expected)
    bench("verify")
    left = [path for path in bench.out.rglob("*") if path.name.endswith((".tmp", ".claim", ".partial.safetensors"))]
    assert not left, "no claim and nothing half-written stays"


def records(out: Path) -> dict[str, pd.DataFrame]:
    """Folder of a run -> its per-task scores."""
    return {
        path.parent.relative_to(out).as_posix(): pd.read_parquet(path)
        for path in sorted(out.glob("*/*/*/tasks.parquet"))
    }
