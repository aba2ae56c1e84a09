"""The section "Synthetic tasks of the methods" in every format that has it, and reports without it."""

import dataclasses
import io
import re

import matplotlib.image as plt
import numpy as np
import pandas as pd
import pytest
import torch
from rich.console import Console
from scipy.stats import binomtest
from synthetic_runs import write_run
from test_reports import NASTY, Page

from bench.contracts import Tasks
from bench.looking.inspection.example import write_example
from bench.looking.inspection.records import (
    Clusters,
    Collisions,
    Frechet,
    Inspection,
    Ruler,
    Space,
    inspection_files,
    read_inspections,
    write_inspection,
)
from bench.reporting import task_figures
from bench.reporting.inspections import HEADING, sections
from bench.reporting.report import write_report
from bench.reporting.terminal import inspection_table

RULER = Ruler("e" * 64, "ProtoNets", "conv4-strided", 256, 20, 1, 1, 300, 0)
FOUND = Inspection(
    key="a" * 64,
    method="alpha-one",
    title="ALPHA-ONE",
    dataset="omniglot",
    dataset_hash="d" * 64,
    budget="quick",
    seed=0,
    tasks=1000,
    way=5,
    shot=1,
    query=5,
    collisions=Collisions(certain=8, possible=8, ambiguous=0, chance=0.0079),
    no_collisions=None,
    pixels=Space(0.5, 0.01, 0.6, 0.8),
    embedding=Space(0.7, 0.01, 0.9, 0.75),
    frechet=Frechet(10000, 0.25, None, 0.001234),
    ruler=RULER,
)


def write(out, *inspections):
    for one in inspections:
        write_inspection(out / one.dataset / re.sub(r"\W", "_", one.method) / f"{one.seed}-{one.key[:8]}", one)


def keep_task(out):
    """A task beside every inspection below ``out``."""
    for number, path in enumerate(inspection_files(out)):
        rng = torch.Generator().manual_seed(number)
        images = torch.rand(1, 5, 6, 1, 28, 28, generator=rng)
        write_example(path.parent, Tasks(images[:, :, :1], images[:, :, 1:]))


@pytest.fixture
def runs(tmp_path):
    write_run(tmp_path / "runs", "alpha-one")
    other = dataclasses.replace(FOUND, seed=1, pixels=Space(0.54, 0.01, 0.6, 0.9))
    unclear = dataclasses.replace(
        FOUND, method="beta", title=NASTY, collisions=Collisions(certain=2, possible=3, ambiguous=4, chance=0.0079)
    )
    made = dataclasses.replace(
        FOUND,
        method="gamma",
        title="GAMMA",
        collisions=None,
        no_collisions="no class begins with a real image",
        frechet=Frechet(10000, 0.25, 0.5, 0.001234),
        embedding=Space(0.7, 0.01, 0.9, None),
    )
    write(tmp_path / "runs", FOUND, other, unclear, made)
    return tmp_path / "runs"


def test_a_row_a_method_with_seeds_pooled(runs):
    inspections, problems = read_inspections(runs)
    assert problems == []
    (section,) = sections(inspections)
    real, alpha, _, gamma = section.rows
    assert real[2:] == ("0.00", "60.00", "90.00", "1.00", "1.00", "0.00123", "–")
    low, high = (100 * end for end in binomtest(16, 2000).proportion_ci(method="wilson"))
    assert alpha[:3] == ("ALPHA-ONE", "0, 1", f"0.80 ({low:.2f} to {high:.2f})")
    assert alpha[3] == f"52.00 ± {100 * pd.Series([0.5, 0.54]).std():.2f}"
    assert alpha[4:] == ("70.00 ± 0.00", "0.85 ± 0.07", "0.75 ± 0.00", "0.25 ± 0", "–")
    assert gamma[2:] == ("–", "50.00", "70.00", "0.80", "–", "0.25", "0.5")
    told = " ".join(section.lines)
    for fact in (
        "collide in 0.79 % of tasks",
        "4 of the classes began with an image that is in several true classes",
        "No share of collisions (no class begins with a real image): GAMMA.",
        "between 10000 real images",
        "ProtoNets on conv4-strided (256 dimensions), trained by the harness with the labels",
        "for 300 meta-iterations",
    ):
        assert fact in told
    assert "0.20–0.30" in section.rows[2][2]


def test_clusters_have_columns_where_a_method_has_them():
    clusters = Clusters(100, 480.0, 1.0, 0.5, 0.1, 0.75, 0.25)
    made = dataclasses.replace(FOUND, method="delta", title="DELTA", clusters=clusters)
    again = dataclasses.replace(made, seed=1, clusters=dataclasses.replace(clusters, purity=0.6))
    (section,) = sections([FOUND, made, again])
    assert section.columns[-2:] == ("cluster purity % (chance)", "cluster NMI (chance)")
    assert [row[-2:] for row in section.rows] == [
        ("100.00", "1.00"),
        ("–", "–"),
        ("55.00 ± 7.07 (10.00)", "0.750 ± 0.000 (0.250)"),
    ]
    assert {len(row) for row in section.rows} == {len(section.columns)}
    told = " ".join(section.lines)
    assert "DELTA: 100 clusterings of 480 clusters with 100.00 % of the images." in told
    (plain,) = sections([FOUND])
    assert not any("purity" in text for text in (*plain.columns, *plain.lines))


