"""Code from outside the project: whatever it does to its process, the runs of others are what they would be alone."""

import json
import os
import time

import pandas as pd
import pytest
from commands import Bench

METHODS = """
import os, subprocess, sys, time, warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch


class NearestMean:
    transductive = False

    def predict(self, support, query):
        return -torch.cdist(query.flatten(2), support.mean(2).flatten(2))


@dataclass(frozen=True)
class Odd:
    what: str = "well"

    def fit(self, images, spec, context):
        getattr(self, self.what)(context)
        return NearestMean()

    def well(self, context): ...

    def changes(self, context):
        torch.set_num_threads(7)
        torch.set_default_dtype(torch.float64)
        torch.set_grad_enabled(False)
        torch.manual_seed(1)
        torch.use_deterministic_algorithms(True)
        os.chdir("/")
        os.environ["BENCH_CACHE"] = "/nowhere"
        context.note(a=np.float32("nan"), b=torch.ones(2), c={1: {2}}, d="\\ud800")

    def exits(self, context):
        sys.exit(0)

    def memory(self, context):
        raise MemoryError()

    def child(self, context):
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
        context.note(child=child.pid)
        raise GeneratorExit("\\ud800 and more")

    def hang(self, context):
        time.sleep(600)
"""
ENDS = {
    "changes": ("done", ""),
    "exits": ("failed", "its code ended the process, sys.exit(0) (traceback in log.txt)"),
    "memory": ("out-of-memory", "cpu: MemoryError"),
    "child": ("failed", "GeneratorExit: \\ud800 and more (traceback in log.txt)"),
}
SMOKE = ("--no-references", "--budget", "smoke", "budget.evaluation_tasks=5")


@pytest.fixture
def plugged(cache, glyphs, tmp_path):
    """``bench`` with a plugin whose methods are named after what they do."""
    package = tmp_path / "site" / "odd_plugin"
    (package / "configs" / "method").mkdir(parents=True)
    for init in (package, package / "configs"):
        (init / "__init__.py").write_text("")
    (package / "odd.py").write_text(METHODS)
    for name in [*ENDS, "well", "hang"]:
        card = f"{{title: {name.title()}, group: unsupervised, supervised: false}}"
        (package / "configs" / "method" / f"{name}.yaml").write_text(
            f"_target_: odd_plugin.odd.Odd\ncard: {card}\nwhat: {name}\n"
        )
    info = tmp_path / "site" / "odd_plugin-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: odd-plugin\nVersion: 1\n")
    (info / "entry_points.txt").write_text("[bench.plugins]\nodd = odd_plugin\n")
    bench = Bench(cache, tmp_path)
    bench.environment |= {"PYTHONPATH": str(tmp_path / "site"), "BENCH_GRACE": "1"}
    return bench


def ends(out):
    records = [json.loads(path.read_text()) for path in out.glob("*/*/*/run.json")]
    return {record["method"]["name"]: record for record in records}


def test_nothing_that_a_method_does_to_its_process_reaches_another(plugged):
    plugged("run", "--methods", "pixels,well", *SMOKE, "--out", "alone")
    names = ",".join([*ENDS, "pixels", "well"])
    result = plugged("run", "--methods", names, *SMOKE, code=1)
    found = ends(plugged.out)
    assert {name: (found[name]["status"], found[name]["reason"] or "") for name in ENDS} == ENDS
    assert "3 of 6 runs done" in result.stdout
    for name in ("pixels", "well"):
        both = (plugged.out, plugged.folder / "alone")
        (one,), (other,) = (list(folder.glob(f"*/{name}/*/tasks.parquet")) for folder in both)
        pd.testing.assert_frame_equal(pd.read_parquet(one), pd.read_parquet(other))
    assert found["changes"]["notes"]["a"] == "nan"
    with pytest.raises(ProcessLookupError):
        _wait_until_gone(found["child"]["notes"]["child"])


def test_a_method_that_hangs_is_ended_at_its_time_limit_and_the_next_one_runs(plugged):
    result = plugged("run", "--methods", "hang,well", *SMOKE, "--time-limit", "0.1", code=1)
    assert "hang, seed 0: timeout: did not stop at its time limit of 6 s, and was ended from outside" in result.stdout
    found = ends(plugged.out)
    assert (found["hang"]["status"], found["well"]["status"]) == ("timeout", "done")


def _wait_until_gone(pid):
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        os.kill(pid, 0)
        time.sleep(0.1)
