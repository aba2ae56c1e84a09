"""Tables of the paper from the raw files of their dataset to the paper's layout, by the command line.

On miniatures in the official layout, with tiny checkpoints in the layout of the public ones: numbers mean nothing here,
but every row must be there, scored, and where the paper has it.
"""

import json
from pathlib import Path

import pytest
from checkpoints import small
from commands import TINY, Bench
from miniatures import celeba
from miniatures_imagenet import tables

CHEAP = (
    *TINY,
    *("dataset.allow_partial=true", "budget.meta_iterations=1", "budget.evaluation_tasks=5", "learner.eval_steps=1"),
)
FEW_CLUSTERS = ("method.clusters=10", "method.least_kept=0.2", "method.partitions=1", "encoder.size=32")
CHEAP_ENCODERS = (
    *FEW_CLUSTERS,
    "classifier.clusters=10",
    "encoder.network=conv",
    "encoder.width=16",
    "classifier.epochs=2",
    "classifier.max_iter=5",
)


@pytest.fixture
def raw(tmp_path: Path) -> Bench:
    """The command line with a cache of its own, in which nothing is prepared."""
    return Bench(tmp_path / "cache", tmp_path)


def table(raw: Bench, name: str, *settings: str) -> list[list[str]]:
    """Title and cells of every row (titles repeat below other groups), after a run of the whole table."""
    raw("run", "--experiment", name, "--data-dir", raw.folder, "--budget", "smoke", *CHEAP, *settings)
    records = [json.loads(path.read_text()) for path in raw.out.glob("*/*/*/run.json")]
    assert {record["status"] for record in records} == {"done"}
    raw("report", "--experiment", name, "--format", "md")
    text = (raw.folder / "reports" / f"{name}.md").read_text()
    return [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("| ")]


def scored(found: list[list[str]], cells: int) -> list[str]:
    """Titles of the rows whose first ``cells`` cells hold a number of ours."""
    return [title for title, *row in found if len(row) >= cells and all(cell.startswith("**") for cell in row[:cells])]


def test_table_2(raw: Bench) -> None:
    celeba(raw.folder, windows=True)
    weights = (f"generator.weights={small('progan', raw.folder)}", f"encoder.weights={small('vgg19', raw.folder)}")
    found = table(raw, "table2", *weights, *FEW_CLUSTERS, "--shots", "1,5")
    assert scored(found, 2) == [
        *("Training from scratch", "CACTUs-MAML on VGG-19", "UMTRA-MAML", "LASIUM-RO-GAN-MAML", "LASIUM-RO-VAE-MAML"),
        *("LASIUM-RO-GAN-ProtoNets", "LASIUM-RO-VAE-ProtoNets", "Transfer learning (VGG-19)"),
        *("Supervised MAML", "Supervised ProtoNets"),
    ]


def test_table_3(raw: Bench) -> None:
    celeba(raw.folder, zipped=True)
    weights = (f"generator.weights={small('progan', raw.folder)}", f"encoder.weights={small('vgg19', raw.folder)}")
    found = table(raw, "table3", *weights, *CHEAP_ENCODERS)
    assert len(scored(found, 1)) == 18, "every row of the paper's table"


def test_table_8(raw: Bench) -> None:
    celeba(raw.folder)
    found = table(raw, "table8", f"generator.weights={small('progan', raw.folder)}")
    assert len(scored(found, 2)) == 10


def test_table_4(raw: Bench) -> None:
    tables(raw.folder / "mini-imagenet", 50, line_end="\r\n", kind="JPEG")
    weights = (f"generator.weights={small('bigbigan', raw.folder)}", f"encoder.weights={small('vgg19', raw.folder)}")
    found = table(raw, "table4", *weights, *CHEAP_ENCODERS, "--shots", "1,5")
    assert len(scored(found, 2)) == 19, "every row of the paper's table"
