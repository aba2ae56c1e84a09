"""Runs of different precision are different rows; where nothing differs, nothing is said of it."""

import pytest
from synthetic_runs import edit_record, of_omniglot, write_run
from test_reproduction import printed, typed, write_composed

from bench.leaderboard.headline import headlines
from bench.leaderboard.loading import load
from bench.leaderboard.table import build
from bench.planning.plan import Request, run_configs
from bench.reporting.layout import differs, evaluated, key, notes

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


def trained(out, method, level, seeds, precision="float32", iterations=1000, **rest):
    """Runs of a method whose precision stands in its name, as the program writes it."""
    changed = "" if precision == "float32" else f"precision={precision}"
    name, title = (
        separator.join(filter(None, (text, changed))) for text, separator in ((method, ","), (method.title(), ", "))
    )
    config = of_omniglot(budget={"meta_iterations": iterations}, method={}, learner={}, precision=precision)
    for seed in seeds:
        write_run(out, name, level, seed, title=title, config=config, budget=f"b{iterations}", shots=(1,), **rest)


def board(out):
    (table,) = build(load(out)).tables
    return table


def standing(table):
    return {(table.board.name(line.row), line.row.precision, line.row.seeds) for line in table.board.tiers[0].ranked}


def test_precision_is_no_changed_setting_when_a_row_is_chosen_to_stand_for_its_method(tmp_path):
    trained(tmp_path, "one", 0.8, (0,))
    trained(tmp_path, "one", 0.8, (0, 1, 2), "tf32")
    trained(tmp_path, "two", 0.7, (0, 1, 2))
    trained(tmp_path, "two", 0.7, (0, 1, 2), "tf32")
    table = board(tmp_path)
    # The most seeds, and of equals float32; what was folded below them says how it differs.
    assert standing(table) == {("One", "tf32", (0, 1, 2)), ("Two", "float32", (0, 1, 2))}
    folded = {
        line.row.family: differs(line.row, one.row) for line in table.board.tiers[0].ranked for one in line.folded
    }
    assert folded == {"one": "precision not changed", "two": "precision=tf32"}
    assert [text for text in notes(table) if "precision=tf32:" in text] == [
        "Computed with precision=tf32: One (1,000 meta-iterations)."
    ]
    assert "1 of the 2 rows with precision=tf32" in key(table, ()), "formats without notes say so too"


def test_rows_that_were_all_computed_alike_need_no_sentence(tmp_path):
    for method in ("one", "two", "three"):
        trained(tmp_path, method, 0.8, (0, 1, 2), "tf32")
    table = board(tmp_path)
    assert {name for name, *_ in standing(table)} == {"One", "Two", "Three"}
    assert not [text for text in notes(table) if text.startswith("Computed")]
    assert not [text for text in key(table, ()) if "precision" in text]
    assert ("settings of every row that has them", "precision=tf32") in evaluated(table)
    trained(tmp_path, "three", 0.7, (0,), iterations=500)
    assert [text for text in notes(board(tmp_path)) if text.startswith("Computed")] == [
        "Computed with precision=tf32: all (1,000 meta-iterations)."
    ]


def test_a_method_is_no_rival_of_its_own_in_another_precision_and_length(tmp_path):
    trained(tmp_path, "one", 0.8, (0, 1, 2), "tf32", iterations=5000)
    trained(tmp_path, "one", 0.8, (0, 1, 2))
    trained(tmp_path, "two", 0.4, (0, 1, 2), "tf32", iterations=5000)
    (found,) = headlines(board(tmp_path))
    assert found.leader == "One"
    assert "The next, Two" in found.text
