"""A record, its scores and its weights carry a digest: what was changed afterwards is named, and never a number."""

import json
import os
import shutil
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bench.basics.errors import BenchError
from bench.leaderboard.loading import load
from bench.records.record import read_record
from bench.records.scores import read_scores, scores_digest, seal_folder
from bench.records.seal import check_seal, plain, sealed
from bench.training.checkpoint import load_tensors, save_tensors

sys.path.insert(0, str(Path(__file__).parents[1] / "leaderboard"))
from synthetic_runs import edit_record, write_run


def test_a_consistent_edit_of_scores_and_accuracy_is_noticed(tmp_path):
    """By hand: one more correct answer, and the mean to go with it."""
    folder = write_run(tmp_path, "alpha", shots=(1,))
    frame = pd.read_parquet(folder / "tasks.parquet")
    frame.loc[0, "correct"] += 1
    frame.to_parquet(folder / "tasks.parquet", index=False)
    record = json.loads((folder / "run.json").read_text())
    record["evaluations"][0]["accuracy"] = float((frame["correct"] / frame["total"]).mean())
    (folder / "run.json").write_text(json.dumps(record))
    with pytest.raises(BenchError, match="does not match its seal"):
        read_record(folder)


def test_scores_permuted_among_tasks_are_noticed(tmp_path):
    folder = write_run(tmp_path, "alpha", shots=(1,))
    frame = pd.read_parquet(folder / "tasks.parquet")
    frame["correct"] = frame["correct"].to_numpy()[::-1]
    frame.to_parquet(folder / "tasks.parquet", index=False)
    with pytest.raises(BenchError, match=r"tasks\.parquet is damaged \(it does not hold the scores that run\.json"):
        read_scores(folder, read_record(folder))


def test_the_record_of_another_run_in_its_place_is_noticed(tmp_path):
    zero, one = (write_run(tmp_path, "alpha", seed=seed) for seed in (0, 1))
    for file in zero.iterdir():
        shutil.copy(file, one / file.name)
    frames = load(tmp_path)
    assert list(frames.runs["seed"]) == [0]
    assert frames.problems == (f"omniglot/alpha/{one.name} holds the record of another run, {zero.name}; "
                               "move it away and run again",)  # fmt: skip


@pytest.mark.parametrize(
    "change",
    [
        {"evaluations": []},
        {"dataset_hash": "x"},
        {"seed": None},
        {"seed": -1},
        {"timings": None},
        {"notes": []},
        {"config": None},
        {"peak_memory_mib": "much"},
        {"status": "fine"},
        {"method": {"name": "alpha"}},
        {"schema_version": 3},
        {"scores": ""},
    ],
)
def test_wrong_values_in_one_record_hide_no_other_run(tmp_path, change):
    """Sealed anew, so that the values themselves are what is wrong."""
    write_run(tmp_path, "alpha")
    edit_record(write_run(tmp_path, "beta"), **change)
    frames = load(tmp_path)
    assert list(frames.runs["method"]) == ["alpha"]
    (problem,) = frames.problems
    assert "omniglot/beta" in problem
    assert "run.json is damaged" in problem


@pytest.mark.parametrize("accuracy", ["NaN", "Infinity", "1.5", "-0.1", '"0.5"', "true", "null"])
def test_no_accuracy_but_a_share_is_read(tmp_path, accuracy):
    folder = write_run(tmp_path, "alpha", shots=(1,))
    record = json.loads((folder / "run.json").read_text())
    text = json.dumps(record).replace(f'"accuracy": {record["evaluations"][0]["accuracy"]}', f'"accuracy": {accuracy}')
    (folder / "run.json").write_text(text)
    with pytest.raises(BenchError, match="is damaged"):
        read_record(folder)


def test_a_record_of_version_0_1_is_read_and_can_be_sealed(tmp_path):
    folder = write_run(tmp_path, "alpha")
    record = json.loads((folder / "run.json").read_text())
    old = {key: value for key, value in record.items() if key not in ("seal", "scores")} | {"schema_version": 1}
    (folder / "run.json").write_text(json.dumps(old))
    assert read_record(folder).done
    seal_folder(folder, folder)
    sealed_again = json.loads((folder / "run.json").read_text())
    assert sealed_again["scores"] == record["scores"] == scores_digest(read_scores(folder, read_record(folder)))
    sealed_again["seed"] = 7
    (folder / "run.json").write_text(json.dumps(sealed_again))
    with pytest.raises(BenchError, match="seal"):
        read_record(folder)


