"""Experiments of a paper from the command line: shrunk, run, reported in the paper's own layout."""

import json

import numpy as np
import pandas as pd
import pytest
from commands import TINY
from PIL import Image

SMALL = (
    *TINY,
    *("--dataset", "glyphs", "dataset.size=8", "dataset.drawings=16"),
    *("generator.channels=8", "generator.batch_size=1024", "budget.meta_iterations=5", "budget.validate_every=0"),
)


def rows(path):
    """Label -> cells of the tables of a Markdown report."""
    lines = [line.strip("| ").split(" | ") for line in path.read_text().splitlines() if line.startswith("| ")]
    return {cells[0]: cells[1:] for cells in lines}


def test_figure_5_from_training_to_picture(bench):
    request = ("--experiment", "figure5", *SMALL, "budget.generator_epochs=0,1")
    bench("run", *request)
    records = [json.loads(path.read_text()) for path in bench.out.glob("*/*/*/run.json")]
    assert sorted(record["method"]["name"].split(",")[0] for record in records) == [
        *("lasium-n-gan-maml", "lasium-n-gan-maml", "scratch")
    ]
    assert {record["status"] for record in records} == {"done"}
    assert len(list((bench.out / "artifacts").glob("*.training.safetensors"))) == 1, "one training serves all"

    samples = [np.load(path) for path in sorted(bench.out.glob("*/lasium*/*/samples.npy"))]
    assert [(one.shape, one.dtype) for one in samples] == [((16, 1, 8, 8), np.uint8)] * 2
    assert (samples[0] != samples[1]).any(), "the generator was trained in between"
    assert not list(bench.out.glob("*/scratch*/*/samples.npy")), "only a method with a generator has samples"

    report = bench("report", "--experiment", "figure5")
    assert "figure5.png" in report.stdout
    found = rows(bench.folder / "reports" / "figure5.md")
    for epochs in ("0", "1", "Training from scratch"):
        assert found[epochs][0].startswith("**")
    assert "5 meta-iterations instead of 1000; " in (bench.folder / "reports" / "figure5.md").read_text()
    assert Image.open(bench.folder / "reports" / "figures" / "figure5.png").width > 400


def test_table_9_counts_what_was_rejected_and_gives_a_dash_to_what_never_is_accepted(bench):
    eps = "method.eps_sq=0,200,1000"
    few = ("budget.generator_epochs=0", "method.max_retries=3000")
    out = bench("run", "--experiment", "table9", *SMALL, *few, eps, code=1).stdout
    assert "2 of 3 runs done" in out
    bench("report", "--experiment", "table9")
    folder = bench.folder / "reports"
    found = rows(folder / "table9.md")
    assert found["0"][1:] == ["0", "100"]
    assert found["200"][0].startswith("**")
    assert int(found["200"][1]) > 0
    assert 50 < float(found["200"][2]) < 100
    assert found["1000"][0] == r"– \[1\]"
    frame = pd.read_csv(folder / "table9.csv").set_index("row")
    assert frame["state"].to_dict() == {0: "done", 200: "done", 1000: "failed"}
    assert "eps_sq=1000" in frame["reason"][1000]
    accepted = frame["acceptance_rate"][200]
    assert frame["rejected_sets"][200] == pytest.approx(5 * 4 * (1 - accepted) / accepted)


def test_experiments_are_listed_and_mistakes_are_one_sentence(bench):
    listed = bench("list", "experiments").stdout
    for name in ("table1-omniglot", "table7", "table9", "figure5"):
        assert name in listed
    assert "Did you mean 'figure5'?" in bench.error("run", "--experiment", "figure6")
