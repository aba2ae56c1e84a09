"""How rows are measured: in turns, each against its own round; what fails stops nobody else. No timing is asserted."""

import pytest
import torch

from bench.speed.contest import Contest, Result, measure

CPU = torch.device("cpu")


def test_rounds_are_taken_in_turns_after_one_untimed_turn():
    calls = []
    sides = {name: lambda name=name: calls.append(name) for name in ("ours", "plain", "higher")}
    result = measure(Contest("row", lambda: sides), 3, CPU)
    assert calls == ["ours", "plain", "higher"] * 4
    assert {name: len(taken) for name, taken in result.seconds.items()} == {"ours": 3, "plain": 3, "higher": 3}


def test_a_ratio_belongs_to_its_round():
    result = Result("row", 2.0, {"ours": [1.0, 2.0], "plain": [3.0, 2.0]})
    assert result.ratios("plain") == [3.0, 1.0]
    assert result.ratio("plain") == 2.0


def test_a_side_that_times_itself_is_believed():
    result = measure(Contest("row", lambda: {"ours": lambda: 2.0, "plain": lambda: 5.0}), 2, CPU)
    assert result.seconds == {"ours": [2.0, 2.0], "plain": [5.0, 5.0]}


def test_a_peer_that_fails_is_left_out_and_named():
    def fails():
        raise RuntimeError("no such\noperator")

    result = measure(Contest("row", lambda: {"ours": lambda: 1.0, "higher": fails, "plain": lambda: 2.0}), 2, CPU)
    assert result.failed == {"higher": "RuntimeError: no such operator"}
    assert result.peers == ["plain"]


@pytest.mark.parametrize("where", ["made", "measured", "late"])
def test_without_ours_there_is_nothing_to_compare(where):
    calls = []

    def ours():
        calls.append(1)
        if where == "measured" or len(calls) == 3:
            raise ValueError("broken")

    def sides():
        if where == "made":
            raise ValueError("broken")
        return {"ours": ours, "plain": lambda: 1.0}

    result = measure(Contest("row", sides), 3, CPU)
    assert result.failed == {"ours": "ValueError: broken"}
    assert result.seconds == {}


def test_no_round_begins_after_the_limit_but_one_is_timed():
    result = measure(Contest("row", lambda: {"ours": lambda: 1.0}), 5, CPU, limit=0.0)
    assert result.seconds == {"ours": [1.0]}


@pytest.mark.parametrize(
    ("target", "peers", "reference"),
    [
        (2.0, ("plain", "learn2learn"), "learn2learn"),
        (2.0, ("plain", "higher"), "plain"),
        (2.0, ("higher",), None),
        (0.0, ("plain",), None),
    ],
)
def test_a_target_is_about_learn2learn_where_it_is_there(target, peers, reference):
    assert Result("row", target, {"ours": [1.0], **{key: [1.0] for key in peers}}).reference == reference
