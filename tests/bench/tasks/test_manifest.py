"""The sealed tasks: nested, reproducible anywhere, and impossible to change unnoticed."""

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from bench.basics.errors import BenchError
from bench.basics.seeds import Seed
from bench.contracts import TaskSpec
from bench.datasets.source import Dataset, Split
from bench.tasks import manifest as manifests
from bench.tasks.manifest import METADATA_KEY, Manifest, draw, load


def split(name: str, sizes: list[int], shuffle: int | None = None) -> Split:
    class_ids = np.repeat(np.arange(len(sizes)), sizes)
    if shuffle is not None:
        np.random.default_rng(shuffle).shuffle(class_ids)
    return Split(
        dataset="toy",
        name=name,
        pixels=np.zeros((len(class_ids), 1, 2, 2), dtype=np.uint8),
        class_ids=class_ids,
        class_names=tuple(f"{name}-ü{c}" for c in range(len(sizes))),
        image_ids=tuple(f"{name}/{c}/{i}.png" for i, c in enumerate(class_ids)),
    )


def toy(sizes: list[int] | None = None, name: str = "toy", content: str = "abc", shuffle: int | None = None) -> Dataset:
    sizes = [21, 20, 25, 22, 20, 30, 24] if sizes is None else sizes
    splits = {
        "train": split("train", [20] * 8),
        "val": split("val", [20] * 6),
        "test": split("test", sizes, shuffle),
    }
    return Dataset(name, content, splits, Path("/nowhere"))


@settings(max_examples=40, deadline=None)
@given(
    sizes=st.lists(st.integers(12, 20), min_size=5, max_size=9),
    seed=st.integers(0, 2**40),
    shots=st.tuples(st.integers(1, 6), st.integers(1, 6)),
    ways=st.tuples(st.integers(2, 5), st.integers(2, 5)),
    counts=st.tuples(st.integers(1, 30), st.integers(1, 30)),
)
def test_fewer_tasks_ways_or_shots_are_a_part_of_the_same_tasks(sizes, seed, shots, ways, counts):
    dataset = toy(sizes, shuffle=seed)
    small = draw(dataset, "test", TaskSpec(min(ways), min(shots), 6), min(counts), seed)
    large = draw(dataset, "test", TaskSpec(max(ways), max(shots), 6), max(counts), seed)
    part = np.s_[: small.tasks, : small.spec.way]
    np.testing.assert_array_equal(small.class_names, large.class_names[part])
    np.testing.assert_array_equal(small.query, large.query[part])
    np.testing.assert_array_equal(small.support, large.support[part][:, :, : small.spec.shot])
    large.verify(dataset)


def test_tasks_equal_a_plain_loop_over_the_definition():
    """A second computation: Python integers, one task, one class, one image at a time."""
    sizes = [9, 3, 7, 12, 8, 2]
    dataset, spec, mask = toy(sizes, shuffle=3), TaskSpec(3, 2, 4), 2**64 - 1
    drawn = draw(dataset, "test", spec, 20, 11)

    def splitmix(state: int, steps: int) -> int:
        z = 0
        for _ in range(steps):
            state = (state + 0x9E3779B97F4A7C15) & mask
            z = state
            z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & mask
            z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & mask
            z ^= z >> 31
        return z

    assert splitmix(1234567, 3) == 9817491932198370423  # as listed on Rosetta Code, "Pseudo-random numbers/Splitmix64"
    root = Seed(11).at("evaluation", "toy", "test")
    of_image = dataset.splits["test"].class_ids
    for t in range(20):
        by_class = lambda c, t=t: splitmix(root.at("classes", t).value(), c + 1)  # noqa: E731
        by_image = lambda i, t=t: splitmix(root.at("images", t).value(), i + 1)  # noqa: E731
        chosen = sorted((c for c in range(6) if sizes[c] >= 6), key=by_class)[:3]
        for n, c in enumerate(chosen):
            order = sorted(np.flatnonzero(of_image == c).tolist(), key=by_image)
            assert drawn.query[t, n].tolist() == order[:4]
            assert drawn.support[t, n].tolist() == order[4:6]


