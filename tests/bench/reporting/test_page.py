"""The HTML page without a browser: what it consists of, what it links to, and that no name becomes a part of it."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from urllib.parse import unquote

import numpy as np
import pandas as pd
import pytest
from synthetic_runs import write_example, write_run
from test_reports import NASTY
from typer.testing import CliRunner

from bench.basics.errors import BenchError
from bench.cli.entry import app
from bench.leaderboard.loading import load
from bench.leaderboard.table import build
from bench.reporting.foreign import visible
from bench.reporting.index import read_reports, write_index
from bench.reporting.page import boards
from bench.reporting.report import write_report

DRAWN = {"path", "g", "use", "defs", "text"}
VOID = {"meta", "img", "br", "link", "input"}


class Tree(HTMLParser):
    """Elements in the order of the page: (tag, attributes, the text inside them)."""

    def __init__(self, text):
        super().__init__()
        self.elements, self.open = [], []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        element = (tag, dict(attrs), [])
        self.elements.append(element)
        if tag not in VOID:
            self.open.append(element)

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs), []))

    def handle_endtag(self, tag):
        assert self.open.pop()[0] == tag

    def handle_data(self, data):
        for _, _, texts in self.open:
            texts.append(data)

    def find(self, tag, **wanted):
        return [
            (attributes, "".join(texts))
            for name, attributes, texts in self.elements
            if name == tag and all(value in (attributes.get(key.rstrip("_")) or "") for key, value in wanted.items())
        ]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A report with its records beside it; one method has a changed setting and a shorter length."""
    folder = tmp_path_factory.mktemp("page")
    write_example(folder / "runs", curve=60)
    config = {"budget": {"name": "quick", "meta_iterations": 1000}, "method": {"alpha": 0.4}}
    write_run(
        folder / "runs", "alpha-one,alpha=0.4", 0.7, config=config, folder="alpha-four", title="ALPHA-ONE, alpha=0.4"
    )
    network = {"budget": {"name": "quick", "meta_iterations": 1000}, "backbone": {"_target_": "Conv4"}}
    write_run(folder / "runs", "scratch", 0.3, group="floor", title="Training from scratch", config=network)
    write_report(folder / "runs", folder / "out", ["html", "csv"], records=True)
    return folder


@pytest.fixture(scope="module")
def page(folder):
    return Tree((folder / "out" / "leaderboard.html").read_text())


