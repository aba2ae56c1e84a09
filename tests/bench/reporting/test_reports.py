"""Reports: every format, escaping, determinism, damaged files, one offline HTML file."""

from __future__ import annotations

import html.parser
import io
import re
import shutil
import typing

import matplotlib
import numpy as np
import pandas as pd
import pytest
from PIL import Image
from rich.console import Console
from synthetic_runs import manifest_hash, write_example, write_run

from bench.basics.errors import BenchError
from bench.leaderboard.baseline import write_baseline
from bench.leaderboard.compare import compare
from bench.leaderboard.gate import GateRow, Verdict, check
from bench.leaderboard.loading import load
from bench.leaderboard.table import build
from bench.reporting import latex_text, markdown
from bench.reporting.curves import BINS, learning_curves
from bench.reporting.grid import grid
from bench.reporting.report import write_report
from bench.reporting.terminal import comparison_table, gate_table, to_terminal

NASTY = r"""<script>alert("1")</script> & 100% $x_1^2$ \end{tabular} #|~{*a*} `b` [red]c[/red]"""


def contents(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def shown(renderable, width=250):
    console = Console(file=io.StringIO(), width=width)
    console.print(renderable)
    return console.file.getvalue()


class Page(html.parser.HTMLParser):
    """Collects what a browser would see, and checks that every element is closed in order."""

    VOID = ("meta", "img", "br", "link", "input", "hr")
    IMPLIED = ("td", "th", "tr", "li", "p", "dt", "dd", "option")  # their ends need not be written

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.texts, self.attributes = [], [], [], []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        while self.open[-1] != tag and self.open[-1] in self.IMPLIED:
            self.open.pop()
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] != "style":
            self.texts.append(data)


@pytest.fixture(scope="module")
def example(tmp_path_factory):
    folder = tmp_path_factory.mktemp("example")
    write_example(folder / "runs", curve=60)
    return folder


@pytest.fixture(scope="module")
def reports(example):
    written = write_report(example / "runs", example / "reports")
    assert all(path.is_file() for path in written)
    return example / "reports"


def test_the_files(reports):
    assert set(contents(reports)) == {
        *("leaderboard.md", "leaderboard.html", "leaderboard.tex", "leaderboard.csv", "runs.csv"),
        *(f"figures/glyphs-5way-15query-test.intervals.{kind}" for kind in ("png", "svg")),
        *(
            f"figures/omniglot-5way-15query-test.{name}.{kind}"
            for name in ("intervals", "cost", "curves")
            for kind in ("png", "svg")
        ),
    }


def test_the_same_records_give_the_same_bytes(example, reports, tmp_path):
    shutil.copytree(example / "runs", tmp_path / "elsewhere" / "copy")
    matplotlib.rcParams["xtick.labelsize"] = 30  # a user's style changes nothing
    try:
        write_report(tmp_path / "elsewhere" / "copy", tmp_path / "reports")
        assert matplotlib.rcParams["xtick.labelsize"] == 30
    finally:
        matplotlib.rcdefaults()
    assert contents(tmp_path / "reports") == contents(reports)


def test_no_figure_is_left_in_pyplot(reports):
    import matplotlib.pyplot as plt

    assert plt.get_fignums() == []


@pytest.mark.parametrize("name", ["leaderboard.md", "leaderboard.html", "leaderboard.tex"])
def test_every_run_and_every_fact_is_told(example, reports, name):
    text = (reports / name).read_text()
    for method in ("ALPHA-ONE", "ALPHA-TWO", "BETA", "GAMMA", "Floor one", "CEILING-ONE"):
        assert method in text
    for fact in ("loss became non-finite at step 17", "out of memory", manifest_hash("omniglot", 1, 200)):
        assert fact in text
    assert manifest_hash("omniglot") in text  # the dataset's own hash
    assert "trained for different lengths" in text
    found = build(load(example / "runs")).tables[1].rows[1].scores[5, 1].estimate
    assert f"{100 * found.mean:.2f}" in text


