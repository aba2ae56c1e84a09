"""How long the campaign is: a short one with every test run, the long one by ``make faults``."""

import os
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "integration"))

SHORT = {"kills": 6, "damaged": 150, "runs": 4}
COUNTS: dict[str, int] = {}


@pytest.fixture
def wanted(request):
    """``wanted(kind)``: how many kills, damaged files or runs; ``$BENCH_FAULTS_KILLS``, ``…_DAMAGED``, ``…_RUNS``."""
    return lambda kind: int(os.environ.get(f"BENCH_FAULTS_{kind.upper()}", SHORT[kind]))


@pytest.fixture
def counted():
    """``counted(what)`` adds one to the counts that are printed at the end."""

    def count(what: str, number: int = 1) -> None:
        COUNTS[what] = COUNTS.get(what, 0) + number

    return count


def pytest_terminal_summary(terminalreporter):
    for what, number in COUNTS.items():
        terminalreporter.write_line(f"faults: {number} {what}")
