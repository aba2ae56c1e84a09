"""A method that was trained with labels never stands among those without, whatever its record says."""

import pytest
from synthetic_runs import write_run

from bench.leaderboard.loading import load


@pytest.mark.parametrize(("group", "placed"), [("unsupervised", "ceiling"), ("floor", "ceiling"), ("transfer",) * 2])
def test_with_labels_it_is_set_apart(tmp_path, group, placed):
    write_run(tmp_path, "alpha", group=group, supervised=True)
    write_run(tmp_path, "beta", supervised=False)
    assert dict(zip(load(tmp_path).runs["method"], load(tmp_path).runs["group"])) == {
        "alpha": placed,
        "beta": "unsupervised",
    }
