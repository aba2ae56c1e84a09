"""``bench conform``: every subject in a process of its own, as runs with outside code are, and what was found of it."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from bench.basics.progress import Reporter
from bench.basics.signals import Stopped
from bench.checks.finding import Finding
from bench.conform import components as parts
from bench.conform import guard as guarding
from bench.conform import methods
from bench.conform.guard import Guard
from bench.conform.subject import Subject, built, configured, miniature
from bench.conform.trial import said
from bench.running.executors.processes import ProcessPerTaskExecutor, WorkerDied, WorkerHung
from bench.running.inputs import open_dataset

GRACE = 2.0
"""Seconds that a process has to end by itself after its time limit."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What was found of one subject."""

    subject: Subject
    findings: tuple[Finding, ...]

    @property
    def faults(self) -> list[Finding]:
        """The findings that are faults."""
        return [one for one in self.findings if one.fault is not None]


def conform(subjects: Sequence[Subject], limit: float, reporter: Reporter | None = None) -> Iterator[Verdict]:
    """One verdict after the other. limit: seconds for each subject."""
    for index, subject in enumerate(subjects):
        if reporter is not None:
            reporter.say(f"[{index + 1}/{len(subjects)}] {subject.title}")
        yield Verdict(subject, tuple(_of_one(subject, limit)))


def _of_one(subject: Subject, limit: float) -> list[Finding]:
    with TemporaryDirectory(prefix="bench-conform-") as folder:
        journal, ended = Path(folder) / "journal", ""
        with ProcessPerTaskExecutor(1, limit, GRACE) as alone:
            future = alone.submit(_examine, subject, Path(folder), journal)
            try:
                future.result()
            except KeyboardInterrupt:
                alone.shutdown(wait=True, cancel_futures=True)
                raise
            except WorkerHung:
                ended = f"it did not end within {limit:g} s, and was ended from outside; find what it waits for"
            except WorkerDied as error:
                ended = f"{error}; no code of a method may end its process"
            except Exception as error:  # one subject must not end the others
                ended = said(error)
        found, doing = guarding.read(journal)
        if ended:
            found.append(dataclasses.replace(doing or Finding("start", guarding.DEMANDS), fault=ended))
        return found


def _examine(subject: Subject, folder: Path, journal: Path) -> None:
    """In a process of its own: every finding goes into the journal as it is made."""
    torch.set_num_threads(1)  # several add up in no fixed order
    guard = Guard(journal)
    guard.hush()
    for one in _findings(subject, folder, guard):
        guard.found(one)


def _findings(subject: Subject, folder: Path, guard: Guard) -> Iterator[Finding]:
    name, demands = "configuration", "its settings can be composed, its class imported and built"
    guard.doing(name, demands)
    try:
        if subject.group == "dataset":
            yield from parts.dataset(subject, guard)
            return
        config = configured(subject)
        built(subject.group, config)
        data = miniature(open_dataset(config.values, subject.cache))
    except (Stopped, GeneratorExit):
        raise
    except BaseException as error:  # also sys.exit() in somebody's module
        yield Finding(name, demands, said(error))
        return
    yield Finding(name, demands)
    if subject.group == "method":
        yield from methods.examine(config, data, folder, guard)
    else:
        yield from parts.examine(subject.group, config, data, folder, guard)
