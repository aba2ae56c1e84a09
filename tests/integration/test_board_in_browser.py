"""The committed pages in a real browser: what is on screen and on paper, what a click does, and who can read it."""

from __future__ import annotations

import csv
import importlib.util
import io
import re
import shutil
import subprocess
from importlib.resources import files
from pathlib import Path

import pytest

REPORTS = Path(__file__).parents[2] / "reports"
PAGES = sorted(REPORTS.glob("*/leaderboard.html"))
BROWSER = next(
    (found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))), ""
)

pytestmark = [
    pytest.mark.skipif(not BROWSER, reason="no Chromium on this machine"),
    pytest.mark.skipif(importlib.util.find_spec("playwright") is None, reason="playwright is not installed"),
]
SIZES = ((1440, 900), (1024, 768), (390, 844))
ROWS = "tbody.group > tr:not(.about)"


@pytest.fixture(scope="module")
def browser():
    from playwright.sync_api import sync_playwright

    with sync_playwright() as started:
        found = started.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])
        yield found
        found.close()


@pytest.fixture
def show(browser):
    """Opens a page; a request for anything but its file, or an error of its script, fails the test."""
    contexts, asked, errors, own = [], [], [], set()

    def opened(path, fragment="", **options):
        context = browser.new_context(viewport={"width": 1440, "height": 900}, **options)
        contexts.append(context)
        page = context.new_page()
        page.on("request", lambda request: asked.append(request.url))
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("console", lambda said: errors.append(said.text) if said.type == "error" else None)
        own.add(path.as_uri())
        page.goto(path.as_uri() + fragment)
        return page

    yield opened
    for context in contexts:
        context.close()
    assert errors == []
    assert {url.partition("#")[0] for url in asked if not url.startswith(("data:", "blob:"))} <= own


def on_screen(page, locator):
    """Whether the whole of it is in the first screen."""
    box, size = locator.bounding_box(), page.viewport_size
    inside = box is not None and box["x"] >= 0 and box["x"] + box["width"] <= size["width"]
    return inside and box["y"] >= 0 and box["y"] + box["height"] <= size["height"]


def rows(page):
    """Name of each row that is seen."""
    found = page.locator(ROWS).filter(visible=True)
    return [text.strip() for text in found.locator(".who").all_text_contents()]


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.parent.name)
@pytest.mark.parametrize("script", [True, False], ids=["script", "no script"])
def test_who_leads_is_in_the_first_screen(show, path, script):
    page = show(path, java_script_enabled=script)
    for width, height in SIZES:
        page.set_viewport_size({"width": width, "height": height})
        page.evaluate("scrollTo(0, 0)")
        leader, accuracy = page.locator("p.headline").first.locator("strong").all()
        assert on_screen(page, leader)
        assert on_screen(page, accuracy)
        assert page.evaluate("document.documentElement.scrollWidth") <= width, "the page scrolls sideways"
        best = page.locator("tr.ranked td:has(> b)").first
        assert best.inner_text().split("\n")[0].replace("±", " ± ").split()[0] in accuracy.inner_text()
        assert page.locator("tr.ranked .who").first.inner_text() == leader.inner_text()
        assert page.locator(".tools").is_visible() is script
        page.evaluate("document.querySelector('.scroll').scrollIntoView()")
        assert on_screen(page, page.locator("tr.ranked th.name").first)
        assert on_screen(page, best), "name and accuracy fit side by side"


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.parent.name)
def test_every_accuracy_is_on_paper(show, path, tmp_path):
    if shutil.which("pdftotext") is None:
        pytest.skip("no pdftotext on this machine")
    page = show(path)
    page.pdf(path=tmp_path / "page.pdf", prefer_css_page_size=True)
    subprocess.run(["pdftotext", "-layout", tmp_path / "page.pdf", tmp_path / "page.txt"], check=True)
    text = (tmp_path / "page.txt").read_text()
    cells = page.locator(f"{ROWS} > td:has(> em)").all_text_contents()
    numbers = {cell.strip().partition("±")[0].strip() for cell in cells}
    assert len(cells) >= page.locator("tr.ranked").count() > 1
    assert {number for number in numbers if number not in text} == set()


@pytest.mark.parametrize("look", ["light", "dark"])
def test_nothing_serious_keeps_anybody_from_reading(show, look):
    pytest.importorskip("axe_playwright_python", reason="axe-playwright-python is not installed")
    axe = files("axe_playwright_python").joinpath("axe.min.js").read_text(encoding="utf-8")
    for path in [
        PAGES[0] if look == "dark" else REPORTS / "omniglot/leaderboard.html",
        REPORTS / "omniglot/table7.html",
    ]:
        page = show(path, color_scheme=look)
        page.evaluate("document.querySelectorAll('details').forEach(one => { one.open = !one.matches('.pop'); })")
        page.evaluate("document.querySelectorAll('input.fold, input.open').forEach(one => { one.checked = true; })")
        page.evaluate(axe)
        found = page.evaluate("axe.run(document, { resultTypes: ['violations'] })")["violations"]
        told = [
            (one["id"], [node["target"] for node in one["nodes"]][:3])
            for one in found
            if one["impact"] in ("serious", "critical")
        ]
        assert told == [], path


@pytest.fixture
def board(show):
    return show(REPORTS / "omniglot/leaderboard.html")


