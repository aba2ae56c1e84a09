"""Which setting stands for a method when meta-validation tasks choose; tasks of the table have no say."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from synthetic_runs import edit_record, write_run

from bench.basics.errors import BenchError
from bench.basics.files import read_json
from bench.leaderboard.choice import preference
from bench.leaderboard.loading import load
from bench.leaderboard.table import build

CONFIG = {
    "way": 5,
    "budget": {"name": "quick", "meta_iterations": 100, "validate_every": 10, "validation_tasks": 60},
    "method": {"alpha": 0.2},
}


def setting(
    out: Path, alpha: float, test: float, validation: float, sealed: bool = False, seed: int = 0, steps: int = 100
):
    """One run of ``alpha``: its accuracy on the table's tasks, and on meta-validation tasks, sealed or by its curve."""
    method = "lasium" if alpha == 0.2 else f"lasium,alpha={alpha}"
    method_config = {**CONFIG, "method": {"alpha": alpha}}
    path = write_run(out, method, test, seed, config=method_config, shots=(1, 5) if sealed else (1,))
    if sealed:  # what is answered at 5 shots is taken for validation
        evaluations = read_json(path / "run.json")["evaluations"]
        edit_record(path, evaluations=[one | ({"split": "val"} if one["shot"] == 5 else {}) for one in evaluations])
    curve = {"stage": "meta-train", "step": [steps // 2, steps], "name": "validation", "value": [0.9, validation]}
    pd.DataFrame(curve).to_parquet(path / "train.parquet", index=False)
    return path


def first(out: Path, select: str = "val") -> str:
    frames = load(out)
    table = next(one for one in build(frames, preference(select, frames)).tables if one.split == "test")
    ((line,),) = (tier.ranked for tier in table.board.tiers)
    return line.row.settings.get("alpha", "0.2")


def test_the_end_of_the_curve_chooses_and_not_the_table(tmp_path):
    setting(tmp_path, 0.2, test=0.5, validation=0.5)
    setting(tmp_path, 0.3, test=0.9, validation=0.4)
    setting(tmp_path, 0.4, test=0.3, validation=0.6)
    assert (first(tmp_path), first(tmp_path, "usual")) == ("0.4", "0.2")
    frames = load(tmp_path)
    (table,) = build(frames, preference("val", frames)).tables
    assert "at the end of their validation curves (60 tasks of 5-way 1-shot)" in table.board.rule


def test_seeds_are_averaged_and_of_equal_rows_the_usual_one_stands(tmp_path):
    for seed, value in ((0, 0.7), (1, 0.3)):
        setting(tmp_path, 0.4, test=0.5, validation=value, seed=seed)
    setting(tmp_path, 0.2, test=0.5, validation=0.5)
    assert first(tmp_path) == "0.2"
    setting(tmp_path, 0.3, test=0.5, validation=0.51)
    assert first(tmp_path) == "0.3"


def test_sealed_tasks_count_more_than_curves_where_all_answered_them(tmp_path):
    setting(tmp_path, 0.2, test=0.5, validation=0.9, sealed=True)
    setting(tmp_path, 0.3, test=0.7, validation=0.1, sealed=True)
    assert first(tmp_path) == "0.3"
    frames = load(tmp_path)
    assert "on sealed ones, where all its settings answered the same (200 tasks of 5-way 5-shot)" in (
        preference("val", frames).sentence
    )
    setting(tmp_path, 0.4, test=0.4, validation=0.95)
    assert first(tmp_path) == "0.4", "it has no sealed ones, so curves choose"


@pytest.mark.parametrize("how", ["no curve", "damaged", "other step", "other tasks"])
def test_where_it_cannot_be_told_the_usual_rule_holds(tmp_path, how):
    setting(tmp_path, 0.2, test=0.5, validation=0.4)
    path = setting(tmp_path, 0.3, test=0.5, validation=0.8, steps=90 if how == "other step" else 100)
    assert first(tmp_path, "val") == ("0.2" if how == "other step" else "0.3")
    if how == "no curve":
        (path / "train.parquet").unlink()
    if how == "damaged":
        (path / "train.parquet").write_bytes(b"PAR1")
    if how == "other tasks":
        edit_record(path, config={**CONFIG, "budget": {**CONFIG["budget"], "validation_tasks": 20}})
    assert first(tmp_path) == "0.2"


def test_other_words_are_refused(tmp_path):
    setting(tmp_path, 0.2, test=0.5, validation=0.4)
    with pytest.raises(BenchError, match=r"--select 'vall' is none of usual, val\. Did you mean 'val'\?"):
        preference("vall", load(tmp_path))