def test_blocks_do_not_change_the_draw(monkeypatch):
    whole = draw(toy(), "test", TaskSpec(5, 1, 15), 50, 0)
    monkeypatch.setattr(manifests, "_BLOCK", 1)
    assert draw(toy(), "test", TaskSpec(5, 1, 15), 50, 0) == whole


def test_classes_and_images_are_equally_likely():
    dataset = toy([8] * 6)
    drawn = draw(dataset, "test", TaskSpec(2, 1, 2), 12_000, 7)
    classes = dataset.splits["test"].class_ids[drawn.support[:, :, 0]]
    pairs = np.bincount(classes[:, 0] * 6 + classes[:, 1], minlength=36).reshape(6, 6)
    assert pairs.diagonal().sum() == 0
    assert stats.chisquare(pairs[~np.eye(6, dtype=bool)]).pvalue > 1e-3
    assert stats.chisquare(np.bincount(drawn.support.ravel(), minlength=48)).pvalue > 1e-3
    assert stats.chisquare(np.bincount(drawn.query[:, :, 1].ravel(), minlength=48)).pvalue > 1e-3


def test_small_classes_are_never_drawn_and_too_few_classes_are_refused():
    dataset = toy([20, 3, 20, 20, 5])
    drawn = draw(dataset, "test", TaskSpec(3, 1, 5), 100, 0)
    assert set(drawn.class_names.ravel()) == {"test-ü0", "test-ü2", "test-ü3"}
    with pytest.raises(BenchError, match="need 5 classes with at least 6 images each, but toy/test has 3 of them"):
        draw(dataset, "test", TaskSpec(5, 1, 5), 100, 0)
    with pytest.raises(BenchError, match=r"no split 'tset', only train, val, test\. Did you mean 'test'\?"):
        draw(dataset, "tset", TaskSpec(5, 1, 5), 100, 0)
    with pytest.raises(BenchError, match="at least 1 task, not 0"):
        draw(dataset, "test", TaskSpec(3, 1, 5), 0, 0)


def test_another_process_another_hash_seed_another_number_of_threads_draw_the_same():
    here = draw(toy(), "test", TaskSpec(5, 5, 15), 200, 42).sha256
    folder = Path(__file__).parent
    program = (
        f"import sys; sys.path.insert(0, {str(folder)!r}); import test_manifest as t; "
        "print(t.draw(t.toy(), 'test', t.TaskSpec(5, 5, 15), 200, 42).sha256)"
    )
    environment = {**os.environ, "PYTHONHASHSEED": "4711", "OMP_NUM_THREADS": "4"}
    there = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True)
    assert there.stdout.strip() == here


def test_the_tasks_of_a_release_never_change():
    """A change of this hash makes every number that was ever published incomparable."""
    drawn = draw(toy(), "test", TaskSpec(5, 1, 15), 100, 0)
    assert drawn.sha256 == "d1ed0109b23fc7016bef2a6b4bdf7d803f3f7967f31434a42691dcd377008954"


def test_any_change_of_any_field_changes_the_hash():
    base = draw(toy(), "test", TaskSpec(3, 2, 4), 5, 0)
    assert dataclasses.replace(base) == base
    indices, names, files = base.indices.copy(), base.class_names.copy(), base.file_ids.copy()
    indices[4, 2, 5] += 1
    names[0, 0], files[1, 2, 3] = "other", "other"
    changed = [
        dataclasses.replace(base, **change)
        for change in (
            {"dataset": "t"},
            {"content_hash": "abd"},
            {"split": "val"},
            {"spec": TaskSpec(3, 3, 3)},
            {"seed": 1},
            {"indices": indices},
            {"class_names": names},
            {"file_ids": files},
        )
    ]
    assert len({one.sha256 for one in (base, *changed)}) == 9
    assert {f.name for f in dataclasses.fields(Manifest)} == {
        *("dataset", "content_hash", "split", "spec", "seed", "indices", "class_names", "file_ids"),
        "images",  # of the file, beside what is sealed
    }
    other_seed = draw(toy(), "test", TaskSpec(3, 2, 4), 5, 1)
    assert (other_seed.indices != base.indices).any()
    with pytest.raises(ValueError, match="read-only"):
        base.indices[0, 0, 0] = 1
    with pytest.raises(BenchError, match=r"must have shape \[tasks, 3, 6\], not \[5, 3, 5\]"):
        dataclasses.replace(base, indices=base.indices[:, :, 1:])


