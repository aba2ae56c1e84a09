"""A record is kept beside the one that follows it, and of all of a run one counts."""

import pytest

from bench.basics.claims import Claim
from bench.basics.errors import BenchError
from bench.leaderboard.reruns import supersede
from bench.records.aside import belongs, number, set_aside

KEY = "1a2b3c4d" + 56 * "0"


def test_folders_are_counted_up(tmp_path):
    folder = tmp_path / "0-1a2b3c4d"
    assert set_aside(folder) is None
    for expected in range(1, 12):
        folder.mkdir()
        kept = set_aside(folder)
        assert (kept.name, number(kept)) == (f"0-1a2b3c4d.{expected}", expected)
    assert belongs(folder, 0, KEY)
    assert belongs(kept, 0, KEY)
    for name in ("0-1a2b3c4d.0", "0-1a2b3c4d.x", "1-1a2b3c4d.1", "0-1a2b3c4d.1.1", "0-1a2b3c4d1"):
        assert not belongs(tmp_path / name, 0, KEY), name


def test_what_is_being_trained_stays(tmp_path):
    folder = tmp_path / "0-1a2b3c4d"
    folder.mkdir()
    with Claim.take(folder / ".claim"), pytest.raises(BenchError, match="another process is at work"):
        set_aside(folder)
    assert folder.exists()
    assert [path.name for path in set_aside(folder).parent.iterdir()] == ["0-1a2b3c4d.1"]
    assert not list((tmp_path / "0-1a2b3c4d.1").iterdir()), "its claim did not come along"


@pytest.mark.parametrize(
    ("statuses", "counts"),
    [
        ({"": "done", ".1": "done", ".2": "done"}, {"": "done", ".1": "superseded", ".2": "superseded"}),
        ({"": "failed", ".9": "done", ".10": "done"}, {"": "failed", ".9": "superseded", ".10": "done"}),
        ({"": "interrupted", ".1": "diverged"}, {"": "interrupted", ".1": "superseded"}),
        ({"": "done", ".1": "timeout"}, {"": "done", ".1": "superseded"}),
    ],
)
def test_the_newest_that_is_finished_counts(tmp_path, statuses, counts):
    runs = [{"path": tmp_path / f"0-1a2b3c4d{end}", "status": status, "reason": ""} for end, status in statuses.items()]
    other = {"path": tmp_path / "1-1a2b3c4d", "status": "done", "reason": ""}
    supersede([*runs, other])
    assert {run["path"].name.removeprefix("0-1a2b3c4d"): run["status"] for run in runs} == counts
    assert other["status"] == "done"
