"""Who has a claim, who takes it over, and that an owner that was taken for dead cannot replace a file any more."""

import json
import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from bench.basics import claims, holders
from bench.basics.claims import Claim, Claimed, Lost, read_claim


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """A second of silence is death."""
    monkeypatch.setenv("BENCH_HEARTBEAT", "0.125")


def stranger(path, **facts):
    """A claim of a process on another machine."""
    own = path / "0123456789abcdef"
    own.mkdir(parents=True)
    found = {"host": "node7", "pid": 4711, "machine": "another", "since": "2026-01-01T00:00:00+00:00", "beat": 0.125}
    (own / "holder.json").write_text(json.dumps({**found, **facts}))
    return own


SLEEPER = """
import os, sys, time
from pathlib import Path
from bench.basics.claims import Claim, Lost

folder, moment = Path(sys.argv[1]), sys.argv[2]


def sleep(at):
    if at == moment:
        print("now", flush=True)
        sys.stdin.readline()


replace = os.replace


def late(source, target):  # as if the process slept between its last look and the system call
    sleep("rename")
    replace(source, target)


os.replace = late
with Claim.take(folder / ".claim") as claim:
    print("mine", flush=True)
    try:
        sleep("idle")
        with claim.replacing(folder / "result") as temporary:
            temporary.write_text("old")
            sleep("write")
        print("written")
    except Lost as error:
        print(error)
"""


@pytest.mark.parametrize("moment", ["idle", "write", "rename"])
def test_an_owner_that_was_frozen_and_wakes_up_replaces_nothing(tmp_path, moment):
    process = subprocess.Popen(
        [sys.executable, "-c", SLEEPER, str(tmp_path), moment],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.getcwd()},
    )
    assert [process.stdout.readline() for _ in range(2)] == ["mine\n", "now\n"]
    os.kill(process.pid, signal.SIGSTOP)
    said = []
    with Claim.take(tmp_path / ".claim", told=said.append) as claim:
        os.kill(process.pid, signal.SIGCONT)
        with claim.replacing(tmp_path / "result") as temporary:
            temporary.write_text("new")
        out, _ = process.communicate("\n", timeout=60)
        assert f"{holders.host()} (process {os.getpid()}) took {tmp_path} over at " in out
        assert "it wrote nothing more" in out
        claim.hold()
    assert f"process {process.pid}, since " in said[0]
    assert (tmp_path / "result").read_text() == "new"
    assert [path.name for path in tmp_path.iterdir()] == ["result"]


def _increments(folder, rounds):
    for _ in range(rounds):
        with Claim.take(Path(folder, ".x.claim")):
            count = int(Path(folder, "count").read_text())
            time.sleep(0.001)
            Path(folder, "count").write_text(str(count + 1))


def test_of_many_processes_one_has_it(tmp_path, monkeypatch):
    """Lost updates would show in the sum, also where they take it over from one that was killed."""
    monkeypatch.delenv("BENCH_HEARTBEAT")  # a busy machine must not look like a dead one
    (tmp_path / "count").write_text("0")
    context = multiprocessing.get_context("fork")
    dead = context.Process(target=_dies_with_a_claim, args=(tmp_path,))
    dead.start()
    dead.join()
    assert read_claim(tmp_path / ".x.claim").alive is False
    crowd = [context.Process(target=_increments, args=(tmp_path, 15)) for _ in range(5)]
    for process in crowd:
        process.start()
    for process in crowd:
        process.join()
        assert process.exitcode == 0
    assert (tmp_path / "count").read_text() == "75"
    assert [path.name for path in tmp_path.iterdir()] == ["count"]


def _dies_with_a_claim(folder):
    Claim.take(folder / ".x.claim").__enter__()
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_taker_that_sleeps_in_the_middle_does_no_harm_to_whoever_has_it_by_then(tmp_path, monkeypatch):
    """Two find the same owner dead; the second removes it, takes over and works while the first is on its way."""
    path = tmp_path / ".claim"
    stranger(path)
    os.utime(path / "0123456789abcdef" / "holder.json", (0, 0))
    removed, inside = claims._removed, []

    def slow(own):
        monkeypatch.setattr(claims, "_removed", removed)
        inside.append(Claim.take(path, wait=False))  # the second, from beginning to end
        return removed(own)

    monkeypatch.setattr(claims, "_removed", slow)
    with pytest.raises(Claimed):
        Claim.take(path, wait=False)
    inside[0].hold()
    inside[0].release()
    assert not path.exists()


