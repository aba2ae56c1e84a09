"""From run folders to a leaderboard: what may share a row or a table, who is tied, and no run is hidden."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from synthetic_runs import QUERIES, manifest_hash, of_omniglot, write_example, write_run

from bench.basics.errors import BenchError
from bench.leaderboard import published as published_module
from bench.leaderboard.compare import compare
from bench.leaderboard.loading import Frames, load
from bench.leaderboard.pairs import all_pairs
from bench.leaderboard.published import published
from bench.leaderboard.statistics import holm
from bench.leaderboard.table import build


def only_table(out):
    (table,) = build(load(out)).tables
    return table


def row_of(table, method, budget="quick"):
    (row,) = [row for row in table.rows if (row.method, row.budget) == (method, budget)]
    return row


def answers(level, seed=0, tasks=200):
    return np.random.default_rng(seed).binomial(QUERIES, level, tasks)


def test_a_run_becomes_a_row(tmp_path):
    path = write_run(tmp_path, "alpha", seed=4, transductive=True)
    row = row_of(only_table(tmp_path), "alpha")
    tasks = pd.read_parquet(path / "tasks.parquet")
    for shot in (1, 5):
        mine = tasks[tasks["shot"] == shot]
        assert row.scores[5, shot].estimate.mean == pytest.approx((mine["correct"] / mine["total"]).mean())
    assert (row.seeds, row.transductive, row.supervised, row.cost.seconds) == ((4,), True, False, 154.0)


def test_seeds_share_a_row_and_budgets_do_not(tmp_path):
    write_example(tmp_path)
    glyphs, omniglot = build(load(tmp_path)).tables
    assert (glyphs.dataset, omniglot.dataset) == ("glyphs", "omniglot")
    assert row_of(omniglot, "alpha-one").seeds == (0, 1, 2)
    assert row_of(omniglot, "alpha-one").scores[5, 1].estimate.seeds == 3
    assert row_of(omniglot, "beta", "long").seeds == (0,)
    assert [row.group for row in omniglot.rows] == ["unsupervised"] * 5 + ["floor", "ceiling"]


def test_seeds_from_before_a_setting_was_added_to_a_method_share_the_row_of_those_after_it(tmp_path):
    before = {"method": {"_target_": "methods.lasium.Lasium", "alpha": 0.2}}
    after = {"method": {**before["method"], "added": {"query_fill": 0.0}, "query_fill": 0.0}}
    for seed, config in enumerate((before, after)):
        write_run(tmp_path, "lasium-ro-vae-maml", seed=seed, config=config)
    (row,) = only_table(tmp_path).rows
    assert (row.seeds, row.variant) == ((0, 1), "")


def test_ties_are_paired_tests_corrected_for_all_pairs_of_a_tier(tmp_path):
    write_example(tmp_path)
    table = build(load(tmp_path)).tables[1]
    (tier,) = [tier for tier in table.board.tiers if tier.iterations == 1000]
    verdicts = {line.row.method: line.verdicts[5, 1] for line in tier.ranked}
    (best,) = [method for method, verdict in verdicts.items() if verdict.standing == "leader"]
    matrices = {}
    for method in verdicts:
        rows = [
            pd.read_parquet(path / "tasks.parquet").query("shot == 1")
            for path in sorted((tmp_path / "omniglot" / method).glob("[012]-*"))
            if json.loads((path / "run.json").read_text())["budget"] == "quick"
        ]
        matrices[method] = np.stack([(r["correct"] / r["total"]).to_numpy() for r in rows])
    others = [method for method in verdicts if method != best]
    pairs = list(itertools.combinations(range(len(verdicts)), 2))
    names = list(verdicts)
    # The spread of seeds is steadied by that of every row of the board.
    rest = [
        row.scores[5, 1].values for row in table.rows if (row.method, row.budget) not in [(m, "quick") for m in names]
    ]
    known = all_pairs([*(matrices[name] for name in names), *rest])
    found = holm([known.p[i, j] for i, j in pairs])
    corrected = {(names[i], names[j]): p for (i, j), p in zip(pairs, found)}
    p = {method: next(p for pair, p in corrected.items() if set(pair) == {best, method}) for method in others}
    assert [verdicts[m].gap_p for m in others] == pytest.approx([p[m] for m in others])
    assert {m: verdicts[m].standing for m in others} == {m: "behind" if p[m] < 0.05 else "tied" for m in others}
    assert {"alpha-one", "alpha-two"} == {m for m, one in verdicts.items() if one.standing in ("leader", "tied")}
    # A method of another budget or group is never the best of this one.
    (long,) = [tier for tier in table.board.tiers if tier.iterations == 5000]
    assert [(line.row.method, line.verdicts[5, 1].standing) for line in long.ranked] == [("beta", "alone")]
    assert {line.row.group for line in table.board.references} == {"floor", "ceiling"}


def test_other_tasks_are_another_table(tmp_path):
    write_run(tmp_path, "alpha")
    write_run(tmp_path, "beta")
    write_run(tmp_path, "gamma", manifests={1: manifest_hash("other"), 5: manifest_hash("other", 5)})
    first, second = build(load(tmp_path)).tables
    assert [[row.method for row in table.rows] for table in (first, second)] == [
        ["alpha", "beta"],
        ["gamma"],
    ] or [row.method for row in second.rows] == ["gamma"]
    assert (first.number, second.number) == (1, 2)
    assert first.slug != second.slug
    for table in (first, second):
        assert len(table.manifests) == 2


def test_manifests_answered_together_stay_together(tmp_path):
    for number in range(3):
        shots = {shot: manifest_hash(number, shot) for shot in (1, 5, 20)}
        write_run(tmp_path, f"m{number}", shots=(1, 5, 20), manifests=shots)
    for table in build(load(tmp_path)).tables:
        assert len(table.rows) == 1
        assert set(table.rows[0].scores) == {(5, 1), (5, 5), (5, 20)}


def test_other_settings_of_one_name_are_another_row(tmp_path):
    for seed in (0, 1):
        write_run(tmp_path, "alpha", seed=seed, config={"method": {"alpha": 0.2}, "shots": [1, 5]})
    write_run(tmp_path, "alpha", seed=2, config={"method": {"alpha": 0.3}, "shots": [1]})
    rows = only_table(tmp_path).rows
    assert sorted((row.variant, row.seeds) for row in rows) == [
        ("method.alpha=0.2", (0, 1)),
        ("method.alpha=0.3", (2,)),
    ]


def test_settings_of_the_evaluation_do_not_split_a_row(tmp_path):
    write_run(tmp_path, "alpha", seed=0, config={"shots": [1, 5], "budget": {"evaluation_tasks": 100}})
    write_run(tmp_path, "alpha", seed=1, config={"shots": [1], "budget": {"evaluation_tasks": 200}})
    assert only_table(tmp_path).rows[0].seeds == (0, 1)


def test_the_latest_of_equal_runs_counts_and_the_others_are_listed(tmp_path):
    write_run(tmp_path, "alpha", 0.5, key="b" * 64, created="2026-01-02T00:00:00+00:00")
    write_run(tmp_path, "alpha", 0.9, key="a" * 64, created="2026-01-03T00:00:00+00:00")
    board = build(load(tmp_path))
    assert board.tables[0].rows[0].scores[5, 1].estimate.mean > 0.8
    assert [(one.status, one.seed) for one in board.unfinished] == [("superseded", 0)]


def test_no_run_is_hidden(tmp_path):
    write_example(tmp_path)
    write_run(tmp_path, "zeta")
    (damaged,) = (tmp_path / "omniglot" / "zeta").iterdir()
    (damaged / "run.json").write_text("{")
    board = build(load(tmp_path))
    told = {(one.method, one.status) for one in board.unfinished}
    assert told == {("gamma", "diverged"), ("delta", "out-of-memory")}
    (problem,) = board.problems
    assert problem.startswith("omniglot/zeta/0-")
    assert str(tmp_path) not in problem


def _truncate(path):
    path.write_bytes(path.read_bytes()[:100])


def _rewrite(change):
    def damage(path):
        frame = pd.read_parquet(path)
        change(frame).to_parquet(path, index=False)

    return damage


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (_truncate, "damaged"),
        (lambda path: path.unlink(), "missing"),
        (lambda path: path.write_text(""), "damaged"),
        (_rewrite(lambda f: f.drop(columns="correct")), "damaged"),
        (_rewrite(lambda f: f.assign(correct=f["correct"] + 0.5)), "damaged"),
        (_rewrite(lambda f: f.assign(correct=99)), "more than all"),
        (_rewrite(lambda f: f.iloc[1:]), "once each"),
        (_rewrite(lambda f: pd.concat([f, f.head(1)])), "once each"),
        (_rewrite(lambda f: f.assign(correct=f["correct"].where(f.index > 20, 0))), "in run.json"),
        (_rewrite(lambda f: f.assign(shot=3)), "shots in run.json"),
        (_rewrite(lambda f: f.assign(manifest=None)), "a value is missing"),
    ],
)
def test_damaged_scores_are_one_sentence_and_hide_nobody(tmp_path, damage, said):
    write_run(tmp_path, "alpha")
    damage(write_run(tmp_path, "beta") / "tasks.parquet")
    board = build(load(tmp_path))
    assert [row.method for row in board.tables[0].rows] == ["alpha"]
    (problem,) = board.problems
    assert said in problem
    assert "\n" not in problem
    assert "omniglot/beta" in problem


def test_rows_that_run_json_does_not_name_yet_change_no_score(tmp_path):
    """A kill between the two files of a record leaves them; what the record names is whole."""
    folder = write_run(tmp_path, "alpha")
    before = load(tmp_path).scores
    _rewrite(lambda f: pd.concat([f.head(5).assign(manifest="x", correct=0), f]))(folder / "tasks.parquet")
    frames = load(tmp_path)
    assert not frames.problems
    assert frames.scores["accuracy"].tolist() == before["accuracy"].tolist()
    assert set(frames.scores["manifest"]) == set(before["manifest"])


def test_nothing_to_show(tmp_path):
    with pytest.raises(BenchError, match="no readable run below"):
        load(tmp_path)
    write_run(tmp_path, "alpha", status="failed", reason="no")
    with pytest.raises(BenchError, match=r"no run is finished \(1 failed\)"):
        build(load(tmp_path))


def test_the_order_of_rows_changes_nothing(tmp_path):
    write_example(tmp_path)
    frames = load(tmp_path)
    rng = np.random.default_rng(0)

    def shuffled(frame):
        return frame.iloc[rng.permutation(len(frame))].reset_index(drop=True)

    mixed = Frames(shuffled(frames.runs), shuffled(frames.evaluations), shuffled(frames.scores), frames.problems)
    assert build(mixed) == build(frames)


def test_several_folders_are_read_together(tmp_path):
    write_run(tmp_path / "one", "alpha")
    write_run(tmp_path / "two", "beta")
    (table,) = build(load([tmp_path / "one", tmp_path / "two"])).tables
    assert {row.method for row in table.rows} == {"alpha", "beta"}


def test_compare_is_the_paired_test(tmp_path):
    from scipy import stats

    a, b = answers(0.7, 1), answers(0.68, 2)
    write_run(tmp_path, "alpha", shots=(1,), answers={1: a})
    write_run(tmp_path, "beta", shots=(1,), answers={1: b})
    (found,) = compare("alpha", "beta", load(tmp_path))
    assert found.difference.mean == pytest.approx((a - b).mean() / QUERIES)
    assert found.difference.p == pytest.approx(stats.ttest_rel(a, b).pvalue)
    assert found.seeds == ((0,), (0,))
    (back,) = compare("beta", "alpha", load(tmp_path))
    assert back.difference.mean == pytest.approx(-found.difference.mean)


def test_compare_keeps_budgets_apart_unless_told(tmp_path):
    write_run(tmp_path, "alpha", shots=(1,))
    write_run(tmp_path, "alpha", shots=(1,), budget="long")
    write_run(tmp_path, "beta", shots=(1,), budget="long")
    frames = load(tmp_path)
    (found,) = compare("alpha", "beta", frames)
    assert found.budget == ("long", "long")
    (across,) = compare("alpha@quick", "alpha@long", frames)
    assert across.budget == ("quick", "long")
    with pytest.raises(BenchError, match=r"no finished run of method 'alhpa'\. Did you mean 'alpha'\?"):
        compare("alhpa", "beta", frames)
    with pytest.raises(BenchError, match="budgets long, not 'quick'"):
        compare("alpha", "beta@quick", frames)


def test_compare_never_mixes_tasks(tmp_path):
    write_run(tmp_path, "alpha", shots=(1,))
    write_run(tmp_path, "beta", shots=(1,), manifests={1: manifest_hash("other")})
    with pytest.raises(BenchError, match="no tasks in common"):
        compare("alpha", "beta", load(tmp_path))


CONFIG = of_omniglot(budget={"meta_iterations": 1000}, method={"alpha": 0.2, "noise_std": 0.5})


def test_published_numbers_of_the_paper():
    shape, config = {"way": 5, "query": 15}, of_omniglot()
    (found,) = published("omniglot", "umtra-maml", config, shot=1, **shape)
    assert (found.table, found.accuracy, found.ci95) == (
        "Table 1",
        pytest.approx(0.8191),
        pytest.approx(0.0058),
    )
    assert published("omniglot", "lasium-oc-vae-protonet", of_omniglot(), shot=5, **shape)[0].accuracy == pytest.approx(
        0.8505
    )
    assert published("omniglot", "umtra-protonet", config, way=5, shot=1, query=15) == ()
    assert published("omniglot", "umtra-maml", config, way=5, shot=1, query=5) == ()
    assert published("omniglot,invert=False", "umtra-maml", config, shot=1, **shape) == (found,), (
        "the authors' polarity"
    )
    for dataset in ("glyphs", "omniglot,size=20"):
        assert published(dataset, "umtra-maml", config, shot=1, **shape) == ()


@pytest.mark.parametrize(
    "target", ["bench.datasets.folder.Folder", "bench.datasets.glyphs.Glyphs", "mine.Images", None]
)
def test_other_images_of_the_same_name_have_no_published_numbers(tmp_path, target):
    """Whether ``dataset.name`` or a plugin gave them the name of the paper's dataset."""
    config = {"dataset": {"name": "omniglot"} | ({"_target_": target} if target else {})}
    assert published("omniglot", "umtra-maml", config, way=5, shot=1, query=15) == ()
    write_run(tmp_path, "umtra-maml", config=config)
    (table,) = build(load(tmp_path)).tables
    assert [score.published for score in table.rows[0].scores.values()] == [(), ()]


