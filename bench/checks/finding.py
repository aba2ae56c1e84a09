"""What a check found, and how a run demands that nothing was."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from bench.basics.errors import BenchError

VERSION = 1
"""Raised whenever a check demands more or other than before; it stands in every record."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One check. fault: what is wrong and what to do, in one sentence; None where nothing is.

    demands: what is asked, in a few words. told: worth knowing, and no fault.
    """

    name: str
    demands: str
    fault: str | None = None
    told: str | None = None

    def of(self, what: str) -> Finding:
        """The same under the name ``what: name``."""
        return replace(self, name=f"{what}: {self.name}")


def demand(findings: Iterable[Finding]) -> list[str]:
    """The names of the checks, all of which were passed. BenchError at the first fault; later checks are not made."""
    names = []
    for one in findings:
        if one.fault is not None:
            raise BenchError(one.fault)
        names.append(one.name)
    return names


def noted(earlier: Mapping[str, Any] | None, what: str, names: list[str]) -> dict[str, Any]:
    """For ``notes.checked`` of a record: what was checked before, and these checks of ``what``."""
    kept = earlier if earlier is not None and earlier.get("version") == VERSION else {}
    return {**kept, "version": VERSION, what: names}
