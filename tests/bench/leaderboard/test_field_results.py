"""Numbers of other papers beside ours: each with its source, who quotes it, and what keeps it from being compared."""

import csv
from pathlib import Path

import pytest
from synthetic_runs import of_omniglot, write_run

from bench.basics.errors import BenchError
from bench.leaderboard import published as published_module
from bench.leaderboard.loading import load
from bench.leaderboard.published import printed, published
from bench.leaderboard.table import build
from bench.reporting.report import write_report

FOLDER = Path(__file__).parents[3] / "configs" / "published"
MINI = {"dataset": {"_target_": "bench.datasets.mini_imagenet.MiniImagenet"}}


def rows(name):
    return list(csv.DictReader((FOLDER / name).read_text().splitlines()))


def cell(method, way, shot, dataset="Omniglot"):
    found = [
        row
        for row in rows("field-results.csv")
        if (row["dataset"], row["method"], row["way"], row["shot"]) == (dataset, method, str(way), str(shot))
    ]
    return tuple((row["accuracy"], row["ci95"]) for row in found)


# As the tables print them, typed in once more.
SECOND = {
    "LF2CS": "97.31±0.25 99.32±0.10 91.72±0.22 97.65±0.09",
    "UFLST, hard triplets": "97.03 99.19 91.28 97.37",
    "UFLST, ProtoNets loss": "96.51 99.23 90.27 97.22",
    "ULDA": "91.00±0.42 98.14±0.15 78.05±0.31 94.08±0.13",
    "C3LR": "89.30±0.64 97.38±0.23 – –",
    "ProtoTransfer, L=50": "88.00±0.64 96.48±0.26 72.27 89.08",
    "AAL-ProtoNets": "84.66 89.14 68.79 74.28",
    "UMTRA-MAML": "– – 74.25 92.12",
    "CACTUs-MAML": "– – 48.09 73.36",
    "CACTUs-ProtoNets": "– – 47.75 66.27",
}


@pytest.mark.parametrize("method", SECOND)
def test_the_numbers_of_omniglot(method):
    found = []
    for way, shot in ((5, 1), (5, 5), (20, 1), (20, 5)):
        numbers = cell(method, way, shot)
        found.append("±".join(filter(None, numbers[0])) if numbers else "–")
        assert len(numbers) <= 1
    assert " ".join(found) == SECOND[method]


def test_nothing_from_memory_and_nothing_of_another_network_is_printed():
    methods = {row["method"] for row in rows("field-results.csv")}
    for absent in ("PsCo", "SimCLR", "MoCo", "SwAV", "Meta-GMVAE", "Meta-SVEBM", "MINO", "SAMPTransfer", "BECLR"):
        assert not [method for method in methods if absent.lower() in method.lower()]
    assert cell("ProtoTransfer, L=50", 5, 20, "mini-ImageNet") == ()
    assert cell("ULDA-ProtoNet", 5, 5, "mini-ImageNet") == (), "two tables quote two numbers"


def test_every_number_says_where_it_was_read():
    found = rows("field-results.csv")
    assert {row["read"] for row in found} == {"at-source", "quoted"}
    for row in found:
        assert bool(row["quoted_by"]) == (row["read"] == "quoted")
        assert row["quoted_by"] != row["source"]
        assert " of " in row["place"], "a file of a repository"
        assert row["caveat"]
    keys = [tuple(row[name] for name in ("dataset", "way", "shot", "method")) for row in found]
    assert len(set(keys)) == len(keys)


def test_every_match_of_the_field_names_one_printed_setting():
    for match in rows("field-matches.csv"):
        wanted = [
            (row["way"], row["shot"])
            for row in rows("field-results.csv")
            if row["dataset"] == match["dataset"] and row["method"] == match["method"]
        ]
        assert wanted, match
        assert len(set(wanted)) == len(wanted), match


