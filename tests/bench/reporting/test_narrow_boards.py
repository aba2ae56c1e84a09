"""The board where there is little room: which columns go, what is said beside them, in Markdown and on a terminal."""

from __future__ import annotations

import itertools
import re
import subprocess
import sys
from pathlib import Path

import pytest
from synthetic_runs import of_omniglot, write_run
from test_reports import shown

from bench.leaderboard.loading import load
from bench.leaderboard.table import build
from bench.reporting.grid import folded, grid
from bench.reporting.layout import key, notes
from bench.reporting.markdown import AROUND, LETTERS, markdown
from bench.reporting.terminal import to_terminal

REPORTS = Path(__file__).parents[3] / "reports"
OMNIGLOT = REPORTS / "omniglot" / "records"
needs_omniglot = pytest.mark.skipif(not OMNIGLOT.is_dir(), reason="the records of the Omniglot report are not here")


@pytest.fixture(scope="module")
def omniglot():
    return build(load(OMNIGLOT))


@pytest.fixture
def swept(tmp_path):
    """A method with one changed setting that is better, a second method, and training from scratch."""

    def config(method, **own):
        uses = {"backbone": {"_target_": "b", "title": "Conv4"}, "learner": {"_target_": "l", "title": "MAML"}}
        return of_omniglot(budget={"name": "quick", "meta_iterations": 1000}, method={"alpha": 0.2, **own}, **uses)

    for seed in (0, 1):
        write_run(tmp_path, "lasium-ro-vae-maml", 0.60, seed, config=config("a"), title="LASIUM")
        write_run(tmp_path, "umtra-maml", 0.50, seed, config=config("a"), title="UMTRA", side=("transduction",))
        write_run(tmp_path, "scratch", 0.55, seed, config=config("a"), group="floor", title="Training from scratch")
    better, name = config("a", alpha=0.4), "lasium-ro-vae-maml,alpha=0.4"
    write_run(tmp_path, name, 0.70, 0, config=better, title="LASIUM, alpha=0.4")
    return tmp_path


def test_columns_go_one_after_the_other(swept):
    (table,) = build(load(swept)).tables
    whole = grid(table)
    widths = range(300, 0, -1)
    kept = [[(c.key, c.shape) for c in whole.within(width, 3).columns] for width in widths]
    gone = []
    for wider, narrower in itertools.pairwise(kept):
        gone += [one for one in wider if one not in narrower]
        assert set(narrower) <= set(wider)
    first, second = (5, 1), (5, 5)
    assert [one for one in gone if one[0] != "cost"] == [
        *(("gain", second), ("gap", second), ("side", None), ("seeds", None), ("gain", first), ("gap", first))
    ]
    assert kept[-1] == [("rank", None), ("method", None), ("accuracy", first), ("accuracy", second)]


def test_what_is_below_scratch_or_tied_is_marked_where_no_difference_has_room(swept):
    (table,) = build(load(swept)).tables
    narrow = grid(table).within(0, 3)
    rows = {row.cells[1].text: row.cells[2] for section in narrow.sections for row in section.rows}
    assert list(rows) == ["LASIUM", "Training from scratch", "UMTRA"], "scratch is a line of the list"
    assert rows["UMTRA"].text.endswith(" ↓")
    assert rows["LASIUM"].strong
    assert [row.strong for row in rows.values()].count(True) == 1
    said = key(table, narrow.hidden())
    assert "↓ significantly worse than training from scratch" in said
    assert not any(one.startswith(("gap", "gain", "†")) for one in said)


def test_a_folded_setting_that_is_better_is_told_with_both_numbers(swept):
    (table,) = build(load(swept)).tables
    rows = {row.method: row.scores[5, 1].estimate.mean for row in table.rows}
    ours, other = (f"{100 * rows[f'lasium-ro-vae-maml{more}']:.2f}" for more in ("", ",alpha=0.4"))
    (said,) = [note for note in notes(table) if "above the row" in note]
    assert f"LASIUM: alpha=0.4 {other} over {ours} (1-shot)" in said
    titles, (block,) = folded(table)
    assert titles[:3] == ["what differs", "1-shot accuracy %", "1-shot difference"]
    ((differs, accuracy, difference, *_),) = block.rows
    assert (differs, accuracy.split(" ")[0]) == ("alpha=0.4", other)
    assert difference == f"{float(other) - float(ours):+.2f} °" or abs(float(difference[:-2]) - 10) < 5
    assert "The highest of 2 rows" not in " ".join(notes(table)), "of two nobody was chosen"
    text = markdown(build(load(swept)), {})
    assert text.index("<details>") < text.index("| alpha=0.4 |") < text.index("</details>")


