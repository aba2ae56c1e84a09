"""Values from files against the annotations of a dataclass."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.basics.typed import typed


@dataclass(frozen=True)
class Inner:
    share: float
    name: str = "x"


@dataclass(frozen=True)
class Outer:
    count: int
    on: bool
    mode: Literal["a", "b"]
    inner: Inner | None
    many: tuple[Inner, ...] = ()
    facts: Mapping[str, Any] = ()  # type: ignore[assignment]
    seconds: Mapping[str, float] | None = None
    pair: tuple[int, str] = (0, "")


GOOD = {"count": 1, "on": True, "mode": "a", "inner": {"share": 1}, "facts": {}}


def test_what_fits_comes_back_as_it_was():
    found = typed(Outer, {**GOOD, "many": [{"share": 0.5, "name": "y"}], "seconds": {"fit": 2}, "pair": [3, "z"]})
    assert found.many == (Inner(0.5, "y"),)
    assert (found.pair, found.seconds) == ((3, "z"), {"fit": 2.0})
    assert isinstance(found.inner.share, float)
    assert typed(Outer, asdict(found)) == found


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"count": True}, "count must be a whole number, not True"),
        ({"count": 1.5}, "count must be a whole number, not 1.5"),
        (
            {"seconds": {"fit": 10**400}},
            "seconds.fit must be a finite number, not 1" + 56 * "0" + "…",
        ),
        ({"on": "no"}, "on must be true or false, not 'no'"),
        ({"on": 1}, "on must be true or false, not 1"),
        ({"mode": "c"}, "mode must be one of a, b, not 'c'"),
        ({"inner": {"share": float("nan")}}, "inner.share must be a finite number, not nan"),
        ({"inner": {"share": True}}, "inner.share must be a finite number, not True"),
        ({"inner": {"shaer": 1.0}}, "inner.shaer is unknown. Did you mean 'share'?"),
        ({"inner": {}}, "inner.share is missing"),
        ({"inner": 3}, "inner must be a mapping, not 3"),
        ({"many": {}}, "many must be a list, not {}"),
        ({"many": [{"share": 1}, None]}, "many[1] must be a mapping, not None"),
        ({"seconds": {"fit": None}}, "seconds.fit must be a finite number, not None"),
        ({"pair": [1]}, "pair must be a list of 2, not of 1"),
        ({"facts": None}, "facts must be a mapping, not None"),
        ({"cuont": 1}, "cuont is unknown. Did you mean 'count'?"),
    ],
)
def test_what_does_not_fit_is_named(change, said):
    with pytest.raises(ValueError, match=r".") as error:
        typed(Outer, {**GOOD, **change})
    assert str(error.value) == said


def test_unknown_fields_of_a_later_version_may_be_ignored():
    assert typed(Outer, {**GOOD, "later": 1}, ignore_unknown=True).count == 1


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
)


@given(field=st.sampled_from(list(Outer.__dataclass_fields__)), value=ANYTHING)
def test_whatever_a_field_holds_it_fits_or_is_a_value_error(field, value):
    try:
        found = typed(Outer, {**GOOD, field: value})
    except ValueError:
        return
    assert isinstance(found.count, int)
    assert isinstance(found.on, bool)
