"""20-way tasks beside 5-way ones in one request, through the real command line."""

import re
import shlex

import pandas as pd
import pytest
from commands import TINY, Bench

from bench.basics.files import read_json
from bench.tasks import manifest as manifests

METHODS = "umtra-maml,umtra-protonet,embedding-knn-pixels,scratch"
COMMON = ("--budget", "smoke", "--no-references", *TINY)
GAP = "a classifier that is trained on 5-way tasks cannot answer them"


@pytest.fixture(scope="module")
def asked(cache, tmp_path_factory):
    """A request of both ways, and what was printed."""
    bench = Bench(cache, tmp_path_factory.mktemp("ways"))
    done = bench("run", "--methods", METHODS, "--ways", "20,5", "--shots", "1,5", *COMMON)
    return bench, done.stdout + done.stderr


def record_of(out, method):
    (path,) = out.glob(f"glyphs/{method}*/*/run.json")
    return read_json(path)


def shapes(record):
    return [(one["way"], one["shot"]) for one in record["evaluations"]]


def test_every_method_answers_what_it_can(asked):
    bench, printed = asked
    for method in ("umtra-protonet", "embedding-knn-pixels", "scratch"):
        record = record_of(bench.out, method)
        assert shapes(record) == [(5, 1), (5, 5), (20, 1), (20, 5)]
        assert "unanswered" not in record["notes"]
    maml = record_of(bench.out, "umtra-maml")
    assert shapes(maml) == [(5, 1), (5, 5)]
    assert maml["notes"]["unanswered"] == {"20-way": GAP}
    lines = [line for line in printed.splitlines() if line.startswith("no 20-way tasks for umtra-maml,")]
    assert len(lines) == 1
    assert "train.way=20" in lines[0]


def test_the_tasks_are_nested_over_ways_and_shots(asked):
    found = {}
    for path in (asked[0].out / "manifests").glob("*.parquet"):
        one = manifests.load(path)
        found[one.spec.way, one.spec.shot] = one
    for shot in (1, 5):
        few, many = found[5, shot], found[20, shot]
        assert (many.indices[:, :5] == few.indices).all()
    for way in (5, 20):
        assert (found[way, 5].support[:, :, :1] == found[way, 1].support).all()
        assert (found[way, 5].query == found[way, 1].query).all()


def test_a_request_of_one_way_is_the_same_run(asked, cache, tmp_path):
    bench, before = Bench(cache, tmp_path), asked[0].out
    bench("run", "--methods", METHODS, "--shots", "1,5", *COMMON)
    for path in sorted(bench.out.glob("glyphs/*/*/run.json")):
        there = before / path.relative_to(bench.out)
        mine, theirs = read_json(path), read_json(there)
        assert mine["key"] == theirs["key"]
        assert "ways" not in mine["config"]
        scores, more = (pd.read_parquet(one.parent / "tasks.parquet") for one in (path, there))
        kept = more[more["manifest"].isin(scores["manifest"])].reset_index(drop=True)
        pd.testing.assert_frame_equal(scores, kept)
    weights = {path: path.read_bytes() for path in bench.out.glob("glyphs/*/*/weights*.safetensors")}
    told = bench("plan", "--methods", METHODS, "--ways", "5,20", "--shots", "1,5", *COMMON).stdout
    assert [told.count(f" {state} ") for state in ("cached", "evaluate", "new")] == [1, 3, 0]
    assert "no 20-way tasks for umtra-maml," in told
    bench("run", "--methods", METHODS, "--ways", "5,20", "--shots", "1,5", *COMMON)
    assert {path: path.read_bytes() for path in weights} == weights, "only asked more, not trained again"
    both = [pd.read_parquet(next(out.glob("glyphs/umtra-protonet*/*/tasks.parquet"))) for out in (bench.out, before)]
    pd.testing.assert_frame_equal(*both)


def test_scratch_answers_20_ways_as_if_it_had_been_asked_them_alone(asked, cache, tmp_path):
    bench = Bench(cache, tmp_path)
    bench("run", "--methods", "scratch", "--ways", "20", "--shots", "1,5", *COMMON)
    alone = record_of(bench.out, "scratch")["evaluations"]
    beside = [one for one in record_of(asked[0].out, "scratch")["evaluations"] if one["way"] == 20]
    assert [(one["manifest"], one["accuracy"]) for one in alone] == [
        (one["manifest"], one["accuracy"]) for one in beside
    ]


