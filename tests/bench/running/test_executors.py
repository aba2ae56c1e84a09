"""Executors: results, errors and deaths come back, and nothing that was started stays behind."""

import os
import os.path
import signal
import subprocess
import sys
import time

import pytest
import torch

from bench.running.executors import executor
from bench.running.executors.processes import ProcessPerTaskExecutor, WorkerDied, WorkerHung, _context


def square(x):
    return x * x


def fail(message):
    raise ValueError(message)


def die():
    os.kill(os.getpid(), signal.SIGKILL)


def sleep_long():
    time.sleep(60)


@pytest.mark.parametrize("workers", [1, 2])
def test_results_and_errors_come_back(workers):
    with executor(workers) as pool:
        good = [pool.submit(square, i) for i in range(3)]
        bad = pool.submit(fail, "why")
        assert [future.result() for future in good] == [0, 1, 4]
        with pytest.raises(ValueError, match="why"):
            bad.result()


def test_a_process_that_dies_takes_no_other_with_it():
    with executor(2) as pool:
        dead, alive = pool.submit(die), pool.submit(square, 5)
        with pytest.raises(WorkerDied, match="SIGKILL, which is often for lack of memory"):
            dead.result()
        assert alive.result() == 25
        assert pool.submit(square, 6).result() == 36


def test_cancelling_stops_what_is_running_and_what_waits():
    pool = executor(2)
    futures = [pool.submit(sleep_long) for _ in range(3)]
    time.sleep(3)
    began = time.monotonic()
    pool.shutdown(wait=True, cancel_futures=True)
    assert time.monotonic() - began < 30
    assert all(future.cancelled() or isinstance(future.exception(), WorkerDied) for future in futures)


def deaf(path):
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    path.write_text(str(os.getpid()))
    time.sleep(600)


def test_one_that_does_not_listen_is_ended_at_once_when_nobody_wants_to_wait(tmp_path):
    pool = executor(1, own_process=True)
    future = pool.submit(deaf, tmp_path / "pid")
    while not (tmp_path / "pid").exists():
        time.sleep(0.05)
    pool.stop(signal.SIGINT)
    pool.end()
    with pytest.raises(WorkerDied, match="ended by force"):
        future.result(timeout=20)
    pool.shutdown()


def leave_a_child(path):
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    path.write_text(str(child.pid))
    return "done"


def end_the_process(how):
    if how == "exit":
        sys.exit(0)
    raise BaseException("odd")


class Unpicklable(Exception):
    def __init__(self):
        super().__init__("why")
        self.inner = lambda: None


def fail_oddly():
    raise Unpicklable


def alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return b" Z " not in open(f"/proc/{pid}/stat", "rb").read()


def gone(pid, seconds=20):
    end = time.monotonic() + seconds
    while alive(pid) and time.monotonic() < end:
        time.sleep(0.05)
    return not alive(pid)


def test_a_process_that_hears_nothing_is_ended_at_its_limit(tmp_path):
    with ProcessPerTaskExecutor(1, limit=3.0, grace=0.5) as pool:
        future = pool.submit(deaf, tmp_path / "pid")
        with pytest.raises(WorkerHung, match="did not stop at its time limit of 3 s, and was ended from outside"):
            future.result(timeout=60)
    assert gone(int((tmp_path / "pid").read_text()))


def test_a_process_that_hears_nothing_is_ended_when_it_is_asked_to_stop(tmp_path):
    pool = ProcessPerTaskExecutor(1, grace=0.5)
    future = pool.submit(deaf, tmp_path / "pid")
    while not (tmp_path / "pid").exists():
        time.sleep(0.05)
    pool.stop(signal.SIGTERM)
    pool.shutdown(wait=True, cancel_futures=True)
    assert isinstance(future.exception(), WorkerDied)
    assert gone(int((tmp_path / "pid").read_text()))


def test_children_that_stay_are_ended_and_not_waited_for(tmp_path):
    with ProcessPerTaskExecutor(1) as pool:
        assert pool.submit(leave_a_child, tmp_path / "pid").result(timeout=60) == "done"
    assert gone(int((tmp_path / "pid").read_text()))


@pytest.mark.parametrize(("how", "kind"), [("exit", SystemExit), ("raise", BaseException)])
def test_ending_the_process_is_an_answer_too(how, kind):
    with ProcessPerTaskExecutor(1) as pool:
        assert isinstance(pool.submit(end_the_process, how).exception(timeout=60), kind)


def test_an_error_that_cannot_be_pickled_still_says_what_it_was():
    with ProcessPerTaskExecutor(1) as pool, pytest.raises(WorkerDied, match="Unpicklable: why"):
        pool.submit(fail_oddly).result(timeout=60)


def _told_of_the_end():
    for number in (signal.SIGUSR1, signal.SIGUSR2):
        os.kill(os.getpid(), number)
    return "alive"


def test_what_a_scheduler_announces_to_every_process_of_a_job_ends_no_worker():
    with ProcessPerTaskExecutor(1) as pool:
        assert pool.submit(_told_of_the_end).result(60) == "alive"


@pytest.mark.skipif(not hasattr(signal, "SIGUSR1"), reason="no such signals here")
def test_nor_does_it_where_somebody_else_started_the_server_that_processes_are_forked_off():
    program = f"""
import multiprocessing.forkserver, sys
sys.path.insert(0, {os.path.dirname(__file__)!r})
from test_executors import ProcessPerTaskExecutor, _told_of_the_end
if __name__ == "__main__":
    multiprocessing.forkserver.ensure_running()
    with ProcessPerTaskExecutor(1) as pool:
        assert pool.submit(_told_of_the_end).result(60) == "alive"
"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=120)


def environment_of(name):
    return os.environ.get(name)


def test_a_process_has_the_environment_of_now_whenever_the_first_was_started(monkeypatch):
    with executor(2) as pool:
        pool.submit(square, 1).result()
        monkeypatch.setenv("BENCH_OF_NOW", "1")
        monkeypatch.delenv("PATH")
        assert pool.submit(environment_of, "BENCH_OF_NOW").result() == "1"
        assert pool.submit(environment_of, "PATH").result() is None
    assert "PYTHONSAFEPATH" not in os.environ


@pytest.mark.parametrize("gpu", [False, True])
def test_nothing_is_forked_where_there_is_a_gpu(monkeypatch, gpu):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpu)
    forked = sys.platform.startswith("linux") and not gpu
    assert _context()[0].get_start_method() == ("forkserver" if forked else "spawn")


def imported():
    return "torch._dynamo" in sys.modules, os.getpgrp() == os.getpid()


@pytest.mark.skipif(
    not sys.platform.startswith("linux") or torch.cuda.is_available(), reason="here processes are not forked"
)
def test_a_process_has_imported_already_and_is_its_own_all_the_same(tmp_path, monkeypatch):
    (tmp_path / "torch").mkdir()
    (tmp_path / "torch" / "__init__.py").write_text("raise SystemExit('not this one')")
    monkeypatch.chdir(tmp_path)
    program = f"""
import sys; sys.path.insert(0, {str(os.path.dirname(__file__))!r})
from test_executors import ProcessPerTaskExecutor, imported
if __name__ == "__main__":
    with ProcessPerTaskExecutor(1) as pool:
        assert pool.submit(imported).result() == (True, True)
"""
    (tmp_path / "program").mkdir()
    (tmp_path / "program" / "main.py").write_text(program)
    subprocess.run([sys.executable, str(tmp_path / "program" / "main.py")], check=True, timeout=120)
