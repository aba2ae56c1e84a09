"""Two methods or more on the same tasks: what is compared with what, and how p-values are corrected."""

from __future__ import annotations

import io
import json

import numpy as np
import pandas as pd
import pytest
from rich.console import Console
from scipy import stats
from synthetic_runs import QUERIES, write_run

from bench.basics.errors import BenchError
from bench.leaderboard.compare import compare, compare_several
from bench.leaderboard.loading import load
from bench.leaderboard.table import build
from bench.reporting import comparisons
from bench.reporting.terminal import comparison_table

EIGEN = "lasium-ro-file-maml,generator.path=eigen.pt2@5e207c8d"


def run(out, method, seed=0, iterations=1000, epochs=10, generator=None, answers=None, **rest):
    """One run of a budget whose name tells the epochs of a generator, whether there is one or not."""
    config = {
        "budget": {"name": "paper", "meta_iterations": iterations, "generator_epochs": epochs},
        "method": {"uses": ["learner"]},
        "learner": {"card": {"title": "MAML"}},
        **({} if generator is None else {"generator": {"card": {"title": generator}, "lr": 0.1}}),
    }
    budget = f"paper,generator_epochs={epochs},meta_iterations={iterations}"
    answers = None if answers is None else {1: answers}
    return write_run(
        out, method, 0.7, seed, config=config, budget=budget, shots=(1,), answers=answers, folder=method[:20], **rest
    )


def pairs(found):
    return [(one.a, one.b) for one in found]


def test_of_several_methods_p_values_are_corrected_and_of_two_they_are_not(tmp_path):
    rng = np.random.default_rng(0)
    answers = {name: rng.binomial(QUERIES, level, 100) for name, level in zip("abcd", (0.7, 0.69, 0.66, 0.7))}
    for name, correct in answers.items():
        run(tmp_path, name, answers=correct)
    frames = load(tmp_path)
    found, problems = compare_several(list("abcd"), frames)
    assert (pairs(found), problems) == ([("a", "b"), ("a", "c"), ("a", "d")], ())
    every, _ = compare_several(list("abcd"), frames, every_pair=True)
    assert len(every) == 6
    p = {pair: stats.ttest_rel(answers[pair[0]], answers[pair[1]]).pvalue for pair in pairs(every)}
    for some in (found, every):
        here = sorted(p[pair] for pair in pairs(some))
        for one in some:
            smaller = here[: here.index(p[one.a, one.b]) + 1]
            assert one.difference.p == pytest.approx(p[one.a, one.b])
            assert one.p_holm == pytest.approx(min(1, max((len(here) - i) * x for i, x in enumerate(smaller))))
    (alone,) = compare("a", "b", frames)
    assert alone.p_holm is None


def test_equal_length_is_of_what_both_train(tmp_path):
    run(tmp_path, "umtra", epochs=500)
    run(tmp_path, "umtra", iterations=5000, epochs=500)
    run(tmp_path, "vae", generator="VAE")
    run(tmp_path, "longer-vae", epochs=20, generator="VAE")
    run(tmp_path, "gan", epochs=40, generator="GAN")
    run(tmp_path, "scratch", iterations=77, group="floor")
    frames = load(tmp_path)
    (found,) = compare("umtra", "vae", frames)
    assert [one.iterations for one in found.trained] == [1000, 1000]
    assert pairs(compare("vae", "gan", frames)) == [("vae", "gan")]
    assert len(compare("umtra", "scratch", frames)) == 2
    with pytest.raises(BenchError, match=r"none .* equally long \(1,000 meta-iterations, 10 epochs of VAE; .*@BUDGET"):
        compare("vae", "longer-vae", frames)
    assert compare("vae@paper,generator_epochs=10,meta_iterations=1000", "longer-vae", frames)
    found, problems = compare_several(["vae", "longer-vae", "umtra"], frames)
    assert pairs(found) == [("vae", "umtra")]
    assert [one.split(" answered")[0] for one in problems] == ["vae and longer-vae"]
    budget = "paper,generator_epochs=500,meta_iterations="
    (across,) = compare(f"umtra@{budget}5000", f"umtra@{budget}1000", frames)
    assert [one.iterations for one in across.trained] == [5000, 1000]


