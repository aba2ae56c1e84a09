from collections import Counter
from itertools import permutations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chisquare

from bench.basics.seeds import Seed
from bench.tasks import draw


@pytest.fixture(params=["sorting", "counting"])
def way(request, monkeypatch):
    if request.param == "counting":
        monkeypatch.setattr(draw, "SORTED_BELOW", 0)
    return request.param


@pytest.mark.parametrize("limits", [4, torch.tensor([4]), torch.tensor([3, 4])])
def test_every_ordered_tuple_is_equally_likely(way, limits):
    rows = 24_000
    below = limits if isinstance(limits, int) else limits.repeat(rows // len(limits))
    rng = Seed(0).at("draw", way).generator()
    parts = [
        draw.distinct(2000, 3, below if isinstance(below, int) else below[:2000], rng, 4) for _ in range(rows // 2000)
    ]
    found = torch.cat(parts)
    for limit in sorted({4} if isinstance(limits, int) else set(limits.tolist())):
        mine = found if isinstance(below, int) else found[below[: len(found)] == limit]
        counts = Counter(map(tuple, mine.tolist()))
        assert set(counts) == set(permutations(range(limit), 3))
        assert chisquare(list(counts.values())).pvalue > 1e-3


@given(st.integers(1, 7), st.lists(st.integers(0, 40), min_size=1, max_size=9), st.booleans())
def test_draws_are_distinct_and_within_their_rows_limit(count, spare, sort):
    below = torch.tensor([count + extra for extra in spare])
    rng = Seed(1).generator()
    found = draw.distinct(len(below), count, below, rng, int(below.max()) if sort else None)
    assert found.shape == (len(below), count)
    assert (found >= 0).all()
    assert (found < below[:, None]).all()
    assert all(len(set(row)) == count for row in found.tolist())