def test_another_host_is_waited_for_as_long_as_it_gives_signs_of_life(tmp_path, monkeypatch):
    """By the waiter's own clock: what counts is that the time of the file changes, not what it says."""
    own = stranger(tmp_path / ".claim", beat=15)
    now = [0.0]

    def sleep(seconds):
        now[0] += seconds
        if now[0] < 500:
            os.utime(own / "holder.json", (0, now[0] // 15))

    monkeypatch.setattr(claims, "time", SimpleNamespace(sleep=sleep, monotonic=lambda: now[0]))
    said = []
    Claim.take(tmp_path / ".claim", told=said.append).hold()
    assert 495 + 120 <= now[0] < 500 + 125
    assert len(said) == 11, "every minute"


@pytest.mark.parametrize(("silent", "alive"), [(0.0, None), (3600.0, False)])
def test_what_is_said_of_another_host(tmp_path, silent, alive):
    own = stranger(tmp_path / ".claim", job="slurm 12_3")
    os.utime(own / "holder.json", (time.time() - silent,) * 2)
    found = read_claim(tmp_path / ".claim")
    assert (found.host, found.pid, found.job, found.alive) == ("node7", 4711, "slurm 12_3", alive)
    assert abs(found.heartbeat_age - silent) < 60
    assert sorted(path.name for path in tmp_path.rglob("*")) == [".claim", own.name, "holder.json"], "only looked at"
    if alive is None:
        with pytest.raises(Claimed, match=r"at work on .*node7, process 4711, slurm 12_3, since 2026-01-01") as error:
            Claim.take(tmp_path / ".claim", wait=False)
        assert pickle.loads(pickle.dumps(error.value)).by == error.value.by
    else:
        Claim.take(tmp_path / ".claim", wait=False).release()


@pytest.mark.parametrize("lie", [{"pid": os.getpid()}, {"started": "1"}])
def test_a_process_number_that_was_given_to_another_process_is_no_life(tmp_path, lie):
    facts = {**holders.facts_of_this_process(), "pid": os.getppid(), "started": holders._state(os.getppid())[1]}
    stranger(tmp_path / ".claim", **{**facts, "started": "1", **lie})
    assert read_claim(tmp_path / ".claim").alive is False
    Claim.take(tmp_path / ".claim", wait=False).release()


def test_one_that_lives_has_it_although_another_asks(tmp_path):
    with Claim.take(tmp_path / ".claim"):
        assert read_claim(tmp_path / ".claim").alive
        with pytest.raises(Claimed):
            Claim.take(tmp_path / ".claim", wait=False)
    assert read_claim(tmp_path / ".claim") is None
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("text", ["", "{", "[]", '{"pid": "x", "beat": "never"}'])
def test_a_claim_of_a_machine_that_lost_its_power_is_dead_when_it_stays_silent(tmp_path, text):
    own = stranger(tmp_path / ".claim")
    (own / "holder.json").write_text(text)
    with pytest.raises(Claimed, match="whose claim cannot be read"):
        Claim.take(tmp_path / ".claim", wait=False)
    os.utime(own / "holder.json", (0, 0))
    Claim.take(tmp_path / ".claim", wait=False).release()


def test_a_fork_of_the_holder_cannot_let_go(tmp_path):
    with Claim.take(tmp_path / ".claim") as claim:
        process = multiprocessing.get_context("fork").Process(target=claim.release)
        process.start()
        process.join()
        claim.hold()


def test_letting_go_leaves_the_claim_of_whoever_was_faster(tmp_path):
    claim = Claim.take(tmp_path / ".claim")
    for left in (".claim.a.tmp", ".claim.b.tmp/c"):  # of takers that were killed
        (tmp_path / left).mkdir(parents=True)
    (tmp_path / ".claim.d.tmp").touch()
    claims._removed(claim.own)  # taken for dead
    with Claim.take(tmp_path / ".claim") as other:
        with pytest.raises(Lost):
            claim.hold()
        claim.release()
        other.hold()
    assert not list(tmp_path.iterdir())
