"""Who works on a run, an artifact or a dataset: one process at a time, on whichever host, and what it is known by.

    .claim/                        there while somebody has it
        <token>/holder.json        who that is; when it last changed is the heartbeat
        <token>/.run.json.x.tmp    what the holder is writing, until it is renamed to where it belongs

File locks are not used, for on some network file systems they fail, hang, or are granted twice. All rests on two
promises of POSIX that servers keep too: renaming a folder onto a name succeeds only while nothing, or an empty folder,
is there; and ``rmdir`` removes an empty folder only. A token is random and never used again.

- *One holder.* A claim is made whole beside its place and renamed to it. Of many that try, the kernel lets one.
- *Death.* On the same machine the process is looked for: a claim without one is dead at once. Elsewhere, and of a
  process that is there but frozen, the heartbeat tells: dead is what did not change for ``SILENT`` heartbeats by the
  waiter's own clock, for clocks of hosts differ.
- *Taking over* is removing ``<token>`` of the dead, and then claiming as above. Two takers may both remove: it is the
  same, and once. A taker that dies in the middle leaves a folder for the next to remove. One that sleeps in the middle
  and wakes up much later looks for a token that is gone, and cannot rename onto a folder that is not empty: so it can
  do no harm to whoever has it by then.
- *Fencing.* The holder writes inside ``<token>`` only, and renames from there to what others read. Where ``<token>`` is
  removed there is nothing to rename: an owner that was taken for dead and wakes up *cannot* replace a file, at whatever
  instruction it slept; it gets :class:`Lost`. What it renamed before ``rmdir`` succeeded, it did while nobody else had
  the claim.
- *Letting go* is removing ``<token>`` and then ``.claim`` if it is empty, so the claim of whoever was faster stays.
"""

from __future__ import annotations

import contextlib
import errno
import glob
import json
import math
import os
import secrets
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Self

from bench.basics import files
from bench.basics.errors import BenchError
from bench.basics.holders import HOLDER, SILENT, Holder, Seen, facts_of_this_process, heartbeat, look

LONGEST_PAUSE = 1.0  # seconds between two looks at a claim that is waited for
SAID_AGAIN = 60.0  # seconds after which a waiter says once more whom it waits for


class Claimed(BenchError):
    """Another process is at work on it. ``by``: who."""

    def __init__(self, message: str, by: Holder) -> None:
        super().__init__(message)
        self.by = by

    def __reduce__(self) -> tuple[Any, ...]:
        return Claimed, (str(self), self.by)


class Lost(BenchError):
    """The claim was taken over while this process slept; what it was about to write has not been written."""


class Claim:
    """``with Claim.take(folder / ".claim") as claim``: nobody else has it within the block, unless it is taken over."""

    def __init__(self, path: Path, token: str) -> None:
        self.path, self.token = path, token
        self._gone, self._pid = False, os.getpid()
        self._end = threading.Event()

    @classmethod
    def take(cls, path: Path, wait: bool = True, told: Callable[[str], None] | None = None) -> Claim:
        """The claim at ``path``, as soon as nobody living has it. Its folder is made if need be.

        told: called with a sentence on whom this waits for. Raises Claimed where it would have to ``wait`` and may not,
        OSError where nothing can be written there.
        """
        watch = _Watch(path)
        pause, said = 0.05, -math.inf
        while True:
            seen = look(path)
            if seen is None:
                if (claim := _make(path)) is not None:
                    return claim
                time.sleep(0.01)
                continue
            if watch.dead(seen, wait) and _removed(path / seen.token):
                # An empty one is in the way where a folder cannot be renamed onto another, as on some shares.
                with contextlib.suppress(OSError):
                    path.rmdir()
                continue
            if not wait:
                raise Claimed(f"another process is at work on {_what(path)}: {seen.holder()}", seen.holder())
            if told is not None and time.monotonic() - said >= SAID_AGAIN:
                told(f"waiting for another process: {seen.holder()}")
                said = time.monotonic()
            time.sleep(pause)
            pause = min(1.5 * pause, LONGEST_PAUSE)

    @property
    def own(self) -> Path:
        """The folder that is there as long as the claim is ours."""
        return self.path / self.token

    def hold(self) -> None:
        """Raises Lost when it is not ours any more."""
        try:
            os.close(os.open(self.own / HOLDER, os.O_RDONLY))  # opened, not looked at: network clients remember looks
        except OSError as error:
            if isinstance(error, FileNotFoundError | NotADirectoryError) or error.errno == errno.ESTALE:
                raise Lost(self._lost()) from error
            raise BenchError(f"cannot read {self.own / HOLDER}: {error.strerror or error}") from error

    def check(self) -> None:
        """As :meth:`hold`, but costs nothing: the next heartbeat finds out."""
        if self._gone:
            self.hold()

    @contextlib.contextmanager
    def replacing(self, path: Path) -> Iterator[Path]:
        """As :func:`bench.basics.files.replacing`, but ``path`` is replaced only while the claim is ours; else Lost."""
        self.hold()
        try:
            with files.replacing(path, self.own) as temporary:
                yield temporary
        except Exception:
            self.hold()
            raise

    def release(self) -> None:
        """Let go. Nothing of the claim stays, nor of takers that died before they had it."""
        if os.getpid() != self._pid:
            return  # a fork of the holder has not got it
        self._end.set()
        for _ in range(20):  # some network clients keep a removed file's name for as long as another reads it
            if _removed(self.own):
                break
            time.sleep(0.05)
        for left in self.path.parent.glob(_beside(Path(glob.escape(self.path.name)), "*").name):
            _removed(left)
        with contextlib.suppress(OSError):
            self.path.rmdir()

    def _lost(self) -> str:
        by = read_claim(self.path)
        if by is None:
            return f"{_what(self.path)} was taken over while this process slept; it wrote nothing more"
        who = f"{by.host or 'another host'} (process {by.pid})"
        return f"{who} took {_what(self.path)} over at {by.since}, while this process slept; it wrote nothing more"

    def __enter__(self) -> Self:
        threading.Thread(target=self._beat, daemon=True, name="heartbeat").start()
        return self

    def __exit__(self, *_: object) -> None:
        self.release()

    def _beat(self) -> None:
        seconds = heartbeat()
        while not self._end.wait(seconds):
            try:
                os.utime(self.own / HOLDER)  # the server's clock, if it is a server's file
            except (FileNotFoundError, NotADirectoryError):
                self._gone = True
                return
            except OSError:
                continue  # the server is away; whether the claim is still ours, it will say


