"""Ctrl-C that cannot get lost: a library may swallow the KeyboardInterrupt, or end in an error of its own."""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType
from typing import Self


class Interrupts:
    """While entered, KeyboardInterrupt is raised as ever, and ``asked`` says ever after that it was.

    Only the main thread gets signals, and only Python's own way to treat SIGINT is replaced: elsewhere, and where
    SIGINT is ignored or treated by somebody else, ``asked`` is true only if its owner sets it.
    """

    def __init__(self) -> None:
        self.asked = False
        self._replaced = False

    def __enter__(self) -> Self:
        ours = threading.current_thread() is threading.main_thread()
        if ours and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            signal.signal(signal.SIGINT, self._note)
            self._replaced = True
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._replaced:
            signal.signal(signal.SIGINT, signal.default_int_handler)
            self._replaced = False

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.asked = True
        signal.default_int_handler(number, frame)