def test_saved_tasks_come_back_and_read_without_this_package(tmp_path):
    drawn = draw(toy(), "test", TaskSpec(5, 2, 3), 4, 9)
    path = tmp_path / "tasks.parquet"
    drawn.save(path)
    assert load(path) == drawn
    np.testing.assert_array_equal(load(path).indices, drawn.indices)
    assert [p.name for p in tmp_path.iterdir()] == ["tasks.parquet"]

    table = pq.read_table(path)
    facts = json.loads(table.schema.metadata[b"bench.manifest"])
    assert facts == {
        "format_version": 1,
        "dataset": "toy",
        "content_hash": "abc",
        "split": "test",
        "way": 5,
        "shot": 2,
        "query": 3,
        "seed": 9,
        "tasks": 4,
        "sha256": drawn.sha256,
    }
    frame = table.to_pandas()
    for (task, position, role), rows in frame.groupby(["task", "class_position", "role"]):
        part = drawn.support if role == "support" else drawn.query
        assert rows.sort_values("position").image_index.tolist() == part[task, position].tolist()
        assert set(rows.class_name) == {drawn.class_names[task, position]}
    named = dict(zip(frame.image_index, frame.file_id))
    assert all(toy().splits["test"].image_ids[index] == name for index, name in named.items())


def test_a_manifest_of_other_images_is_refused():
    drawn = draw(toy(), "test", TaskSpec(5, 1, 3), 20, 0)
    drawn.verify(toy())
    cases = {
        "is for dataset 'toy', not 'other'": toy(name="other"),
        "content abc, but the images here have content xyz": toy(content="xyz"),
        "outside the 100 images": toy([20] * 5),
        "is of class": toy([22, 20, 24, 22, 20, 30, 24]),
    }
    for message, dataset in cases.items():
        with pytest.raises(BenchError, match=message):
            drawn.verify(dataset)
    renamed = toy()
    files = [f"{name}~" for name in renamed.splits["test"].image_ids]
    splits = {**renamed.splits, "test": dataclasses.replace(renamed.splits["test"], image_ids=tuple(files))}
    with pytest.raises(BenchError, match="but the manifest says 'test/"):
        drawn.verify(dataclasses.replace(renamed, splits=splits))


def test_a_task_with_a_class_or_an_image_twice_is_refused():
    drawn = draw(toy(), "test", TaskSpec(3, 1, 3), 4, 0)
    indices, names, files = drawn.indices.copy(), drawn.class_names.copy(), drawn.file_ids.copy()
    indices[2, 1], names[2, 1], files[2, 1] = indices[2, 0], names[2, 0], files[2, 0]
    with pytest.raises(BenchError, match="task 2 of the manifest for toy/test has one class twice"):
        dataclasses.replace(drawn, indices=indices, class_names=names, file_ids=files).verify(toy())
    indices, files = drawn.indices.copy(), drawn.file_ids.copy()
    indices[3, 1, 0], files[3, 1, 0] = indices[3, 1, 1], files[3, 1, 1]
    with pytest.raises(BenchError, match="task 3 of the manifest for toy/test has one image twice"):
        dataclasses.replace(drawn, indices=indices, file_ids=files).verify(toy())


def edit(column: str, row: int, value: object):
    def change(path: Path) -> None:
        table = pq.read_table(path)
        values = table.column(column).to_pylist()
        values[row] = value
        at = table.schema.get_field_index(column)
        pq.write_table(
            table.set_column(at, table.schema.field(at), pa.array(values, table.schema.field(at).type)), path
        )

    return change


