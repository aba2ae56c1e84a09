"""Ctrl-C that a library swallows, or answers with an error of its own, still stops the run and is recorded as that."""

import os
import signal

import pytest

from bench.basics.signals import Interrupts
from bench.planning import catalogue, composing, overrides
from bench.planning.plan import planned_runs
from bench.running import endings, run
from bench.running.inputs import seal_manifests
from bench.running.job import Job


@pytest.fixture
def job(glyphs, cache, tmp_path):
    """A run that trains nothing."""
    settings = overrides.parse_overrides(["budget.evaluation_tasks=5"])
    one = composing.compose(catalogue.variants()["chance"], "glyphs", "smoke", settings)
    sealed = seal_manifests(glyphs, one.values, (1,), tmp_path)
    planned = planned_runs([one], glyphs.content_hash, (0,), tmp_path)[0]
    return Job(planned, tuple(sealed), cache, tmp_path / "artifacts", "cpu")


def losing(action):
    """In place of the evaluation: a Ctrl-C, lost in another's code, then the action, then the evaluation."""

    def evaluate(learner, images, tasks, device, *, progress, **more):
        try:
            os.kill(os.getpid(), signal.SIGINT)
            for _ in range(10**7):  # the signal is noticed between two steps of the interpreter
                pass
        except BaseException:
            action(progress)
        return original(learner, images, tasks, device, progress=progress, **more)

    original = run.evaluate
    return evaluate


def another_error(progress):
    raise ImportError("cannot import name 'half' from a partially initialized module")


@pytest.mark.parametrize("action", [another_error, lambda progress: progress("evaluate", 1, 5, {})])
def test_a_lost_interrupt_stops_the_run_as_interrupted(job, monkeypatch, action):
    with monkeypatch.context() as patched:
        patched.setattr(run, "evaluate", losing(action))
        with pytest.raises(KeyboardInterrupt):
            run.execute_run(job, lambda *_: None)
    assert (job.run.record().status, job.run.record().reason) == (
        "interrupted",
        "stopped by the user; run again to go on",
    )
    assert run.execute_run(job, lambda *_: None).status == "done"


def test_a_training_without_a_checkpoint_is_said_to_start_anew(job, monkeypatch):
    monkeypatch.setattr(endings, "NOTHING_LOST", 0.0)
    original = run.fit

    def stopping(method, images, values, context):
        os.kill(os.getpid(), signal.SIGINT)
        return original(method, images, values, context)

    with monkeypatch.context() as patched:
        patched.setattr(run, "fit", stopping)
        with pytest.raises(KeyboardInterrupt):
            run.execute_run(job, lambda *_: None)
    record = job.run.record()
    assert record.reason == "stopped by the user; there is no checkpoint of it, so it starts anew when run again"
    assert record.notes["resuming"] == "starts anew"
    assert job.run.status([]) == "starts anew"
    assert run.execute_run(job, lambda *_: None).status == "done"
    assert "resuming" not in job.run.record().notes


def test_an_interrupt_lost_in_the_last_step_keeps_the_run_and_stops_what_comes_after_it(job, monkeypatch):
    monkeypatch.setattr(run._Execution, "progress", lambda *_: None)
    monkeypatch.setattr(run, "evaluate", losing(lambda progress: None))
    with pytest.raises(KeyboardInterrupt):
        run.execute_run(job, lambda *_: None)
    assert job.run.record().status == "done"


def test_pythons_own_treatment_is_back_afterwards_and_others_are_left_alone():
    with Interrupts() as interrupts:
        assert signal.getsignal(signal.SIGINT) is not signal.default_int_handler
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert not interrupts.asked
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with Interrupts():
            assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