def test_who_leads_stands_on_top_and_lengths_are_sections(example, reports):
    text = (reports / "leaderboard.md").read_text()
    board = build(load(example / "runs")).tables[1].board
    (tier, leader), scratch = board.leader((5, 1)), "|  | *Floor one* |"
    assert (tier.iterations, leader.row.method) == (1000, "alpha-two")
    accuracy = (
        f"{100 * leader.row.scores[5, 1].estimate.mean:.2f} ± {100 * leader.row.scores[5, 1].estimate.total_ci95:.2f}"
    )
    assert text.index(f"- 1-shot: **ALPHA-TWO** leads without labels at **{accuracy} %**") < text.index("\n## ")
    board = text.split("\n## omniglot")[1]
    places = [
        board.index(f"| **{heading}** |")
        for heading in ("1,000 meta-iterations", "5,000 meta-iterations", "Floors", "Ceilings")
    ]
    assert places == sorted(places)
    assert board.index(scratch) > places[2]
    assert f"| 1 | ALPHA-TWO | **{accuracy}** | – |" in board
    assert "What the longer training brought: BETA 5,000 meta-iterations, 1-shot +" in board


def test_what_makes_the_runs_again_is_said_to_people(reports):
    text = (reports / "leaderboard.md").read_text()
    found = re.findall(r"To make these runs again.*?```sh\n(.*?)\n```", text, re.S)
    assert len(found) == 2
    (several,) = (block.splitlines() for block in found if "alpha-one" in block)
    wanted = "--methods alpha-two,alpha-one,beta,gamma,ceiling-one --shots 1,5 --seeds 0,1,2 --budget quick"
    assert wanted in several[0]
    assert any("--methods beta --shots 1,5 --seeds 0 --budget long" in line for line in several)
    for name in ("leaderboard.tex", "leaderboard.csv", "runs.csv"):
        assert "bench run" not in (reports / name).read_text()


def test_a_block_of_code_cannot_be_left():
    assert markdown.fence(["bench run"]) == "```"
    assert markdown.fence(["a `b`", "c ````"]) == "`````"


def test_markdown_rows_fill_the_table(reports):
    lines = (reports / "leaderboard.md").read_text().splitlines()
    blocks, block = [], []
    for line in [*lines, ""]:
        if line.startswith("|"):
            block.append(len(re.findall(r"(?<!\\)\|", line)))
        elif block:
            blocks.append(block)
            block = []
    assert len(blocks) == 5, "boards, what rows took, runs in no table"
    assert all(len(set(block)) == 1 and len(block) >= 3 for block in blocks)


def rows_of(body):
    """Of a LaTeX table: how many columns each row has."""
    for row in re.findall(r"^(.*) \\\\\*?$", body, re.M):
        if row and not row.startswith("\\caption"):
            spans = [int(n) for n in re.findall(r"\\multicolumn\{(\d+)\}", row)]
            yield len(re.findall(r"(?<!\\)&", row)) + 1 - len(spans) + sum(spans)


def test_latex_rows_fill_the_table(reports):
    text = (reports / "leaderboard.tex").read_text()
    bodies = re.findall(r"\\begin\{tabular\}\{([^\n]*)\}\n(.*?)\\end\{tabular\}", text, re.S)
    assert len(bodies) == 2
    for columns, body in bodies:
        for around in (r"@{${}\pm{}$}", r"@{\,}", "@{}", r">{\raggedright\arraybackslash}"):
            columns = columns.replace(around, "")
        letters = re.sub(r"\[.*?\]|\{.*?\}", "", columns)
        assert set(letters) <= set("rpSl")
        assert set(rows_of(body)) == {len(letters)}
    assert text.count("{") - text.count(r"\{") == text.count("}") - text.count(r"\}")
    assert re.search(r"\{\\bfseries \d\d\.\d\d\} & \d\.\d\d", text)
    labels = re.findall(r"\\label\{(.*?)\}", text)
    assert labels == ["tab:glyphs-5way-15query-test", "tab:omniglot-5way-15query-test"]
    assert "resizebox" not in text


