"""Workers and drivers killed at random moments, on a real engine: at the end every run is there once, and right."""

import contextlib
import os
import random
import signal
import sys
import time
from pathlib import Path

import pytest
from commands import Bench
from slow_plugin import install_slow
from small_runs import by_seed, ended, records, run_logs, slow, undisturbed

RUNS = int(os.environ.get("BENCH_CLUSTERS_RUNS", "40"))

ON = {
    "slurm": (
        *("--executor", "slurm", "executor.cpus=1", "executor.memory=300M", "executor.poll=1", "executor.parallel=3"),
        *("executor.time=00:10:00", "executor.signal=30"),
    ),
    "ray": ("--executor", "ray", "executor.address=local", "executor.cpus=1"),
}


@pytest.fixture(params=sorted(ON))
def engine(request):
    """Its name, and what its commands have in their environment."""
    if request.param == "ray":
        pytest.importorskip("ray", reason="ray is not installed: pip install ray")
        return request.param, {}
    return request.param, dict(request.getfixturevalue("slurm").environment)


def workers(bench) -> list[int]:
    """Processes that carry out a run of this folder."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            words = path.read_bytes().decode(errors="replace").split("\0")
            if "work" in words and "bench" in words and any(str(bench.out / "plans") in word for word in words):
                found.append(int(path.parent.name))
    return found


def test_whoever_is_killed_every_run_is_there_once_and_right(engine, cache, tmp_path):
    name, environment = engine
    install_slow(tmp_path / "site")
    environment |= {"PYTHONPATH": str(tmp_path / "site"), "PYTHONHASHSEED": "0", "BENCH_HEARTBEAT": "1"}
    bench = Bench(cache, tmp_path, environment)
    command = slow(25, seeds=f"0-{RUNS - 1}")
    expected = undisturbed(bench, command)
    bench.environment["SLOW_SECONDS"] = "0.2"
    rng = random.Random(int(os.environ.get("BENCH_FAULTS_SEED", "0")))
    driver, killed, turns = bench.start(*command, *ON[name]), {"driver": 0, "worker": 0}, 0
    while len(by_seed(bench.out)) < RUNS and turns < 4 * RUNS:
        turns += 1
        time.sleep(rng.uniform(0.5, 4.0))
        if driver.poll() is not None or turns % 8 == 0:
            if driver.poll() is None:
                killed["driver"] += 1
                driver.kill()
            driver.communicate()
            driver = bench.start(*command, *ON[name])
        elif found := workers(bench):
            killed["worker"] += 1
            with contextlib.suppress(ProcessLookupError):
                os.kill(rng.choice(found), signal.SIGKILL)
    with contextlib.suppress(ProcessLookupError):
        driver.kill()
    driver.communicate()
    for _ in range(5):
        code, _, err = ended(bench.start(*command, *ON[name]), seconds=600)
        if code == 0:
            break
    assert code == 0, err
    sys.stderr.write(f"{name}: {killed}\n")
    assert min(killed.values()) > 0
    assert by_seed(bench.out) == expected
    assert {one["status"] for one in records(bench.out).values()} == {"done"}
    assert len(list(bench.out.glob("glyphs/*/*/run.json"))) == RUNS
    assert all(text.count(" end done") == 1 for text in run_logs(bench.out).values())
    left = [path for path in bench.out.rglob("*") if path.name.endswith((".tmp", ".claim", ".partial.safetensors"))]
    assert not left, "no claim and nothing half-written stays"
    bench("verify")
