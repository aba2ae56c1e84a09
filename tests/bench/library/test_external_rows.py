"""Scores of models from elsewhere as rows of a board."""

import json

import pytest
from library_answers import by_all_queries, nearest_image, nearest_mean

import bench
from bench.leaderboard.compare import compare
from bench.leaderboard.loading import load
from bench.leaderboard.table import build
from bench.records.record import read_record
from bench.records.scores import read_scores


def rows(out):
    (table,) = build(load(out)).tables
    return {row.method: row for row in table.rows}


def test_a_row_has_the_same_numbers_and_says_what_it_is(tasks, pixels, tmp_path):
    folder = pixels.save(tmp_path, method="mine", title="My <model>", cite="Me 2026", side=["outside-data"])
    other = bench.score(nearest_mean, tasks)
    other.save(tmp_path, method="theirs", supervised=True, meta_iterations=1000)
    found = rows(tmp_path)
    mine, theirs = found["mine"], found["theirs"]
    (score,) = mine.scores.values()
    assert score.estimate == pixels.estimate
    assert (mine.title, mine.group, mine.side, mine.cite) == (
        "My <model> (external)",
        "unsupervised",
        ("outside-data",),
        "Me 2026",
    )
    assert mine.trained.text == "budget external"
    assert (theirs.group, theirs.supervised, theirs.trained.iterations) == ("ceiling", True, 1000)
    (paired,) = compare("mine", "theirs", load(tmp_path))
    assert paired.difference == bench.compare(pixels, other)
    assert json.loads((folder / "run.json").read_text())["config"]["external"] is True


def test_other_shots_join_the_row_and_the_same_tasks_replace_it(tasks, pixels, tmp_path):
    one = bench.score(nearest_image, "glyphs", way=5, shot=1, query=3, tasks=10)
    folder = pixels.save(tmp_path, method="mine")
    assert one.save(tmp_path, method="mine") == folder
    again = bench.score(by_all_queries, tasks)
    assert again.save(tmp_path, method="mine") == folder
    record = read_record(folder)
    assert [(found.shot, found.accuracy) for found in record.evaluations] == [(1, one.mean), (2, again.mean)]
    assert len(read_scores(folder, record)) == 10 + 30
    assert record.method.side == ("transduction",)
    other = pixels.save(tmp_path, method="mine", seed=1)
    assert other != folder
    assert rows(tmp_path)["mine"].seeds == (0, 1)


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        ({"method": "umtra"}, "is a method of 'bench list methods'"),
        ({"method": "umtra-maml"}, "give yours another name"),
        ({"method": "a,b=1"}, "letters, digits"),
        ({"method": "../a"}, "letters, digits"),
        ({"method": "a", "side": ["outside-dta"]}, "Did you mean 'outside-data'"),
        ({"method": "a", "supervised": "no"}, "supervised must be True or False, not 'no'"),
        ({"method": "a", "seed": -1}, "seed must be a whole number"),
        ({"method": "a", "meta_iterations": 0.5}, "meta_iterations must be a whole number"),
        ({"method": "a", "transductive": False, "side": ["transduction"]}, "contradict"),
        ({"method": "a", "title": 3}, "title must be a text"),
    ],
)
def test_what_cannot_be_declared_is_refused_and_writes_nothing(pixels, tmp_path, more, sentence):
    with pytest.raises(bench.BenchError, match=sentence):
        pixels.save(tmp_path / "runs", **more)
    assert not (tmp_path / "runs").exists()


def test_nobody_takes_such_a_row_for_a_run(pixels, tmp_path):
    with pytest.raises(bench.BenchError, match="trained outside this harness"):
        bench.load_run(pixels.save(tmp_path, method="mine"))
