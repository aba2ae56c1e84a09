"""How long a request will take from now on, told while it runs."""

import io
import re
import threading
from concurrent.futures import Future
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest
from rich.console import Console

from bench.basics import progress
from bench.planning.durations import Duration, Shared
from bench.running import watching
from bench.running import whole as module
from bench.running.whole import Whole

MINUTE = Duration(fit=40.0, evaluate=(15.0, 5.0), sources=frozenset({"record"}))


@pytest.fixture
def clock(monkeypatch):
    """A clock that the test turns."""
    time = SimpleNamespace(now=0.0)
    for one in (module, progress):
        monkeypatch.setattr(one.time, "monotonic", lambda: time.now)
    return time


@pytest.fixture
def following(monkeypatch, tmp_path):
    """Follows runs of these durations; ``learnt`` are those that the runs have once something was learnt."""

    def follow(*durations, workers=1, learnt=None):
        told = {"now": durations}
        runs = [
            SimpleNamespace(number=i, status=lambda _: "new", folder=tmp_path / "data" / "method" / f"{i}")
            for i in range(len(durations))
        ]
        monkeypatch.setattr(module, "duration", lambda run, *_: told["now"][run.number])
        monkeypatch.setattr(module, "learn", lambda *_: told.update(now=learnt or durations))
        return Whole(runs, {}, None, range(len(runs)), workers)

    return follow


def record(fit=40.0, evaluate=20.0):
    return SimpleNamespace(done=True, timings={"fit": fit, "evaluate": evaluate})


def seconds(text):
    value, unit = re.fullmatch(r"about (\d+) (s|min)", text).groups()
    return int(value) * {"s": 1, "min": 60}[unit]


def test_what_is_left_is_the_rest_of_this_run_and_all_others(following, clock):
    whole = following(MINUTE, MINUTE)
    assert whole.left() == "about 2 min"
    whole.saw(0, "meta-train", 20, 40)
    assert seconds(whole.left()) == pytest.approx(100, abs=30)  # 20 + 20 + 60, in whole minutes
    whole.saw(0, "evaluate", 0, 10)
    whole.saw(0, "evaluate", 10, 10)
    assert whole.left() == "about 65 s"  # 5 s of the second list are left
    whole.saw(0, "evaluate", 0, 10)
    assert whole.left() == "about 65 s"
    whole.ended(0, record())
    assert whole.left() == "about 60 s"
    whole.ended(1, record())
    assert whole.left() == ""


def test_the_pace_that_is_seen_is_believed(following, clock):
    whole = following(MINUTE)
    whole.saw(0, "meta-train", 0, 100)
    clock.now = 60.0
    whole.saw(0, "meta-train", 50, 100)
    assert whole.left() == "about 80 s"  # 60 s as before, and 20 s of answers


def test_runs_that_took_longer_than_told_correct_the_others(following, clock):
    whole = following(*[MINUTE] * 3)
    whole.ended(0, record(fit=200.0, evaluate=60.0))
    assert seconds(whole.left()) == pytest.approx(120 * (260 + 20) / (60 + 20), abs=30)


def test_of_what_nobody_knows_nothing_is_said_until_a_run_like_it_has_ended(following, clock):
    whole = following(Duration(fit=None), Duration(fit=None), learnt=(MINUTE, MINUTE))
    whole.saw(0, "meta-train", 5, 10)
    assert whole.left() == ""
    whole.ended(0, record())
    assert whole.left() == "about 60 s"


def test_what_is_known_of_some_runs_is_a_bound(following, clock):
    whole = following(Duration(fit=None), MINUTE, MINUTE)
    assert whole.left() == "more than 2 min"