def test_figures_are_pictures(reports):
    for path in (reports / "figures").glob("*.png"):
        picture = Image.open(path)
        assert picture.width > 400
        assert "Software" not in picture.info
        assert np.asarray(picture.convert("L")).std() > 5


def test_only_what_is_asked_for(example, tmp_path):
    write_report(example / "runs", tmp_path, ["md"])
    assert set(contents(tmp_path)) == {"leaderboard.md"}
    assert "![" not in (tmp_path / "leaderboard.md").read_text()
    with pytest.raises(BenchError, match=r"unknown report format 'htlm'\. Did you mean 'html'\?"):
        write_report(example / "runs", tmp_path, ["htlm"])
    with pytest.raises(BenchError, match="no report format given"):
        write_report(example / "runs", tmp_path, [])


def test_nasty_names_are_shown_as_they_are(tmp_path):
    for seed in (0, 1):
        write_run(tmp_path / "runs", NASTY, 0.6, seed, title=NASTY, budget=NASTY, curve=20, folder="nasty")
    write_run(tmp_path / "runs", "plain", budget=NASTY, outside_data=True, title=NASTY)
    write_run(tmp_path / "runs", NASTY, seed=2, status="failed", reason=f"{NASTY}\nsecond | line", folder="nasty")
    write_report(tmp_path / "runs", tmp_path / "reports")
    assert NASTY in Page((tmp_path / "reports" / "leaderboard.html").read_text()).texts
    tex = (tmp_path / "reports" / "leaderboard.tex").read_text()
    assert latex_text.breakable(NASTY) in tex
    assert r"\textbackslash{}end\{tabular\}" in tex
    assert tex.count(r"\end{tabular}") == 1
    assert all(line.startswith("%") for line in tex.splitlines() if "second" in line)
    text = (tmp_path / "reports" / "leaderboard.md").read_text()
    assert "<script>" not in text
    assert markdown.escape(NASTY) in text
    test_markdown = [line for line in text.splitlines() if "second" in line]
    assert len(test_markdown) == 1
    frames = load(tmp_path / "runs")
    assert "[red]c[/red]" in shown(to_terminal(build(frames)))


@pytest.mark.parametrize("character", list(r"\&%$#_{}~^<>|"))
def test_latex_escapes_every_special_character(character):
    escaped = latex_text.escape(f"a{character}b")
    bare = re.sub(r"\\[a-z]+\{\}|\\[&%$#_{}]", "", escaped)
    assert bare == "ab"


def test_markdown_cells_cannot_be_left():
    assert markdown.escape("a|b\nc") == r"a\|b c"
    assert markdown.escape("<b> & *x* _y_") == r"&lt;b&gt; &amp; \*x\* \_y\_"


def test_a_damaged_curve_is_told_and_hides_nothing(tmp_path):
    bad = write_run(tmp_path / "runs", "alpha", curve=30)
    write_run(tmp_path / "runs", "beta", curve=30)
    for damage in (b"", b"no parquet", (bad / "train.parquet").read_bytes()[:200]):
        (bad / "train.parquet").write_bytes(damage)
        write_report(tmp_path / "runs", tmp_path / "reports", ["html"])
        text = (tmp_path / "reports" / "leaderboard.html").read_text()
        assert "train.parquet is damaged" in text
        assert "ALPHA" in text


def test_learning_curves_are_those_of_meta_training(tmp_path):
    path = write_run(tmp_path, "alpha", curve=1000)
    frames = load(tmp_path)
    curves, problems = learning_curves(frames, [0])
    assert problems == ()
    frame = pd.read_parquet(path / "train.parquet").query("stage == 'meta-train'")
    loss = frame[frame["name"] == "loss"]
    assert curves[0]["loss"].shape == (2, BINS)
    assert curves[0]["loss"][1] == pytest.approx(loss["value"].to_numpy().reshape(BINS, -1).mean(axis=1))
    assert curves[0]["loss"][0] == pytest.approx(loss["step"].to_numpy().reshape(BINS, -1).mean(axis=1))
    looks = frame[frame["name"] == "validation"]
    assert curves[0]["validation"][1] == pytest.approx(looks["value"].to_numpy())


