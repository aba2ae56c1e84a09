"""Whatever a record says, no format obeys it: names, titles and reasons are shown as they are."""

from __future__ import annotations

import io
import json
import re
from dataclasses import replace

import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from paper_runs import write_cell
from synthetic_runs import edit_record, write_run
from test_reports import NASTY, Page, shown

from bench.basics.files import read_json
from bench.leaderboard.loading import load
from bench.leaderboard.reproduction import commands
from bench.leaderboard.table import build
from bench.records.scores import scores_digest
from bench.reporting import csv, layout
from bench.reporting.foreign import one_line, visible
from bench.reporting.html import html
from bench.reporting.latex import latex
from bench.reporting.latex_text import breakable
from bench.reporting.latex_text import escape as tex
from bench.reporting.markdown import escape as md
from bench.reporting.markdown import markdown
from bench.reporting.report import write_report
from bench.reporting.terminal import to_terminal

ODD = (
    *(NASTY, "<img src=x onerror=alert(1)>", "a|b", "[x](javascript:y)", "# not a heading", "1. no list", "- nor this"),
    *("\x1b[31mred\x1b[0m", "\x1b]0;title\x07", "\x00", "\u202egnp.exe", "café ł ß", "中文", "α ≥ 2 × µ", "--x", "\\"),
    *('=HYPERLINK("x")', "+1", "-1+2", "@SUM(A1)", "\t=1", "\r=1", "a\nb", "a\r\nb", "[1pt]", "*", '"', "`"),
    *("\\input{/etc/passwd}", "^^M", "%", "$x$", "{", "a & b \\\\ c"),
)
TEXTS = st.one_of(
    st.sampled_from(ODD), st.text(max_size=30), st.text("<>&|`[]()#*_~$\\{}%^=+-@'\"\x1b\r\n\t! ", max_size=12)
)


@pytest.fixture(scope="module")
def frames(tmp_path_factory):
    out = tmp_path_factory.mktemp("odd") / "runs"
    write_run(out, "alpha", shots=(1,), tasks=10, notes={"left_out": ["SENTENCE"]})
    write_run(out, "beta", status="failed", reason="REASON")
    return load(out)


def with_text(frames, text):
    """The frames as if a record had said ``text`` wherever it may say anything."""
    runs = frames.runs.copy()
    for name in ("title", "reason", "dataset", "method", "budget", "cite"):
        runs[name] = text
    runs["notes"] = [{"left_out": [text, text, f"{text}."]} for _ in range(len(runs))]
    evaluations = frames.evaluations.assign(split=text)
    return replace(frames, runs=runs, evaluations=evaluations, problems=(text,))


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=TEXTS)
def test_no_text_breaks_a_format(frames, text):
    odd = with_text(frames, text)
    board = build(odd)
    links = {f"{table.slug}.intervals.png": f"figures/{table.slug}.intervals.png" for table in board.tables}
    again = [commands(table, odd) for table in board.tables]

    written = markdown(board, links, (), again)
    plain = re.sub(r"^(`{3,})sh\n.*?^\1$", "", written, flags=re.S | re.M)
    assert not re.search(r"<(?!br>|/?details>|/?summary>)[A-Za-z/!?]", plain)
    for block in re.findall(r"(?:^\|.*\n)+", written, re.M):
        assert len({len(re.findall(r"(?<!\\)(?:\\\\)*\|", row)) for row in block.splitlines()}) == 1
    for line in written.splitlines():
        if line.startswith("- ") and (said := line[2:]):
            assert not re.match(r"(#{1,6} |[-+*] |\d{1,9}[.)] |={2,}$)", said)

    tame = build(with_text(frames, "tame"))
    page, wanted = (
        Page(html(one, {f"{table.slug}.intervals.png": b"" for table in one.tables}, (), again))
        for one in (board, tame)
    )
    assert set(page.tags) <= set(wanted.tags)
    assert {name for name, _ in page.attributes} <= {name for name, _ in wanted.attributes}

    source = latex(board)
    assert source.isascii()
    body = source.replace("\\\\", "").replace("\\{", "").replace("\\}", "")
    assert body.count("{") == body.count("}")
    for line in source.splitlines():
        assert not re.match(r"\s*(\[|\*)", line), "a row that begins so is an argument of the row before"
    assert not re.search(r"\\(input|write|def|immediate)\b", source)

    for table in (csv.scores(board, odd), csv.runs(odd)):
        frame = pd.read_csv(io.StringIO(table), keep_default_na=False, dtype=str)
        expected = len(odd.runs) if "folder" in frame else 1
        assert len(frame) == expected
        cells = frame[[name for name in ("title", "name", "method", "dataset", "budget", "reason") if name in frame]]
        for cell in cells.to_numpy().ravel():
            assert cell.lstrip()[:1] not in set("=+-@")
            assert "\r" not in cell

    for width in (40, 80, 200):
        terminal = shown(to_terminal(board), width)
        assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e]", terminal)
    for result in (written, source, terminal, csv.runs(odd)):
        result.encode("utf-8")


@given(st.text())
def test_texts_that_can_be_seen_stay_as_they_are(text):
    assert visible(visible(text)) == visible(text)
    assert one_line(text) == visible(" ".join(text.split()))
    if text.isprintable():
        assert visible(text) == text
    assert visible(text + "\ud800\x1b") == visible(text) + r"\ud800\x1b"


def test_what_a_spreadsheet_would_compute_is_text():
    found = csv.from_frame(pd.DataFrame({"a": ["=1+1", "x=1", " @A", "\t-1", None], "b": [-1.5, 2.0, 0.0, 1.0, 1.0]}))
    assert found == "a,b\n'=1+1,-1.5\nx=1,2\n' @A,0\n'\t-1,1\n,1\n"


