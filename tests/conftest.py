"""One cache of prepared datasets for the whole test session, and the real images where there are some."""

import gc
import os
from pathlib import Path

import pytest
import torch


@pytest.fixture(scope="session")
def cache(tmp_path_factory):
    """Where datasets are prepared; glyphs take seconds, so once a session."""
    if chosen := os.environ.get("BENCH_TEST_CACHE"):
        return Path(chosen)
    whole_session = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:  # the processes of one session share it; preparing takes a lock
        whole_session = whole_session.parent
    return whole_session / "cache"


@pytest.fixture(scope="session")
def glyphs(cache):
    """The embedded dataset."""
    from bench.datasets.glyphs import Glyphs
    from bench.datasets.prepare import load

    return load(Glyphs(), cache)


@pytest.fixture
def one_thread():
    """Bit-equality between processes needs the same number of threads in each."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


LONG = ("integration", "faults", "packaging")
"""Folders of tests that run whole commands."""


def pytest_collection_finish() -> None:
    """What is imported by now stays; a collection of garbage, one before each run, need not look at it again."""
    gc.collect()
    gc.freeze()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The long ones first, so that no worker is left alone with them at the end; else in the order of collection."""
    here = Path(__file__).parent
    items.sort(key=lambda item: item.path.is_relative_to(here) and item.path.relative_to(here).parts[0] not in LONG)
