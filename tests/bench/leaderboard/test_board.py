"""The arrangement of a table: who stands for a method, who is ranked with whom, and how far apart they are."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
from synthetic_runs import QUERIES, edit_record, write_run

from bench.leaderboard.board import Preference, arrange
from bench.leaderboard.loading import load
from bench.leaderboard.pairs import all_pairs
from bench.leaderboard.statistics import holm, paired_difference
from bench.leaderboard.table import build
from bench.reporting import layout

SHAPE = (5, 1)
NETWORK = {"backbone": {"card": {"title": "Conv4"}}, "learner": {"card": {"title": "MAML"}}}


GENERATOR = {"card": {"title": "VAE"}, "lr": 0.1}
OTHER = {"card": {"title": "Other"}}


def run(out, method, level, seed=0, iterations=1000, budget=None, uses=("learner",), of_method=None, **rest):
    lengths = {key: rest.pop(key) for key in list(rest) if key.endswith("_epochs")}
    components = {key: rest.pop(key) for key in ("generator", "encoder", "backbone") if key in rest}
    config = {
        "budget": {"name": "paper", "meta_iterations": iterations, **lengths},
        "method": {"uses": list(uses), **(of_method or {})},
        **NETWORK,
        **components,
    }
    budget = budget or f"paper,meta_iterations={iterations}"
    return write_run(out, method, level, seed, budget=budget, config=config, shots=(1,), **rest)


def board_of(out, **kwargs):
    (table,) = build(load(out), **kwargs).tables
    return table.board


def names(board, tier):
    return [board.name(line.row) for line in tier.lines]


def test_budgets_that_differ_in_what_a_row_does_not_train_are_one_row(tmp_path):
    run(tmp_path, "umtra", 0.7, 0, budget="paper,generator_epochs=10,meta_iterations=1000", generator_epochs=10)
    run(tmp_path, "umtra", 0.7, 1, budget="paper,meta_iterations=1000", generator_epochs=500)
    run(tmp_path, "lasium", 0.7, 0, budget="a", generator_epochs=10, generator=GENERATOR)
    run(tmp_path, "lasium", 0.7, 1, budget="b", generator_epochs=500, generator=GENERATOR)
    (table,) = build(load(tmp_path)).tables
    assert {(row.method, row.seeds, row.trained.text) for row in table.rows} == {
        ("umtra", (0, 1), "1,000 meta-iterations"),
        ("lasium", (0,), "1,000 meta-iterations, 10 epochs of VAE"),
        ("lasium", (1,), "1,000 meta-iterations, 500 epochs of VAE"),
    }


def test_of_two_runs_of_one_seed_and_training_one_counts_and_the_other_is_named(tmp_path):
    run(tmp_path, "umtra", 0.7, 0, budget="a", key="1" * 64)
    run(tmp_path, "umtra", 0.6, 0, budget="b", key="2" * 64)
    board = build(load(tmp_path))
    (row,) = board.tables[0].rows
    assert (row.seeds, len(row.runs), row.budget) == ((0,), 1, "a")
    (other,) = board.unfinished
    assert (other.budget, other.status) == ("b", "done")
    assert "another run of this seed and training counts" in other.reason


def test_the_row_of_a_method_is_chosen_without_its_scores(tmp_path):
    """Fewest changed settings, then the longest generator; the others are folded below, however good they are."""
    run(tmp_path, "lasium", 0.5, generator_epochs=30, budget="c", generator=GENERATOR)
    run(tmp_path, "lasium", 0.6, generator_epochs=10, budget="b", generator=GENERATOR)
    run(
        tmp_path,
        "lasium,alpha=0.4",
        0.9,
        generator_epochs=99,
        budget="a",
        generator=GENERATOR,
        of_method={"alpha": 0.4},
    )
    run(tmp_path, "umtra", 0.4)
    board = board_of(tmp_path)
    (tier,) = board.tiers
    first, second = tier.lines
    assert (first.row.trained.epochs, second.row.method) == ((("VAE", 30),), "umtra")
    assert [line.row.method for line in first.folded] == ["lasium,alpha=0.4", "lasium"]
    for line in first.folded:
        verdict, values = line.verdicts[SHAPE], line.row.scores[SHAPE].values
        assert (verdict.standing, verdict.rank) == ("variant", None)
        assert verdict.gap == paired_difference(values, first.row.scores[SHAPE].values)
    wanted = Preference(lambda rows: next(row for row in rows if row.settings), "the changed one")
    other = board_of(tmp_path, preference=wanted)
    assert other.tiers[0].lines[0].row.method == "lasium,alpha=0.4"
    assert other.rule == "the changed one"
    undecided = Preference(lambda rows: None, "nobody")
    assert board_of(tmp_path, preference=undecided).tiers[0].lines[0].row is not None


def test_tiers_are_of_equal_meta_iterations_and_embeddings_stand_in_each(tmp_path):
    run(tmp_path, "short", 0.6)
    run(tmp_path, "long", 0.7, iterations=5000)
    run(tmp_path, "short", 0.65, iterations=5000)
    run(tmp_path, "knn", 0.5, uses=("encoder",), encoder=GENERATOR, encoder_epochs=7)
    board = board_of(tmp_path)
    assert [tier.title for tier in board.tiers] == ["5,000 meta-iterations", "1,000 meta-iterations"], "best first"
    assert [names(board, tier) for tier in board.tiers] == [["LONG", "SHORT", "KNN"], ["SHORT", "KNN"]]
    longer = board.tiers[0].lines[1]
    assert longer.shorter is board.tiers[1].lines[0].row
    brought, _ = longer.over_shorter[SHAPE]
    assert brought.mean == pytest.approx(
        longer.row.scores[SHAPE].estimate.mean - longer.shorter.scores[SHAPE].estimate.mean
    )
    # A row of another tier says how far it is from the leader of all.
    lines = {line.row.method: line for line in board.tiers[1].lines}
    leader = board.leader(SHAPE)[1].row
    assert leader.method == "long"
    assert lines["short"].verdicts[SHAPE].overall.mean == pytest.approx(
        lines["short"].row.scores[SHAPE].estimate.mean - leader.scores[SHAPE].estimate.mean
    )
    assert board.tiers[0].lines[0].verdicts[SHAPE].overall is None


def test_nothing_but_embeddings_is_a_tier_too(tmp_path):
    run(tmp_path, "knn", 0.5, uses=("encoder",), encoder=GENERATOR, encoder_epochs=7)
    (tier,) = board_of(tmp_path).tiers
    assert (tier.title, len(tier.lines)) == ("No meta-training", 1)


def test_ranks_count_who_is_significantly_better(tmp_path):
    levels = {"a": 0.80, "b": 0.797, "c": 0.75, "d": 0.748, "e": 0.5}
    for seed in range(3):
        for method, level in levels.items():
            run(tmp_path, method, level + 0.002 * seed, seed)
    run(tmp_path, "scratch", 0.76, 0, group="floor")
    board = board_of(tmp_path)
    (tier,) = board.tiers
    rows = [line.row for line in tier.lines]
    assert [row.method for row in rows if row.group == "floor"] == ["scratch"], "a line inside the list"
    pairs = list(itertools.combinations(range(len(rows)), 2))
    known = all_pairs([row.scores[SHAPE].values for row in rows])
    p = dict(zip(pairs, holm([known.p[i, j] for i, j in pairs])))
    for j, line in enumerate(tier.lines):
        verdict = line.verdicts[SHAPE]
        above = [i for i in range(j) if rows[i].group != "floor" and p[i, j] < 0.05]
        assert verdict.rank == (None if line.kind == "reference" else 1 + len(above)), line.row.method
        if line.kind == "ranked":
            under = rows.index(board.floor)
            assert verdict.gain_p == pytest.approx(p[min(j, under), max(j, under)])
            assert verdict.below_floor == (j > under and p[under, j] < 0.05)
    assert len({line.verdicts[SHAPE].rank for line in tier.ranked}) < len(tier.ranked), "some rank is shared"


def test_a_verdict_that_rests_on_one_seed_says_so(tmp_path):
    for seed in range(2):
        run(tmp_path, "a", 0.8, seed)
        run(tmp_path, "b", 0.7, seed)
    run(tmp_path, "c", 0.6, 0)
    (tier,) = board_of(tmp_path).tiers
    assert [line.verdicts[SHAPE].one_seed for line in tier.lines] == [False, False, True]


def test_ceilings_and_what_saw_other_labels_are_never_ranked(tmp_path):
    run(tmp_path, "a", 0.6)
    run(tmp_path, "ceiling", 0.9, group="ceiling")
    run(tmp_path, "ceiling", 0.95, group="ceiling", iterations=5000)
    run(tmp_path, "vgg", 0.7, group="transfer")
    run(tmp_path, "chance", 0.2, group="floor")
    board = board_of(tmp_path)
    (tier,) = board.tiers
    assert [line.row.method for line in tier.lines] == ["a", "chance"]
    told = [(line.row.group, line.row.trained.iterations) for line in board.references]
    assert told == [("floor", 0), ("ceiling", 5000), ("ceiling", 1000), ("transfer", 1000)]
    assert all(line.verdicts[SHAPE].rank is None for line in board.references)
    assert board.references[1].verdicts[SHAPE].gap.mean > 0.2


def test_settings_that_every_row_shares_are_said_once(tmp_path):
    for method in ("a,backbone=other", "b,backbone=other,alpha=2"):
        run(tmp_path, method, 0.6, title=method.upper().replace("BACKBONE=OTHER", " backbone=other"), backbone=OTHER)
    board = board_of(tmp_path)
    assert board.common == {"backbone": "other"}
    run(tmp_path, "c", 0.6)
    assert board_of(tmp_path).common == {}


def test_every_row_is_on_the_board_once_or_in_every_tier(tmp_path):
    for number, level in enumerate((0.3, 0.5, 0.7)):
        run(tmp_path, f"m{number}", level, iterations=1000 * (1 + number % 2))
        run(tmp_path, f"m{number},alpha={number}", level, iterations=1000, of_method={"alpha": number})
    (table,) = build(load(tmp_path)).tables
    shown = [id(line.row) for line in table.board.lines()]
    assert set(shown) == {id(row) for row in table.rows}
    assert len(shown) == len(table.rows)


def test_rows_in_any_order_give_the_same_board(tmp_path):
    for number in range(4):
        run(tmp_path, f"m{number}", 0.5 + 0.05 * number)
    (table,) = build(load(tmp_path)).tables
    shuffled = [table.rows[i] for i in np.random.default_rng(0).permutation(len(table.rows))]
    assert arrange(shuffled, tuple(table.manifests)) == table.board


def test_what_is_known_of_the_runs_stands_with_the_table(tmp_path):
    environments = [
        {"bench": "0.2.0", "commit": "1a2b3c4d5e", "torch": "2.13.0", "device": "cpu", "cpus": 2, "threads": 1}
    ]
    environments.append({"bench": "0.2.0", "torch": "2.11.0", "device": "NVIDIA H100"})
    for seed, one in enumerate(environments):
        edit_record(run(tmp_path, "a", 0.5, seed, created=f"2026-02-0{seed + 1}T00:00:00+00:00"), environment=one)
    made = build(load(tmp_path)).tables[0].made
    assert made.versions == ("0.2.0", "0.2.0 (1a2b3c4)")
    assert made.libraries == ("torch 2.11.0", "torch 2.13.0")
    assert made.hardware == ("CPU, 2 cores, 1 thread a run", "NVIDIA H100")
    assert (made.first, made.last, made.runs) == ("2026-02-01", "2026-02-02", 2)


def test_times_of_several_hosts_are_not_compared_without_a_word(tmp_path):
    for seed, names in enumerate((["node1"], ["node1", ""], ["node1", "node2"])):
        out = tmp_path / str(seed)
        for number, name in enumerate(names):
            edit_record(run(out, f"m{number}", 0.5), environment={"device": "cpu", **({"host": name} if name else {})})
        (table,) = build(load(out)).tables
        several = any("times were taken on 2 hosts" in text for text in layout.key(table))
        assert several == ("node2" in names)
        assert table.made.hosts == tuple(name for name in names if name)
    assert dict(layout.provenance(table))["hosts"] == "node1, node2"


def test_an_untested_difference_has_no_rank(tmp_path):
    for method, right in (("a", 70), ("b", 60)):
        run(tmp_path, method, 0.5, tasks=1, answers={1: np.array([right])})
    (tier,) = board_of(tmp_path).tiers
    assert [(line.verdicts[SHAPE].rank, line.verdicts[SHAPE].standing) for line in tier.lines] == [
        (None, "leader"),
        (None, "untested"),
    ]
    assert tier.lines[1].verdicts[SHAPE].gap.mean == pytest.approx(-10 / QUERIES)


def test_a_row_is_the_same_whatever_else_is_on_the_board(tmp_path):
    """Estimates and uncorrected differences of two rows do not depend on the others."""
    run(tmp_path, "a", 0.6)
    run(tmp_path, "b", 0.55)
    before = board_of(tmp_path).tiers[0]
    run(tmp_path, "c", 0.1)
    after = board_of(tmp_path).tiers[0]
    for one, other in zip(before.lines, after.lines):
        assert one.row.scores[SHAPE].estimate == other.row.scores[SHAPE].estimate
        assert one.verdicts[SHAPE].gap == other.verdicts[SHAPE].gap
    assert replace(before.lines[0].row, runs=()).scores == replace(after.lines[0].row, runs=()).scores


def test_a_run_that_does_not_count_does_not_answer_for_the_one_that_does(tmp_path):
    """Two runs of one seed and training: what the second was asked besides is not the row's."""
    run(tmp_path, "umtra", 0.7, 0, budget="a", key="1" * 64)
    other = run(tmp_path, "umtra", 0.6, 0, budget="b", key="2" * 64, manifests={1: "f" * 64})
    run(tmp_path, "else", 0.5)
    run(tmp_path, "else,x=1", 0.5, manifests={1: "f" * 64})
    tables = build(load(tmp_path)).tables
    for table in tables:
        for row in table.rows:
            assert len(row.runs) == 1
            assert all(score.seeds == (0,) for score in row.scores.values())
    frames = load(tmp_path)
    shown = [run for table in tables for row in table.rows if row.method == "umtra" for run in row.runs]
    folders = frames.runs.set_index("run")["path"]
    assert {folders[number] == other for number in shown} == {False, True}, "other tasks are another table, another run"


