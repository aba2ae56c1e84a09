import pytest
from commands import Bench


@pytest.fixture
def bench(cache, glyphs, tmp_path):
    """The command line, with glyphs prepared already."""
    return Bench(cache, tmp_path)
