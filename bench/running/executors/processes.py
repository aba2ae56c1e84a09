"""A fresh process for every run, so that one that dies (out of memory, a crash in a library) takes no other with it.

A process that does not end when it should is ended from outside, with every process that it started. Where runs share
GPUs, each process sees the one that it was given. On Linux without a GPU processes are forked off one that has imported
PyTorch and done nothing else, which spares each of them the import; CUDA does not survive a fork once it was asked.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import multiprocessing.forkserver
import os
import pickle
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from multiprocessing.connection import Connection
from multiprocessing.connection import wait as wait_for_any
from multiprocessing.context import ForkServerContext, SpawnContext
from multiprocessing.process import BaseProcess
from multiprocessing.reduction import ForkingPickler
from typing import Any, ParamSpec, TypeVar

from bench.basics.allocator import keep_temporaries
from bench.basics.signals import STOPPING, Interrupts, Stopped
from bench.running.placement import Closed, Gpu, Placement

P = ParamSpec("P")
T = TypeVar("T")

IMPORTED = ("torch._dynamo", "bench.running.run")
"""What every run needs; PyTorch's optimizers import its compiler."""

_ANNOUNCED = tuple(getattr(signal, name) for name in ("SIGUSR1", "SIGUSR2") if hasattr(signal, name))
_starting = threading.Lock()

Again = Callable[[Any, Gpu, tuple[Any, ...]], tuple[Any, ...] | None]
"""(what a call came to, GPU, its arguments) -> arguments for a second try, or None where there need be none."""


def default_grace() -> float:
    """``$BENCH_GRACE``, else 30: seconds that a process has to end by itself after its time limit, and again after it
    was asked to stop.
    """
    try:
        return max(0.1, float(os.environ.get("BENCH_GRACE", "30")))
    except ValueError:
        return 30.0


class WorkerDied(Exception):
    """The process ended without an answer."""


class WorkerHung(WorkerDied):
    """The process did not end at its time limit, and was ended."""


