"""The process beside the command that speaks with Ray: started, talked to, and noticed when it falls silent."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping
from typing import Any

from bench.basics.cpus import usable_cpus
from bench.basics.errors import BenchError
from bench.running.executors.ray_settings import address_of, import_paths, reached, short_folder

IMPORTED = 120.0  # seconds that Ray's library has to be imported, from a slow disk
CONNECTED = 20.0  # seconds that a cluster has to answer
CLIENT = 60.0  # seconds of one that starts a process for each client, as behind ray://
STARTED = 120.0  # seconds that a local one has to start
SILENT = 40.0  # seconds without a line after which the head of the cluster is lost
ENDED = 15.0  # seconds that Ray has to end


class Link:
    """``tell`` it what to do; ``heard`` is what it says."""

    def __init__(self, settings: Mapping[str, Any]) -> None:
        """BenchError, in one sentence and within bounded time, where there is no cluster to be had."""
        self.address = address_of(settings)
        reached(self.address)
        self._temp = short_folder()
        self._printed = tempfile.TemporaryFile()  # noqa: SIM115
        self._lines: queue.Queue[dict[str, Any] | None] = queue.Queue()
        self._telling = threading.Lock()
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "bench.running.executors.ray_driver"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._printed,
            text=True,
            cwd=self._temp,  # Ray's processes look for modules where they stand
            # Ray would report each cluster that it starts to its makers.
            env={"RAY_USAGE_STATS_ENABLED": "0", **os.environ, **import_paths()},
            start_new_session=True,  # Ctrl-C is for the command, which says what becomes of the tasks
        )
        threading.Thread(target=self._read, daemon=True, name="ray").start()
        self._heard = time.monotonic()
        try:
            self.tell({"connect": self.address, "cpus": usable_cpus(), "temp": self._temp})
            self._wait_for(IMPORTED, "Ray's library cannot be imported")
            here = self.address in ("auto", "local")
            where = "Ray could not be started here" if here else f"no connection to Ray at {self.address}"
            limit = CLIENT if self.address.startswith("ray://") else CONNECTED
            facts = self._wait_for(STARTED if here else limit, where)
        except BaseException:
            self.end(0.0)
            raise
        self.local, self.machines = bool(facts["local"]), list(facts["nodes"])
        self.address = str(facts["connected"])

    @property
    def name(self) -> str:
        """Of the cluster, for a sentence."""
        return "the local Ray cluster" if self.local else f"the Ray cluster at {self.address}"

    def tell(self, line: Mapping[str, Any]) -> None:
        """A line of ``ray_driver.py``; one that ended does not hear it, and ``lost`` will say so."""
        assert self._process.stdin is not None
        with contextlib.suppress(OSError, ValueError), self._telling:
            self._process.stdin.write(json.dumps(line) + "\n")
            self._process.stdin.flush()

    def heard(self, seconds: float) -> dict[str, Any] | None:
        """The next line, if one comes in that time."""
        try:
            line = self._lines.get(timeout=seconds)
        except queue.Empty:
            return None
        if line is None:
            self._lines.put(None)  # it stays the end
            time.sleep(seconds)
            return None
        self._heard = time.monotonic()
        if "nodes" in line:
            self.machines = line["nodes"]
        return line

    def lost(self) -> bool:
        """Whether nothing more will be heard."""
        if self._process.poll() is not None:
            return self._lines.empty() or self._lines.queue[0] is None
        return time.monotonic() - self._heard > SILENT

    def end(self, seconds: float = ENDED) -> None:
        """End it, and the local cluster that it started, if it did; by force after so many seconds or if lost."""
        seconds = 0.0 if self.lost() else seconds
        with contextlib.suppress(OSError, ValueError):
            assert self._process.stdin is not None
            self._process.stdin.close()
        try:
            self._process.wait(seconds)
        except (subprocess.TimeoutExpired, KeyboardInterrupt):
            with contextlib.suppress(OSError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
        self._printed.close()
        shutil.rmtree(self._temp, ignore_errors=True)

    def _wait_for(self, seconds: float, what: str) -> dict[str, Any]:
        end = time.monotonic() + seconds
        while (line := self.heard(0.2)) is None:
            if self._process.poll() is not None and self.lost():
                raise BenchError(f"{what}: {self._last_words()}")
            if time.monotonic() > end:
                raise BenchError(f"{what}: it gave no answer within {seconds:g} s")
        if "refused" in line:
            raise BenchError(f"{what}: {line['refused']}{self._hint()}")
        return line

    def _hint(self) -> str:
        """Ray's clusters ask for a token by default, and its client sends one only where it is told to."""
        if self.address.startswith("ray://") and "RAY_AUTH_MODE" not in os.environ:
            return "; where the cluster asks for a token (Ray does by default), set RAY_AUTH_MODE=token"
        return ""

    def _last_words(self) -> str:
        self._printed.seek(0)
        lines = self._printed.read()[-8192:].decode("utf-8", "replace").split("\n")
        said = [line.strip() for line in lines if line.strip()]
        return said[-1][:300] if said else f"its process ended with exit code {self._process.returncode}"

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._lines.put(json.loads(line))
        self._lines.put(None)