def test_letters_that_latex_lacks_have_a_number_and_others_their_command():
    assert tex("café Łódź ß") == r"caf\'{e} \L{}\'{o}d\'{z} \ss{}"
    assert tex("中 a--b [x") == "{[}U+4E2D] a-{}-b [x"
    assert tex("[x]") == "{[}x]"
    assert tex("− 0.30 ° = ↓ †") == r"$-$ 0.30 $^{\circ}$ = $\downarrow$ \dag{}"
    assert (
        breakable("path=eigen.pt2@5e207c8d aa-bb")
        == r"path=\allowbreak{}eigen.\allowbreak{}pt2@\allowbreak{}5e207c8d aa-bb"
    )
    assert (tex("*"), tex('"`')) == ("{*}", r"\symbol{34}\textasciigrave{}")


def test_markdown_begins_no_heading_or_list():
    for text, wanted in (("# a", r"\# a"), ("- a", r"\- a"), ("12. a", r"12\. a"), ("2.5 a", "2.5 a"), ("#1", "#1")):
        assert md(text) == wanted


def test_a_sentence_on_what_was_left_out_stands_below_the_table_once(tmp_path):
    told = "2 test classes have fewer than 20 images and are left out"
    for seed in (0, 1):
        write_run(tmp_path / "runs", "alpha", seed=seed, notes={"left_out": [told, 7, None]})
        write_run(tmp_path / "runs", "beta", seed=seed, notes={"left_out": "no list"})
    write_cell(tmp_path / "runs", "lasium-n-gan-maml", notes={"left_out": [told, "another"]}, shots=(1, 5))
    write_report(tmp_path / "runs", tmp_path / "reports", ["md", "html", "tex"])
    for name in ("leaderboard.md", "leaderboard.html", "table1-omniglot.md", "table1-omniglot.html", "leaderboard.tex"):
        path = tmp_path / "reports" / name
        if path.exists():
            tables = path.read_text().count("<table>") if name.endswith("html") else None
            assert 1 <= path.read_text().count(told) <= (tables or 3), name
    (board,) = [t for t in build(load(tmp_path / "runs")).tables if any(r.method == "alpha" for r in t.rows)]
    assert layout.notes(board).count(told) == 1
    assert "no list" not in "".join(layout.notes(board))


def test_one_task_has_a_dash_in_every_format(tmp_path):
    for seed in (0, 1):
        for method in ("lasium-n-gan-maml", "beta"):
            write_cell(tmp_path / "runs", method, seed=seed, tasks=2)
    for epochs in (0, 10):
        write_cell(tmp_path / "runs", "lasium-n-gan-maml", epochs=epochs, budget=f"paper,{epochs}", tasks=2)
    write_cell(tmp_path / "runs", "scratch", epochs=None, group="floor", tasks=2)
    for path in (tmp_path / "runs").glob("*/*/*"):
        scores = pd.read_parquet(path / "tasks.parquet").query("task == 0")
        scores.to_parquet(path / "tasks.parquet", index=False)
        record = read_json(path / "run.json")
        accuracy = float((scores["correct"] / scores["total"]).iloc[0])
        one = record["evaluations"][0] | {"tasks": 1, "accuracy": accuracy, "ci95": 0.0}
        edit_record(path, evaluations=[one], scores=scores_digest(pa.Table.from_pandas(scores, preserve_index=False)))
    write_report(tmp_path / "runs", tmp_path / "reports")
    names = {path.name for path in (tmp_path / "reports").iterdir()}
    assert {"table7.md", "figure5.html"} <= names
    for path in (tmp_path / "reports").glob("*.*"):
        text = path.read_text()
        text = re.sub(r"<script>.*?</script>", "", text, flags=re.S)
        assert "nan" not in re.sub(r"[A-Za-z0-9+/=]{200,}", "", text).lower().replace("finance", ""), path
        if path.suffix in (".md", ".html"):
            assert "± –" in text
            assert "± 0.00" not in text
            assert "single task has no spread" in text
    frame = pd.read_csv(tmp_path / "reports/leaderboard.csv")
    assert frame[["task_ci95", "total_ci95", "p", "p_holm", "gap_low"]].isna().all().all()
    terminal = shown(to_terminal(build(load(tmp_path / "runs"))))
    assert "± –" in terminal
    assert "nan" not in terminal


@pytest.mark.parametrize("width", [30, 60, 80, 120])
def test_no_word_is_cut_however_narrow_the_window(frames, width):
    odd = with_text(frames, "lasium-ro-vae-maml")
    text = shown(to_terminal(build(odd)), width)
    assert all(len(line) <= width for line in text.splitlines())
    for word in ("lasium-ro-vae-maml", "accuracy", "1-shot", "meta-iterations", "training"):
        assert word in text


def test_json_of_a_hostile_configuration_costs_a_line_and_no_report(tmp_path):
    for number, config in enumerate(
        ({"dataset": "x"}, {"budget": [1]}, {"method": 7, "train": "y"}, {"way": {"a": 1}})
    ):
        write_run(tmp_path / "runs", f"alpha-{number}", shots=(1,), dataset="mine", config=config)
    write_run(tmp_path / "runs", "beta", shots=(1,), dataset="mine")
    write_report(tmp_path / "runs", tmp_path / "reports", ["md"])
    text = (tmp_path / "reports/leaderboard.md").read_text()
    assert "--methods beta" in text or ",beta" in text
    assert json.dumps("BETA")[1:-1] in text
