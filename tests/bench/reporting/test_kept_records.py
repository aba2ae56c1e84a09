"""Records beside a report are whole after a kill, hold no file that was not a run's own, and say what was damaged."""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import shutil
import signal
import time

import numpy as np
import pytest
from synthetic_runs import edit_record, write_run
from test_inspections import FOUND, keep_task, write
from test_reports import contents

from bench.basics.files import read_json, write_json
from bench.leaderboard.loading import load
from bench.looking.inspection.records import FILE, read_inspections
from bench.reporting.inspections import csv, sections
from bench.reporting.report import write_report
from bench.reporting.report_records import kept


def keep_for_ever(runs, records):
    while True:
        with kept(runs, records):
            pass


def test_a_kill_finds_the_old_records_or_the_new_ones(tmp_path):
    write_run(tmp_path / "runs", "alpha", tasks=5, shots=(1,))
    records = tmp_path / "out/records"
    with kept(tmp_path / "runs", records):
        pass
    whole = contents(records)
    rng = random.Random(0)
    for _ in range(6):
        process = multiprocessing.get_context("fork").Process(target=keep_for_ever, args=(tmp_path / "runs", records))
        process.start()
        time.sleep(rng.uniform(0.05, 0.25))
        os.kill(process.pid, signal.SIGKILL)
        process.join()
        assert contents(records) == whole


@pytest.mark.parametrize("name", ["train.parquet", FILE, "synthetic.npy"])
def test_what_a_link_leads_to_is_not_kept_and_the_report_says_so(tmp_path, name):
    runs = tmp_path / "runs"
    path = write_run(runs, "alpha", tasks=10, curve=20)
    write(runs, FOUND)
    place = next(runs.glob(f"*/*/*/{FILE}"))
    keep_task(runs)
    shutil.copytree(runs, tmp_path / "unlinked")
    folder = path if name == "train.parquet" else place.parent
    secret = tmp_path / "secret"
    shutil.move(folder / name, secret)
    (folder / name).symlink_to(secret)
    told = []
    write_report(runs, tmp_path / "out", ["md", "html", "png"], records=True, warn=told.extend)
    assert not list((tmp_path / "out/records").rglob(name))
    assert all(not path.is_symlink() for path in (tmp_path / "out/records").rglob("*"))
    for text in (*told, (tmp_path / "out/leaderboard.html").read_text()):
        assert f"{name} is" in text
        assert "link, not a file" in text
    assert "Every run below" not in (tmp_path / "out/leaderboard.md").read_text()
    shutil.copytree(tmp_path / "out/records", tmp_path / "again/records")  # the page links to those beside it
    write_report(tmp_path / "again/records", tmp_path / "again", ["md", "html", "png"])
    assert contents(tmp_path / "again") == contents(tmp_path / "out")
    write_report(runs, tmp_path / "plain", ["html"])
    assert "link, not a file" in (tmp_path / "plain/leaderboard.html").read_text(), "not shown without --records either"


def test_what_was_damaged_stays_told_in_a_report_from_the_records(tmp_path):
    write_run(tmp_path / "runs", "alpha", tasks=5)
    damaged = write_run(tmp_path / "runs", "beta", tasks=5)
    (damaged / "run.json").write_text("{")
    write_report(tmp_path / "runs", tmp_path / "out", ["md"], records=True)
    text = (tmp_path / "out/leaderboard.md").read_text()
    assert "In no table: 0 runs for the reasons given, and 1 damaged file." in text
    write_report(tmp_path / "out/records", tmp_path / "again", ["md"])
    assert (tmp_path / "again/leaderboard.md").read_text() == text
    path = tmp_path / "out/records/damaged.json"
    write_json(path, {**read_json(path), "damaged": []})
    write_report(tmp_path / "out/records", tmp_path / "again", ["md"])
    assert "damaged.json is damaged (it was changed after it was written" in (
        (tmp_path / "again/leaderboard.md").read_text()
    )


def test_an_experiment_tells_damaged_files_too(tmp_path):
    from test_paper_table_reports import write_figure_5

    write_figure_5(tmp_path / "runs")
    (write_run(tmp_path / "runs", "beta", tasks=5) / "run.json").write_text("{")
    told = []
    write_report(tmp_path / "runs", tmp_path / "out", ["md"], experiment="figure5", warn=told.extend)
    assert len(told) == 1
    assert "run.json is damaged" in (tmp_path / "out/figure5.md").read_text()


def test_names_in_records_make_no_paths(tmp_path):
    runs, out = tmp_path / "runs", tmp_path / "a/b/c/d"
    path = write_run(runs, "alpha", tasks=5, shots=(1,), curve=20)
    one = read_json(path / "run.json")
    evaluations = [each | {"split": "/../../../x"} for each in one["evaluations"]]
    card = one["method"] | {"name": "..", "title": "../../y", "cite": "/z"}
    edit_record(path, evaluations=evaluations, dataset="../../../w", budget="../v", method=card)
    write_report(runs, out, records=True)
    outside = [file for file in tmp_path.rglob("*") if file.is_file() and out not in file.parents]
    assert all(runs in file.parents for file in outside)
    assert len(list((out / "figures").iterdir())) == 4


def test_images_that_a_file_only_claims_take_no_memory(tmp_path):
    runs = tmp_path / "runs"
    write_run(runs, "alpha", tasks=10)
    write(runs, FOUND)
    place = next(runs.glob(f"*/*/*/{FILE}"))
    keep_task(runs)
    example = place.parent / "synthetic.npy"
    shape = np.load(example).shape
    header = np.lib.format.header_data_from_array_1_0(np.empty((1,), np.uint8)) | {"shape": (10**12, *shape[1:])}
    with open(example, "wb") as file:
        np.lib.format.write_array_header_1_0(file, header)
        file.write(b"0" * 100)
    write_report(runs, tmp_path / "out", ["html"])
    assert "synthetic.npy is damaged" in (tmp_path / "out/leaderboard.html").read_text()


VALUES = [None, "x", -1, 1.5, True, [], {}, [None], {"a": 1}, 10**400, "\ud800", float("nan")]


@pytest.mark.parametrize("value", VALUES, ids=lambda value: ascii(value)[:9])
def test_no_value_in_an_inspection_stops_a_report(tmp_path, value):
    """Any field, of a file of version 0.1, which has no seal."""
    runs = tmp_path / "runs"
    write_run(runs, "alpha", tasks=5, shots=(1,))
    write(runs, FOUND)
    place = next(runs.glob(f"*/*/*/{FILE}"))

    whole = json.loads(place.read_text()) | {"schema_version": 1}
    del whole["seal"]
    fields = [(name,) for name in whole] + [(n, inner) for n, v in whole.items() if isinstance(v, dict) for inner in v]
    for field in fields:
        changed = json.loads(json.dumps(whole))
        target = changed[field[0]] if len(field) == 2 else changed
        target[field[-1]] = value
        place.write_text(json.dumps(changed))
        found, problems = read_inspections(runs)
        assert len(found) + len(problems) == 1
        assert all("\n" not in one and FILE in one for one in problems)
        sections(found)
        csv(found)
    assert load(runs).problems == ()