def test_without_validation_the_stage_is_not_that_of_a_shared_generator(tmp_path):
    path = write_run(tmp_path, "alpha", curve=50)
    frame = pd.read_parquet(path / "train.parquet").query("name == 'loss'").iloc[::-1]
    frame.loc[frame["step"] == 3, "value"] = np.nan
    frame.to_parquet(path / "train.parquet", index=False)
    curves, _ = learning_curves(load(tmp_path), [0])
    assert set(curves[0]) == {"loss"}
    assert curves[0]["loss"].shape == (2, 49)
    assert curves[0]["loss"][1].max() < 4
    frame[frame["stage"] == "generator-x"].to_parquet(path / "train.parquet", index=False)
    assert learning_curves(load(tmp_path), [0])[0] == {0: {}}


def test_nothing_to_report(tmp_path):
    with pytest.raises(BenchError, match="no readable run"):
        write_report(tmp_path, tmp_path / "reports")
    assert not (tmp_path / "reports").exists()


def test_terminal(example, tmp_path):
    frames = load(example / "runs")
    board = shown(to_terminal(build(frames)))
    for text in ("1-shot: ALPHA-TWO leads", "Ceilings", "diverged", "different lengths", "rank: 1 + the number"):
        assert text in board
    assert "tasks and seeds" in shown(comparison_table(compare("alpha-one", "beta", frames)))
    write_example(tmp_path / "whole", unfinished=False)
    frames = load(tmp_path / "whole")
    write_baseline(frames, tmp_path / "base.parquet")
    assert "OK" in shown(gate_table(check(frames, tmp_path / "base.parquet")))


def test_the_gates_table_has_every_verdict_what_fails_first_and_whole_names():
    name = "umtra-maml,backbone.filters=32,learner.inner_lr=0.1"
    verdicts = ("OK", "NEW", "MISSING", "CHANGED", "WORSE")
    assert set(verdicts) == set(typing.get_args(Verdict))
    rows = [GateRow(verdict, "glyphs", name, "smoke", 1, "", 1.5, drop=None) for verdict in verdicts]
    text = shown(gate_table(rows), width=130)
    assert [line.split()[1] for line in text.splitlines() if line.startswith("│ ") and line[2] != " "] == [
        *("WORSE", "CHANGED", "MISSING", "NEW", "OK")
    ]
    assert "dataset glyphs; budget smoke" in text.splitlines()[0]
    for part in name.split(","):
        assert text.count(part) == len(rows), part
    two = shown(gate_table([*rows, GateRow("OK", "omniglot", name, "smoke", 1, "", 1.5, reason="because")]))
    assert "because" in two
    assert "omniglot" in two
    assert "dataset omniglot" not in two


def test_a_shot_that_a_row_did_not_answer_is_a_dot(tmp_path):
    write_run(tmp_path / "runs", "alpha", seed=0)
    write_run(tmp_path / "runs", "beta", seed=7, shots=(1,))
    (table,) = build(load(tmp_path / "runs")).tables
    cells = {row.cells[1].text: [cell.text for cell in row.cells] for row in grid(table).sections[0].rows}
    first = grid(table).titles.index("5-shot accuracy %")
    assert "±" in cells["ALPHA"][first]
    write_run(tmp_path / "runs", "alpha", seed=3, shots=(1,), manifests={1: manifest_hash("other")})
    both = build(load(tmp_path / "runs")).tables
    assert [table.seeds for table in both] == [(0, 7), (3,)], "seeds are those of the table's own tasks"
    assert cells["BETA"][first] == "·"
