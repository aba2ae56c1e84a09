"""Experiments in the layout of their paper, in every format, number by number; and the figure."""

import io
import re
import shutil

import matplotlib
import numpy as np
import pandas as pd
import pytest
from paper_runs import write_cell
from PIL import Image

from bench.basics.errors import BenchError
from bench.leaderboard.loading import load
from bench.leaderboard.paper_tables import fill
from bench.planning.paper_layout import paper_layout
from bench.reporting.report import write_report
from bench.reporting.sweep import sweep


def write_table_7(out):
    """Done, of two seeds, failed with a reason that needs escaping, and 25 cells that were not run."""
    for seed, accuracy in ((0, 0.76), (1, 0.8)):
        write_cell(out, "lasium-n-gan-maml", accuracy, seed)
    write_cell(out, "lasium-ro-vae-maml", 0.8, generator="vae", epochs=25)
    write_cell(out, "lasium-oc-vae-protonet", generator="vae", epochs=25, status="failed", reason="50 % of a_b | <c>")


def write_figure_5(out, samples=True):
    for epochs, accuracy in ((0, 0.52), (10, 0.64), (500, 0.76)):
        for seed in (0, 1):
            path = write_cell(out, "lasium-n-gan-maml", accuracy, seed, epochs=epochs, budget=f"paper,{epochs}")
            if samples:
                image = np.full((16, 1, 28, 28), epochs // 2, dtype=np.uint8)
                image[:, :, 8:20, 12:16] = 255
                np.save(path / "samples.npy", image)
    write_cell(out, "scratch", 0.52, epochs=None, group="floor", budget="paper")


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    folder = tmp_path_factory.mktemp("table")
    write_table_7(folder / "runs")
    write_report(folder / "runs", folder / "out", experiment="table7")
    return folder / "out"


@pytest.fixture(scope="module")
def figure(tmp_path_factory):
    folder = tmp_path_factory.mktemp("figure")
    write_figure_5(folder / "runs")
    write_report(folder / "runs", folder / "out", experiment="figure5")
    return folder


def test_only_the_files_of_the_experiment(table, figure):
    assert {path.name for path in table.iterdir()} == {f"table7.{kind}" for kind in ("md", "html", "tex", "csv")}
    pictures = {f"figures/figure5.{kind}" for kind in ("png", "svg")}
    files = {path.relative_to(figure / "out").as_posix() for path in (figure / "out").rglob("*") if path.is_file()}
    assert files == {*(f"figure5.{kind}" for kind in ("md", "html", "tex", "csv")), *pictures}


def test_markdown_says_every_number(table):
    text = (table / "table7.md").read_text()
    rows = {
        line.split(" | ")[0].strip("| "): line.strip("| ").split(" | ") for line in text.splitlines() if "|" in line
    }
    n = rows["N, σ² = 0.5"]
    assert re.fullmatch(
        r"\*\*78\.00 ± \d\.\d\d\*\*<br>tasks and seeds ± 2\d\.\d\d<br>sd \(n\) 2\.83 \(2\)"
        r"<br>published 77\.16 ± 0\.65<br>\+0\.84",
        n[1],
    )
    assert n[2] == "·<br>published 70.41 ± 0.71"
    assert rows["RO, α = 0.2"][2] == "**80.00 ± 1.24**<br>published 75.02 ± 0.66<br>+4.98"
    assert rows["OC, α = 0.2"][4] == r"– \[1\]<br>published 62.16 ± 0.78"
    assert r"- \[1\] failed: 50 % of a\_b \| &lt;c&gt;" in text
    assert "28 cells: 2 done, 1 not finished, 25 not run." in text
    assert (
        "## 1000 meta-iterations; 500 epochs of MSGAN; 25 epochs of VAE instead of 1000; "
        "scored on 40 tasks instead of 1000" in text
    )


def test_markdown_tables_are_whole(table, figure):
    for path in (table / "table7.md", figure / "out" / "figure5.md"):
        blocks = re.findall(r"(?:^\|.*\n)+", path.read_text(), re.M)
        assert blocks
        for block in blocks:
            lines = block.splitlines()
            assert len({len(re.findall(r"(?<!\\)\|", line)) for line in lines}) == 1
            assert set(lines[1]) <= set("|-: ")


def test_html_says_every_number(table):
    text = (table / "table7.html").read_text()
    (row,) = re.findall(r"<tr><th scope=\"row\" class=\"name\">N, σ² = 0.5</th>(.*?)</tr>", text)
    cells = [re.sub(r"<.*?>", "", one) for one in re.findall(r"<td.*?</td>", row)]
    assert len(cells) == 4 * 5
    assert cells[0].startswith("78.00 ± ")
    assert cells[2:5] == ["2.83 (2)", "77.16 ± 0.65", "+0.84"]
    assert cells[5:10] == ["·", "", "", "70.41 ± 0.71", ""]
    assert "50 % of a_b | &lt;c&gt;" in text
    assert not re.search(r"(src|href)=\"(?!data:)", text), "nothing is loaded from elsewhere"


def test_latex_says_every_number(table):
    text = (table / "table7.tex").read_text()
    assert not re.search(r"\.[A-Z]", text), "sentences of the caption run into each other"
    lines = [[cell.strip() for cell in line.split("&")] for line in re.findall(r"^(.*&.*) \\\\$", text, re.M)]
    at = next(i for i, line in enumerate(lines) if line[0] == r"N, $\sigma$$^2$ = 0.5")
    assert {len(line) for line in lines} == {1 + 4}
    assert lines[at][1].startswith(r"78.00 $\pm$ ")
    said = {line[0].removeprefix(r"\quad "): line[1] for line in lines[at + 1 : at + 5]}
    assert said["published"] == r"77.16 $\pm$ 0.65"
    assert said["ours $-$ published"] == "+0.84"
    assert said["seeds: sd (n)"] == "2.83 (2)"
    assert r"[1] failed: 50 \% of a\_b \textbar{} \textless{}c\textgreater{}" in text.replace(r"\allowbreak{}", "")
    assert text.count(r"\begin{tabular}") == text.count(r"\end{tabular}") == 1
    assert "σ" not in text


def test_csv_says_every_number_at_full_precision(table):
    frame = pd.read_csv(table / "table7.csv")
    assert len(frame) == 28
    one = frame[(frame["row"] == "N, σ² = 0.5") & (frame["column"] == "GAN-MAML")].iloc[0]
    assert one["accuracy"] == pytest.approx(0.78)
    assert one["seed_sd"] == pytest.approx(np.std([0.76, 0.8], ddof=1))
    assert one["difference"] == pytest.approx(0.78 - 0.7716)
    assert (one["seeds"], one["tasks"], one["state"]) == ("0 1", 40, "done")
    failed = frame[frame["state"] == "failed"].iloc[0]
    assert failed["reason"] == "failed: 50 % of a_b | <c>"
    assert np.isnan(failed["accuracy"])
    assert (frame["state"] == "not run").sum() == 25
    assert frame["published_accuracy"].notna().all()


def test_table_9_shows_resamplings_and_acceptance(tmp_path):
    notes = {"rejected_sets": 410, "accepted_sets": 4000, "acceptance_rate": 4000 / 4410}
    write_cell(tmp_path / "runs", "lasium-n-gan-maml,eps_sq=187.5", eps_sq=187.5, notes=notes)
    write_cell(tmp_path / "runs", "lasium-n-gan-maml,eps_sq=500.0", eps_sq=500.0, status="failed", reason="never")
    write_report(tmp_path / "runs", tmp_path / "out", experiment="table9")
    text = (tmp_path / "out" / "table9.md").read_text()
    assert "| 187.5 | **80.00 ± 1.24** | 78.87 ± 0.60 | +1.13 | 410 | 395 | 90.7 |" in text
    assert r"| 500 | – \[1\] | – |  |  | all |  |" in text
    assert "| 265.625 | · | 78.56 ± 0.61 |  |  | 1,472,860 |  |" in text
    assert "The first six rows are the same algorithm" in text
    frame = pd.read_csv(tmp_path / "out" / "table9.csv").set_index("row")
    assert (frame["rejected_sets"][187.5], frame["published_resamplings"][187.5]) == (410, "395")


def test_every_training_has_a_table_in_every_format(tmp_path):
    for epochs in (500, 60):
        for name in ("lasium-n-gan-maml", "lasium-ro-gan-maml"):
            write_cell(tmp_path / "runs", name, epochs=epochs)
    write_cell(tmp_path / "runs", "lasium-n-gan-maml", epochs=7)
    write_report(tmp_path / "runs", tmp_path / "out", experiment="table7")
    text = (tmp_path / "out" / "table7.md").read_text()
    assert text.count("\n## 1000 meta-iterations;") == 2
    _, first, second = text.split("\n## 1000 meta-iterations;")
    assert first.count("\n| N, σ² = ") == 3
    assert "left out here" not in first
    assert second.count("\n| N, σ² = ") == 1 + 1, "the row that was run, and the training that has no table"
    assert "28 cells: 2 done, 0 not finished, 26 not run.\n- Rows of which nothing was run are left out here" in second
    assert "| N, σ² = 0.5, GAN-MAML | 1000 meta-iterations; 7 epochs of MSGAN instead of 500;" in text
    assert (tmp_path / "out" / "table7.html").read_text().count("<h2>1000 meta") == 2
    assert (tmp_path / "out" / "table7.tex").read_text().count(r"\begin{table*}") == 2
    assert sorted(pd.read_csv(tmp_path / "out" / "table7.csv")["table"].unique()) == [0, 1, 2]


def test_without_a_name_every_experiment_with_runs_is_written(tmp_path):
    write_cell(tmp_path / "runs", "lasium-n-gan-maml")
    write_report(tmp_path / "runs", tmp_path / "out", ["md"])
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names == {"leaderboard.md", "table7.md", "table9.md", "figure5.md"}


def test_an_experiment_without_runs_or_arrangement_is_one_sentence(tmp_path):
    write_cell(tmp_path / "runs", "umtra-maml", epochs=None)
    with pytest.raises(BenchError, match="no run of experiment 'table7' among these; make some with bench run"):
        write_report(tmp_path / "runs", tmp_path / "out", experiment="table7")
    with pytest.raises(BenchError, match=r"unknown experiment 'table77'\. Did you mean 'table7'"):
        write_report(tmp_path / "runs", tmp_path / "out", experiment="table77")
    assert not (tmp_path / "out").exists()


def test_the_same_records_give_the_same_bytes(figure, tmp_path):
    shutil.copytree(figure / "runs", tmp_path / "else" / "copy")
    matplotlib.rcParams["xtick.labelsize"] = 30  # a user's style changes nothing
    try:
        write_report(tmp_path / "else" / "copy", tmp_path / "out", experiment="figure5")
    finally:
        matplotlib.rcdefaults()
    for path in (figure / "out").rglob("*.*"):
        assert (tmp_path / "out" / path.relative_to(figure / "out")).read_bytes() == path.read_bytes()


def test_the_figure_shows_points_line_and_strip(figure):
    picture = Image.open(figure / "out" / "figures" / "figure5.png").convert("RGB")
    colours = {colour for _, colour in picture.getcolors(10**6)}
    for wanted in ((26, 127, 196), (230, 159, 0), (0, 158, 115)):  # ours, published, scratch
        assert wanted in colours
    without, _ = sweep(_table(figure / "runs", samples=False))
    bare = Image.open(io.BytesIO(without["png"]))
    assert bare.width == picture.width
    # The strip adds three rows of latents below, as bright as the samples.
    assert picture.height > bare.height + 100
    strip = np.asarray(picture.convert("L"))[bare.height :]
    assert (strip == 0).mean() > 0.01  # the background of epoch 0
    assert {0, 5, 250} <= set(np.unique(strip).tolist())


def _table(runs, samples=True):
    (table,) = fill(paper_layout("figure5"), load(runs)).tables
    if not samples:
        for cell in table.cells:
            object.__setattr__(cell, "samples", None)
    return table


def test_markdown_and_html_show_the_figure(figure):
    assert "](figures/figure5.png)" in (figure / "out" / "figure5.md").read_text()
    text = (figure / "out" / "figure5.html").read_text()
    assert text.count("<svg ") == 1
    assert 'role="img" aria-label="Accuracy against ' in text


@pytest.mark.parametrize("content", [b"not an array", None])
def test_damaged_samples_are_one_sentence_and_cost_no_figure(tmp_path, content):
    write_figure_5(tmp_path / "runs")
    victim = sorted((tmp_path / "runs").rglob("samples.npy"))[0]
    victim.write_bytes(content) if content else np.save(victim, np.zeros((3, 4)))
    write_report(tmp_path / "runs", tmp_path / "out", experiment="figure5")
    text = (tmp_path / "out" / "figure5.md").read_text()
    assert text.count("samples.npy is damaged") == 1
    assert (tmp_path / "out" / "figures" / "figure5.png").exists()


def test_a_figure_of_one_point_at_zero(tmp_path):
    write_cell(tmp_path / "runs", "lasium-n-gan-maml", epochs=0, dataset="glyphs")
    write_report(tmp_path / "runs", tmp_path / "out", experiment="figure5")
    assert Image.open(tmp_path / "out" / "figures" / "figure5.png").width > 400
