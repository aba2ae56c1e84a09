"""Figures: intervals that can be seen, every name, a front that is one, and SVG that a page can take in."""

from __future__ import annotations

import itertools
import re
import xml.etree.ElementTree as ET
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from synthetic_runs import write_run

from bench.leaderboard.loading import load
from bench.leaderboard.rows import Cost
from bench.leaderboard.table import build
from bench.reporting import figures, intervals, learning, pareto
from bench.reporting.curves import learning_curves
from bench.reporting.figures_labels import place, spread, wrapped
from bench.reporting.figures_style import house_style

NASTY = """<b id="x" onload='y'> url(#z) #1b1f27 & "quoted" $x_1$ <!-- -- > 'DejaVu Sans' ]]>"""
SVG = "{http://www.w3.org/2000/svg}"
BACKBONE = {"_target_": "bench.backbones.Conv4", "card": {"title": "Conv4"}}


def of_length(iterations, **more):
    return {"budget": {"name": "b", "meta_iterations": iterations, "validation_tasks": 100}, **more}


@pytest.fixture(scope="module")
def everything(tmp_path_factory):
    """Two tiers, three seeds, a floor, ceilings, a name that is markup, and rows far below."""
    out = tmp_path_factory.mktemp("runs")
    for seed in range(3):
        write_run(out, "alpha", 0.80 + 0.002 * seed, seed, tasks=1000, curve=60, config=of_length(100))
        write_run(out, "scratch", 0.5, seed, group="floor", tasks=1000, config=of_length(100, backbone=BACKBONE))
    write_run(out, "beta", 0.79, tasks=1000, curve=60, config=of_length(100), title=NASTY)
    write_run(out, "gamma", 0.40, tasks=1000, curve=60, config=of_length(100), title="a very long name " * 8)
    write_run(out, "alpha", 0.83, tasks=1000, curve=300, budget="long", config=of_length(500))
    write_run(out, "teacher", 0.97, tasks=1000, group="ceiling", config=of_length(100))
    return out


@pytest.fixture(scope="module")
def table(everything):
    (table,) = build(load(everything)).tables
    return table


@pytest.fixture(scope="module")
def drawn(everything):
    frames = load(everything)
    board = build(frames)
    curves, _ = learning_curves(frames, frames.runs["run"])
    return board, curves, figures.draw(board, curves)


def words(svg):
    """Every line of text of an SVG."""
    return ["".join(one.itertext()) for one in ET.fromstring(svg).iter(f"{SVG}text")]


def styled(draw, *args):
    with house_style():
        return draw(*args)


def test_each_figure_is_png_and_svg_and_has_words_and_the_same_input_gives_the_same_bytes(drawn, everything):
    board, curves, found = drawn
    (slug,) = (table.slug for table in board.tables)
    stems = {f"{slug}.{kind}" for kind in ("intervals", "cost", "curves")}
    assert set(found) == {f"{stem}.{kind}" for stem in stems for kind in ("png", "svg")}
    assert set(figures.captions(board)) == stems
    assert figures.draw(build(load(everything)), curves) == found
    assert set(figures.draw(board, curves, ["svg"])) == {f"{stem}.svg" for stem in stems}


def test_svg_is_xml_that_fetches_nothing_and_keeps_to_itself_in_a_page(drawn):
    _, _, found = drawn
    svgs = [content.decode() for name, content in found.items() if name.endswith(".svg")]
    ids, referred = [], []
    for text in svgs:
        root = ET.fromstring(text)
        for one in root.iter():
            for name, value in one.attrib.items():
                assert not name.startswith("on")
                if name == "id":
                    ids.append(value)
                if name.endswith("href"):
                    assert value.startswith("#")
                    referred.append(value[1:])
                referred += re.findall(r"url\(#([^)]*)\)", value) if one.tag != f"{SVG}text" else []
        urls = set(re.findall(r'https?://[^\s"\'<]+', text))
        assert urls == {"http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"}, "names of XML, never fetched"
        (style,) = [one.text for one in root.iter(f"{SVG}style")]
        selectors = re.findall(r"([^{}]+)\{color", style)
        assert selectors == ["svg:root", "svg:root"], "which matches nothing where the SVG is part of a page"
        assert root.attrib["role"] == "img"
        assert root.attrib["aria-label"]
        assert "<!--" not in text
        assert not any("1b1f27" in one.attrib.get("style", "") for one in root.iter()), "ink is the page's own"
    assert len(ids) == len(set(ids)), "several can stand in one page"
    assert set(referred) == set(ids)


def test_every_name_is_there_whole_and_as_it_was_written(drawn, table):
    _, _, found = drawn
    squeezed = {name: "".join("".join(words(svg)).split()) for name, svg in found.items() if name.endswith(".svg")}
    shown = next(text for name, text in squeezed.items() if ".intervals" in name)
    for line in (line for section in intervals.sections(table.board) for line in section.lines):
        assert "".join(table.board.name(line.row).split()) in shown
    for kind in (".cost", ".curves"):
        assert any(kind in name and "".join(NASTY.split()) in text for name, text in squeezed.items())


