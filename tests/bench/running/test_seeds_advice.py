"""That more than one seed is recommended where that is cheap, and what it costs, said once."""

import dataclasses
import sys
from pathlib import Path

import pytest

from bench.records.record import read_record
from bench.running import seeds

sys.path.insert(0, str(Path(__file__).parents[1] / "leaderboard"))
from synthetic_runs import edit_record, write_run


@pytest.fixture
def runs(tmp_path):
    """Two rows with seed 4: 100 s of a generator that they share, 50 s and 10 s of their own."""
    found = []
    for name, fit in (("alpha", 50.0), ("beta", 10.0)):
        path = write_run(tmp_path, name, seed=4)
        edit_record(path, timings={"generator": 100.0, "fit": fit})
        found.append((path, read_record(path)))
    return found


def test_one_seed_and_cheap(runs):
    said = seeds.finished(runs)
    assert said is not None
    assert "--seeds 4-6 takes about 5 min more" in said  # 2 * (100 + 50 + 10) s


def test_silent_where_it_is_dear_where_there_are_more_and_where_nothing_is_trained(runs, tmp_path):
    (path, record), other = runs
    dear = dataclasses.replace(record, timings={"fit": 901.0})
    assert seeds.finished([(path, dataclasses.replace(record, timings={"fit": 899.0}))]) is not None
    assert seeds.finished([(path, dear)]) is None
    assert seeds.finished([(path, dataclasses.replace(record, timings={}))]) is None
    assert seeds.finished([(path, dataclasses.replace(record, seed=5)), other]) is None
    floors = [(at, dataclasses.replace(one, method=dataclasses.replace(one.method, group="floor"))) for at, one in runs]
    assert seeds.finished(floors) is None
    write_run(tmp_path, "beta", seed=5)
    assert seeds.finished(runs) is None