def test_a_number_of_the_field_stands_beside_ours_at_its_shape():
    (found,) = published("omniglot", "uflst-triplet", of_omniglot(), way=20, shot=1, query=15)
    assert (found.accuracy, found.ci95, found.label) == (pytest.approx(0.9128), None, "Ji et al. 2019")
    assert found.provenance == (
        "Ji et al. 2019, read at the source, doc/table.png of ZilongJi/LearningToCluster_Omniglot"
    )
    (quoted,) = published("omniglot", "umtra-maml", of_omniglot(), way=20, shot=5, query=15)
    assert (quoted.accuracy, quoted.label) == (
        pytest.approx(0.9212),
        "Khodadadeh et al. 2019, quoted by Li et al. 2022",
    )
    assert published("omniglot", "simclr", of_omniglot(), way=5, shot=1, query=15) == ()
    assert published("omniglot", "uflst-triplet", of_omniglot(), way=10, shot=1, query=15) == ()
    assert published("glyphs", "uflst-triplet", of_omniglot(), way=20, shot=1, query=15) == ()
    (mini,) = published("mini-imagenet", "protoclr-hms", MINI, way=5, shot=20, query=15)
    assert mini.accuracy == pytest.approx(0.7331)


def test_a_layout_selects_it_as_a_table_called_field():
    selector = {"table": "field", "dataset": "Omniglot", "way": 20, "method": "UFLST, hard triplets"}
    found, facts = printed(selector, 5)
    assert (found.accuracy, facts["venue"]) == (pytest.approx(0.9737), "arXiv 1912.12178")
    assert printed({**selector, "method": "PsCo"}, 5) == (None, {})


def test_the_board_says_whose_number_it_is_and_what_it_is_worth(tmp_path):
    write_run(tmp_path / "runs", "protoclr-transfer", 0.85)
    (table,) = build(load(tmp_path / "runs")).tables
    assert [one.published[0].quoted_by for one in table.rows[0].scores.values()] == ["Shirekar & Jamali-Rad 2022"] * 2
    write_report(tmp_path / "runs", tmp_path / "reports", ["md", "html", "tex", "csv"])
    for name in ("md", "html"):
        text = (tmp_path / "reports" / f"leaderboard.{name}").read_text().replace("&amp;", "&")
        assert "Medina et al. 2020, quoted by Shirekar & Jamali-Rad 2022: 88.00 ± 0.64 (ours" in text
        assert "model chosen by training accuracy; 600 tasks." in text
    line = next(csv.DictReader((tmp_path / "reports" / "leaderboard.csv").read_text().splitlines()))
    assert line["published_table"] == (
        "Medina et al. 2020, quoted by Shirekar & Jamali-Rad 2022, README.md of ojss/c3lr"
    )


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"read": "memory"}, "line 2: read must be at-source or quoted, not 'memory'"),
        ({"read": "quoted"}, "line 2: quoted_by names the paper that quotes the number"),
        ({"quoted_by": "somebody"}, "line 2: quoted_by names the paper that quotes the number"),
        ({"caveat": "", "place": ""}, "line 2: a number of the field needs its place, caveat"),
        ({"accuracy": "0.97x"}, "line 2: accuracy must be percent, not '0.97x'"),
        ({"way": "five"}, "line 2: way must be a whole number, not 'five'"),
        ({"table": "1"}, "line 2: table must be 'field', not '1'"),
        ({"year": None}, "line 2: it has no year; the columns are table, dataset"),
        ({"colour": "red"}, "line 2: there is no column colour; the columns are table"),
    ],
)
def test_a_mistake_in_the_file_names_its_line(change, expected, tmp_path, monkeypatch):
    first = {name: value for name, value in {**rows("field-results.csv")[0], **change}.items() if value is not None}
    folder = tmp_path / "configs" / "published"
    folder.mkdir(parents=True)
    with (folder / "field-results.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(first))
        writer.writeheader()
        writer.writerow(first)
    monkeypatch.setattr(published_module, "ROOT", tmp_path)
    with pytest.raises(BenchError) as error:
        published_module._read.__wrapped__("field-results.csv")
    assert expected in str(error.value)
    assert "configs/published/field-results.csv" in str(error.value)
