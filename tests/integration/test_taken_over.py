"""A run whose process is frozen is taken over; woken up, it replaces nothing, at whatever moment it slept."""

import os
import signal
import subprocess
import sys

import pandas as pd
import pytest
from commands import Bench, scores

RUN = (
    *("run", "--methods", "umtra-protonet", "--no-references", "--budget", "smoke", "backbone.filters=8"),
    *("budget.evaluation_tasks=20", "budget.meta_iterations=10", "budget.checkpoint_seconds=0.0"),
)
MOMENTS = {"checkpoint": ("weights.safetensors", 1), "scores": ("tasks.parquet", 1), "record": ("run.json", 2)}

FROZEN = """
import os, signal, sys

name, times = sys.argv[1], int(sys.argv[2])
replace = os.replace


def late(source, target):  # it has looked whether the run is still its own; then it sleeps, then it writes
    global times
    times -= os.path.basename(target) == name
    if times == 0:
        times = -1
        os.kill(os.getpid(), signal.SIGSTOP)
    replace(source, target)


os.replace = late
sys.argv = ["bench", *sys.argv[3:]]
from bench.cli import main

main()
"""


@pytest.fixture(scope="module")
def benches(cache, glyphs, tmp_path_factory):
    """A command line with a folder of its own for each moment, in which half a second without a heartbeat is long."""
    return {
        moment: Bench(cache, tmp_path_factory.mktemp(moment), {"BENCH_HEARTBEAT": "0.25", "BENCH_HOST": "other"})
        for moment in (*MOMENTS, "undisturbed")
    }


def frozen(bench, moment):
    name, times = MOMENTS[moment]
    process = subprocess.Popen(
        [sys.executable, "-c", FROZEN, name, str(times), *RUN],
        cwd=bench.folder,
        env={**bench._environment(), "PYTHONPATH": os.getcwd(), "BENCH_HOST": "first"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    return process


def test_the_result_is_that_of_whoever_took_it_over(benches):
    benches["undisturbed"](*RUN)
    ((_, expected),) = scores(benches["undisturbed"].out).items()
    processes = {moment: frozen(benches[moment], moment) for moment in MOMENTS}
    for moment, process in processes.items():
        _, status = os.waitpid(process.pid, os.WUNTRACED)
        assert os.WIFSTOPPED(status), (moment, process.communicate())
        bench = benches[moment]
        (folder,) = bench.out.glob("*/*/*")
        assert "1 of 1 runs done" in bench(*RUN).stdout
        written = {path.name: path.read_bytes() for path in folder.iterdir() if path.name != "log.txt"}
        assert b'"host": "other"' in written["run.json"]
        os.kill(process.pid, signal.SIGCONT)
        out, err = process.communicate(timeout=120)
        assert process.returncode == 1, out + err
        assert "Traceback" not in out + err
        said = f"took {folder} over"
        assert said in out + err or "was taken over while this process slept; it wrote nothing more" in out + err
        assert {path.name: path.read_bytes() for path in folder.iterdir() if path.name != "log.txt"} == written, moment
        ((_, found),) = scores(bench.out).items()
        pd.testing.assert_frame_equal(found, expected)
        assert "waiting for another process: first, process" in (folder / "log.txt").read_text()
        bench("verify")