def test_budgets_that_differ_in_what_a_method_does_not_train_are_one_row(tmp_path):
    for seed, epochs in ((0, 10), (1, 500)):
        run(tmp_path, "umtra", seed, epochs=epochs)
        run(tmp_path, "aal", seed, epochs=3)
    (found,) = compare("umtra", "aal", load(tmp_path))
    assert found.seeds == ((0, 1), (0, 1))
    assert found.difference.covers_seeds
    run(tmp_path, "umtra", 0, epochs=600, answers=np.full(200, 75))
    frames = load(tmp_path)
    (again,) = compare("umtra", "aal", frames)
    (table,) = build(frames).tables
    means = {row.method: row.scores[5, 1].estimate.mean for row in table.rows}
    assert again.mean == pytest.approx((means["umtra"], means["aal"]))
    assert again.mean == found.mean, "of two runs of one seed one counts, as on the board"


@pytest.mark.parametrize("name", [EIGEN, f"{EIGEN}@paper,generator_epochs=10,meta_iterations=1000"])
def test_names_with_an_at_sign(tmp_path, name):
    for method in (EIGEN, "beta", "gamma@quick"):
        run(tmp_path, method)
    found, _ = compare_several([name, "beta", "gamma@quick"], load(tmp_path), every_pair=True)
    assert pairs(found) == [(EIGEN, "beta"), (EIGEN, "gamma@quick"), ("beta", "gamma@quick")]


def test_one_name_and_one_name_twice(tmp_path):
    run(tmp_path, "alpha")
    frames = load(tmp_path)
    with pytest.raises(BenchError, match="takes two methods or more"):
        compare_several(["alpha"], frames)
    with pytest.raises(BenchError, match="alpha is compared with itself"):
        compare_several(["alpha", "beta", "alpha"], frames)


def test_every_format_tells_the_same_numbers(tmp_path):
    rng = np.random.default_rng(1)
    for name, seeds in ((f"{EIGEN}|<b>", (0,)), ("beta", (0, 1)), ("gamma", (0, 1))):
        for seed in seeds:
            run(tmp_path, name, seed, answers=rng.binomial(QUERIES, 0.7, 50))
    found, _ = compare_several([f"{EIGEN}|<b>", "beta", "gamma"], load(tmp_path), every_pair=True)
    records = json.loads(comparisons.as_json(found))
    assert [one["covers_seeds"] for one in records] == [False, False, True]
    assert records[0]["difference"] == pytest.approx(records[0]["a_accuracy"] - records[0]["b_accuracy"])
    frame = pd.read_csv(io.StringIO(comparisons.as_csv(found)))
    for name in ("a", "b", "b_seeds", "difference", "low", "p", "p_holm"):
        assert list(frame[name]) == pytest.approx([one[name] for one in records]), name
    page = comparisons.as_markdown(found)
    assert r"@5e207c8d\|&lt;b&gt;" in page
    with Console(width=80, record=True, file=io.StringIO()) as console:
        console.print(comparison_table(found))
    shown = console.export_text()
    assert max(map(len, shown.splitlines())) <= 80
    assert shown.count("┃") > 0, "the numbers stand side by side"
    for one in found:
        number = f"{100 * one.difference.mean:+.2f}".replace("-", "−")
        assert number in shown
        assert number in page
    assert "B − C" in shown


def test_what_trains_nothing_is_compared_with_a_row_of_unknown_length(tmp_path):
    run(tmp_path, "scratch", group="floor")
    run(tmp_path, "umtra")
    write_run(tmp_path, "outside", 0.6, budget="external", config={"method": {}}, shots=(1,))
    assert pairs(compare("outside", "scratch", load(tmp_path)))[:1] == [("outside", "scratch")]
    with pytest.raises(BenchError, match="equally long"):
        compare("outside", "umtra", load(tmp_path))
