"""The sentence on top of a table: it says what the board says."""

from __future__ import annotations

from synthetic_runs import write_run

from bench.leaderboard.headline import headlines
from bench.leaderboard.loading import load
from bench.leaderboard.table import build

NETWORK = {"backbone": {"card": {"title": "Conv4"}}}


def run(out, method, level, seed=0, iterations=1000, **rest):
    config = {"budget": {"meta_iterations": iterations}, "method": {}, **NETWORK}
    write_run(out, method, level, seed, budget=f"b{iterations}", config=config, shots=(1,), **rest)


def sentence(out):
    (table,) = build(load(out)).tables
    (found,) = headlines(table)
    return found.text


def test_it_names_leader_floor_ceiling_and_rivals(tmp_path):
    for seed in range(3):
        run(tmp_path, "a", 0.80, seed)
        run(tmp_path, "b", 0.80, seed)
        run(tmp_path, "c", 0.60, seed)
        run(tmp_path, "scratch", 0.50, seed, group="floor", title="Training from scratch")
        run(tmp_path, "ceiling", 0.90, seed, group="ceiling", title="Supervised")
    text = sentence(tmp_path)
    assert text.startswith(("1-shot: A leads without labels at ", "1-shot: B leads without labels at "))
    assert " over training from scratch, " in text
    assert " below Supervised of the same length. " in text
    assert "Not separable from it: " in text
    assert "trained once" not in text


def test_a_leader_below_the_floor_is_told(tmp_path):
    run(tmp_path, "a", 0.40)
    run(tmp_path, "scratch", 0.50, group="floor", title="Training from scratch")
    assert " BELOW training from scratch" in sentence(tmp_path)


def test_the_next_and_how_sure(tmp_path):
    run(tmp_path, "a", 0.8)
    run(tmp_path, "b", 0.6)
    text = sentence(tmp_path)
    assert "The next, B, is " in text
    assert "behind (p < 0.001)" in text
    assert text.endswith("One training run each: this ranks trained models, not methods.")


def test_alone(tmp_path):
    run(tmp_path, "a", 0.8)
    assert "Nothing else without labels was run" in sentence(tmp_path)


def test_a_leader_of_another_length_that_cannot_be_told_apart_is_named(tmp_path):
    for seed in range(3):
        run(tmp_path, "a", 0.80, seed)
        run(tmp_path, "b", 0.80, seed, iterations=5000)
    text = sentence(tmp_path)
    assert "Not separable from it: " in text
    assert (" of 5,000 (" in text) != (" of 1,000 (" in text)


def test_the_next_may_be_of_another_length(tmp_path):
    run(tmp_path, "a", 0.80, iterations=5000)
    run(tmp_path, "b", 0.60)
    assert "The next, B of 1,000, is " in sentence(tmp_path)


def test_two_seeds_are_said_to_tell_nothing_apart(tmp_path):
    for seed in range(2):
        run(tmp_path, "a", 0.8, seed)
        run(tmp_path, "b", 0.7, seed)
    assert "Two seeds tell nothing apart" in sentence(tmp_path)


def test_without_anything_unlabelled_there_is_no_sentence(tmp_path):
    run(tmp_path, "ceiling", 0.9, group="ceiling")
    (table,) = build(load(tmp_path)).tables
    assert headlines(table) == ()


def test_the_ceiling_is_of_the_same_length_where_there_is_one(tmp_path):
    run(tmp_path, "a", 0.6)
    run(tmp_path, "ceiling", 0.8, group="ceiling", title="Supervised")
    run(tmp_path, "ceiling", 0.95, group="ceiling", title="Supervised", iterations=5000)
    assert " below Supervised of the same length" in sentence(tmp_path)


def test_the_next_is_the_nearest_whatever_its_length(tmp_path):
    run(tmp_path, "a", 0.80, iterations=5000)
    run(tmp_path, "b", 0.40, iterations=5000)
    run(tmp_path, "c", 0.70)
    assert "The next, C of 1,000, is " in sentence(tmp_path)


def test_a_method_is_no_rival_of_its_own_shorter_training(tmp_path):
    run(tmp_path, "a", 0.80, iterations=5000)
    run(tmp_path, "a", 0.79)
    run(tmp_path, "b", 0.40)
    assert "The next, B of 1,000, is " in sentence(tmp_path)