@needs_omniglot
def test_the_board_of_omniglot_answers_what_its_readers_ask(omniglot):
    text = markdown(omniglot, {})
    top = text.split("\n## ")[0]
    assert "- 1-shot: **LASIUM-OC-VAE-ProtoNets** leads without labels at **91.24 ± 0.86 %**" in top
    assert "Not separable from it: LASIUM-RO-GAN-MAML (−1.11); LASIUM-N-VAE-MAML (−1.14); LASIUM-RO-VAE-MAML" in top
    rows = {line.split(" | ")[1]: line for line in text.splitlines() if re.match(r"\| \d+ \| ", line)}
    assert not [name for name, line in rows.items() if "↓" in line], "BiGAN's rows are lower, but not for sure"
    assert all(float(line.split(" | ")[2].split(" ")[0]) < 54 for name, line in rows.items() if "BiGAN" in name)
    assert "UMTRA-MAML 5,000 meta-iterations, 1-shot +5.06 over 1,000 (p " in text
    assert "LASIUM-RO-GAN-MAML 5,000 meta-iterations, 1-shot +" not in text, "its GAN was trained longer too"
    board = text.split("\n## ")[1].split("<details>")[0]
    assert board.count("| Linear classifier, ACAI |") == 1, (
        "it has no meta-training, and is printed in the first section"
    )
    assert board.count("| *Training from scratch* |") == 2
    assert "one of the two was trained once" in text
    assert "The highest of 35 rows, 83 with those folded below, was found on the tasks that judge it" in text


@pytest.mark.parametrize("report", sorted(path.parent.name for path in REPORTS.glob("*/records")))
def test_markdown_is_no_wider_than_the_column_of_github(report):
    for table in build(load(REPORTS / report / "records")).tables:
        found = grid(table).within(LETTERS, AROUND)
        numbers = [column for column in range(len(found.columns)) if column != found.name_at]
        widths = sum(max(map(len, found.cells(i))) + AROUND for i in numbers)
        words = max(len(word) for name in found.cells(found.name_at) for word in name.split())
        assert widths + words + AROUND <= LETTERS
        assert [column.key for column in found.columns[:3]] == ["rank", "method", "accuracy"]


@needs_omniglot
@pytest.mark.parametrize("width", [80, 120, 200])
def test_a_terminal_has_the_columns_that_its_width_has_room_for(omniglot, width):
    text = shown(to_terminal(omniglot, 5), width)
    lines = text.splitlines()
    assert max(map(len, lines)) <= width
    (leader,) = [line for line in lines if re.match(r"│ 1 +│ LASIUM-OC-VAE-ProtoNets ", line)]
    assert "91.24 ± 0.86" in leader
    assert leader.count("│") - 1 == {80: 5, 120: 9, 200: 12}[width]
    ranked = [line for line in lines if re.match(r"│ \d+ +│", line)]
    assert len(ranked) <= 5 * sum(len(table.board.tiers) for table in omniglot.tables), (
        "five rows of a tier, not seventy"
    )
    assert text.index("1-shot: LASIUM-OC-VAE-ProtoNets leads") < text.index("│ 1 ")
    assert re.search(r"°\s+one of the two was", text)
    assert ("† by the clock" in text) == (" †" in text.replace("† by the clock", "")), (
        "a mark is explained where it is shown"
    )


def test_the_command_prints_who_leads_before_what_it_wrote(swept):
    line = [sys.executable, "-m", "bench", "report", "--runs", str(swept), "--out", "reports", "--format", "md,csv"]
    found = subprocess.run(line, cwd=swept, capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stderr
    assert found.stdout.startswith("1-shot: LASIUM leads without labels at ")
    assert found.stdout.splitlines()[-1].startswith(
        "reports: leaderboard.md leaderboard.csv runs.csv published.csv table1-omniglot.md "
    )
