"""What changed between two boards: every row is accounted for, and held against itself on the same tasks."""

from __future__ import annotations

import io
import shutil

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from synthetic_runs import QUERIES, edit_record, manifest_hash, write_example, write_run

from bench.basics.errors import BenchError
from bench.leaderboard.changes import changes
from bench.leaderboard.statistics import holm
from bench.reporting.changes import read, to_csv, to_markdown, to_terminal, told
from bench.reporting.report import write_report

RNG = np.random.default_rng(0)
WELL, BADLY = (RNG.binomial(QUERIES, level, 200) for level in (0.75, 0.6))


def both(tmp_path):
    return changes(read(tmp_path / "old"), read(tmp_path / "new"))


def verdicts(found):
    return {row.method: row.verdict for row in found.rows}


def config(iterations=1000, **method):
    return {"budget": {"name": "quick", "meta_iterations": iterations}, "method": {"alpha": 0.2, **method}}


def test_the_same_records_are_unchanged_and_nothing_is_compared(tmp_path):
    write_example(tmp_path / "old")
    shutil.copytree(tmp_path / "old", tmp_path / "new")
    found = both(tmp_path)
    assert set(verdicts(found).values()) == {"unchanged"}
    assert found.compared == 0
    assert len(found.rows) == found.before.rows == found.now.rows
    assert found.before.runs + found.before.apart == len(list((tmp_path / "old").rglob("run.json")))


def test_every_row_is_something_and_the_counts_add_up(tmp_path):
    for side, answers in (("old", BADLY), ("new", WELL)):
        other = {"old": WELL, "new": BADLY}[side]
        write_run(tmp_path / side, "better", shots=(1,), answers={1: answers})
        write_run(tmp_path / side, "worse", shots=(1,), answers={1: other})
        write_run(tmp_path / side, "mixed", answers={1: answers, 5: other})
        write_run(tmp_path / side, "same", shots=(1,))
        write_run(tmp_path / side, side, shots=(1,))
        write_run(
            tmp_path / side, "tied", shots=(1,), answers={1: WELL - (np.arange(200) == ("old", "new").index(side))}
        )
        write_run(tmp_path / side, "longer", shots=(1,), config=config(1000 if side == "old" else 2000))
    found = both(tmp_path)
    assert verdicts(found) == {
        **{name: name for name in ("better", "worse", "mixed", "tied")},
        "new": "new",
        "old": "gone",
        "same": "unchanged",
        "longer": "gone",
    }
    assert found.counts["new"] == found.counts["gone"] == 2, "a row of another length is another row"
    assert sum(found.counts.values()) == len(found.rows) == 9
    reasons = {(row.method, row.verdict): row.reason for row in found.rows}
    assert reasons["longer", "new"] == "before there is one trained for 1,000 meta-iterations"
    assert reasons["longer", "gone"] == "now there is one trained for 2,000 meta-iterations"


def test_p_values_are_paired_and_corrected_for_all_that_is_compared(tmp_path):
    sides = {side: np.random.default_rng(n).binomial(QUERIES, 0.7, (3, 200)) for n, side in enumerate(("old", "new"))}
    for side, answers in sides.items():
        for method, correct in zip("abc", answers):
            write_run(tmp_path / side, method, shots=(1,), answers={1: correct})
    found = both(tmp_path)
    expected = [stats.ttest_rel(new, old).pvalue for old, new in zip(sides["old"], sides["new"])]
    rows = sorted(found.rows, key=lambda row: row.method)
    columns = [column for row in rows for column in row.columns]
    assert [one.difference.p for one in columns] == pytest.approx(expected)
    assert [one.p_holm for one in columns] == pytest.approx(holm(expected))
    assert columns[0].difference.mean == pytest.approx((sides["new"][0] - sides["old"][0]).mean() / QUERIES)
    assert found.compared == 3


def test_why_rows_are_not_comparable(tmp_path):
    for side, tasks in (("old", 200), ("new", 150)):
        write_run(tmp_path / side, "fewer", shots=(1,), tasks=tasks)
        write_run(tmp_path / side, "redrawn", shots=(1,), manifests={1: manifest_hash(side)})
        write_run(tmp_path / side, "set", shots=(1,), config=config(beta=tasks))
        path = write_run(tmp_path / side, "images", shots=(1,), manifests={1: manifest_hash("x", side)})
        edit_record(path, dataset_hash=manifest_hash("content", side))
        for seed in range(1 if side == "old" else 3):
            write_run(tmp_path / side, "seeds", seed=seed, shots=(1,))
    found = both(tmp_path)
    reasons = {row.method: {column.reason for column in row.columns} for row in found.rows}
    old, new = manifest_hash("old")[:8], manifest_hash("new")[:8]
    assert reasons["fewer"] == {"other tasks: 200 tasks before, 150 now"}
    assert reasons["redrawn"] == {f"other tasks: list {old} before, {new} now"}
    assert reasons["set"] == {"other settings: method.beta 200, now 150"}
    assert {one[:29] for one in reasons["images"]} == {"other images or classes: the "}
    assert {row.verdict for row in found.rows if row.method != "seeds"} == {"not comparable"}
    (row,) = (row for row in found.rows if row.method == "seeds")
    assert (row.verdict, row.columns[0].reason) == ("tied", "training seeds 0 before, 0, 1, 2 now")
    (row,) = (row for row in found.rows if row.method == "set")
    assert row.columns[0].difference.mean == 0
    assert row.columns[0].p_holm is None


def test_a_run_of_other_settings_beside_it_does_not_make_a_row_another_one(tmp_path):
    """Its variant is named then, and was not before."""
    for side in ("old", "new"):
        write_run(tmp_path / side, "alpha", shots=(1,), config=config())
    write_run(tmp_path / "new", "alpha", shots=(1,), config=config(beta=1), key="other", level=0.9)
    found = both(tmp_path)
    assert sorted(row.verdict for row in found.rows) == ["new", "unchanged"]
    assert [row.reason for row in found.rows if row.verdict == "new"] == ["before there is one of other settings"]


def test_a_report_with_records_is_enough_and_one_without_is_refused(tmp_path):
    write_example(tmp_path / "new", curve=20)
    write_report(tmp_path / "new", tmp_path / "old", ["csv"], records=True)
    assert set(verdicts(both(tmp_path)).values()) == {"unchanged"}
    shutil.rmtree(tmp_path / "old" / "records")
    with pytest.raises(BenchError, match="is a report without records/"):
        read(tmp_path / "old")


def test_pages_tell_every_row_and_escape_what_others_wrote(tmp_path):
    write_run(tmp_path / "old", "gone", title="| <i>gone</i>")
    write_run(tmp_path / "new", "beta", answers={1: WELL, 5: WELL})
    write_run(tmp_path / "old", "beta", answers={1: BADLY, 5: BADLY})
    found = both(tmp_path)
    page = to_markdown(found)
    assert r"- \| &lt;i&gt;gone&lt;/i&gt;" in page
    assert "## Better: 1" in page
    assert "## Gone: 1" in page
    assert "omniglot 5-way 1-shot: BETA" in told(found)[2]
    frame = pd.read_csv(io.StringIO(to_csv(found)))
    assert sorted(frame["row"]) == ["better", "better", "gone", "gone"]
    assert frame["difference"].dropna().tolist() == pytest.approx(2 * [(WELL - BADLY).mean() / QUERIES])
    assert to_terminal(found).renderables
