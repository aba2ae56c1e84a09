"""Signals to stop: one exception, at once or between two steps, and never lost."""

import os
import signal
import time

import pytest

from bench.basics import signals
from bench.basics.signals import Interrupts, Stopped, between_steps, exit_code, telling, until_done


def busy(seconds=2.0):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        pass


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_each_signal_raises_and_says_which_it_was(number):
    with Interrupts() as interrupts:
        with pytest.raises(Stopped) as stopped:
            os.kill(os.getpid(), number)
            busy()
        assert interrupts.asked
    assert exit_code(stopped.value) == 128 + number
    assert stopped.value.by == ("the user" if number == signal.SIGINT else signal.Signals(number).name)
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


def test_what_is_ignored_stays_ignored_unless_it_must_not():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with Interrupts() as interrupts:
            os.kill(os.getpid(), signal.SIGHUP)
            busy(0.05)
        assert not interrupts.asked
        with Interrupts(always=(signal.SIGHUP,)), pytest.raises(Stopped):
            os.kill(os.getpid(), signal.SIGHUP)
            busy()
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_loop_comes_to_the_end_of_its_step():
    done = []
    with Interrupts(), pytest.raises(Stopped), between_steps() as steps:
        for i in range(100):
            if i == 3:
                os.kill(os.getpid(), signal.SIGTERM)
            busy(0.01)
            done.append(i)
            if steps.stopped:
                raise steps.stopped
    assert done == [0, 1, 2, 3]


@pytest.mark.parametrize("how", ["a second signal", "time"])
def test_a_step_that_hangs_is_left(how, monkeypatch):
    monkeypatch.setattr(signals, "GRACE", 30.0 if how == "a second signal" else 0.2)
    monkeypatch.setattr(signals, "SAME", 0.0)
    began = time.monotonic()
    with Interrupts(), between_steps(), pytest.raises(Stopped):
        os.kill(os.getpid(), signal.SIGTERM)
        if how == "a second signal":
            os.kill(os.getpid(), signal.SIGTERM)
        busy(30)
    assert time.monotonic() - began < 10


def test_signals_that_come_together_are_one_request():
    ended = []
    with Interrupts() as outer:
        with Interrupts(), pytest.raises(Stopped), between_steps() as steps:
            os.kill(os.getpid(), signal.SIGTERM)
            os.kill(os.getpid(), signal.SIGINT)  # of a parent that was told too, say
            busy(0.05)
            ended.append("its step")
            raise steps.stopped
        os.kill(os.getpid(), signal.SIGTERM)
        busy(0.05)
        ended.append("all that is left")
    assert ended == ["its step", "all that is left"]
    assert outer.stopped.number == signal.SIGTERM


def test_the_outer_one_knows_what_the_inner_one_was_told(monkeypatch):
    monkeypatch.setattr(signals, "SAME", 0.0)
    with Interrupts() as outer:
        with Interrupts() as inner, pytest.raises(Stopped):
            os.kill(os.getpid(), signal.SIGTERM)
            busy()
        assert inner.asked
        assert outer.stopped.number == signal.SIGTERM
        with pytest.raises(Stopped):
            os.kill(os.getpid(), signal.SIGTERM)
            busy()


def test_a_signal_waits_until_an_import_is_done_and_what_became_of_the_work_is_kept():
    with Interrupts() as outer:
        done = []
        with pytest.raises(Stopped) as stopped, until_done():
            os.kill(os.getpid(), signal.SIGINT)
            for _ in range(10**4):  # the signal is noticed between two steps of the interpreter
                pass
            done.append(True)
        assert done
        told = telling(stopped.value, "1 of 2 runs done")
    assert (outer.told, str(told), told.number) == ("1 of 2 runs done", "1 of 2 runs done", signal.SIGINT)
    assert str(Stopped(signal.SIGTERM)) == "stopped by SIGTERM"
