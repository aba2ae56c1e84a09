"""Keeps one check from ending the others: what it raises is its fault, what it prints is put aside."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path

from bench.basics.signals import Stopped
from bench.checks.finding import Finding
from bench.conform.trial import said

DEMANDS = "the check comes to an end"


class Guard:
    """journal: a file in which stands what is being done, and every finding, for when this process is ended."""

    def __init__(self, journal: Path) -> None:
        self._journal = journal
        self._printed = journal.with_suffix(".printed")

    def doing(self, name: str, demands: str = DEMANDS) -> None:
        """Say what comes next."""
        self._write({"doing": asdict(Finding(name, demands))})

    def found(self, finding: Finding) -> None:
        """Write down a finding."""
        self._write({"found": asdict(finding)})

    def around(self, name: str, checks: Callable[[], Iterator[Finding]]) -> Iterator[Finding]:
        """The findings of ``checks``; whatever it raises is a fault of the check ``name``."""
        self.doing(name)
        try:
            yield from checks()
        except (Stopped, GeneratorExit):
            raise
        except BaseException as error:  # also sys.exit() in somebody's code
            yield Finding(name, DEMANDS, said(error))

    def hush(self) -> None:
        """From now on the standard output of this process is a file."""
        sys.stdout.flush()
        file = os.open(self._printed, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(file, 1)
        os.close(file)

    def printed(self) -> bool:
        """Whether something was printed since :meth:`hush`."""
        sys.stdout.flush()
        return self._printed.exists() and self._printed.stat().st_size > 0

    def _write(self, line: dict[str, object]) -> None:
        with open(self._journal, "a", encoding="utf-8", errors="backslashreplace") as file:
            file.write(json.dumps(line) + "\n")


def read(journal: Path) -> tuple[list[Finding], Finding | None]:
    """What was found, and what was being done last."""
    found: list[Finding] = []
    doing: Finding | None = None
    for line in journal.read_text(encoding="utf-8").splitlines() if journal.exists() else ():
        one = json.loads(line)
        if "found" in one:
            found.append(Finding(**one["found"]))
        else:
            doing = Finding(**one["doing"])
    return found, doing