class ProcessPerTaskExecutor(Executor):
    """At most ``workers`` calls at a time, each in a spawned process of its own. Calls and results are pickled.

    limit: seconds that a call may take by its own account; after ``grace`` more it is ended from here.
    placement: each call gets a place on a GPU, and waits for it. again: asked what becomes of a call that was not alone
    on its GPU; a second try is.
    """

    def __init__(
        self,
        workers: int,
        limit: float | None = None,
        grace: float | None = None,
        placement: Placement | None = None,
        again: Again | None = None,
    ) -> None:
        self._placement, self._again = placement, again
        self._threads = ThreadPoolExecutor(workers, initializer=_hold_announcements)
        self._limit, self._grace = limit, default_grace() if grace is None else grace
        self._stopped: int | None = None

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Queue a call."""
        return self._threads.submit(self._call, fn, args, kwargs)

    def stop(self, number: int) -> None:
        """Start nothing more, and hand a signal on to what is running."""
        self._stopped = number
        if self._placement is not None:
            self._placement.close()

    def end(self) -> None:
        """After :meth:`stop`: wait no longer, and end by force what is still running."""
        self._grace = 0.0

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """As in the standard library; with ``cancel_futures`` running processes are asked to stop too."""
        if cancel_futures and self._stopped is None:
            self.stop(signal.SIGINT)
        self._threads.shutdown(wait=wait, cancel_futures=cancel_futures)

    def _call(self, fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if self._placement is None:
            return self._in_a_process({}, fn, args, kwargs)
        try:
            with self._placement.one() as place:
                value = self._in_a_process(place.environment, fn, args, kwargs)
        except Closed:
            raise WorkerDied("stopped before it started") from None
        if not place.shared or self._again is None:
            return value
        if (second := self._again(value, place.gpu, args)) is None:
            return value
        try:
            with self._placement.one(alone_on=place.gpu) as place:
                return self._in_a_process(place.environment, fn, second, kwargs)
        except Closed:
            return value

    def _in_a_process(
        self, environment: dict[str, str], fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        if self._stopped is not None:
            raise WorkerDied("stopped before it started")
        context, own = _context()
        receiver, sender = context.Pipe(duplex=False)
        call = bytes(ForkingPickler.dumps((fn, args, kwargs)))
        process = context.Process(target=_work, args=(sender, own | environment, call))
        with _held_back():
            process.start()
        sender.close()
        try:
            succeeded, value = self._answer(process, receiver)
        finally:
            _end_group(process)
            receiver.close()
        if not succeeded:
            raise value
        return value

    def _late(self, began: float | None, now: float) -> bool:
        return began is not None and self._limit is not None and now - began > self._limit + self._grace

    @property
    def _hung(self) -> str:
        return f"did not stop at its time limit of {self._limit:g} s, and was ended from outside"

    def _answer(self, process: BaseProcess, receiver: Connection) -> tuple[bool, Any]:
        """What the process sent, once it has ended too. It is ended where it does not."""
        began: float | None = None  # the import of PyTorch, before that, is no part of the run
        asked, late = None, False
        while True:
            # Not the end of the pipe alone: a child that the process left behind would hold it open.
            ready = wait_for_any([receiver, process.sentinel], timeout=0.2)
            if receiver in ready:
                try:
                    found: tuple[bool, Any] | None = receiver.recv()
                except (EOFError, OSError):
                    process.join(self._grace)
                    raise WorkerDied(_cause(process.exitcode)) from None
                if found is not None:
                    if late:
                        raise WorkerHung(self._hung)
                    return found
                began = time.monotonic()
                continue
            if ready:
                process.join()
                raise WorkerDied(_cause(process.exitcode))
            now = time.monotonic()
            if asked is None and self._stopped is not None:
                asked = now
                _send(process, self._stopped)
            elif asked is None and self._late(began, now):
                asked, late = now, True
                _send(process, signal.SIGTERM)
            if asked is not None and now - asked > self._grace:
                _end_group(process)
                if late:
                    raise WorkerHung(self._hung)
                raise WorkerDied("did not stop when it was asked to, and was ended by force")


def _context() -> tuple[ForkServerContext | SpawnContext, dict[str, str]]:
    """How processes are started, see the top of this file, and the environment that they get."""
    import torch

    if not sys.platform.startswith("linux") or torch.cuda.is_available():
        return multiprocessing.get_context("spawn"), dict(os.environ)
    context = multiprocessing.get_context("forkserver")
    with _starting, _held_back():
        environment = dict(os.environ)  # here, where no other thread has changed it for the server
        # The server would look for modules in the working directory first, where anything may lie.
        before = os.environ.get("PYTHONSAFEPATH")
        os.environ["PYTHONSAFEPATH"] = "1"
        try:
            context.set_forkserver_preload(list(IMPORTED))
            multiprocessing.forkserver.ensure_running()
        finally:
            if before is None:
                del os.environ["PYTHONSAFEPATH"]
            else:
                os.environ["PYTHONSAFEPATH"] = before
    return context, environment


@contextlib.contextmanager
def _held_back() -> Iterator[None]:
    """A signal that meets a process before it can treat one waits there: Python would print a traceback. The server
    that processes are forked off never treats any: it ends with the last process that uses it.
    """
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, (*STOPPING, *_ANNOUNCED))
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _hold_announcements() -> None:
    """Processes that this thread starts hear nothing of SIGUSR1 and SIGUSR2, which would end them at once: schedulers
    send them to every process of a job, and it is this one that tells the others what to do.
    """
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_BLOCK, _ANNOUNCED)


def _work(sender: Connection, environment: dict[str, str], call: bytes) -> None:
    _hold_announcements()  # the server may have been started by somebody else, for processes of their own
    os.environ.clear()  # the server's is of the time at which it was started
    os.environ.update(environment)
    keep_temporaries()
    # Ctrl-C reaches a whole group of processes at once; here it comes from the parent, once, so no clean-up is hit.
    os.setpgrp()
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        # Always: this process may have been started by one that ignores signals, and must end when it is told to.
        with Interrupts(always=STOPPING):
            if hasattr(signal, "pthread_sigmask"):
                signal.pthread_sigmask(signal.SIG_UNBLOCK, STOPPING)
            # Only now, for where nothing was imported before, its libraries read the environment as they are loaded.
            fn, args, kwargs = pickle.loads(call)
            sender.send(None)
            _send_answer(sender, True, fn(*args, **kwargs))
    except Stopped as error:
        _send_answer(sender, False, WorkerDied(f"stopped by {error.by}"))
    except BaseException as error:
        _send_answer(sender, False, error)
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    os._exit(0)  # not to wait for threads and children that somebody's code left behind


def _send_answer(sender: Connection, succeeded: bool, value: Any) -> None:
    try:
        sender.send((succeeded, value))
    except BrokenPipeError:
        return
    except Exception:  # an error of a class that cannot be pickled
        sender.send((False, WorkerDied(f"{type(value).__name__}: {value}")))
    sender.close()


def _end_with_parent() -> None:
    """A worker without its parent would train for nobody, and hold the run's lock."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(default_grace())
        with contextlib.suppress(OSError):
            os.killpg(os.getpid(), signal.SIGKILL)
        os._exit(1)


def _send(process: BaseProcess, number: int) -> None:
    if process.pid is not None and process.is_alive():
        with contextlib.suppress(ProcessLookupError):
            os.kill(process.pid, number)


def _end_group(process: BaseProcess) -> None:
    """End a process and what it has started, as far as that has not left its group."""
    if process.pid is not None:
        with contextlib.suppress(OSError):
            os.killpg(process.pid, signal.SIGKILL)
    process.kill()  # it may not have come to have a group
    process.join()


def _cause(exitcode: int | None) -> str:
    if exitcode is not None and exitcode < 0:
        name = signal.Signals(-exitcode).name
        hint = ", which is often for lack of memory" if name == "SIGKILL" else ""
        return f"its process was ended by {name}{hint}; run again, from its last checkpoint if it kept one"
    return f"its process ended with exit code {exitcode} and no answer"
