"""What becomes of a run that another process is at: it waits or does not, and nobody else says how it ended."""

import os
import threading
from dataclasses import replace

import pandas as pd
import pytest
from test_interrupts import job  # noqa: F401

from bench.basics.claims import Claim, Claimed
from bench.running.endings import UNFINISHED
from bench.running.run import execute_run, record_forced_end


def silent(*_):
    pass


def test_who_may_not_wait_is_told_who_has_it(job):  # noqa: F811
    with Claim.take(job.run.folder / ".claim"):
        with pytest.raises(Claimed, match=f"at work on .*process {os.getpid()}, since") as error:
            execute_run(job, silent, wait=False)
        assert error.value.by.alive
    assert not (job.run.folder / "run.json").exists()
    assert execute_run(job, silent, wait=False).status == "done"
    assert not (job.run.folder / ".claim").exists()


def test_who_waits_says_for_whom_and_then_finds_what_the_other_did(job):  # noqa: F811
    said = []
    waiting = threading.Thread(target=execute_run, args=(job, lambda stage, *_: said.append(stage)))
    with Claim.take(job.run.folder / ".claim"):
        waiting.start()
        while not said:
            waiting.join(timeout=0.05)
    waiting.join()
    assert said[0].startswith("waiting for another process: ")
    assert f"process {os.getpid()}, since " in (job.run.folder / "log.txt").read_text()
    assert job.run.record().done


def test_how_it_ended_is_for_whoever_took_it_over_to_say(job, monkeypatch):  # noqa: F811
    class Killed(BaseException):
        pass

    def killed(*_, **__):
        raise Killed

    from bench.running import run

    with monkeypatch.context() as patched:
        patched.setattr(run._Execution, "_train_and_answer", killed)
        patched.setattr(run._Execution, "_write", killed)
        with pytest.raises(Killed):
            execute_run(job, silent)
    with Claim.take(job.run.folder / ".claim"):
        assert record_forced_end(job.run, "failed", "its process was ended by SIGKILL") is None
        assert job.run.record().reason == UNFINISHED
    assert record_forced_end(job.run, "failed", "its process was ended by SIGKILL").status == "failed"


def test_a_run_from_scratch_has_the_same_scores_and_says_on_which_host(job, tmp_path, monkeypatch):  # noqa: F811
    expected = execute_run(job, silent)
    assert expected.environment["host"] == os.uname().nodename
    scores = pd.read_parquet(job.run.folder / "tasks.parquet")
    monkeypatch.setenv("BENCH_HOST", "node7")
    elsewhere = replace(job, run=replace(job.run, folder=tmp_path / "again"), scratch=str(tmp_path / "local"))
    assert execute_run(elsewhere, silent).environment["host"] == "node7"
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "again" / "tasks.parquet"), scores)
    (copy,) = (tmp_path / "local").iterdir()
    assert copy.name.startswith("glyphs-")
    monkeypatch.setenv("BENCH_HOST", "")
    assert "host" not in execute_run(replace(job, run=replace(job.run, folder=tmp_path / "third")), silent).environment
