import os
import signal
import time

import pytest

from bench.running.executors import executor
from bench.running.executors.processes import WorkerDied


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
