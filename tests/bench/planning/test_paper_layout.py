"""Experiments in the layout of a paper: every cell is planned, under the right name, beside the printed number."""

import csv
from pathlib import Path

import pytest

from bench.basics.errors import BenchError
from bench.leaderboard.published import printed, published
from bench.planning import catalogue
from bench.planning import paper_layout as paper_layouts
from bench.planning.components import build
from bench.planning.paper_layout import paper_layout
from bench.planning.plan import Request, run_configs
from bench.planning.values import same, setting

TABLE_7 = {
    "N, σ² = 0.5": ("n", {"noise_std": 0.5}, "77.16±0.65 70.41±0.71 62.16±0.79 61.57±0.80"),
    "N, σ² = 1.0": ("n", {"noise_std": 1.0}, "71.10±0.70 68.26±0.71 60.95±0.78 62.17±0.80"),
    "N, σ² = 2.0": ("n", {"noise_std": 2.0}, "63.18±0.71 65.18±0.71 59.81±0.78 64.88±0.78"),
    "RO, α = 0.2": ("ro", {"alpha": 0.2}, "77.62±0.64 75.02±0.66 62.24±0.79 62.17±0.80"),
    "RO, α = 0.4": ("ro", {"alpha": 0.4}, "75.79±0.65 71.31±0.70 64.19±0.76 62.20±0.80"),
    "OC, α = 0.2": ("oc", {"alpha": 0.2}, "74.70±0.68 74.98±0.67 61.79±0.79 62.16±0.78"),
    "OC, α = 0.4": ("oc", {"alpha": 0.4}, "73.40±0.68 68.79±0.73 64.59±0.76 63.08±0.79"),
}
COLUMNS = ("gan-maml", "vae-maml", "gan-protonet", "vae-protonet")

TABLE_9 = {
    0: "77.27±0.62 0",
    0.1: "77.34±0.62 0",
    1: "77.21±0.62 0",
    10: "77.54±0.62 0",
    100: "77.08±0.63 0",
    125: "79.51±0.61 0",
    187.5: "78.87±0.60 395",
    218.75: "77.95±0.62 6012",
    234.375: "77.15±0.63 27432",
    242.1875: "77.15±0.64 61118",
    250: "78.49±0.61 155499",
    253.15625: "78.48±0.62 238714",
    256.3125: "78.05±0.62 378742",
    265.625: "78.56±0.61 1472860",
    281.25: "77.73±0.63 25936957",
    **dict.fromkeys((312.5, 375, 500, 1000), "All"),
}

FIGURE_5 = dict(
    zip(
        (0, 10, 20, 30, 40, 50, 100, 150, 200, 300, 400, 500),
        (51.95, 67.50, 71.26, 77.34, 77.67, 77.35, 78.14, 79.99, 78.21, 77.94, 80.51, 76.49),
    )
)

TABLE_1 = [
    "Training from scratch 51.64±0.65 71.44±0.53",
    "k-nearest neighbours 57.46±1.35 81.16±0.57",
    "Linear classifier 61.08±1.32 81.82±0.58",
    "MLP with dropout 51.95±0.82 77.20±0.65",
    "Cluster matching 54.94±0.85 71.09±0.77",
    "k-nearest neighbours 49.55±1.27 68.06±0.71",
    "Linear classifier 48.28±1.25 68.72±0.66",
    "MLP with dropout 40.54±0.79 62.56±0.79",
    "Cluster matching 43.96±0.80 58.62±0.78",
    "CACTUs-MAML with BiGAN 58.18±0.81 78.66±0.65",
    "CACTUs-MAML with ACAI 68.84±0.80 87.78±0.50",
    "UMTRA-MAML 81.91±0.58 94.58±0.25",
    "LASIUM-RO-GAN-MAML 83.26±0.55 95.29±0.22",
    "LASIUM-N-VAE-MAML 76.11±0.64 94.42±0.26",
    "CACTUs-ProtoNets with BiGAN 54.74±0.82 71.69±0.73",
    "CACTUs-ProtoNets with ACAI 68.12±0.84 83.58±0.61",
    "LASIUM-RO-GAN-ProtoNets 80.15±0.64 91.10±0.35",
    "LASIUM-OC-VAE-ProtoNets 73.22±0.73 85.05±0.46",
    "Transfer learning (VGG-19) 54.49±0.90 89.57±0.44",
    "Supervised MAML 94.46±0.35 98.83±0.12",
    "Supervised ProtoNets 98.35±0.22 99.58±0.09",
]


