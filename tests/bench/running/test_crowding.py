"""Threads make way for other programs: when, with how many idle teams, and without a change to any number."""

import os
import sys
import threading
import time

import pytest
import torch

from bench.running import crowding
from bench.running.crowding import PATIENCE, Crowd, IdleTeams, kept_waiting, making_way, teams_needed

linux = pytest.mark.skipif(sys.platform != "linux", reason="looks at the threads of a process on Linux")


@pytest.mark.parametrize(
    ("threads", "cpus", "teams"), [(1, 8, 0), (2, 2, 1), (8, 8, 1), (4, 2, 1), (2, 8, 7), (4, 8, 2), (2, 64, 0)]
)
def test_idle_teams_bring_the_threads_above_the_cpus(threads, cpus, teams):
    assert teams_needed(threads, cpus) == teams
    if teams:  # a team adds its threads but the first, which is no thread of OpenMP's
        assert threads + teams * (threads - 1) > cpus
        assert teams == 1 or threads + (teams - 1) * (threads - 1) <= cpus


def test_others_are_there_at_once_and_gone_after_some_calm():
    crowd = Crowd()
    assert [crowd.look(share) for share in (0.0, 0.15, 0.4, 0.0, 0.15)] == [False, False, True, True, True]
    assert [crowd.look(0.0) for _ in range(PATIENCE)] == [True] * (PATIENCE - 1) + [False]
    assert not crowd.look(0.15)


def test_waiting_is_read_thread_by_thread(tmp_path):
    for name, text in (("7", "1000 2500000000 3\n"), ("8", "1000 0 3\n"), ("9", "")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "schedstat").write_text(text)
    assert kept_waiting(tmp_path) == {"7": 2.5, "8": 0.0}
    assert kept_waiting(tmp_path / "absent") == {}


@pytest.fixture
def two_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@linux
def test_idle_teams_are_there_and_leave_again(two_threads):
    before = len(os.listdir("/proc/self/task"))
    idle = IdleTeams(3)
    end = time.monotonic() + 20
    while len(os.listdir("/proc/self/task")) < before + 6 and time.monotonic() < end:
        time.sleep(0.01)
    assert len(os.listdir("/proc/self/task")) >= before + 6  # each a thread of Python's, and one of OpenMP's
    idle.leave()
    while len(os.listdir("/proc/self/task")) >= before + 6 and time.monotonic() < end:
        time.sleep(0.01)
    assert len(os.listdir("/proc/self/task")) < before + 6


def test_a_neighbour_is_seen_and_numbers_stay_bit_for_bit(two_threads, tmp_path, monkeypatch):
    monkeypatch.setattr(crowding, "PERIOD", 0.01)
    seen = threading.Event()

    class Teams(IdleTeams):
        def __init__(self, teams):
            super().__init__(teams)
            seen.set()

    monkeypatch.setattr(crowding, "IdleTeams", Teams)
    x = torch.randn(64, 64, 28, 28, generator=torch.Generator().manual_seed(0))
    weight = torch.randn(64, 64, 3, 3, generator=torch.Generator().manual_seed(1))

    def computed():
        return torch.nn.functional.conv2d(x, weight).sum((0, 2, 3))

    alone = computed()
    state = torch.get_rng_state()
    task = tmp_path / "1"
    task.mkdir()
    (task / "schedstat").write_text("0 0 0\n")
    with making_way(tasks=tmp_path):
        assert not seen.wait(0.2)
        waited = 0
        while not seen.is_set():
            waited += 10**9
            assert waited < 10**12
            (task / "new").write_text(f"0 {waited} 0\n")
            (task / "new").rename(task / "schedstat")
            time.sleep(0.02)
        assert torch.equal(computed(), alone)
    assert torch.equal(computed(), alone)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize(("threads", "waits"), [(1, "0 0 0"), (2, "")])
def test_nothing_is_watched_where_nobody_waits_or_nothing_can_be_seen(tmp_path, threads, waits):
    (tmp_path / "1").mkdir()
    (tmp_path / "1" / "schedstat").write_text(waits)
    with making_way(threads, tmp_path):
        assert "crowding" not in [thread.name for thread in threading.enumerate()]


def test_the_watch_ends_with_what_it_watches(two_threads, tmp_path):
    (tmp_path / "1").mkdir()
    (tmp_path / "1" / "schedstat").write_text("0 0 0")
    with pytest.raises(ValueError, match="why"), making_way(tasks=tmp_path):
        assert "crowding" in [thread.name for thread in threading.enumerate()]
        raise ValueError("why")
    assert "crowding" not in [thread.name for thread in threading.enumerate()]
