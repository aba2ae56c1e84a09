"""Being told to stop: Ctrl-C, SIGTERM, SIGHUP. All raise one exception, and none can get lost.

A library may swallow the exception, or end in an error of its own; and in the middle of a training step it would leave
half an update. So :class:`Interrupts` remembers that it was asked, and a loop that wants to end tidily takes
:func:`between_steps`: then the exception comes at its next step, or after ``GRACE`` seconds wherever it is.
"""

from __future__ import annotations

import contextlib
import signal
import threading
import time
from collections.abc import Iterator
from types import FrameType, TracebackType
from typing import Any, Self

GRACE = 5.0  # seconds that a loop has to come to the end of a step

SAME = 1.0  # seconds in which a further signal is the same request: schedulers signal every process, and parents too

STOPPING = tuple(
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
)  # Windows has no SIGHUP


class Stopped(KeyboardInterrupt):
    """Somebody wants this process to end. Like KeyboardInterrupt, no ``except Exception`` catches it.

    told: what became of the work, for people; part of a sentence.
    """

    def __init__(self, number: int = signal.SIGINT, told: str = "") -> None:
        super().__init__(number)
        self.number, self.told = number, told

    def __str__(self) -> str:
        return self.told or f"stopped by {self.by}"

    @property
    def by(self) -> str:
        """Who or what stopped it, for a sentence."""
        return "the user" if self.number == signal.SIGINT else signal.Signals(self.number).name


def exit_code(error: KeyboardInterrupt) -> int:
    """128 + n, as shells report a process that a signal ended."""
    return 128 + number_of(error)


def number_of(error: BaseException) -> int:
    """The signal behind an interrupt, whoever raised it."""
    return error.number if isinstance(error, Stopped) else signal.SIGINT


def telling(error: KeyboardInterrupt, told: str) -> Stopped:
    """The interrupt, to be raised anew, with what became of the work.

    ``told`` of the :class:`Interrupts` around says so too, whatever others make of the exception on its way there.
    """
    if Interrupts._innermost is not None:
        Interrupts._innermost.told = told
    return Stopped(number_of(error), told)


class Interrupts:
    """While entered, a signal to stop raises :class:`Stopped`, and ``asked`` says ever after that there was one.

    Only the main thread gets signals, and only the system's own way to treat one is replaced: one that is ignored
    (``nohup``, a shell's background job) stays ignored unless it is among ``always``, and one that somebody else treats
    stays theirs.
    """

    _innermost: Interrupts | None = None

    def __init__(self, always: tuple[int, ...] = ()) -> None:
        self.stopped: Stopped | None = None
        self.told = ""
        self._always = always
        self._steps = 0
        self._when = 0.0
        self._before: dict[int, Any] = {}
        self._outer: Interrupts | None = None

    @property
    def asked(self) -> bool:
        """Whether a signal came."""
        return self.stopped is not None

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            for number in STOPPING:
                how = signal.getsignal(number)
                ours = how in (signal.SIG_DFL, signal.default_int_handler) or isinstance(
                    getattr(how, "__self__", None), Interrupts
                )
                if ours or number in self._always:
                    self._before[number] = signal.signal(number, self._note)
            self._outer, Interrupts._innermost = Interrupts._innermost, self
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        for number, how in self._before.items():
            signal.signal(number, how)
        if Interrupts._innermost is self:
            self._disarm()
            Interrupts._innermost = self._outer
            if self._outer is not None and self._outer.stopped is None:
                self._outer.stopped, self._outer._when = self.stopped, self._when
        self._before.clear()

    def _note(self, number: int, frame: FrameType | None) -> None:
        again, now = self.asked, time.monotonic()
        if again and now - self._when < SAME:
            return
        self.stopped, self._when = Stopped(number), now
        if self._steps and not again and hasattr(signal, "setitimer"):
            signal.signal(signal.SIGALRM, self._too_long)
            signal.setitimer(signal.ITIMER_REAL, GRACE)
            return
        self._disarm()
        raise self.stopped

    def _too_long(self, number: int, frame: FrameType | None) -> None:
        self._disarm()
        if self.stopped is not None:
            raise self.stopped

    def _disarm(self) -> None:
        if hasattr(signal, "setitimer") and signal.getsignal(signal.SIGALRM) == self._too_long:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, signal.SIG_DFL)


class Steps:
    """A loop that is asked to stop between two of its steps."""

    def __init__(self, owner: Interrupts | None) -> None:
        self._owner = owner

    @property
    def stopped(self) -> Stopped | None:
        """What to raise now, if there is something."""
        return None if self._owner is None else self._owner.stopped


@contextlib.contextmanager
def between_steps() -> Iterator[Steps]:
    """Hold a signal to stop back until the loop looks at ``stopped``, saves what it has, and raises it."""
    owner = Interrupts._innermost if threading.current_thread() is threading.main_thread() else None
    if owner is not None:
        owner._steps += 1
    try:
        yield Steps(owner)
    finally:
        if owner is not None:
            owner._steps -= 1
            if not owner._steps:
                owner._disarm()


@contextlib.contextmanager
def until_done() -> Iterator[None]:
    """Hold a signal to stop back until this is done, or for ``GRACE`` seconds: for imports, and for libraries that
    would end the process, or make an error of their own of it.
    """
    with between_steps() as steps:
        yield
        if steps.stopped is not None:
            raise steps.stopped