def number(cell):
    """``77.16±0.65``, or None."""
    found, _ = printed(cell.published, cell.shot)
    return found and f"{100 * found.accuracy:.2f}±{100 * found.ci95:.2f}"


@pytest.fixture(scope="module")
def plans():
    return {name: run_configs(Request(experiment=name)) for name in ("table7", "table9", "figure5")}


def planned(configs, cell):
    """The configurations that fit a cell."""
    standards = paper_layouts.standards(paper_layouts.paper_layouts())
    return [one for one in configs if cell.fits(one.method_name, one.values, standards)]


def test_table_7_has_28_cells_each_its_own_run_beside_its_own_number(plans):
    rows = paper_layout("table7").cells()
    assert [row[0].row.title for row in rows] == list(TABLE_7)
    seen = []
    for row, (strategy, settings, numbers) in zip(rows, TABLE_7.values()):
        assert [number(cell) for cell in row] == numbers.split()
        for cell, column in zip(row, COLUMNS):
            (one,) = planned(plans["table7"], cell)
            assert one.variant.name == f"lasium-{strategy}-{column}"
            assert {key: one.values["method"][key] for key in settings} == settings
            assert one.values["method"]["eps_sq"] == 0
            assert one.values["budget"]["meta_iterations"] == 1000
            assert one.values["budget"]["generator_epochs"] == (500 if "gan" in column else 1000)
            assert (one.values["way"], one.values["shots"], one.values["query"]) == (5, [1], 15)
            seen.append(one.method_name)
    assert len(set(seen)) == len(plans["table7"]) == 28


def test_table_9_has_every_epsilon_of_the_paper(plans):
    rows = paper_layout("table9").cells()
    assert len(rows) == len(plans["table9"]) == 19
    for (cell,), (eps, numbers) in zip(rows, TABLE_9.items()):
        (one,) = planned(plans["table9"], cell)
        assert one.variant.name == "lasium-n-gan-maml"
        assert one.values["method"]["eps_sq"] == eps
        assert one.values["method"]["noise_std"] == 0.5
        assert one.values["budget"]["meta_iterations"] == 1000
        _, facts = printed(cell.published, 1)
        assert f"{number(cell) or ''} {facts['resamplings']}".strip() == numbers
    # One row of Table 9, of Table 7 and of Figure 5 is the same run: it is trained once.
    shared = [{one.method_name + one.budget_name for one in configs} for configs in plans.values()]
    assert set.intersection(*shared) == {"lasium-n-gan-mamlpaper,meta_iterations=1000"}


def test_figure_5_is_one_training_with_snapshots_and_scratch(plans):
    *points, baseline = paper_layout("figure5").cells()
    assert {cell.row.value: float(number(cell)[:5]) for (cell,) in points} == FIGURE_5
    for (cell,), epochs in zip(points, FIGURE_5):
        (one,) = planned(plans["figure5"], cell)
        assert one.values["budget"]["generator_epochs"] == epochs
        assert one.values["budget"]["generator_snapshots"] == list(FIGURE_5)
        assert one.values["budget"]["meta_iterations"] == 1000
    (scratch,) = planned(plans["figure5"], baseline[0])
    assert scratch.method_name == "scratch"
    assert baseline[0].row.baseline
    assert number(baseline[0]) == "51.64±0.65"


