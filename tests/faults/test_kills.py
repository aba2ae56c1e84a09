"""kill -9 at random moments: the same command goes on, and the scores are those of a run that nobody disturbed."""

import multiprocessing
import os
import shutil
import signal
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from commands import TINY, Bench, _forked, _main, scores
from photos import write_photos

DATA = ("--dataset", "folder", "--data-dir", "photos", "dataset.name=mine", "dataset.size=28")
METHODS = "lasium-n-vae-maml,embedding-linear-acai,umtra-protonet"
SMALL = (
    *("--budget", "smoke", "--no-references", "--shots", "1,5", *TINY, "budget.checkpoint_seconds=0.0"),
    *("budget.meta_iterations=30", "generator.channels=8", "generator.batch_size=20"),
    *("encoder.batch_size=20", "train.query=3", "query=5"),
)
COMMANDS = (
    ("run", "--methods", METHODS, *DATA, *SMALL),
    ("report", "--out", "reports", "--records"),
)


@pytest.fixture(scope="module")
def bench(tmp_path_factory):
    folder = tmp_path_factory.mktemp("kills")
    write_photos(folder / "photos")
    _forked(["--version"], folder, dict(os.environ))  # the server that starts processes is there, and warm
    return Bench(folder / "cache", folder)


def start(bench, command):
    """The command in a process of its own, which leads a group."""
    context = multiprocessing.get_context("forkserver")
    printed = Path(tempfile.mkdtemp(dir=bench.folder))
    files = printed / "out", printed / "err"
    process = context.Process(target=_main, args=([*map(str, command)], bench.folder, bench._environment(), *files))
    process.start()
    return process, files


def kill(process):
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:  # it does not lead its group yet
        process.kill()
    process.join()


def forget(bench):
    for name in ("runs", "reports", "cache"):
        shutil.rmtree(bench.folder / name, ignore_errors=True)


def test_whenever_it_is_killed_the_scores_are_the_same(bench, wanted, counted):
    rng = np.random.default_rng(int(os.environ.get("BENCH_FAULTS_SEED", "0")))
    began = time.monotonic()
    for command in COMMANDS:
        bench(*command)
    whole, seconds = scores(bench.out), time.monotonic() - began
    board = (bench.folder / "reports" / "leaderboard.csv").read_text()
    assert len(whole) == 3
    kills = 0
    while kills < wanted("kills"):
        forget(bench)
        for command in COMMANDS:
            for attempt in range(200):
                process, (out, err) = start(bench, command)
                process.join(timeout=float(rng.uniform(0.0, 0.6 * seconds)))
                if process.exitcode is None and kills < wanted("kills"):
                    kill(process)
                    kills += 1
                    counted(f"kills during {command[0]}")
                    continue
                process.join(timeout=300)
                assert process.exitcode == 0, (attempt, out.read_text(), err.read_text())
                break
            else:
                pytest.fail("it never came to its end")
        found = scores(bench.out)
        assert found.keys() == whole.keys()
        for name, frame in whole.items():
            pd.testing.assert_frame_equal(found[name], frame)
        shown = (bench.folder / "reports" / "leaderboard.csv").read_text()
        assert [line.split(",")[:6] for line in shown.splitlines()] == [
            line.split(",")[:6] for line in board.splitlines()
        ]
        assert "0 damaged" not in bench("verify").stdout
        left = [str(path) for path in bench.out.rglob("*") if path.name.endswith((".tmp", ".partial.safetensors"))]
        assert not left, "nothing half-written stays"