def test_maml_that_is_trained_on_20_ways_answers_them(cache, tmp_path):
    bench = Bench(cache, tmp_path)
    done = bench("run", "--methods", "umtra-maml", "--ways", "5,20", "train.way=20", *COMMON)
    assert "no 20-way" not in done.stdout + done.stderr
    assert shapes(record_of(bench.out, "umtra-maml")) == [(5, 1), (20, 1)]


def test_answers_come_out_the_same_when_they_are_given_again(asked):
    told = asked[0]("verify", "--rescore").stdout
    assert "not rescored" not in told
    assert "otherwise" not in told


def test_a_report_has_both_in_every_format(asked):
    bench, _ = asked
    bench("report", "--out", "reports")
    folder = bench.folder / "reports"
    text = {kind: (folder / f"leaderboard.{kind}").read_text() for kind in ("md", "html", "tex", "csv")}
    for kind in ("md", "html", "tex"):
        assert "glyphs: 5- and 20-way, 15 queries per class" in text[kind]
        for column in ("5-way 1-shot", "5-way 5-shot", "20-way 1-shot", "20-way 5-shot"):
            assert column in text[kind]
        assert "No 20-way tasks for UMTRA-MAML, " in text[kind]
        assert f": {GAP}." in text[kind]
    row = next(line for line in text["md"].splitlines() if re.match(r"\| \d \| UMTRA-MAML", line))
    assert row.count(" · ") == 2
    frame = pd.read_csv(folder / "leaderboard.csv").drop_duplicates(["method", "manifest"])
    assert sorted(zip(frame["way"], frame["shot"])) == sorted([(5, 1), (5, 5)] * 4 + [(20, 1), (20, 5)] * 3)
    record = record_of(bench.out, "umtra-protonet")
    for one in record["evaluations"]:
        line = frame[(frame["manifest"] == one["manifest"]) & (frame["method"] == "umtra-protonet," + _changes(record))]
        assert line["accuracy"].item() == pytest.approx(one["accuracy"], rel=1e-9)
    assert (folder / "figures" / "glyphs-5way-20way-15query-test.intervals.png").exists()


def _changes(record):
    return record["method"]["name"].partition(",")[2]


def test_the_commands_of_a_report_ask_the_same_again(asked):
    bench, _ = asked
    bench("report", "--out", "again", "--format", "md")
    lines = [
        line for line in (bench.folder / "again" / "leaderboard.md").read_text().splitlines() if "bench run" in line
    ]
    assert any("--ways 5,20 --shots 1,5" in line for line in lines)
    for line in lines:
        done = bench(*shlex.split(line)[1:], "--out", bench.out)
        told = done.stdout + done.stderr
        assert "there already" in told
        assert "evaluate" not in told


def test_compare_and_check_tell_ways_apart(asked):
    bench, _ = asked
    one, other = (record_of(bench.out, name)["method"]["name"] for name in ("umtra-protonet", "embedding-knn-pixels"))
    told = bench("compare", one, other).stdout
    assert [told.count(f"glyphs {way}-way {shot}-shot, ") for way in (5, 20) for shot in (1, 5)] == [1, 1, 1, 1]
    bench("check", "--baseline", "base.parquet", "--update")
    told = bench("check", "--baseline", "base.parquet").stdout
    assert " way " in told
    assert told.count("OK") == 14
    empty = bench.folder / "some"
    (path,) = bench.out.glob("glyphs/umtra-maml*/*/run.json")
    target = empty / path.parent.relative_to(bench.out)
    target.mkdir(parents=True)
    for name in ("run.json", "tasks.parquet"):
        (target / name).write_bytes((path.parent / name).read_bytes())
    told = bench("check", "--baseline", "base.parquet", "--runs", empty, code=1).stdout
    assert told.count("MISSING") == 12
    assert " 20 " in told, "the baseline knows the ways of runs that are gone"


def test_nothing_is_written_where_some_tasks_cannot_be_drawn(cache, tmp_path):
    bench = Bench(cache, tmp_path)
    told = bench.error("run", "--methods", "umtra-protonet", "--ways", "5,400", "--budget", "smoke")
    assert "400-way tasks need 400 classes" in told
    assert not list(bench.out.glob("**/*.parquet"))
