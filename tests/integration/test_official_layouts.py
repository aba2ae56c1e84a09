"""From the raw files of a benchmark to its report by the command line, on miniatures in the official layouts."""

import json
from pathlib import Path

import pytest
from commands import TINY, Bench
from miniatures import celeba
from miniatures_fungi import IMAGES, SPLIT, fungi, label_of
from miniatures_imagenet import caches, tables

from bench.contracts import TaskSpec
from bench.tasks import manifest

CHEAP = (*TINY, "dataset.allow_partial=true", "dataset.size=28", "budget.meta_iterations=2")


@pytest.fixture
def raw(tmp_path: Path) -> Bench:
    """The command line with a cache of its own, in which nothing is prepared."""
    return Bench(tmp_path / "cache", tmp_path)


def run_and_report(raw: Bench, dataset: str, *settings: str) -> str:
    """The report of two cheap methods at the smoke budget, from the raw files in ``raw.folder``."""
    request = ("--dataset", dataset, "--data-dir", raw.folder, "--budget", "smoke", "--no-references")
    raw("run", "--methods", "supervised-protonet,umtra-maml", *request, *CHEAP, *settings)
    records = [json.loads(path.read_text()) for path in raw.out.glob("*/*/*/run.json")]
    assert [record["status"] for record in records] == ["done", "done"]
    raw("report", "--format", "md")
    report = (raw.folder / "reports" / "leaderboard.md").read_text()
    for row in ("| UMTRA-MAML", "| *Supervised ProtoNets"):
        assert row in report
    return report


def test_mini_imagenet_from_windows_tables_to_the_report(raw: Bench) -> None:
    tables(raw.folder / "mini-imagenet", 16, line_end="\r\n", kind="JPEG")
    assert "mini-imagenet,allow\\_partial=True" in run_and_report(raw, "mini-imagenet")


def test_fungi_from_its_halves_to_the_report_without_the_classes_of_few_images(raw: Bench) -> None:
    fungi(raw.folder / "fungi")
    assert "fungi,allow\\_partial=True" in run_and_report(raw, "fungi")
    sealed = [manifest.load(path) for path in raw.out.rglob("*.parquet") if "manifest" in str(path)]
    taken = {str(name) for one in sealed for name in one.class_names.ravel()}
    assert taken == {label_of(category) for category in SPLIT["test"] if IMAGES[category] >= 16}


def test_celeba_people_and_attributes_from_the_zip_file_to_the_report(raw: Bench) -> None:
    celeba(raw.folder, windows=True, zipped=True)
    assert "celeba,allow\\_partial=True" in run_and_report(raw, "celeba", "query=5")


def test_attributes_make_two_way_five_shot_tasks_without_being_asked(raw: Bench) -> None:
    celeba(raw.folder)
    run_and_report(raw, "celeba-attributes")
    (sealed,) = [manifest.load(path) for path in raw.out.rglob("*.parquet") if "manifest" in str(path)]
    assert sealed.spec == TaskSpec(2, 5, 5)
    assert all("=1" in name or "=0" in name for name in sealed.class_names.ravel())


def test_what_is_wrong_is_one_sentence_and_nothing_is_prepared(raw: Bench) -> None:
    place = caches(raw.folder / "caches", 1)
    assert "is not the whole mini-ImageNet: train has 6 classes, not 64" in raw.error(
        "prepare", "mini-imagenet", "--data-dir", place
    )
    (place / "mini-imagenet-cache-val.pkl").write_bytes(b"cos\nsystem\n(S'touch ran'\ntR.")
    said = raw.error("prepare", "mini-imagenet", "--data-dir", place, "dataset.allow_partial=true")
    assert "val.pkl is refused: it asks for os.system" in said
    assert not (raw.folder / "ran").exists()
    assert not [path for path in raw.cache.iterdir() if path.is_dir()]


def test_the_list_says_licence_citation_and_where_to_get_them(raw: Bench) -> None:
    # Cells are folded: one column after the other, without the spaces that a fold may take.
    lines = raw("list", "datasets", "--long").stdout.splitlines()
    starts = [lines[1].index(name) for name in ("title", "about", "licence", "cite", "homepage")]
    columns = ["".join(line[a:b].strip() for line in lines[2:]) for a, b in zip(starts, [*starts[1:], None])]
    said = "".join(columns).replace(" ", "")
    for part in ("Ravi&Larochelle2017", "ImageNet'sterms", "renmengye/few-shot-ssl-public", "www.image-net.org"):
        assert part in said
    for part in ("Triantafillouetal.2020", "visipedia/fgvcx_fungi_comp"):
        assert part in said


def test_table_10_from_raw_files_to_the_papers_arrangement(raw: Bench) -> None:
    fungi(raw.folder / "fungi")
    request = ("--experiment", "table10", "--data-dir", raw.folder, "--budget", "smoke", "--no-references")
    raw("run", *request, *CHEAP, "backbone=conv4-strided")
    raw("report", "--experiment", "table10", "--format", "md")
    table = (raw.folder / "reports" / "table10.md").read_text()
    for row in ("Training from scratch", "UMTRA-foMAML", "Supervised foMAML"):
        assert f"| {row} | **" in table, "rows without weights of one's own are run"
    assert "| LASIUM-N-GAN-MAML | · | 31.29 ± 0.52 |" in table, "what needs weights keeps its number"
