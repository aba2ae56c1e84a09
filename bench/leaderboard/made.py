"""What the numbers of a table were made with, and when: versions, commits, hardware, licence of the data."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from bench.planning.values import setting


@dataclass(frozen=True, slots=True)
class Made:
    """Every value that a run of the table has, in a fixed order."""

    versions: tuple[str, ...] = ()
    """Of this program, with the commit where it is known: ``0.2.0``, ``0.2.0 (1a2b3c4)``."""
    libraries: tuple[str, ...] = ()
    """``torch 2.13.0+cpu``."""
    hardware: tuple[str, ...] = ()
    """``CPU, 2 cores, 1 thread a run``."""
    hosts: tuple[str, ...] = ()
    """What the machines are called, of the runs that say it."""
    first: str = ""
    """Day of the earliest run, ISO 8601, UTC."""
    last: str = ""
    runs: int = 0
    licence: str = ""
    """Of the data."""
    homepage: str = ""
    """Of the data."""
    cite: str = ""
    """Of the data."""
    about: str = ""
    """Of the data: how many images, how many classes for what."""


def made(runs: pd.DataFrame) -> Made:
    """What ``runs`` of a table say of themselves."""
    environments = [one for one in runs["environment"] if isinstance(one, Mapping)]
    days = sorted(str(created)[:10] for created in runs["created"] if created)
    card: Mapping[str, Any] = next(
        (found for config in runs["config"] if (found := setting(config, "dataset.card"))), {}
    )
    return Made(
        versions=_each(_version(one) for one in environments),
        libraries=_each(f"{name} {one[name]}" for name in ("torch", "numpy") for one in environments if one.get(name)),
        hardware=_each(_hardware(one) for one in environments),
        hosts=_each(str(one.get("host") or "") for one in environments),
        first=days[0] if days else "",
        last=days[-1] if days else "",
        runs=len(runs),
        **{key: str(card.get(key) or "") for key in ("licence", "homepage", "cite", "about")},
    )


def _each(texts: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(sorted(text for text in texts if text)))


def _version(environment: Mapping[str, Any]) -> str:
    commit = environment.get("commit")
    version = str(environment.get("bench") or "")
    return f"{version} ({str(commit)[:7]})" if commit and version else version


def _hardware(environment: Mapping[str, Any]) -> str:
    device = str(environment.get("device") or "")
    if device and device != "cpu":
        return device
    cpus, threads = environment.get("cpus"), environment.get("threads")
    told = ["CPU"] if device else []
    told += [f"{cpus} core{'' if cpus == 1 else 's'}"] if isinstance(cpus, int) else []
    told += [f"{threads} thread{'' if threads == 1 else 's'} a run"] if isinstance(threads, int) else []
    return ", ".join(told)