def with_facts(**facts: object):
    def change(path: Path) -> None:
        table = pq.read_table(path)
        header = json.loads(table.schema.metadata[METADATA_KEY])
        header = {name: value for name, value in {**header, **facts}.items() if value is not None}
        pq.write_table(table.replace_schema_metadata({METADATA_KEY: json.dumps(header).encode()}), path)

    return change


def rewrite(change):
    return lambda path: pq.write_table(change(pq.read_table(path)), path)


def truncated(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (truncated, "is not a readable Parquet file"),
        (lambda path: path.write_bytes(b""), "is not a readable Parquet file"),
        (lambda path: path.write_text("task,class\n0,1\n"), "is not a readable Parquet file"),
        (lambda path: path.unlink(), "cannot read .*: no such file"),
        (lambda path: (path.unlink(), path.mkdir()), "is not a readable Parquet file"),
        (edit("image_index", 17, 3), "do not have the SHA-256"),
        (edit("image_index", 17, None), "a value is missing"),
        (edit("file_id", 17, "other"), "do not have the SHA-256"),
        (edit("class_name", 17, "other"), "a class has two names"),
        (edit("role", 17, "support"), "column role is not in order"),
        (edit("task", 17, 3), "column task is not in order"),
        (with_facts(content_hash="abd"), "do not have the SHA-256"),
        (with_facts(seed=8), "do not have the SHA-256"),
        (with_facts(seed="8"), "do not have the SHA-256"),
        (with_facts(seed=None), "its metadata has no 'seed'"),
        (with_facts(way=1), "way must be an integer of at least 2"),
        (with_facts(tasks=10**12), "rows where 1000000000000 tasks have"),
        (with_facts(tasks="many"), "damaged or was edited"),
        (with_facts(format_version=2), "has manifest format 2, this program reads 1"),
        (
            rewrite(lambda table: table.replace_schema_metadata({})),
            "its Parquet metadata has no 'bench.manifest'",
        ),
        (
            rewrite(lambda table: table.replace_schema_metadata({METADATA_KEY: b"{"})),
            "metadata is not readable",
        ),
        (
            rewrite(lambda table: table.replace_schema_metadata({METADATA_KEY: b"[]"})),
            "metadata is not readable",
        ),
        (rewrite(lambda table: table.drop_columns(["file_id"])), "its columns are not task, class_position"),
        (rewrite(lambda table: table.slice(0, 50)), "50 rows where 4 tasks have"),
        (rewrite(lambda table: table.take(list(range(len(table)))[::-1])), "is not in order"),
    ],
)
def test_damage_of_every_kind_is_one_sentence_that_names_the_file(tmp_path, damage, message):
    path = tmp_path / "tasks.parquet"
    draw(toy(), "test", TaskSpec(5, 2, 3), 4, 9).save(path)
    damage(path)
    with pytest.raises(BenchError, match=message) as caught:
        load(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@settings(max_examples=80, deadline=None)
@given(data=st.data())
def test_no_flipped_byte_goes_unnoticed(tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("flip")
    path = folder / "tasks.parquet"
    drawn = draw(toy(), "test", TaskSpec(3, 1, 2), 3, 9)
    drawn.save(path)
    content = bytearray(path.read_bytes())
    at = data.draw(st.integers(0, len(content) - 1))
    content[at] ^= data.draw(st.integers(1, 255))
    path.write_bytes(content)
    try:
        found = load(path)
    except BenchError:
        return
    assert found == drawn  # a byte that nobody reads, such as the writer's name


def test_a_failed_save_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "tasks.parquet"
    old, new = (draw(toy(), "test", TaskSpec(5, 2, 3), 4, seed) for seed in (0, 1))
    old.save(path)

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pq, "write_table", full)
    with pytest.raises(BenchError, match="No space left on device"):
        new.save(path)
    monkeypatch.undo()
    assert load(path) == old
    assert len(list(tmp_path.iterdir())) == 1
