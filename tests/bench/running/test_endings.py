"""Every way a run can end is a status and a sentence, and progress that cannot be shown ends none."""

import signal

import pytest
import torch
from rich.console import Console

from bench.basics.errors import BenchError, Diverged
from bench.basics.progress import Reporter
from bench.basics.signals import Stopped
from bench.running.endings import FROM_ARTIFACTS, GOES_ON, STARTS_ANEW, TimeLimit, ending, resuming
from bench.training.artifacts import ArtifactStore

ANEW = "there is no checkpoint of it, so it starts anew when run again"


@pytest.mark.parametrize(
    ("error", "again", "status", "reason"),
    [
        (TimeLimit(), GOES_ON, "timeout", "stopped after 3 s; run again to go on"),
        (TimeLimit(), STARTS_ANEW, "timeout", f"stopped after 3 s; {ANEW}"),
        (Stopped(signal.SIGTERM), GOES_ON, "interrupted", "stopped by SIGTERM; run again to go on"),
        (KeyboardInterrupt(), GOES_ON, "interrupted", "stopped by the user; run again to go on"),
        (KeyboardInterrupt(), STARTS_ANEW, "interrupted", f"stopped by the user; {ANEW}"),
        (Diverged("why"), GOES_ON, "diverged", "why"),
        (BenchError("why"), GOES_ON, "failed", "why"),
        (MemoryError(), GOES_ON, "out-of-memory", "cpu: MemoryError"),
        (SystemExit(0), GOES_ON, "failed", "its code ended the process, sys.exit(0) (traceback in log.txt)"),
        (ValueError(), GOES_ON, "failed", "ValueError:  (traceback in log.txt)"),
    ],
)
def test_every_end_is_a_status_and_a_sentence(error, again, status, reason):
    found = ending(error, 3.0, again, "cpu")
    assert (found.status, found.reason) == (status, reason)
    assert found.notes == ({"resuming": again} if status in ("timeout", "interrupted") else {})


def test_what_a_stopped_run_will_do_is_told_from_what_it_left(tmp_path):
    def again(seconds=60.0):
        return resuming(tmp_path, store, seconds)

    store = ArtifactStore(tmp_path / "artifacts")
    assert again(seconds=0.1) == GOES_ON, "nothing was lost"
    assert again() == STARTS_ANEW
    store.get("encoder", {}, lambda _: ({"losses": torch.zeros(1)}, {}))
    assert again() == FROM_ARTIFACTS
    store.making = tmp_path / "artifacts/encoder-1.partial.safetensors"
    assert again(seconds=0.1) == STARTS_ANEW, "what is being made keeps no checkpoint"
    store.making.touch()
    assert again() == GOES_ON
    store.making.unlink()
    (tmp_path / "weights-stage.safetensors").touch()
    assert again() == GOES_ON


def test_progress_that_cannot_be_shown_ends_nothing():
    with open("/dev/full", "w") as full:
        reporter = Reporter(Console(file=full))
        reporter.say("a line" * 10_000)
        reporter("train", 1, 10, {"loss": 0.5})
        full_again = pytest.raises(OSError, match="No space left")
        with full_again:
            full.write("x" * 100_000)
            full.flush()