def test_every_link_leads_somewhere(folder, page):
    ids = [attributes["id"] for _, attributes, _ in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    assert not any(re.search(r"\s", one) for one in ids)
    links = [attributes["href"] for attributes, _ in page.find("a")]
    assert {link[1:] for link in links if link.startswith("#")} <= set(ids)
    files = {link for link in links if not link.startswith("#")}
    assert {"leaderboard.csv", "runs.csv"} <= files
    again = [text for attributes, text in page.find("a", title="the same row") if attributes["href"].startswith("#")]
    assert len(again) == 2, "the floor stands in both sections and has its details below them"
    assert sum(link.startswith("records/") and link.endswith("/tasks.parquet") for link in files) > 5
    assert all((folder / "out" / unquote(link)).is_file() for link in files)


def test_without_records_beside_it_the_page_links_to_none(folder, tmp_path):
    write_report(folder / "runs", tmp_path, ["html"])
    assert 'href="records' not in (tmp_path / "leaderboard.html").read_text()


def test_nothing_is_asked_of_anybody(folder, page):
    text = (folder / "out" / "leaderboard.html").read_text()
    (policy,) = [a["content"] for a, _ in page.find("meta") if a.get("http-equiv") == "Content-Security-Policy"]
    assert policy.startswith("default-src 'none';")
    assert "connect-src" not in policy
    sources = [value for _, attributes, _ in page.elements for key, value in attributes.items() if key == "src"]
    assert all(source.startswith("data:image/png;base64,") for source in sources)
    assert not re.search(r"@import|url\((?!#)|<link|<iframe|\bfetch\(|XMLHttpRequest", text)
    addresses = set(re.findall(r"https?://[^\s\"'<)]+", text))
    assert {one for one in addresses if not one.startswith("http://www.w3.org/")} == set()


def test_the_board_says_what_the_table_says(folder, page):
    tables = build(load(folder / "runs")).tables
    for table in tables:
        lines = list(table.board.lines())
        heads = re.findall(r"<th scope=\"col\"", _board(folder, table.slug).partition("</thead>")[0])
        rows = [
            row for row in _rows(folder, table.slug) if 'class="about"' not in row and 'scope="rowgroup"' not in row
        ]
        assert len(rows) == len(lines)
        assert {len(re.findall(r"<t[hd][ >]", row)) for row in rows} == {len(heads)}
        for line, row in zip(sorted(lines, key=lambda one: one.row.method), sorted(rows, key=_method)):
            for score in line.row.scores.values():
                assert f"{100 * score.estimate.mean:.2f}" in row, line.row.method
    headline = page.find("p", class_="headline")[0][1]
    leader = max((r for r in tables[0].rows if r.group == "unsupervised"), key=_first_mean)
    assert re.search(
        rf"{re.escape(tables[0].board.name(leader))} leads without labels at {_first_mean(leader):.2f} ±", headline
    )


def test_folded_rows_are_there_without_a_script(folder, page):
    (variant,) = page.find("tr", class_="variant")
    assert "alpha=0.4" in variant[1]
    style = page.find("style")[0][1]
    assert re.search(r"@supports selector\(:has\(a\)\) \{[^@]*tr\.variant[^@]*display: none", style)
    assert style.count("tr.variant { display: table-row !important; }") == 1, "and on paper"


def test_a_row_says_how_to_make_it_again_and_where_its_records_are(folder, page):
    texts = [text for _, text in page.find("tr", class_="about")]
    (four,) = [text for text in texts if "exact namealpha-one,alpha=0.4" in text]
    assert four.startswith("to make it againbench run ")
    assert "bench run --dataset omniglot" in four
    assert "--methods alpha-one --shots 1,5 --seeds 0 --budget quick --no-references" in four, four
    assert "method.alpha=0.4" in four
    assert "1,000 meta-iterations; training seed 0" in four
    assert "To the row above: " in four


def test_the_tasks_for_the_script_are_those_of_the_records(folder, page):
    board = next(table for table in build(load(folder / "runs")).tables if table.dataset == "omniglot")
    (block,) = [text for a, text in page.find("script", type="json") if a["id"] == f"{board.slug}.data"]
    data = json.loads(block)
    (beta,) = [one for one in data["tasks"] if one["name"] == "BETA (5,000 meta-iterations)"]
    (run,) = [
        path
        for path in (folder / "out/records/omniglot/beta").iterdir()
        if '"budget": "long"' in (path / "run.json").read_text()
    ]
    scores = pd.read_parquet(run / "tasks.parquet")
    for shot, counts in zip((1, 5), beta["counts"]):
        found = [data["digits"].index(letter) for letter in counts["text"]]
        assert counts["letters"] == counts["seeds"] == 1
        assert found == scores[scores["shot"] == shot].sort_values("task")["correct"].tolist()
    (summed,) = [one for one in data["tasks"] if one["name"].startswith("ALPHA-TWO")]
    digits, letters = data["digits"], summed["counts"][0]["letters"]
    text = summed["counts"][0]["text"]
    counts = [digits.index(text[i]) * len(digits) + digits.index(text[i + 1]) for i in range(0, len(text), letters)]
    (row,) = [row for row in board.rows if row.method == "alpha-two"]
    assert np.allclose(np.array(counts) / 225, next(iter(row.scores.values())).values.mean(axis=0), atol=1e-12)
    (curve,) = [one for one in data["curves"] if one["name"].startswith("ALPHA-TWO")]
    assert len(data["steps"][curve["loss"][0]]) == len(curve["loss"][1]) == 25


def test_a_hostile_name_is_text_wherever_it_stands(tmp_path):
    evil = "</script><script>alert(1)</script>\"'><img src=x onerror=alert(1)>"
    for name in ("tame", f"{evil}{NASTY}"):
        out = tmp_path / ("tame" if name == "tame" else "evil")
        for method, level in (("one", 40), ("two", 60)):
            said = {"title": f"{name} {method}", "budget": "quick", "cite": name, "notes": {"left_out": [name]}}
            answers = {1: np.arange(level, level + 10)}
            write_run(out / "runs", method, shots=(1,), tasks=10, curve=20, answers=answers, folder=method, **said)
        write_report(out / "runs", out, ["html"])
    tame, hostile = (Tree((tmp_path / one / "leaderboard.html").read_text()) for one in ("tame", "evil"))
    assert {tag for tag, _, _ in hostile.elements} == {tag for tag, _, _ in tame.elements}
    for one in (tame, hostile):  # a drawing has a line of text for as many words as there is room for
        one.elements = [element for element in one.elements if element[0] not in DRAWN]
    assert [tag for tag, _, _ in hostile.elements] == [tag for tag, _, _ in tame.elements]
    assert [set(a) for _, a, _ in hostile.elements] == [set(a) for _, a, _ in tame.elements]
    (data,) = (json.loads(text) for _, text in hostile.find("script", type="json"))
    assert data["tasks"][0]["name"].startswith(visible(evil))


def test_anchors_are_the_same_on_every_page_and_never_twice(folder):
    tables = build(load(folder / "runs")).tables
    found = [
        [line.anchor for board in boards(tables) for s in board.sections for g in s.groups for line in g.lines]
        for _ in "ab"
    ]
    assert found[0] == found[1]
    assert len(found[0]) == len(set(found[0]))
    assert "omniglot-5way-15query-test.1000.alpha-one-alpha-0.4" in found[0]
    alone = [line.anchor for board in boards(tables[1:]) for s in board.sections for g in s.groups for line in g.lines]
    assert set(alone) <= set(found[0]), "what else is on the page changes no address"


def test_an_index_says_what_each_report_says(folder, tmp_path):
    for name in ("a b", "<b>"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "leaderboard.html").write_bytes((folder / "out/leaderboard.html").read_bytes())
    (tmp_path / "old").mkdir()
    (tmp_path / "old/leaderboard.html").write_text("<title>Leaderboard</title><body><p>row</p>")
    (tmp_path / "old/table7.html").write_text("<title>Table &lt;7&gt;</title>")
    (tmp_path / "torn").mkdir()
    (tmp_path / "torn/leaderboard.html").write_bytes(b"<title>\xff\xfe")
    (tmp_path / "empty").mkdir()
    assert CliRunner().invoke(app, ["report", "--index", str(tmp_path)]).exit_code == 0
    page = Tree((tmp_path / "index.html").read_text())
    links = [attributes["href"] for attributes, _ in page.find("a")]
    assert all((tmp_path / unquote(link)).is_file() for link in links)
    assert "a%20b/leaderboard.html" in links
    leaders = read_reports(tmp_path)[0].leaders
    assert "ALPHA-TWO" in {one.leader for one in leaders}
    said = [text for _, text in page.find("tr")]
    for one in leaders:
        assert said.count(f"{one.table}, {one.column}{one.leader}{one.accuracy}{one.rest}") == 2, said
    assert "Table <7>" in [text for _, text in page.find("a")]
    assert len(page.find("p", class_="lead")) == 2
    with pytest.raises(BenchError, match=r"no folder in .* holds a leaderboard\.html"):
        write_index(tmp_path / "empty")


def _board(folder, slug):
    text = (folder / "out" / "leaderboard.html").read_text()
    return re.search(rf"<table class=\"board[^>]*id=\"{re.escape(slug)}\.board\".*?</table>", text, re.S)[0]


def _rows(folder, slug):
    return re.findall(r"<tr.*?</tr>", _board(folder, slug).partition("</thead>")[2], re.S)


def _method(row):
    """The exact name is in no cell, but in the address: safe letters of it."""
    return re.search(r"id=\"([^\"]*)\"", row)[1].partition("test.")[2].partition(".")[2]


def _first_mean(row):
    shape = min(row.scores)
    return 100 * row.scores[shape].estimate.mean