def test_what_is_no_run_is_named_and_not_passed_over(tmp_path):
    write_run(tmp_path, "alpha")
    (write_run(tmp_path, "beta") / "run.json").unlink()
    shutil.move(write_run(tmp_path / "deep" / "x", "gamma").parents[1], tmp_path / "deep" / "omniglot")
    problems = load(tmp_path).problems
    assert len(problems) == 2
    assert "has no run.json, so nobody knows what it holds" in problems[0]
    assert "a record lies elsewhere than DATASET/METHOD/SEED" in problems[1]


@pytest.mark.parametrize("name", ["run.json", "tasks.parquet"])
def test_a_pipe_in_the_place_of_a_file_is_not_waited_for(tmp_path, name):
    write_run(tmp_path, "alpha")
    folder = write_run(tmp_path, "beta")
    (folder / name).unlink()
    os.mkfifo(folder / name)
    assert len(load(tmp_path).problems) == 1


def test_whatever_a_method_notes_can_be_written():
    rng = np.random.default_rng(0)
    noted = {
        1: float("nan"),
        "a": np.float32(0.5),
        "b": torch.tensor(2),
        "c": rng.random(3),
        "d": {1, 2},
        "e": "\ud800",
    }
    found = plain(noted)
    assert found["1"] == "nan"
    assert (found["a"], found["b"]) == (0.5, 2)
    assert found["e"] == "\\ud800"
    check_seal(json.loads(json.dumps(sealed(found))))


FLIPS = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@FLIPS
@given(data=st.data())
def test_no_flipped_bit_changes_a_score_unseen(tmp_path, data):
    folder = next(tmp_path.glob("*/*/*"), None) or write_run(tmp_path, "alpha", tasks=20)
    name = data.draw(st.sampled_from(["run.json", "tasks.parquet"]))
    whole = (folder / name).read_bytes()
    before = load(tmp_path)
    at = data.draw(st.integers(0, 8 * len(whole) - 1))
    flipped = bytearray(whole)
    flipped[at // 8] ^= 1 << at % 8
    (folder / name).write_bytes(flipped)
    try:
        after = load(tmp_path)
        assert after.task_scores().keys() == before.task_scores().keys()
        for key, value in before.task_scores().items():
            assert np.array_equal(after.task_scores()[key], value)
        assert after.runs.drop(columns="path").astype(str).equals(before.runs.drop(columns="path").astype(str))
    except BenchError as error:
        named = "alpha" in str(error)
    else:
        named = True
    finally:
        (folder / name).write_bytes(whole)
    assert named


@FLIPS
@given(data=st.data())
def test_no_flipped_bit_changes_a_tensor_unseen(tmp_path, data):
    path = tmp_path / "w.safetensors"
    if not path.exists():
        rng = torch.Generator().manual_seed(0)
        tensors = {"a": torch.randn(3, 2, generator=rng), "b": torch.tensor(True), "c": torch.arange(4)}
        save_tensors(path, tensors, {"step": 3, "complete": False}, owner="k")
    whole = path.read_bytes()
    before, meta = load_tensors(path, "k")
    at = data.draw(st.integers(0, 8 * len(whole) - 1))
    flipped = bytearray(whole)
    flipped[at // 8] ^= 1 << at % 8
    path.write_bytes(flipped)
    try:
        after, facts = load_tensors(path, "k")
        assert facts == meta
        assert after.keys() == before.keys()
        assert all(torch.equal(after[name], before[name]) for name in before)
    except BenchError as error:
        named = "w.safetensors" in str(error)
    else:
        named = True
    finally:
        path.write_bytes(whole)
    assert named


def test_tensors_of_another_training_are_refused(tmp_path):
    save_tensors(tmp_path / "w.safetensors", {"a": torch.ones(1)}, {}, owner="one")
    assert load_tensors(tmp_path / "w.safetensors", "one")
    with pytest.raises(BenchError, match="belongs to another training"):
        load_tensors(tmp_path / "w.safetensors", "other")
