"""The committed baseline of our own gate: an honest training passes it, and defects of the kind it is for do not.

Two rows of the suite are trained here; the whole of it is ``make gate``.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from bench.leaderboard import gate
from bench.leaderboard.loading import load
from bench.looking.inspection.records import read_inspections

BASELINE = Path(__file__).parents[2] / "reports" / "baselines" / "gate.parquet"

DEFECTS = """
from bench.contracts import Tasks
from bench.learners.protonet import ProtoNet
from methods.lasium import Lasium

checked, fit = Lasium.__post_init__, ProtoNet.fit


def reversed_sign(self):
    checked(self)
    object.__setattr__(self, "alpha", -self.alpha)


class Shuffled:
    '''Query images under the labels of the next class.'''

    def __init__(self, sampler):
        self.sampler = sampler

    def sample(self, n, spec, rng):
        tasks = self.sampler.sample(n, spec, rng)
        return Tasks(tasks.support, tasks.query.roll(1, dims=1))


Lasium.__post_init__ = reversed_sign
ProtoNet.fit = lambda self, sampler, spec, context: fit(self, Shuffled(sampler), spec, context)
"""


def verdicts(folder: Path, cache: Path, defects: str) -> dict[tuple[str, str], str]:
    """(method, measure) -> verdict, of the two rows, of which one seed is trained."""
    out = folder / ("broken" if defects else "honest")
    program = f"{defects}\nfrom bench.cli import main\nmain()"
    environment = {**os.environ, "BENCH_CACHE": str(cache), "OMP_NUM_THREADS": "1"}
    for arguments in (
        ("run", "--methods", "umtra-protonet", "--no-references"),
        ("inspect", "lasium-ro-object-protonet", "--tasks", "200"),
    ):
        command = [sys.executable, "-c", program, *arguments, "--experiment", "gate", "--out", str(out)]
        subprocess.run(command, env=environment, cwd=folder, check=True, capture_output=True, timeout=300)
    rows = gate.check(load(out), BASELINE, inspections=read_inspections(out)[0], seeds=[0])
    return {(row.method.split(",")[0], row.measure): row.verdict for row in rows if row.verdict != "MISSING"}


@pytest.mark.slow
def test_an_honest_training_passes_and_defects_are_found(bench, tmp_path):
    honest = verdicts(tmp_path, bench.cache, "")
    assert honest == {
        ("umtra-protonet", "accuracy"): "OK",
        ("lasium-ro-object-protonet", "own class nearest"): "OK",
        ("lasium-ro-object-protonet", "diversity"): "OK",
    }
    broken = verdicts(tmp_path, bench.cache, DEFECTS)
    assert broken == {
        ("umtra-protonet", "accuracy"): "WORSE",
        ("lasium-ro-object-protonet", "own class nearest"): "OK",
        ("lasium-ro-object-protonet", "diversity"): "CHANGED",
    }