def test_ablations_match_only_under_their_settings():
    def tables(method, config):
        found = published("omniglot", method, config, way=5, shot=1, query=15)
        return {one.table: round(100 * one.accuracy, 2) for one in found}

    assert tables("lasium-ro-vae-maml", CONFIG) == {"Table 7": 75.02}
    assert tables("lasium-n-vae-maml", CONFIG) == {"Table 1": 76.11, "Table 7": 70.41}
    budget = {"meta_iterations": 1000, "generator_epochs": 0}
    untrained = published("omniglot", "lasium-n-gan-maml", {**CONFIG, "budget": budget}, way=5, shot=1, query=15)
    assert [(one.table, one.accuracy) for one in untrained] == [
        ("Figure 5", pytest.approx(0.5195)),
        ("Table 7", pytest.approx(0.7716)),
    ]
    assert tables("lasium-n-gan-maml,eps_sq=250.0", CONFIG) == {"Table 9": 78.49}
    assert tables("cactus-acai-maml,partitions=10", CONFIG) == tables("cactus-acai-maml", CONFIG) == {"Table 1": 68.84}
    longer = {**CONFIG, "budget": {"meta_iterations": 30000}}
    assert tables("lasium-n-vae-maml", longer) == {"Table 1": 76.11}
    other = {**CONFIG, "method": {"alpha": 0.4}}
    assert tables("lasium-oc-vae-protonet,alpha=0.4", other) == {"Table 7": 63.08}
    assert tables("lasium-oc-vae-protonet,alpha=0.4", CONFIG) == {}


def test_every_match_names_one_printed_setting():
    """No line of matches.csv is a typing error: each selects one row per shot of its table."""
    for match in published_module._read("matches.csv"):
        rows = [
            row
            for row in published_module._read("paper-results.csv")
            if all(not match[name] or match[name] == row[name] for name in published_module._SELECTORS)
        ]
        shapes = [(row["way"], row["shot"]) for row in rows]
        assert rows, match
        assert len(set(shapes)) == len(shapes), match
    assert len(published_module._read("paper-results.csv")) == 251


def test_no_torch():
    code = (
        "import sys, pkgutil, importlib, bench.leaderboard, bench.reporting\n"
        "for package in (bench.leaderboard, bench.reporting):\n"
        "    for module in pkgutil.iter_modules(package.__path__, package.__name__ + '.'):\n"
        "        importlib.import_module(module.name)\n"
        "assert 'torch' not in sys.modules\n"
        "assert len([m for m in sys.modules if m.startswith('bench.reporting.')]) >= 8\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)
