"""Tidy CSV: what pandas reads back is the board, one type a column."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path

import pandas as pd
import pytest
from synthetic_runs import write_example, write_run

from bench.leaderboard.loading import load
from bench.leaderboard.table import build
from bench.reporting import csv
from bench.reporting.report import write_report

RECORDS = Path(__file__).parents[3] / "reports" / "omniglot" / "records"


@pytest.fixture(scope="module")
def example(tmp_path_factory):
    folder = tmp_path_factory.mktemp("example")
    write_example(folder / "runs")
    write_report(folder / "runs", folder / "reports", ["csv"])
    return folder


def test_csv_has_ten_digits_and_one_type_a_column(example):
    reports = example / "reports"
    frame = pd.read_csv(
        reports / "leaderboard.csv", dtype=csv.SCORE_FIELDS, true_values=["True"], false_values=["False"]
    )
    board = build(load(example / "runs"))
    expected = {
        (table.slug, tier, line.kind, line.row.method, shot): (
            line,
            line.row.scores[way, shot],
            line.verdicts[way, shot],
        )
        for table in board.tables
        for tier, lines in (
            *((one.iterations, one.lines) for one in table.board.tiers),
            (pd.NA, table.board.references),
        )
        for line in lines
        for way, shot in line.verdicts
    }
    assert len(frame) == len(expected)
    for line in frame.itertuples():
        found, score, verdict = expected[line.table, line.tier, line.kind, line.method, line.shot]
        assert line.accuracy == pytest.approx(score.estimate.mean, rel=1e-9, abs=0)
        assert line.task_ci95 == pytest.approx(score.estimate.task_ci95, rel=1e-9, abs=0)
        assert (line.standing, line.seeds) == (verdict.standing, len(score.seeds))
        assert line.rank is pd.NA if verdict.rank is None else line.rank == verdict.rank
        assert line.gap is pd.NA if verdict.gap is None else line.gap == pytest.approx(verdict.gap.mean, abs=1e-9)
        covers = score.estimate.seeds > 1 if verdict.gap is None else verdict.gap.covers_seeds
        assert line.covers_seeds == covers
        assert line.meta_iterations == found.row.trained.iterations
    assert tuple(frame.columns)[: len(csv.SCORE_FIELDS)] == tuple(csv.SCORE_FIELDS)
    plain = pd.read_csv(reports / "leaderboard.csv")
    for name, kind in csv.SCORE_FIELDS.items():
        if name in ("covers_seeds", "below_floor", "supervised", "outside_data"):
            assert plain[name].dtype == bool, name
        elif kind != csv.TEXT and name != "transductive":
            assert pd.api.types.is_numeric_dtype(plain[name]), name
    runs = pd.read_csv(reports / "runs.csv", dtype=csv.RUN_FIELDS)
    assert tuple(runs.columns) == tuple(csv.RUN_FIELDS)
    assert len(runs) == len(list((example / "runs").rglob("run.json")))
    assert set(runs["status"]) == {"done", "diverged", "out-of-memory"}


@pytest.mark.skipif(not RECORDS.is_dir(), reason="the records of the Omniglot report are not here")
def test_settings_lengths_and_versions_of_a_published_report_have_columns():
    frames = load(RECORDS)
    text = csv.scores(build(frames), frames)
    assert not text.startswith("\ufeff")
    path = RECORDS.parent / "leaderboard.csv"
    assert path.read_text().splitlines()[0].split(",")[:4] == text.splitlines()[0].split(",")[:4]
    frame = pd.read_csv(io.StringIO(text))
    swept = frame[frame["method"].str.contains("eps_sq=")]
    assert list(swept["set.eps_sq"]) == [float(re.search(r"eps_sq=([\d.]+)", name)[1]) for name in swept["method"]]
    assert [json.loads(one)["eps_sq"] for one in swept["settings"]] == [f"{x}" for x in swept["set.eps_sq"]]
    assert set(swept["kind"]) == {"variant"}
    assert set(swept["generator_epochs"]) == {10}
    assert set(swept["folded_below"]) == {"lasium-n-gan-maml"}
    first = frame[(frame["kind"] == "ranked") & (frame["rank"] == 1) & (frame["tier"] == 1000) & (frame["shot"] == 1)]
    assert set(first["name"]) >= {"LASIUM-RO-VAE-MAML", "LASIUM-OC-VAE-MAML"}
    assert set(frame["torch"]) == {"2.13.0+cpu", "2.11.0+cu130"}
    assert set(frame["learner"].dropna()) >= {"MAML", "ProtoNets"}
    assert frame["created_first"].str.match(r"2026-11-2\dT").all()


def test_published_numbers_stand_beside_ours(tmp_path):
    write_run(tmp_path / "runs", "umtra-maml", 0.8, tasks=1000)
    write_report(tmp_path / "runs", tmp_path / "reports", ["md", "csv"])
    text = (tmp_path / "reports" / "leaderboard.md").read_text()
    assert re.search(r"Table 1: 81\.91 ± 0\.58 \(ours [+−]\d\.\d\d\)", text)
    frame = pd.read_csv(tmp_path / "reports" / "leaderboard.csv")
    assert list(frame["published_accuracy"]) == pytest.approx([0.8191, 0.9458])
    printed = pd.read_csv(tmp_path / "reports" / "published.csv", dtype=csv.PUBLISHED_FIELDS)
    assert list(printed["ours_minus_published"]) == pytest.approx(list(printed["ours"] - printed["accuracy"]))


def test_a_second_published_number_is_a_line_of_its_own(tmp_path):
    """So that published_accuracy is a number in every line."""
    budget = {"name": "paper", "meta_iterations": 1000}
    config = {"budget": budget, "method": {"noise_std": 0.5}}
    write_run(tmp_path / "runs", "lasium-n-vae-maml", 0.8, tasks=1000, shots=(1,), config=config)
    write_report(tmp_path / "runs", tmp_path / "reports", ["csv"])
    (line,) = pd.read_csv(tmp_path / "reports" / "leaderboard.csv").to_dict("records")
    assert line["published_table"] == "Khodadadeh et al. 2020, Table 1"
    assert (line["published_accuracy"], line["published_ci95"]) == (pytest.approx(0.7611), pytest.approx(0.0064))
    printed = pd.read_csv(tmp_path / "reports" / "published.csv", dtype=csv.PUBLISHED_FIELDS)
    assert list(printed["label"]) == ["Table 1", "Table 7"]
    assert list(printed["accuracy"]) == pytest.approx([0.7611, 0.7041])
