"""Beside a Ray worker: starts one command, and ends it when that worker is gone, for whatever reason.

Sent to the worker as text and run by ``python -c``, so it needs nothing but the standard library. Arguments: the
command as JSON, and seconds that it has to end by itself once it was told to. The worker holds the other end of the
standard input: as soon as that is closed, be it by the worker or by the kernel, the command gets SIGTERM, and after the
grace its whole session SIGKILL. When the command has ended, one line of JSON on the standard output says how: ``code``,
as of :mod:`subprocess`, and ``said``, the last line that it printed.
"""

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import time

TAIL = 8192  # bytes of what was printed that hold its last line


def main() -> None:
    """Return at once, and stay as a process that is no child of the worker: Ray kills the children of its workers."""
    if os.fork():
        os._exit(0)
    os.setsid()
    words, grace = json.loads(sys.argv[1]), float(sys.argv[2])
    with tempfile.TemporaryFile() as printed:
        try:
            code = to_the_end(words, grace, printed.fileno())
            said = last_line(printed.fileno())
        except OSError as error:  # there is no such interpreter, say
            code, said = 127, f"{words[0]}: {error.strerror or error}"
    with contextlib.suppress(OSError):
        os.write(1, json.dumps({"code": code, "said": said}).encode())


def to_the_end(words: list[str], grace: float, output: int) -> int:
    """The exit code of a command, which prints to ``output``."""
    child = subprocess.Popen(
        words, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
    )
    told = None
    while child.poll() is None:
        if told is not None:
            time.sleep(0.1)
            if time.monotonic() - told > grace:
                end(child)
        elif select.select([0], [], [], 0.2)[0] and not os.read(0, 1):
            child.terminate()
            told = time.monotonic()
    end(child)
    return child.returncode


def end(child: "subprocess.Popen[bytes]") -> None:
    """With what it has left behind."""
    with contextlib.suppress(OSError):
        os.killpg(child.pid, signal.SIGKILL)


def last_line(output: int) -> str:
    """Of what was printed; empty where that was nothing."""
    size = os.fstat(output).st_size
    text = os.pread(output, TAIL, max(0, size - TAIL)).decode("utf-8", "replace")
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else ""


if __name__ == "__main__":
    main()
