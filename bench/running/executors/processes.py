"""A fresh process for every run, so that one that dies (out of memory, a crash in a library) takes no other with it."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Any, ParamSpec, TypeVar

from bench.basics.allocator import keep_temporaries

P = ParamSpec("P")
T = TypeVar("T")


class WorkerDied(Exception):
    """The process ended without an answer."""


class ProcessPerTaskExecutor(Executor):
    """At most ``workers`` calls at a time, each in a spawned process of its own. Calls and results are pickled."""

    def __init__(self, workers: int) -> None:
        self._threads = ThreadPoolExecutor(workers)
        self._running: set[BaseProcess] = set()
        self._lock = threading.Lock()
        self._stopped = False

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Queue a call."""
        return self._threads.submit(self._call, fn, args, kwargs)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """As in the standard library; with ``cancel_futures`` running processes are asked to stop (SIGINT) too."""
        if cancel_futures:
            self._stopped = True
            with self._lock:
                for process in self._running:
                    if process.pid is not None and process.is_alive():
                        _interrupt(process.pid)
        self._threads.shutdown(wait=wait, cancel_futures=cancel_futures)

    def _call(self, fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if self._stopped:
            raise WorkerDied("stopped before it started")
        context = multiprocessing.get_context("spawn")
        receiver, sender = context.Pipe(duplex=False)
        process = context.Process(target=_work, args=(sender, fn, args, kwargs))
        process.start()
        sender.close()
        with self._lock:
            self._running.add(process)
        try:
            try:
                succeeded, value = receiver.recv()
            except EOFError:
                process.join()
                raise WorkerDied(_cause(process.exitcode)) from None
            process.join()
        finally:
            with self._lock:
                self._running.discard(process)
            receiver.close()
        if not succeeded:
            raise value
        return value


def _work(sender: Connection, fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    keep_temporaries()
    # Ctrl-C reaches a whole group of processes at once; here it comes from the parent, once, so no clean-up is hit.
    os.setpgrp()
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        sender.send((True, fn(*args, **kwargs)))
    except KeyboardInterrupt:
        sender.send((False, WorkerDied("stopped by the user")))
    except Exception as error:
        sender.send((False, error))


def _end_with_parent() -> None:
    """A worker without its parent would train for nobody, and hold the run's lock."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        _interrupt(os.getpid())


def _interrupt(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGINT)


def _cause(exitcode: int | None) -> str:
    if exitcode is not None and exitcode < 0:
        name = signal.Signals(-exitcode).name
        hint = ", which is often for lack of memory" if name == "SIGKILL" else ""
        return f"its process was ended by {name}{hint}"
    return f"its process ended with exit code {exitcode} and no answer"
