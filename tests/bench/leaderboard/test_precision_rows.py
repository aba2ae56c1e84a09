"""Runs of different precision are different rows; where nothing differs, nothing is said of it."""

import pytest
from synthetic_runs import edit_record, of_omniglot, write_run
from test_reproduction import printed, typed, write_composed

from bench.leaderboard.loading import load
from bench.leaderboard.table import build
from bench.planning.plan import Request, run_configs

CONFIG = {"method": {"alpha": 0.2}}
GPU = {"device": "NVIDIA H200"}


def rows(out):
    (table,) = build(load(out)).tables
    return {row.variant: row.seeds for row in table.rows}


def written(out, seed, precision=None, device="cpu", notes=None):
    said = {} if precision is None else {"precision": precision}
    path = write_run(out, "alpha", seed=seed, config=of_omniglot(**CONFIG, **said), notes=notes or {})
    edit_record(path, environment={"device": device})


def test_a_record_of_a_cpu_from_before_the_setting_shares_the_row_of_float32(tmp_path):
    written(tmp_path, 0)
    written(tmp_path, 1, "float32")
    written(tmp_path, 2, "float32", "NVIDIA H200")
    assert rows(tmp_path) == {"": (0, 1, 2)}


def test_a_record_of_a_gpu_from_before_the_setting_does_not(tmp_path):
    written(tmp_path, 0, device="NVIDIA H200")
    assert rows(tmp_path) == {"": (0,)}
    written(tmp_path, 1, "float32", "NVIDIA H200")
    assert rows(tmp_path) == {"precision=undeclared": (0,), "precision=float32": (1,)}


def test_what_generators_computed_in_tells_rows_apart_once_it_differs(tmp_path):
    for seed in (0, 1):
        written(tmp_path, seed, "float32", notes={"precision": {"vae": "float32"}})
    written(tmp_path, 2)
    assert rows(tmp_path) == {"": (0, 1, 2)}
    written(tmp_path, 3, "float32", "NVIDIA H200", notes={"precision": {"vae": "bfloat16"}})
    assert rows(tmp_path) == {
        "vae.precision=float32": (0, 1),
        "vae.precision=undeclared": (2,),
        "vae.precision=bfloat16": (3,),
    }


@pytest.mark.parametrize("odd", [5, [], {"vae": [1]}, None])
def test_notes_and_settings_of_strangers_harm_nothing(tmp_path, odd):
    written(tmp_path, 0, "float32", notes={"precision": odd})
    written(tmp_path, 1, odd, notes={"precision": {"vae": "float32"}})
    assert sorted(seed for seeds in rows(tmp_path).values() for seed in seeds) == [0, 1]


def test_the_printed_command_makes_a_run_in_tf32_again(tmp_path):
    request = Request(methods="umtra-maml", overrides=("precision=tf32",), references=False)
    write_composed(tmp_path, request)
    (line,) = printed(tmp_path)
    assert line.endswith("precision=tf32")
    again, _ = typed(line)
    assert [one.method_name for one in again] == [one.method_name for one in run_configs(request)]
