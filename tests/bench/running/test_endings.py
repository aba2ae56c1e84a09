"""Every way a run can end is a status and a sentence, and progress that cannot be shown ends none."""

import signal

import pytest
from rich.console import Console

from bench.basics.errors import BenchError, Diverged
from bench.basics.progress import Reporter
from bench.basics.signals import Stopped
from bench.running.endings import TimeLimit, ending


@pytest.mark.parametrize(
    ("error", "goes_on", "status", "reason"),
    [
        (TimeLimit(), True, "timeout", "stopped after 3 s; run again to go on"),
        (TimeLimit(), False, "timeout", "stopped after 3 s; it keeps no checkpoint, so running it again begins anew"),
        (Stopped(signal.SIGTERM), True, "interrupted", "stopped by SIGTERM; run again to go on"),
        (KeyboardInterrupt(), True, "interrupted", "stopped by the user; run again to go on"),
        (Diverged("why"), True, "diverged", "why"),
        (BenchError("why"), True, "failed", "why"),
        (MemoryError(), True, "out-of-memory", "cpu: MemoryError"),
        (SystemExit(0), True, "failed", "its code ended the process, sys.exit(0) (traceback in log.txt)"),
        (ValueError(), True, "failed", "ValueError:  (traceback in log.txt)"),
    ],
)
def test_every_end_is_a_status_and_a_sentence(error, goes_on, status, reason):
    found = ending(error, 3.0, goes_on, "cpu")
    assert (found.status, found.reason) == (status, reason)


def test_progress_that_cannot_be_shown_ends_nothing():
    with open("/dev/full", "w") as full:
        reporter = Reporter(Console(file=full))
        reporter.say("a line" * 10_000)
        reporter("train", 1, 10, {"loss": 0.5})
        full_again = pytest.raises(OSError, match="No space left")
        with full_again:
            full.write("x" * 100_000)
            full.flush()