def test_table_1_has_the_papers_rows_in_its_order():
    rows = paper_layout("table1-omniglot").cells()
    told = [f"{row[0].row.title} {number(row[0])} {number(row[1])}" for row in rows]
    assert told == TABLE_1
    assert [cell.shot for cell in rows[0]] == [1, 5]
    names = [variant.name for row in rows for variant in row[0].variants()]
    assert len(names) == len(set(names)), "a method stands in one row"
    runs = {one.variant.name for one in run_configs(Request(experiment="table1-omniglot"))}
    missing = [row[0].row.title for row in rows if not runs & {one.name for one in row[0].variants()}]
    assert missing == ["Transfer learning (VGG-19)"], "which needs weights of the user's own"


def test_every_planned_row_of_table_1_stands_beside_its_published_number_in_any_report():
    found = {}
    for one in run_configs(Request(experiment="table1-omniglot")):
        beside = [published("omniglot", one.method_name, one.values, way=5, shot=shot, query=15) for shot in (1, 5)]
        found[one.method_name] = [
            [f"{100 * it.accuracy:.2f}" for it in cell if it.table == "Table 1"] for cell in beside
        ]
    assert found["embedding-cluster-bigan"] == [["43.96"], ["58.62"]]
    assert found["cactus-acai-protonet"] == [["68.12"], ["83.58"]]
    assert {name for name, cells in found.items() if not all(cells)} <= {"chance", "pixels"}


@pytest.mark.parametrize("name", sorted(n for n in catalogue.options("experiment") if paper_layout(n) is not None))
def test_a_cell_and_the_list_of_matches_name_the_same_printed_number(name, plans):
    """Two descriptions of which number belongs to which run; here they are held against each other."""
    found = paper_layout(name)
    for cell in (cell for row in found.cells() for cell in row):
        for one in planned(plans.get(name, ()), cell):
            shape = {"way": 5, "shot": cell.shot, "query": 15}
            beside = published("omniglot", one.method_name, one.values, **shape)
            ours, _ = printed(cell.published, cell.shot)
            same_table = [other for other in beside if ours is not None and other.table == ours.table]
            assert not same_table or [other.accuracy for other in same_table] == [ours.accuracy]


def test_the_numbers_of_the_paper_are_all_there():
    path = Path(__file__).parents[3] / "configs/published/paper-results.csv"
    rows = list(csv.DictReader(path.read_text().splitlines()))
    tables = [row["table"] for row in rows if row["dataset"] == "Omniglot"]
    counts = {name: tables.count(name) for name in ("1", "7", "9", "Figure5")}
    assert counts == {"1": 42, "7": 28, "9": 19, "Figure5": 12}


def test_values_on_the_command_line_replace_the_rows_of_a_setting():
    small = ("budget.generator_epochs=0,1,3", "budget.meta_iterations=10")
    configs = run_configs(Request(experiment="figure5", overrides=small))
    lengths = [(one.variant.name, one.values["budget"]["generator_epochs"]) for one in configs]
    assert lengths[:3] == [("lasium-n-gan-maml", epochs) for epochs in (0, 1, 3)]
    assert [one.variant.name for one in configs[3:]] == ["scratch"]
    assert {tuple(one.values["budget"]["generator_snapshots"]) for one in configs} == {(0, 1, 3)}
    assert {one.values["budget"]["meta_iterations"] for one in configs} == {10}
    (one,) = run_configs(Request(experiment="table9", overrides=("method.eps_sq=200",)))
    assert one.method_name == "lasium-n-gan-maml,eps_sq=200.0"


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("budget.generator_epochs=0,many", "budget.generator_epochs takes an integer"),
        ("budget.generator_epochs=[]", "gives no value; for example budget.generator_epochs=0"),
        ("method.noise_stdd=1", "Did you mean 'method.noise_std'?"),
    ],
)
def test_mistaken_values_are_one_sentence(override, expected):
    with pytest.raises(BenchError) as error:
        run_configs(Request(experiment="figure5", overrides=(override,)))
    assert expected in str(error.value)
    assert "\n" not in str(error.value)