def beside(path: Path) -> Path:
    """Where the claim of a file, or of a folder that is not there yet, lies."""
    return path.with_name(f".{path.name}.claim")


def read_claim(path: Path) -> Holder | None:
    """Who has the claim at ``path``, without changing anything; None where nobody has, or it cannot be read."""
    try:
        seen = look(path)
    except OSError:
        return None
    return None if seen is None or seen.facts is None else seen.holder()


class _Watch:
    """A waiter's memory: since when it has seen no sign of life."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._last, self._since = ("", 0), 0.0

    def dead(self, seen: Seen, may_wait: bool) -> bool:
        """Whether its process is not there, or gave no sign for too long."""
        if seen.facts is None or seen.running() is False:
            return True
        now, patience = time.monotonic(), SILENT * seen.beat
        if (seen.token, seen.changed) != self._last:
            self._last, self._since = (seen.token, seen.changed), now
        if may_wait:
            return now - self._since > patience
        # Who may not wait sees it once only: then both times must be by the clock of the file system.
        return abs(seen.age) > patience and _now(self._path.parent) - seen.changed / 1e9 > patience


def _make(path: Path) -> Claim | None:
    """A claim of ours; None where another was faster."""
    token = secrets.token_hex(8)
    made = _beside(path, token)
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        (made / token).mkdir(parents=True)
        (made / token / HOLDER).write_text(json.dumps(facts_of_this_process()) + "\n", encoding="utf-8")
        os.rename(made, path)
    except OSError as error:
        # A server that lost its answer to a renaming answers the second time that there is no such folder.
        if (path / token / HOLDER).exists():
            return Claim(path, token)
        shutil.rmtree(made, ignore_errors=True)
        if error.errno in _FASTER:
            return None
        raise
    return Claim(path, token)


_FASTER = (errno.ENOTEMPTY, errno.EEXIST, errno.ENOENT)
"""How it shows that another was faster; the last where one that let go swept up behind itself."""


def _beside(path: Path, token: str) -> Path:
    return path.with_name(f".{path.name.removeprefix('.')}.{token}.tmp")


def _what(path: Path) -> Path:
    """What a claim is of: the folder that ``.claim`` lies in, or its neighbour of the same name."""
    name = path.name.removeprefix(".").removesuffix("claim").removesuffix(".")
    return path.with_name(name) if name else path.parent


def _removed(own: Path) -> bool:
    """Take a holder's power: first its name, so that nobody takes it for one, then all that it was writing."""
    for one in (own / HOLDER, own):  # the second only where somebody has put a file there
        with contextlib.suppress(OSError):
            one.unlink()
    shutil.rmtree(own, ignore_errors=True)
    return not own.exists()


def _now(folder: Path) -> float:
    """Seconds, by the clock of the file system."""
    handle, name = tempfile.mkstemp(dir=folder, prefix=".claim.", suffix=".tmp")
    try:
        os.utime(handle)
        return os.fstat(handle).st_mtime
    finally:
        os.close(handle)
        Path(name).unlink(missing_ok=True)
