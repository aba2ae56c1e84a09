"""Records kept beside a report: the report comes from them byte for byte, and they say nothing about a machine."""

import dataclasses
import json
import shutil

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from paper_runs import write_cell
from synthetic_runs import edit_record, write_example, write_run
from test_inspections import FOUND, keep_task, write
from test_paper_table_reports import write_figure_5, write_table_7
from test_reports import contents

from bench.basics.errors import BenchError
from bench.leaderboard.loading import load
from bench.looking.inspection.records import FILE
from bench.reporting import report_records as keeping
from bench.reporting.report import write_report
from bench.reporting.report_records import without_folders


def configured(folder):
    """A configuration with files of one user's machine in it."""
    return {
        "budget": {"name": "quick", "meta_iterations": 1000},
        "method": {"alpha": 0.2, "uses": ["generator"]},
        "generator": {"own": "path", "path": f"{folder}/eigen.pt2", "sha256": "ab" * 32, "card": {"title": "File"}},
        "encoder": {"own": "weights", "weights": "weights/vgg19.pth"},
        "dataset": {"data_dir": f"{folder}/data", "path": "grocery84/grocery84.zip", "splits": f"{folder}/splits.json"},
    }


@pytest.fixture(scope="module")
def everything(tmp_path_factory):
    """Runs of every kind with curves, a damaged one, superseded ones, experiments, an inspection, and paths."""
    folder = tmp_path_factory.mktemp("secret")
    runs = folder / "runs"
    write_example(runs, curve=60)
    own = write_run(
        runs,
        "lasium-ro-file-maml,generator.path=eigen.pt2@abababab",
        config=configured(folder),
        notes={"read": f"{folder}/eigen.pt2", "said": [f"kept in {folder}/kept (twice), see https://example.org/a/b"]},
        curve=20,
    )
    edit_record(own, environment={"device": "cpu", "python": f"{folder}/bin/python"})
    (own / "weights.safetensors").write_bytes(b"weights")
    (own / "log.txt").write_text("log")
    (own / ".lock").touch()
    write_run(runs, "beta", 0.4, 0, key="old", created="2025-01-01T00:00:00+00:00")
    damaged = write_run(runs, "epsilon", 0.4, 0)
    (damaged / "tasks.parquet").write_bytes(b"no parquet")
    torn = write_run(runs, "zeta", 0.4, 0, curve=20)
    (torn / "train.parquet").write_bytes(b"no parquet")
    write_table_7(runs)
    write_figure_5(runs)
    write_cell(runs, "lasium-ro-gan-maml")
    unseen = next(path for path in runs.glob("omniglot/lasium-ro-gan-maml,*/*"))
    np.save(unseen / "samples.npy", np.zeros((16, 1, 28, 28), dtype=np.uint8))
    write(runs, FOUND, dataclasses.replace(FOUND, seed=1))
    keep_task(runs)
    written = write_report(runs, folder / "reports", records=True)
    assert written[-1] == folder / "reports" / "records"
    return folder


def report_only(folder):
    return {name: content for name, content in contents(folder).items() if not name.startswith("records/")}


def test_the_report_comes_from_the_records_byte_for_byte(everything, tmp_path):
    reports = report_only(everything / "reports")
    assert {
        "leaderboard.md",
        "inspections.csv",
        "table7.html",
        "figures/figure5.png",
        "figures/synthetic-tasks.png",
    } <= set(reports)
    shutil.copytree(everything / "reports" / "records", tmp_path / "elsewhere")
    shutil.copytree(tmp_path / "elsewhere", tmp_path / "again" / "records")  # the page links to those beside it
    write_report(tmp_path / "again" / "records", tmp_path / "again")
    assert report_only(tmp_path / "again") == reports
    write_report(tmp_path / "elsewhere", tmp_path / "third", records=True)
    assert contents(tmp_path / "third" / "records") == contents(tmp_path / "elsewhere")


def test_it_shows_what_a_report_of_the_runs_shows(everything, tmp_path):
    write_report(everything / "runs", tmp_path / "whole", ["csv", "png"])
    for name, content in contents(tmp_path / "whole").items():
        kept = everything / "reports" / name
        if name == "leaderboard.csv" or name.endswith(".png"):
            assert kept.read_bytes() == content, name
    whole = (tmp_path / "whole" / "runs.csv").read_text().splitlines()
    done = [line for line in whole if any(f",{status}," in line for status in ("done", *keeping.RESULTS))]
    assert (everything / "reports" / "runs.csv").read_text().splitlines()[1:] == done
    assert len(done) < len(whole) - 1