def test_methods_chosen_by_hand_keep_the_settings_of_their_rows():
    configs = run_configs(Request(experiment="table7", methods="lasium-ro-vae-maml,lasium-ro-vae-protonet,umtra-maml"))
    assert [one.method_name for one in configs] == [
        *("lasium-ro-vae-maml", "lasium-ro-vae-maml,alpha=0.4"),
        *("lasium-ro-vae-protonet", "lasium-ro-vae-protonet,alpha=0.4"),
        "umtra-maml",
    ]
    assert {one.values["budget"]["meta_iterations"] for one in configs} == {1000}


def test_a_cell_wants_its_settings_and_the_defaults_of_those_that_other_experiments_vary():
    standards = paper_layouts.standards(paper_layouts.paper_layouts())
    (first, *_), *_ = paper_layout("table7").cells()
    method = {"noise_std": 0.5, "eps_sq": 0.0, "alpha": 0.2, "query_shift": 5}
    assert first.fits("lasium-n-gan-maml", {"method": method}, standards)
    assert first.fits("lasium-n-gan-maml,query_shift=0", {"method": {**method, "query_shift": 0}}, standards)
    assert not first.fits("lasium-n-gan-maml,eps_sq=9.0", {"method": {**method, "eps_sq": 9.0}}, standards)
    assert not first.fits("lasium-n-gan-maml,noise_std=1.0", {"method": {**method, "noise_std": 1.0}}, standards)
    assert not first.fits("lasium-n-vae-maml", {"method": method}, standards)
    (eps, *_), *_ = paper_layout("table9").cells([7])
    assert eps.fits("lasium-n-gan-maml,eps_sq=9.0", {"method": {**method, "eps_sq": 9.0}}, standards, "method.eps_sq")


def test_every_setting_that_an_arrangement_names_exists(plans):
    for name, configs in plans.items():
        keys = {key for row in paper_layout(name).cells() for cell in row for key in cell.settings}
        for key in keys:
            assert any(setting(one.values, key) is not None for one in configs), key
        for one in configs[:2]:
            build(one.values["method"], one.values)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("rows: []", "a paper layout needs rows"),
        ("rows: [{title: a}]", "neither row 'a' nor column '' has a method"),
        ("rows: [{title: a, method: scratch, colour: red}]", "a line of a paper layout has no 'colour'"),
        ("rows: [{title: a, method: scratch, overides: []}]", "Did you mean 'overrides'?"),
        ("rows: [a]", "expected a mapping, not 'a'"),
        ("rows: [{title: a, method: scratch, overrides: [backbone=conv4]}]", "'backbone' chooses a component"),
        ("figure: {xlabel: x}\n  rows: [{title: a, method: scratch}]", "a figure needs a row with 'each'"),
        ("rows: [{title: a, method: x, each: {values: [1]}}]", "a each of a paper layout is incomplete"),
        ("columns: [{title: c, method: 'x-{w}'}]\n  rows: [{title: a}]", "row 'a' needs a word 'w'"),
    ],
)
@pytest.mark.parametrize("key", ["layout", "arrangement"])  # the second until version 0.1
def test_a_mistake_in_a_layout_names_the_file(text, expected, key, tmp_path, monkeypatch):
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment" / "mine.yaml").write_text(f"title: Mine\n{key}:\n  {text}\n")
    own = catalogue.config_folders()
    monkeypatch.setattr(catalogue, "config_folders", lambda: (*own, tmp_path))
    with pytest.raises(BenchError) as error:
        paper_layout("mine")
    assert expected in str(error.value)
    assert "configs/experiment/mine.yaml" in str(error.value)


def test_an_experiment_may_have_no_layout(tmp_path, monkeypatch):
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment" / "mine.yaml").write_text("title: Mine\nrows: [{methods: chance}]\nreferences: false\n")
    own = catalogue.config_folders()
    monkeypatch.setattr(catalogue, "config_folders", lambda: (*own, tmp_path))
    assert paper_layout("mine") is None
    assert [one.method_name for one in run_configs(Request(experiment="mine"))] == ["chance"]


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [(1, 1.0, True), ("2", 2.0, True), (True, 1, False), (None, "null", False), (None, None, True), ("x", "x", True)],
)
def test_values_of_a_setting_are_compared_as_values(a, b, expected):
    assert same(a, b) is expected
