"""Tasks go out with their pixels, answers come back: by the real commands, with NumPy alone in between."""

import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from safetensors.numpy import load_file

import bench as library

SHAPE = ("--way", 5, "--shot", 2, "--query", 3, "--tasks", 12)


def nearest_pixels(file):
    """The rule of ``pixels`` in plain NumPy: labels [T, M], by the nearest support image, of equal ones the first."""
    support, query = (file[name].astype(np.float64) / 255 for name in ("support", "query"))
    tasks, way, shot = support.shape[:3]
    s, q = support.reshape(tasks, way * shot, -1), query.reshape(tasks, query.shape[1], -1)
    return np.square(q[:, :, None] - s[:, None]).sum(3).argmin(2) // shot


def answers(labels):
    tasks, queries = labels.shape
    task, query = np.indices((tasks, queries)).reshape(2, -1)
    return pd.DataFrame({"task": task, "query": query, "label": labels.ravel()})


@pytest.fixture
def exported(bench):
    bench("tasks", "export", "--pixels", "tasks.npz", "--labels", *SHAPE)
    with np.load(bench.folder / "tasks.npz") as file:
        return dict(file)


def test_nearest_pixels_in_numpy_have_exactly_the_numbers_of_the_method(bench, exported, monkeypatch):
    """By the lines that the page on the library shows."""
    page = (Path(library.__file__).parent / "README.md").read_text()
    (lines,) = (block for block in re.findall(r"```python\n(.*?)```", page, re.S) if "np.load" in block)
    monkeypatch.chdir(bench.folder)
    exec(compile(lines, "README", "exec"), {})
    labels = pd.read_csv("answers.csv")["label"].to_numpy().reshape(12, 15)
    assert np.array_equal(labels, nearest_pixels(exported))
    said = bench("tasks", "score", "answers.csv", *SHAPE, "--save", "numpy-pixels", "--title", "In <NumPy>")
    common = ("query=3", "budget.evaluation_tasks=12")
    bench("run", "--methods", "pixels", "--shots", 2, "--budget", "smoke", "--no-references", *common)
    kept = {
        path.parent.parent.name: pd.read_parquet(path).sort_values("task")["correct"].tolist()
        for path in bench.out.glob("*/*/*/tasks.parquet")
    }
    assert kept["numpy-pixels"] == kept["pixels"]
    assert kept["pixels"] == (labels == exported["label"]).sum(1).tolist()
    assert f"{100 * (labels == exported['label']).mean():.2f} ± " in said.stdout
    bench("report", "--format", "md")
    assert "In &lt;NumPy&gt; (external)" in next((bench.folder / "reports").glob("*.md")).read_text()


def test_both_formats_hold_the_same_and_say_how_it_was_made(bench, exported):
    bench("tasks", "export", "list.parquet", "--pixels", "tasks.safetensors", *SHAPE)
    tensors = load_file(bench.folder / "tasks.safetensors")
    assert set(tensors) == {"support", "query"}, "labels only by name"
    for name, tensor in tensors.items():
        assert tensor.dtype == np.uint8
        assert np.array_equal(tensor, exported[name])
    facts = json.loads(str(exported["metadata"]))
    assert facts["manifest"] in bench("tasks", "verify", "list.parquet").stdout
    assert facts["preprocessing"]["settings"]["size"] == 28
    assert "divided by 255" in facts["preprocessing"]["steps"]["kept"]
    assert facts["pixels"] in bench("tasks", "verify", "list.parquet").stdout
    first = (bench.folder / "tasks.safetensors").read_bytes()
    bench("tasks", "export", "--pixels", "tasks.safetensors", *SHAPE)
    assert (bench.folder / "tasks.safetensors").read_bytes() == first
    assert facts["manifest"] in bench("tasks", "verify", "tasks.npz").stdout
    (bench.folder / "tasks.safetensors").write_bytes(first[:-1] + bytes([first[-1] ^ 1]))
    assert "is damaged" in bench.error("tasks", "verify", "tasks.safetensors")


def test_several_shots_come_in_one_file(bench, exported):
    bench("tasks", "export", "--pixels", "one.npz", "--way", 5, "--shot", 1, "--query", 3, "--tasks", 12)
    with np.load(bench.folder / "one.npz") as one:
        both = [answers(nearest_pixels(file)).assign(shot=shot) for shot, file in ((1, one), (2, exported))]
    pd.concat(both).to_parquet(bench.folder / "answers.parquet")
    said = bench("tasks", "score", "answers.parquet", "--query", 3, "--tasks", 12).stdout
    assert [line.split(",")[1].strip() for line in said.splitlines()] == ["5-way 1-shot", "5-way 2-shot"]


def test_wrong_files_are_one_sentence(bench, exported):
    right = answers(exported["label"])
    twice, gap = pd.concat([right, right[:1]]), right[1:]
    for name, frame, sentence in (
        ("gap", gap, "gap.csv has no answer to query 0 of task 0"),
        ("twice", twice, "2 answers to query 0 of task 0"),
        ("label", right.assign(label=5), "label 5 is not from 0 to 4"),
        ("task", right.assign(task=right["task"] + 1), "task 12 is not from 0 to 11"),
        ("text", right.assign(label="a"), "column label of text.csv must have whole numbers only"),
        ("column", right.drop(columns="label"), "has no column label"),
        ("empty", right[:0], "has no rows"),
    ):
        frame.to_csv(bench.folder / f"{name}.csv", index=False)
        assert sentence in bench.error("tasks", "score", f"{name}.csv", *SHAPE)
    (bench.folder / "bad.parquet").write_text("no")
    assert "bad.parquet cannot be read" in bench.error("tasks", "score", "bad.parquet", *SHAPE)
    assert "no such file" in bench.error("tasks", "score", "nowhere.csv", *SHAPE)
    assert ".parquet or .csv" in bench.error("tasks", "score", "answers.txt", *SHAPE)
    assert "nothing to write" in bench.error("tasks", "export")
    assert "--labels goes with --pixels" in bench.error("tasks", "export", "a.parquet", "--labels")
    assert ".npz or .safetensors" in bench.error("tasks", "export", "--pixels", "a.pt")
