"""Whether this process may use the network: ``--offline``, or ``$BENCH_OFFLINE``, which its workers inherit."""

from __future__ import annotations

import os

OFFLINE = "BENCH_OFFLINE"


def is_offline() -> bool:
    """``$BENCH_OFFLINE`` is set, and neither empty nor 0."""
    return os.environ.get(OFFLINE, "") not in ("", "0")


def go_offline() -> None:
    """For this process and all that it starts."""
    os.environ[OFFLINE] = "1"