def test_a_click_on_a_heading_sorts_each_section(board):
    table = board.locator("table.board").first
    heads = table.locator("thead th")
    place = [head.get_attribute("data-c") for head in heads.all()].index("accuracy.5w5s")
    unsorted = rows(board)
    for key, wanted in (("click", "descending"), ("keyboard", "ascending")):
        button = heads.nth(place).locator("button")
        button.click() if key == "click" else button.press("Enter")
        assert heads.nth(place).get_attribute("aria-sort") == wanted
        for tier in ("1000", "5000"):
            found = table.locator(f"tbody.group[data-tier='{tier}']").evaluate_all(
                "(all, place) => all.map(one => parseFloat(one.rows[0].cells[place].textContent))", place
            )
            answered = [one for one in found if one == one]
            assert len(answered) > 5
            assert answered == sorted(answered, reverse=wanted == "descending")
            assert found[: len(answered)] == answered, "rows without a number come last"
    heads.nth(place).locator("button").click()
    assert rows(board) == unsorted, "a third time restores the ranking"


def test_filters_show_what_they_say(board, show):
    every = rows(board)
    board.fill("#q", "umtra")
    assert {name for name in rows(board) if "UMTRA" not in name} <= {"Training from scratch"}
    assert sum("UMTRA" in name for name in rows(board)) == sum("UMTRA" in name for name in every) == 2
    board.click("#reset")
    assert rows(board) == every
    board.locator(".pop summary").first.click()
    board.select_option("#filter-encoder", "BiGAN")
    ranked = [name for name in rows(board) if name != "Training from scratch"]
    assert ranked
    assert all("BiGAN" in name for name in ranked)
    board.select_option("#filter-side", "none")
    shown = board.locator(f"{ROWS}:not(.floor)").filter(visible=True)
    assert {one.get_attribute("data-side") for one in shown.all()} == {None}
    again = show(REPORTS / "omniglot/leaderboard.html", fragment=board.url[board.url.index("#") :])
    assert rows(again) == rows(board), "the address holds the view"
    assert again.input_value("#filter-encoder") == "BiGAN"


def with_folded(page):
    """The first row that has others folded below it, and how many."""
    first = page.locator("tbody.group:has(input.fold)").first
    count = first.locator("tr.variant").count()
    assert count > 0
    return first, count


def test_what_is_folded_unfolds_and_its_address_shows_it(board, show):
    first, count = with_folded(board)
    assert first.locator("tr.variant").filter(visible=True).count() == 0
    first.locator("input.fold").check()
    assert first.locator("tr.variant").filter(visible=True).count() == count
    address = board.url[board.url.index("#") :]
    board.click("#unfold")
    assert len(rows(board)) == board.locator(ROWS).count()
    variant = first.locator("tr.variant").first.get_attribute("id")
    for fragment, script in ((address, True), (f"#{variant}", True), (f"#{variant}", False)):
        page = show(REPORTS / "omniglot/leaderboard.html", fragment=fragment, java_script_enabled=script)
        assert page.locator(f"[id='{variant}']").is_visible(), (fragment, script)


def test_without_a_script_rows_unfold_and_open(show):
    page = show(REPORTS / "omniglot/leaderboard.html", java_script_enabled=False)
    first, count = with_folded(page)
    first.locator("input.fold").check()
    assert first.locator("tr.variant").filter(visible=True).count() == count
    first.locator("input.open").first.check()
    assert "bench run --dataset omniglot" in first.locator("tr.about").first.inner_text()


def test_columns_and_csv_are_what_is_shown(board):
    board.fill("#q", "acai")
    board.locator(".pop summary").nth(1).click()
    board.locator("#columns input[name='memory']").check()
    board.locator("#columns input[name='gain']").uncheck()
    board.keyboard.press("Escape")
    titles = board.locator("table.board").first.locator("thead th").filter(visible=True).all_inner_texts()
    assert any("memory" in title for title in titles)
    assert not any("gain" in title for title in titles)
    widths = (
        board.locator("table.board")
        .first.locator("tbody.head th, tr.about > td")
        .evaluate_all("all => all.map(one => one.colSpan)")
    )
    assert set(widths) == {len(titles)}
    with board.expect_download() as download:
        board.click("#csv")
    text = Path(download.value.path()).read_text(encoding="utf-8")
    lines = list(csv.DictReader(io.StringIO(text.split("\n\n")[0])))
    assert [line["method"] for line in lines] == rows(board)
    assert {"memory", "1-shot accuracy %", "1-shot accuracy %, note", "5-shot gap"} <= set(lines[0])
    assert not any("gain" in name for name in lines[0])
    best = lines[0]
    assert best["section"] == "5,000 meta-iterations"
    assert re.fullmatch(r"\d\d\.\d\d", best["1-shot accuracy %"])
    assert best["1-shot accuracy %, note"].startswith("± ")
    assert float(best["1-shot gap"]) < 0


def test_curves_and_tasks_are_drawn(board):
    board.locator("details.curves summary").first.click()
    drawn = board.locator("details.curves .draw svg").first
    assert drawn.locator("polyline").count() == 4
    board.locator("details.curves .choice input:checked").first.uncheck()
    assert drawn.locator("polyline").count() == 3
    board.locator("details.tasks summary").first.click()
    told = board.locator("details.tasks .draw p").first.inner_text()
    better, tasks, worse, equal = map(
        int, re.match(r"A is better on (\d+) of (\d+) tasks, B on (\d+), equal on (\d+)", told).groups()
    )
    assert better + worse + equal == tasks == 1000
    gap = board.locator("tr.ranked").nth(1).locator("td").nth(2).inner_text()
    assert told.partition("A − B is +")[2].startswith(gap.lstrip("−")[:4]), "the same difference as in the table"
