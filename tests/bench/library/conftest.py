import pytest
from library_answers import nearest_image

import bench


@pytest.fixture(autouse=True)
def _prepared(cache, glyphs, monkeypatch):
    """Glyphs from the cache of the session, and nobody's raw data."""
    monkeypatch.setenv("BENCH_CACHE", str(cache))
    monkeypatch.delenv("BENCH_DATA", raising=False)


@pytest.fixture(scope="session")
def tasks(cache, glyphs):
    """A few sealed tasks of glyphs."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BENCH_CACHE", str(cache))
        return bench.tasks("glyphs", way=5, shot=2, query=3, tasks=30)


@pytest.fixture(scope="session")
def pixels(tasks):
    """Nearest raw pixels on them."""
    return bench.score(nearest_image, tasks)
