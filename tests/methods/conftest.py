"""A generator in a file, for the tests of generators and of files."""

import pytest
from own_generators import Tiny, save_pt2


@pytest.fixture(scope="module")
def pt2(tmp_path_factory):
    """A good .pt2 file."""
    return save_pt2(tmp_path_factory.mktemp("own") / "good.pt2", Tiny().eval())
