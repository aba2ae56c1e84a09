"""What tasks leave out is told, and a list of tasks of an absurd size is refused before it takes memory."""

import os
import time
import tracemalloc
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_manifest import toy

from bench.basics.errors import BenchError
from bench.contracts import TaskSpec
from bench.datasets.images import Attributes
from bench.datasets.source import Dataset, Split
from bench.tasks.left_out import left_out, uneven_shots
from bench.tasks.manifest import MOST_IMAGES, draw, load


def test_classes_with_too_few_images_are_told_per_shot() -> None:
    dataset = toy([16, 16, 16, 20, 20, 20, 20, 20])
    one, five = TaskSpec(5, 1, 15), TaskSpec(5, 5, 15)
    assert left_out(dataset, "test", one) == []
    (told,) = left_out(dataset, "test", five)
    assert told == (
        "5-shot tasks of toy/test, which take 20 images a class, leave out 3 of 8 classes, which have fewer: "
        "test-ü0 (16), test-ü1 (16), test-ü2 (16)"
    )
    (uneven,) = uneven_shots(dataset, "test", [one, five])
    assert "8 classes with 1 shots, 5 classes with 5 shots" in uneven
    assert uneven_shots(dataset, "test", [one, one]) == uneven_shots(toy([20] * 8), "test", [one, five]) == []
    with pytest.raises(BenchError, match="no split 'tset'"):
        left_out(dataset, "tset", one)


def test_the_smallest_classes_are_named_first_and_not_all() -> None:
    (told,) = left_out(toy([9, 3, 8, 7, 6, 5, 4, 30]), "test", TaskSpec(2, 1, 15))
    assert told.endswith("test-ü1 (3), test-ü6 (4), test-ü5 (5), test-ü4 (6), test-ü3 (7) and 2 more")


@given(sizes=st.lists(st.integers(1, 12), min_size=1, max_size=9), shot=st.integers(1, 5), query=st.integers(1, 5))
def test_what_is_told_is_what_no_task_has(sizes: list[int], shot: int, query: int) -> None:
    dataset, spec = toy(sizes), TaskSpec(2, shot, query)
    told = left_out(dataset, "test", spec)
    small = sum(size < shot + query for size in sizes)
    assert bool(told) == bool(small)
    if small:
        assert f"leave out {small} of {len(sizes)} classes" in told[0]
    if len(sizes) - small >= 2:
        drawn = set(draw(dataset, "test", spec, 5, 0).class_names.ravel())
        assert not any(name in told[0] for name in drawn if told and small <= 5)


def test_problems_over_attributes_that_are_left_out_are_told() -> None:
    bits = np.array([[1, 1, 1]] * 30 + [[0, 0, 0]] * 12 + [[1, 0, 1]] * 10 + [[0, 1, 0]] * 10, dtype=bool)
    names = ("A", "B", "C")

    def part(name: str) -> Split:
        n = len(bits)
        pixels = np.zeros((n, 1, 2, 2), np.uint8)
        ids = tuple(f"{name}{i}" for i in range(n))
        return Split("faces", name, pixels, np.zeros(n, np.int64), (name,), ids, None, Attributes(names, bits))

    dataset = Dataset("faces", "abc", {name: part(name) for name in ("train", "val", "test")}, Path("/nowhere"))
    assert left_out(dataset, "test", TaskSpec(2, 5, 5)) == []
    assert "leave out 1 of the 2 problems" in left_out(dataset, "test", TaskSpec(2, 6, 5))[0]
    assert "leave out 2 of the 2 problems" in left_out(dataset, "test", TaskSpec(2, 20, 5))[0]


@pytest.mark.parametrize(
    ("spec", "tasks", "way_out"),
    [
        (TaskSpec(5, 1, 15), 10**12, f"ask for at most {MOST_IMAGES // 80}"),
        (TaskSpec(5, 1, 15), 10**400, "ask for at most"),
        (TaskSpec(5, 10**30, 15), 1, "ask for smaller ones"),
        (TaskSpec(10**12, 1, 1), 1, "ask for smaller ones"),
    ],
)
def test_an_absurd_size_is_refused_before_memory_is_taken(spec: TaskSpec, tasks: int, way_out: str) -> None:
    dataset = toy()
    tracemalloc.start()
    try:
        with pytest.raises(BenchError, match=r"more than a list of tasks can, 25000000") as caught:
            draw(dataset, "test", spec, tasks, 0)
        assert tracemalloc.get_traced_memory()[1] < 2**20
    finally:
        tracemalloc.stop()
    assert way_out in str(caught.value)


def test_a_file_that_claims_an_absurd_size_or_is_a_pipe_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "t.parquet"
    pq.write_table(pa.table({"task": pa.array(np.zeros(1000, np.int32))}), path)
    monkeypatch.setattr("bench.tasks.manifest.MOST_IMAGES", 999)
    with pytest.raises(BenchError, match="it says that it has 1000 rows, more than 999"):
        load(path)
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(BenchError, match="is not a readable Parquet file"):
        load(path)


def test_what_a_killed_writer_left_is_removed_and_what_is_being_written_is_not(tmp_path: Path) -> None:
    old, new = tmp_path / ".t.parquet.old.tmp", tmp_path / ".t.parquet.new.tmp"
    for left in (old, new):
        left.write_bytes(b"PAR1")
    os.utime(old, (time.time() - 2 * 3600,) * 2)
    draw(toy(), "test", TaskSpec(2, 1, 1), 2, 0).save(tmp_path / "t.parquet")
    assert (old.exists(), new.exists()) == (False, True)