def test_results_come_along_and_what_was_interrupted_does_not_and_little_of_each(everything):
    records = everything / "reports" / "records"
    files = contents(records)
    assert {name.rpartition("/")[2] for name in files} <= set(keeping.KEPT)
    frames = load(everything / "runs")
    runs = frames.runs
    results = runs[runs["status"].isin(["done", *keeping.RESULTS])]
    assert set(load(records).runs["folder"]) == set(results["folder"]) < set(runs["folder"])
    assert not any("epsilon" in name for name in files)
    for folder in set(results["folder"]) - set(frames.finished["folder"]):
        assert [name for name in files if name.startswith(folder)] == [f"{folder}/run.json"]
    assert sum(name.endswith(FILE) for name in files) == 2
    samples = sorted(name for name in files if name.endswith("samples.npy"))
    assert {name.split("/")[1].partition(",")[0] for name in samples} == {"lasium-n-gan-maml"}
    assert {np.load(records / name).shape[0] for name in samples} == {3}
    assert max(len(content) for content in files.values()) < 30_000
    assert not list((everything / "reports").glob(".*"))


def test_tables_are_the_same_in_fewer_bytes(everything):
    records = everything / "reports" / "records"
    for path in records.rglob("*.parquet"):
        before = everything / "runs" / path.relative_to(records)
        assert path.stat().st_size <= before.stat().st_size
        if before.read_bytes() == b"no parquet":
            assert path.read_bytes() == b"no parquet"
        else:
            pd.testing.assert_frame_equal(pq.read_table(path).to_pandas(), pq.read_table(before).to_pandas())
    told = (everything / "reports" / "leaderboard.md").read_text()
    assert "zeta/" in told
    assert r"train.parquet is damaged" in told


def test_no_folder_of_the_machine_is_in_it(everything):
    for name, content in contents(everything / "reports").items():
        assert str(everything).encode() not in content, name
        assert b"/tmp/" not in content, name
    (path,) = (everything / "reports" / "records").glob("omniglot/lasium-ro-file*/*/run.json")
    record = json.loads(path.read_text())
    config = record["config"]
    assert config["generator"]["path"] == "eigen.pt2"
    assert config["encoder"]["weights"] == "vgg19.pth"
    assert config["dataset"] == {"data_dir": None, "path": "grocery84/grocery84.zip", "splits": "splits.json"}
    assert record["notes"] == {"read": "eigen.pt2", "said": ["kept in kept (twice), see https://example.org/a/b"]}
    assert record["environment"] == {"device": "cpu", "python": "python"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("/home/me/my data/g.pt2", "g.pt2"),
        (r"C:\Users\me\g.pt2", "g.pt2"),
        ("read ~/weights/g.pt2, then D:\\x\\y.pth", "read g.pt2, then y.pth"),
        ("file:///home/me/g.pt2", "g.pt2"),
        ("path=/home/me/g.pt2;1", "path=g.pt2;1"),
        ("1,028/172/423 characters of train/<class>/ at https://a.org/b/c", None),
        ("Linux-6.1/x86_64 and/or 3/4", None),
        ("methods.lasium.Lasium", None),
    ],
)
def test_absolute_paths_lose_their_folders(text, expected):
    assert without_folders({"notes": {"text": text}})["notes"] == {"text": expected or text}


def test_one_experiment(everything, tmp_path):
    write_report(everything / "runs", tmp_path / "one", experiment="figure5", records=True)
    records = tmp_path / "one" / "records"
    runs = {name for name in contents(records) if name != "damaged.json"}
    assert {name.split("/")[1].partition(",")[0] for name in runs} == {"lasium-n-gan-maml", "scratch"}
    write_report(records, tmp_path / "again", experiment="figure5")
    assert contents(tmp_path / "again") == report_only(tmp_path / "one")


def test_old_records_are_replaced_as_a_whole_or_stay(everything, tmp_path, monkeypatch):
    write_run(tmp_path / "few", "alpha")
    write_report(everything / "runs", tmp_path / "out", ["md"], records=True)
    before = contents(tmp_path / "out")

    def fail(*_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(keeping, "seal_folder", fail)
        with pytest.raises(BenchError, match=r"cannot write .*records: No space left on device"):
            write_report(tmp_path / "few", tmp_path / "out", ["md"], records=True)
    write_run(tmp_path / "none", "alpha", status="failed", reason="why")
    with pytest.raises(BenchError, match="no run is finished among 1"):
        write_report(tmp_path / "none", tmp_path / "out", ["md"], records=True)
    assert contents(tmp_path / "out") == before
    write_report(tmp_path / "few", tmp_path / "out", ["md"], records=True)
    assert len(contents(tmp_path / "out" / "records")) == 2


def test_runs_are_never_replaced_by_their_own_records(tmp_path):
    runs = tmp_path / "out" / "records"
    path = write_run(runs, "alpha")
    with pytest.raises(BenchError, match=r"--records would replace .*records, which the report is made from"):
        write_report(runs, tmp_path / "out", records=True)
    write_run(tmp_path / "others", "beta")
    (path / "weights.safetensors").write_bytes(b"dear")
    with pytest.raises(BenchError, match=r"--records would delete .*weights\.safetensors, which it did not write"):
        write_report(tmp_path / "others", tmp_path / "out", records=True)
    assert (path / "weights.safetensors").read_bytes() == b"dear"