def test_what_does_not_compare_stands_in_tables_of_its_own():
    others = (
        dataclasses.replace(FOUND, dataset_hash="f" * 64),
        dataclasses.replace(FOUND, query=15),
        dataclasses.replace(FOUND, tasks=100),
        dataclasses.replace(FOUND, ruler=dataclasses.replace(RULER, key="0" * 64, iterations=1000)),
    )
    assert [len(one.rows) for one in sections([FOUND, *others])] == [2] * 5
    budgets = sections([FOUND, dataclasses.replace(FOUND, budget="long")])
    assert [row[0] for row in budgets[0].rows[1:]] == ["ALPHA-ONE (long)", "ALPHA-ONE (quick)"]
    assert sections([]) == ()


def test_the_report_shows_it_in_every_format(runs, tmp_path):
    write_report(runs, tmp_path / "reports", ["md", "html", "csv"])
    page = Page((tmp_path / "reports" / "leaderboard.html").read_text())
    assert HEADING in page.texts
    assert NASTY in page.texts
    text = (tmp_path / "reports" / "leaderboard.md").read_text()
    lines = text[text.index(f"## {HEADING}") : text.index("## Runs that are in no table")].splitlines()
    rows = [line for line in lines if line.startswith("|")]
    assert len(rows) == 2 + 4
    assert {len(re.findall(r"(?<!\\)\|", row)) for row in rows} == {10}
    assert sum(line.startswith("- ") for line in lines) >= 6
    assert "<script>" not in text
    frame = pd.read_csv(tmp_path / "reports" / "inspections.csv")
    assert list(frame["method"]) == ["alpha-one", "alpha-one", "beta", "gamma"]
    assert list(frame["pixels_nearest"]) == [0.5, 0.54, 0.5, 0.5]
    assert list(frame["collisions_certain"].fillna(-1)) == [8, 8, 2, -1]


def test_without_inspections_a_report_says_nothing_of_them(tmp_path):
    write_run(tmp_path / "runs", "alpha-one")
    write_report(tmp_path / "runs", tmp_path / "reports", ["md", "html", "csv"])
    for path in (tmp_path / "reports").iterdir():
        assert HEADING not in path.read_text()
    assert not (tmp_path / "reports" / "inspections.csv").exists()


def test_a_damaged_inspection_is_told_and_hides_nothing(runs, tmp_path):
    path = next(runs.glob("*/beta/*/inspect.json"))
    path.write_text(path.read_text()[:50])
    write_report(runs, tmp_path / "reports", ["md"])
    text = (tmp_path / "reports" / "leaderboard.md").read_text()
    assert "inspect.json is damaged" in text.replace("\\", "")
    assert "1 damaged file" in text
    assert "GAMMA" in text


def test_a_picture_shows_a_task_of_each_method(runs, tmp_path):
    write_report(runs, tmp_path / "without", ["md", "html", "png"])
    assert not (tmp_path / "without/figures/synthetic-tasks.png").exists()
    keep_task(runs)
    (section,) = sections(read_inspections(runs)[0])
    examples, problems = task_figures.load(runs)
    assert (len(examples), problems) == (1, []), "four inspections, all of one key"
    (picture,) = task_figures.draw([section], examples).values()
    assert picture == task_figures.draw([section], task_figures.load(runs)[0])["synthetic-tasks.png"], (
        "the same input, the same bytes"
    )
    write_report(runs, tmp_path / "with", ["md", "html", "png"])
    assert (tmp_path / "with/figures/synthetic-tasks.png").read_bytes() == picture
    assert "](figures/synthetic-tasks.png)" in (tmp_path / "with/leaderboard.md").read_text()
    page, before = ((tmp_path / name / "leaderboard.html").read_text() for name in ("with", "without"))
    assert page.count("<img") == before.count("<img") + 1


def test_every_panel_has_the_images_of_its_method():
    """Each method's first pixels, read back from the picture: panels are not mixed up."""
    shades = {"a" * 64: 40, "b" * 64: 90, "c" * 64: 160, "d" * 64: 220}
    found = [
        dataclasses.replace(FOUND, key=key, method=key[0], title=key[0].upper(), query=1 + number)
        for number, key in enumerate(shades)
    ]
    (section,) = sections([dataclasses.replace(one, query=5) for one in found])
    examples = {key: np.full((5, 6, 1, 28, 28), shade, np.uint8) for key, shade in shades.items()}
    pixels = plt.imread(io.BytesIO(task_figures.draw([section], examples)["synthetic-tasks.png"]))[..., :3]
    grey = np.round(255 * pixels[(np.ptp(pixels, axis=2) < 0.01)][:, 0]).astype(int)
    counts = {shade: (grey == shade).sum() for shade in shades.values()}
    assert min(counts.values()) > 0.9 * max(counts.values()) > 10_000
    middles = [np.argwhere((np.abs(255 * pixels[..., 0] - shade) < 1).astype(bool)).mean(0) for shade in counts]
    (first, second, third, fourth) = middles
    assert first[1] < second[1] < third[1], "from left to right"
    assert fourth[0] > first[0] + 100
    assert abs(fourth[1] - first[1]) < 5, "and then the next line"


def test_a_damaged_task_is_told_and_hides_nothing(runs, tmp_path):
    keep_task(runs)
    path = next(runs.glob("*/beta/*/synthetic.npy"))
    path.write_bytes(b"no array")
    write_report(runs, tmp_path / "reports", ["md", "png"])
    text = (tmp_path / "reports" / "leaderboard.md").read_text()
    assert "synthetic.npy is damaged" in text.replace("\\", "")
    assert "GAMMA" in text


def test_terminal(runs):
    console = Console(file=io.StringIO(), width=250)
    for section in sections(read_inspections(runs)[0]):
        console.print(inspection_table(section))
    shown = console.file.getvalue()
    assert HEADING in shown
    assert "[red]c[/red]" in shown
