"""Images that were prepared in another way are other tasks, whoever asks: never compared in silence."""

import numpy as np
import pandas as pd
import pytest
from PIL import Image

import bench as library

SMALL = ("budget.evaluation_tasks=5", "query=2", "dataset.size=12", "dataset.name=pictures")
TASKS = ("--tasks", 5, "--query", 2)


@pytest.fixture
def two_decoders(bench):
    """The same files twice, the second time with one pixel in a thousand off by one: as two decoders do."""
    rng = np.random.default_rng(0)
    for split in ("train", "test"):
        for name in range(6):
            for number in range(4):
                image = rng.integers(1, 255, (12, 12, 3), dtype=np.uint8)
                for raw in ("one", "two"):
                    file = bench.folder / raw / split / f"{split}{name}" / f"{number}.png"
                    file.parent.mkdir(parents=True, exist_ok=True)
                    Image.fromarray(image).save(file)
                    image = np.where(rng.random(image.shape) < 0.001, image + 1, image).astype(np.uint8)
    return bench


def run(bench, raw: str, method: str) -> None:
    data = ("--dataset", "folder", "--data-dir", raw)
    bench("run", *data, "--methods", method, "--budget", "smoke", "--shots", 1, "--no-references", *SMALL)


def test_commands_refuse_to_compare_or_set_apart(two_decoders):
    bench = two_decoders
    run(bench, "one", "pixels")
    run(bench, "two", "chance")
    told = bench.error("compare", "pixels", "chance")
    hashes = sorted(pd.read_json(path, typ="series")["dataset_hash"][:12] for path in bench.out.glob("*/*/*/run.json"))
    assert len(set(hashes)) == 2
    assert "were scored on other images of pictures" in told
    assert all(one in told for one in hashes)
    bench("report", "--format", "md,csv")
    page = next((bench.folder / "reports").glob("*.md")).read_text()
    assert "5-way, 2 queries per class, meta-test (tasks 2)" in page
    assert "numbers of the two must not be compared" in page
    rows = pd.read_csv(bench.folder / "reports" / "leaderboard.csv")
    assert rows.groupby("table")["dataset_hash"].nunique().tolist() == [1, 1]
    run(bench, "one", "chance")
    bench("compare", "pixels", "chance")


def test_files_of_tasks_know_their_pixels(two_decoders, monkeypatch):
    bench, setting = two_decoders, ("dataset.size=12", "dataset.name=pictures")
    one, two = (("--dataset", "folder", "--data-dir", raw, *setting) for raw in ("one", "two"))
    bench("tasks", "export", "list.parquet", "--pixels", "tasks.npz", "--labels", *TASKS, *one)
    for file in ("list.parquet", "tasks.npz"):
        assert "same here" in bench("tasks", "verify", file, *one).stdout or file == "tasks.npz"
        told = bench.error("tasks", "verify", file, *two)
        assert "pixels of its tasks: SHA-256" in told
        assert "there" in told
        assert "here" in told
    monkeypatch.setenv("BENCH_CACHE", str(bench.cache))
    which = {"way": 5, "shot": 1, "query": 2, "tasks": 5, "overrides": setting}
    first, second = (library.tasks("folder", data_dir=bench.folder / raw, **which) for raw in ("one", "two"))
    assert first.images.pixels != second.images.pixels
    assert first.images.preprocessing == second.images.preprocessing
    nearest = [
        library.score(lambda s, q: -(q[:, None] - s[:, 0]).flatten(2).norm(dim=2), one) for one in (first, second)
    ]
    with pytest.raises(library.BenchError, match="on other images of pictures"):
        library.compare(*nearest)
    with np.load(bench.folder / "tasks.npz") as file:
        label = file["label"]
    task, query = (one.ravel() for one in np.indices(label.shape))
    answers = pd.DataFrame({"task": task, "query": query, "label": label.ravel()})
    answers.to_csv(bench.folder / "unnamed.csv", index=False)
    answers.assign(manifest=first.manifest).to_csv(bench.folder / "named.csv", index=False)
    assert "100.00" in bench("tasks", "score", "named.csv", *TASKS, *one).stdout
    assert "answers tasks with the SHA-256" in bench.error("tasks", "score", "named.csv", *TASKS, *two)
    assert "do not say which list of tasks" in bench("tasks", "score", "unnamed.csv", *TASKS, *one).stderr