def test_a_shared_training_is_counted_once_also_when_it_is_half_done(following, clock):
    shares = replace(MINUTE, shared=(Shared("vae", 40.0),))
    whole = following(shares, shares)
    assert whole.left() == "about 3 min"  # 160 s
    whole.saw(0, "vae", 0, 100)
    clock.now = 10.0
    whole.saw(0, "vae", 90, 100)
    assert whole.left() == "about 2 min"  # 121 s
    whole.saw(0, "meta-train", 0, 10)
    whole.saw(0, "meta-train", 10, 10)
    assert whole.left() == "about 80 s"
    whole.ended(0, record())
    assert whole.left() == "about 60 s"


def test_two_workers_share_the_work_and_are_followed_by_their_logs(following, clock):
    whole = following(MINUTE, MINUTE, MINUTE, workers=2)
    assert whole.left() == "about 2 min"
    clock.now = 1000.0
    written = (datetime.now(UTC) - timedelta(seconds=10)).isoformat(timespec="milliseconds")
    whole.read(0, f"{written} meta-train 40/40 loss 1.0")
    whole.read(1, f"{written} evaluate 8/10 accuracy 0.3 2 s left")
    whole.read(1, "nonsense")
    # Number 1 will be there in 5 s, half a minute before the other: it takes the third run.
    assert whole.left() == "about 65 s"


def test_preparations_are_no_stage(following, clock):
    whole = following(MINUTE)
    whole.saw(0, "meta-train", 20, 40)
    whole.saw(0, "prepare glyphs", 3, 4)
    whole.saw(0, "waiting for another process with this run", 0, 0)
    assert whole.left() == "about 40 s"


def test_the_lines_of_a_log_say_it(following, clock):
    out = io.StringIO()
    reporter = progress.Reporter(Console(file=out, width=200), seconds=30)
    reporter.begin("umtra")
    reporter.whole = following(MINUTE, *[replace(MINUTE, fit=3600.0)] * 2).of_run(0)
    for now, done in ((0, 0), (30, 30), (40, 40)):
        clock.now = float(now)
        reporter("meta-train", done, 40, {})
    assert out.getvalue().splitlines() == [
        "  umtra: meta-train 0/40  all runs: about 2 h 2 min left",
        "  umtra: meta-train 30/40  10 s left, all runs: about 2 h 1 min left",
        "  umtra: meta-train 40/40  all runs: about 2 h 1 min left",
    ]


def test_side_by_side_it_stands_below_what_the_runs_say(following, clock, tmp_path, monkeypatch):
    whole = following(MINUTE, MINUTE, workers=2)
    out, runs, futures = io.StringIO(), [], [Future(), Future()]
    for number, future in enumerate(futures):
        folder = tmp_path / str(number)
        folder.mkdir()
        (folder / "log.txt").write_text(f"{datetime.now(UTC).isoformat()} evaluate 5/10\n")
        runs.append(SimpleNamespace(name=f"run {number}", folder=folder))
        future.set_running_or_notify_cancel()
    monkeypatch.setattr(watching, "LOOK", 0.05)
    reporter = progress.Reporter(Console(file=out, width=200), seconds=0)
    said = watching.finished(dict(zip(futures, range(2))), runs, ["run 1 of 2, a", "run 2 of 2, b"], reporter, whole)
    timer = threading.Timer(0.2, lambda: [future.set_result(None) for future in futures])
    timer.start()
    assert len(list(said)) == 2
    told = out.getvalue().splitlines()[:5]
    # The first of its two lists is half answered: 7.5 s, and 5 s for the other.
    assert told == [
        *("run 1 of 2, a: begun", "run 2 of 2, b: begun"),
        *("  run 1 of 2, a: evaluate 5/10", "  run 2 of 2, b: evaluate 5/10", "  all runs: about 12 s left"),
    ]


def test_what_a_run_trained_that_nobody_watched_is_trained_for_the_others(following, clock):
    shares = replace(MINUTE, shared=(Shared("vae", 40.0),))
    whole = following(shares, shares)
    whole.ended(0, record())
    assert whole.left() == "about 60 s"