def test_intervals_of_the_best_can_be_seen_and_what_is_far_below_has_an_arrow_and_a_number(table, drawn):
    figure = styled(intervals.picture, table)
    for axis, shape in zip(figure.axes, table.manifests):
        low, high = axis.get_xlim()
        points = 72 * axis.get_window_extent().width / figure.dpi / (high - low)
        _, leader = table.board.leader(shape)
        assert 2 * 100 * leader.row.scores[shape].estimate.task_ci95 * points >= 8
        far = table.board.floor.scores[shape].estimate.mean
        assert 100 * far < low
        assert f"{100 * far:.2f}" in [text.get_text() for text in axis.texts]
    (svg,) = (content for name, content in drawn[2].items() if name.endswith("intervals.svg"))
    legend = words(svg)
    assert "95 % over tasks and seeds" in legend
    assert "training from scratch" not in legend, "its line is not on the axis"


def test_one_row_of_wild_seeds_does_not_push_the_others_off(tmp_path):
    for seed, level in enumerate((0.5, 0.9)):
        write_run(tmp_path, "wild", level, seed, shots=(1,))
    for name in ("a", "b", "c"):
        write_run(tmp_path, name, 0.6, shots=(1,))
    (table,) = build(load(tmp_path)).tables
    (axis,) = styled(intervals.picture, table).axes
    low, high = axis.get_xlim()
    means = [100 * score.estimate.mean for row in table.rows for score in row.scores.values()]
    assert sum(low < mean < high for mean in means) == 4


def test_a_figure_has_sixty_rows_at_most_and_says_what_it_leaves_out(tmp_path):
    for i in range(25):
        write_run(tmp_path, f"m{i:02d}", 0.5 + 0.01 * i, shots=(1,), tasks=20)
    (table,) = build(load(tmp_path)).tables
    ((section,), left) = intervals.sections(table.board), 25 - intervals.MOST_OF_A_TIER
    assert [line.row.method for line in section.lines[:2]] == ["m24", "m23"]
    assert len(section.left_out) == left
    (note,) = intervals.notes(table)
    assert f"{left} more rows" in note
    assert note in intervals.caption(table).alt
    for i in range(50):
        config = of_length(i + 1)
        write_run(tmp_path, "other", 0.3, shots=(1,), tasks=20, budget=f"b{i}", config=config, folder=f"other-{i}")
    (table,) = build(load(tmp_path)).tables
    found = intervals.sections(table.board)
    assert sum(len(section.lines) for section in found) == intervals.MOST
    assert all(section.lines for section in found)
    assert "Other lengths of training: 10 more rows; see the table." in intervals.notes(table)


def test_curves_are_a_dozen_by_the_rule_each_named_at_its_end(tmp_path):
    for i in range(15):
        write_run(tmp_path, f"m{i:02d}", 0.4 + 0.035 * i, shots=(1,), tasks=400, curve=40, config=of_length(40))
    write_run(tmp_path, "slow", 0.3, shots=(1,), tasks=400, curve=900, budget="long", config=of_length(900))
    frames = load(tmp_path)
    (table,) = build(frames).tables
    curves, _ = learning_curves(frames, frames.runs["run"])
    rows = [row.method for row in learning.chosen(table, curves)]
    assert rows == ["m14", "slow", *(f"m{i:02d}" for i in range(13, 3, -1))]
    figure = styled(learning.picture, table, curves)
    validation, loss = figure.axes
    assert validation.get_xscale() == "log", "the longest training leaves room for the others"
    ends = {text.get_text(): text.get_position()[1] for text in validation.texts[1:]}
    last = {row.title: curves[row.runs[0]]["validation"][1, -1] for row in table.rows if row.method in rows}
    assert sorted(ends, key=ends.get) == sorted(last, key=last.get)
    assert len(loss.texts) == 12
    assert "(100 tasks): ± " in validation.texts[0].get_text()
    looks = {(line.get_color(), line.get_linestyle()) for line in validation.lines[:12]}
    assert len(looks) == 12
    assert styled(learning.picture, table, {}) is None


def test_the_bar_of_validation_is_the_spread_of_test_tasks_over_as_many(table):
    half, count = learning.uncertainty(table)
    shape = next(iter(table.manifests))
    ranked = {id(line.row): line.row for tier in table.board.tiers for line in tier.ranked}.values()
    sds = [row.scores[shape].values.mean(axis=0).std() for row in ranked]
    assert count == 100
    assert half == pytest.approx(1.96 * np.median(sds) / 10)


def costing(table, **costs):
    """The table, where rows of these methods took so much."""
    unknown = Cost(*[float("nan")] * 4)
    changed = {id(row): replace(row, cost=costs.get(row.method, unknown)) for row in table.rows}
    tiers = [
        replace(tier, lines=tuple(replace(line, row=changed.get(id(line.row), line.row)) for line in tier.lines))
        for tier in table.board.tiers
    ]
    return replace(table, board=replace(table.board, tiers=tuple(tiers)))


