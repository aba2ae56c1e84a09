"""Numbers as they are typed, and a console that never cuts a word."""

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.table import Table

from bench.basics.errors import BenchError
from bench.cli.asking import numbers
from bench.cli.paper import Paper


@pytest.mark.parametrize(
    ("text", "expected"),
    [("0,1,2", (0, 1, 2)), ("0-2", (0, 1, 2)), ("3-3", (3,)), (" 1 , 0-1,1", (1, 0)), ("5,", (5,)), ("0-9999", None)],
)
def test_numbers_and_ranges(text, expected):
    assert numbers(text, "--seeds", "0,1") == (tuple(range(10_000)) if expected is None else expected)


@pytest.mark.parametrize("text", ["0,5-3", "1--3,0", "1,-3", "-1", "1-", "1-2-3", "1.5", "٣", "", ",", "x", "1 2"])
def test_a_part_that_is_none_is_refused_whatever_the_others_are(text):
    for flag in ("--seeds", "--shots"):
        with pytest.raises(BenchError, match=f"{flag} takes whole numbers from 0 to"):
            numbers(text, flag, "0,1")


@pytest.mark.parametrize("text", ["0-20000", "0-9999,20000", "0-9223372036854775807"])
def test_too_many_have_their_own_reason(text):
    with pytest.raises(BenchError, match=f"--seeds {text} are more than 10000 numbers"):
        numbers(text, "--seeds", "0,1")


@given(st.text(alphabet="0123456789-, ", max_size=12))
def test_what_is_taken_says_every_part(text):
    try:
        found = numbers(text, "--seeds", "0,1")
    except BenchError:
        return
    for part in filter(None, (part.strip() for part in text.split(","))):
        assert int(part.partition("-")[0]) in found
        assert int(part.rpartition("-")[2]) in found


def test_a_long_word_is_never_cut():
    table = Table("name", "about", box=None)
    for column in table.columns:
        column.overflow = "fold"
    table.add_row("lasium-ro-" + "x" * 70, "many words " * 9)
    written = io.StringIO()
    Paper(file=written, width=40).print(table)
    assert "lasium-ro-" + "x" * 70 in written.getvalue()
    assert max(map(len, written.getvalue().splitlines())) < 120