def test_the_highest_floor_with_a_network_is_what_gains_are_over(tmp_path):
    run(tmp_path, "a", 0.7)
    for method, level in (("scratch-low", 0.3), ("scratch-high", 0.4)):
        run(tmp_path, method, level, group="floor")
    assert board_of(tmp_path).floor.method == "scratch-high"


def test_longer_training_is_held_against_the_next_shorter(tmp_path):
    for iterations in (1000, 2000, 5000):
        run(tmp_path, "a", 0.5, iterations=iterations)
    lines = {tier.iterations: tier.lines[0] for tier in board_of(tmp_path).tiers}
    assert lines[5000].shorter is lines[2000].row
    assert lines[2000].shorter is lines[1000].row
    assert lines[1000].shorter is None


def test_a_longer_training_that_differs_in_more_brought_nothing_that_could_be_told(tmp_path):
    run(tmp_path, "a", 0.5, iterations=1000, generator_epochs=10, generator=GENERATOR)
    run(tmp_path, "a", 0.6, iterations=5000, generator_epochs=60, generator=GENERATOR)
    run(tmp_path, "b,partitions=10", 0.5, iterations=1000, of_method={"partitions": 10})
    run(tmp_path, "b", 0.6, iterations=5000, of_method={"partitions": 100})
    assert all(line.shorter is None for tier in board_of(tmp_path).tiers for line in tier.lines)


def test_a_setting_of_one_method_alone_stays_in_its_name(tmp_path):
    run(tmp_path, "a,alpha=2", 0.5, of_method={"alpha": 2})
    run(tmp_path, "b", 0.5)
    board = board_of(tmp_path)
    assert board.common == {}
    assert [board.name(line.row) for line in board.tiers[0].lines if line.row.family == "a"] == ["A,ALPHA=2, alpha=2"]


def test_what_comes_from_a_file_has_no_epochs(tmp_path):
    for number, component in enumerate((GENERATOR, {**GENERATOR, "own": "path", "path": "g.pt2"}, {"card": {}})):
        run(tmp_path, f"m{number}", 0.5, generator=component, generator_epochs=9)
    (tier,) = board_of(tmp_path).tiers
    assert {line.row.method: line.row.trained.epochs for line in tier.lines} == {
        "m0": (("VAE", 9),),
        "m1": (),
        "m2": (),
    }
