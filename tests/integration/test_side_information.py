"""Side information from the card to the record and the report, with the real command line."""

import json

import pandas as pd

SMALL = (
    *("--budget", "smoke", "--no-references", "dataset.size=8", "dataset.drawings=16", "backbone.filters=8"),
    *("budget.validate_every=0", "budget.meta_iterations=2", "budget.evaluation_tasks=20"),
)


def side_on_record(bench):
    """Family and what was changed by name -> the words of its record."""
    records = [json.loads(path.read_text())["method"] for path in bench.out.glob("*/*/*/run.json")]
    return {one["name"].replace(",backbone.filters=8", ""): one["side"] for one in records}


def test_what_cards_declare_is_on_record_and_rows_are_left_out_by_it(bench):
    bench("run", "--methods", "scratch,umtra-protonet,chance", *SMALL)
    bench("run", "--methods", "scratch", *SMALL, "learner.batch_stats=inductive")
    assert side_on_record(bench) == {
        "scratch": ["transduction"],
        "scratch,learner.batch_stats=inductive": [],
        "umtra-protonet": [],
        "chance": [],
    }
    bench("report", "--format", "csv,md", "--side", "none")
    methods = set(pd.read_csv(bench.folder / "reports" / "leaderboard.csv")["method"])
    assert len(methods) == 3
    assert "scratch,backbone.filters=8" not in methods
    assert "by --side none, for transduction: Training from scratch" in (
        (bench.folder / "reports" / "leaderboard.md").read_text()
    )
    assert "Did you mean 'transduction'?" in bench.error("report", "--without", "transducton")


def test_a_setting_of_the_method_takes_back_what_it_adds(bench):
    """Quarter turns as classes of their own."""
    few = (*SMALL, "method.batch=8", "method.projection=0")
    bench("run", "--methods", "instance", *few)
    bench("run", "--methods", "instance", *few, "method.turns=true")
    found = {name.partition("turns")[2]: words for name, words in side_on_record(bench).items()}
    chosen = "labels-for-selection"  # on glyphs, with whose labels the settings were chosen
    assert found == {"": [chosen], "=True": [chosen, "rotations-as-classes"]}