def test_the_front_is_what_no_other_beats_at_its_price(tmp_path):
    levels = {"a": (0.5, 10.0), "b": (0.6, 10.0), "c": (0.55, 20.0), "d": (0.7, 40.0), "e": (0.9, 90.0)}
    for name, (level, _) in levels.items():
        write_run(tmp_path, name, level, shots=(1,), tasks=400)
    (table,) = build(load(tmp_path)).tables
    (shape,) = table.manifests
    costs = {name: Cost(1e6 * cost, cost, 0.0, cost) for name, (_, cost) in levels.items()}
    found = pareto.plot(costing(table, **costs), shape)
    assert [row.method for row in found.front] == ["b", "d", "e"]
    assert found.measure.title.startswith("images")
    alt = pareto.caption(costing(table, **costs)).alt
    assert re.findall(r"([A-E]) \d", alt) == ["B", "D", "E"]
    for row, other in itertools.product(found.front, table.rows):
        dearer = costs[other.method].images > costs[row.method].images
        assert dearer or other.scores[shape].estimate.mean <= row.scores[shape].estimate.mean


@pytest.mark.parametrize(
    ("costs", "begins"),
    [
        ((Cost(1e6, 1, 0, 1), Cost(2e6, 1, 0, 1)), "images"),
        ((Cost(1e6, 1, 0, 1), Cost(float("nan"), 1, 0, 1)), "CPU time"),
        ((Cost(1e6, 1, 5, 1), Cost(float("nan"), 1, 5, 1)), "GPU time"),
        ((Cost(1e6, 1, 5, 1), Cost(float("nan"), 1, 0, 1)), "training by the clock"),
        ((Cost(*[float("nan")] * 3, 9), Cost(float("nan"), 1, 0, 1)), "training by the clock"),
    ],
)
def test_cost_is_counted_in_what_is_known_of_every_row(tmp_path, costs, begins):
    for name in ("a", "b"):
        write_run(tmp_path, name, 0.5, shots=(1,))
    (table,) = build(load(tmp_path)).tables
    known = costing(table, **dict(zip("ab", costs)))
    (shape,) = table.manifests
    assert pareto.plot(known, shape).measure.title.startswith(begins)
    (axis,) = styled(pareto.picture, known).axes
    assert axis.get_xlabel().startswith(begins)
    assert styled(pareto.picture, costing(table)) is None


def test_long_names_are_wrapped_and_stay_whole():
    name = "LASIUM-RO-File-ProtoNets, generator.outside_data=False, generator.path=eigen.pt2@5e207c8d"
    lines = wrapped(name, 30).split("\n")
    assert max(map(len, lines)) <= 30
    assert "".join(lines).replace(" ", "") == name.replace(" ", "")


def test_labels_at_the_ends_of_lines_are_where_they_belong_or_beside_it():
    assert spread([5.0, 5.0, 9.0], [1.0, 1.0, 1.0], 0.0, 20.0).tolist() == [4.5, 5.5, 9.0]
    assert spread([19.9, 0.0, 19.8], [1.0, 1.0, 1.0], 0.0, 20.0).tolist() == [19.5, 0.5, 18.5]


@given(st.lists(st.tuples(st.floats(0, 10), st.floats(0.1, 1)), min_size=1, max_size=12))
def test_labels_at_the_ends_of_lines_never_overlap(labels):
    wanted, heights = np.array(labels).T
    room = max(10.0, heights.sum())
    middles = spread(wanted, heights, 0.0, room)
    order = np.argsort(wanted, kind="stable")
    for i, j in itertools.pairwise(order):
        assert middles[j] - middles[i] >= (heights[i] + heights[j]) / 2 - 1e-9
    assert (middles - heights / 2).min() >= -1e-9
    assert (middles + heights / 2).max() <= room + 1e-9


def test_labels_beside_points_cover_nothing():
    rng = np.random.default_rng(0)
    points = [tuple(point) for point in rng.uniform(0, 400, (40, 2))]
    taken = [(x - 5, y - 5, x + 5, y + 5) for x, y in points]
    corners = place(points, [(60.0, 12.0)] * 40, taken, (0.0, 0.0, 400.0, 400.0))
    boxes = [*taken, *((x, y, x + 60, y + 12) for x, y in filter(None, corners))]
    assert len(boxes) > 50
    for (i, a), b in itertools.product(enumerate(boxes[40:], 40), boxes):
        apart = a[0] >= b[2] or b[0] >= a[2] or a[1] >= b[3] or b[1] >= a[3]
        assert apart or boxes[i] is b


def test_a_label_that_must_stand_somewhere_stays_inside_and_covers_little():
    """At the right edge, where only a strip lower than the label is free."""
    taken = [(0.0, 0.0, 400.0, 200.0), (0.0, 208.0, 400.0, 400.0)]
    ((x, y),) = place([(395.0, 204.0)], [(60.0, 12.0)], taken, (0.0, 0.0, 400.0, 400.0), must=1)
    assert (0 <= x <= 340, y) == (True, 198.0)
