"""What a log shows of long work."""

import io
import threading

import pytest
from rich.console import Console

from bench.basics import progress
from bench.basics.errors import BenchError
from bench.cli.asking import numbers


def lines(monkeypatch, steps):
    """What is printed for (time, stage, done, total)."""
    out = io.StringIO()
    reporter = progress.Reporter(Console(file=out, width=200), seconds=30)
    reporter.begin("run")
    for now, stage, done, total in steps:
        monkeypatch.setattr(progress.time, "monotonic", lambda now=now: now)
        reporter(stage, done, total, {"loss": 0.5})
    return out.getvalue().splitlines()


def test_a_line_now_and_then_says_how_long_it_will_take(monkeypatch):
    told = lines(
        monkeypatch,
        [(100, "fit", 1, 1001), (110, "fit", 50, 1001), (200, "fit", 101, 1001), (1100, "fit", 1001, 1001)],
    )
    assert told == [
        "  run: fit 1/1001  loss 0.500",
        "  run: fit 101/1001  loss 0.500  15 min left",
        "  run: fit 1001/1001  loss 0.500",
    ]


def test_the_pace_is_that_of_the_stage_also_after_a_resume(monkeypatch):
    told = lines(monkeypatch, [(0, "fit", 500, 600), (50, "fit", 550, 600), (60, "next", 1, 3), (10_860, "next", 2, 3)])
    assert told[1].endswith("50 s left")
    assert told[3].endswith("3 h 0 min left")


def test_numbers_on_the_command_line_may_be_ranges():
    assert numbers("0,3-5,4", "--seeds", "0,1,2") == (0, 3, 4, 5)
    for bad in ("5-3", "-1", "1-", "a-b", "0-99999999"):
        with pytest.raises(BenchError, match=r"--seeds (takes whole numbers|0-99999999 are more than 10000)"):
            numbers(bad, "--seeds", "0,1,2")


def test_a_log_says_it_too(monkeypatch):
    pace, told = progress.Pace(), []
    for now, done in ((0, 0), (10, 10), (20, 40)):
        monkeypatch.setattr(progress.time, "monotonic", lambda now=now: now)
        told.append(pace.left("fit", done, 100))
    assert told == ["", "2 min left", "30 s left"]


def test_work_that_cannot_say_how_far_it_is_has_a_line_only_if_it_is_long(monkeypatch):
    out = io.StringIO()
    reporter = progress.Reporter(Console(file=out, width=200))
    with reporter.during("quick"):
        pass
    monkeypatch.setattr(progress, "QUIET", 0.0)
    with reporter.during("slow"):
        while not out.getvalue():
            threading.Event().wait(0.01)
    assert out.getvalue() == "  slow\n"
