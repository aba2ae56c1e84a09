"""A list of tasks says what its images are, beside what is sealed; images that differ are told, with both hashes."""

import dataclasses
import hashlib
import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from bench.basics.errors import BenchError
from bench.contracts import TaskSpec
from bench.datasets.source import Dataset, Split
from bench.tasks.images import METADATA_KEY, images_of
from bench.tasks.manifest import draw, load

STEPS = {"decoder": "Pillow", "resize": "to 2 x 2 pixels: box"}


def made(content: str = "a" * 64, seed: int = 0, name: str = "toy", steps: dict[str, str] | None = None) -> Dataset:
    """8 classes of 9 images a split, pixels by ``seed``."""
    rng = np.random.default_rng(seed)

    def split(which: str) -> Split:
        ids = np.repeat(np.arange(8), 9)
        files = tuple(f"{which}/{i}.png" for i in range(72))
        pixels = rng.integers(0, 256, (72, 1, 2, 2), dtype=np.uint8)
        return Split(name, which, pixels, ids, tuple(f"{which}{one}" for one in range(8)), files)

    splits = {which: split(which) for which in ("train", "val", "test")}
    return Dataset(name, content, splits, Path("/nowhere"), (), steps or STEPS, {"pillow": "11.0"})


def saved(path: Path, dataset: Dataset | None = None):
    drawn = draw(made(), "test", TaskSpec(3, 1, 2), 4, 0)
    drawn.save(path, dataset)
    return drawn


def test_the_hash_is_of_the_bytes_of_every_named_image_once(tmp_path):
    drawn = saved(tmp_path / "tasks.parquet", made())
    found = load(tmp_path / "tasks.parquet")
    digest = hashlib.sha256()
    for index in sorted({int(one) for one in drawn.indices.ravel()}):
        digest.update(bytes(made().splits["test"].pixels[index].ravel().tolist()))
    assert found.images.pixels == digest.hexdigest()
    assert found.images.images == len(set(drawn.indices.ravel().tolist()))
    assert (found.images.preprocessing, found.images.made_with) == (STEPS, {"pillow": "11.0"})
    assert list(found.images.preprocessing) == list(STEPS)
    found.save(tmp_path / "copy.parquet")
    assert load(tmp_path / "copy.parquet").images == found.images


def test_it_changes_neither_the_list_nor_its_hash_and_old_files_are_read(tmp_path):
    drawn = saved(tmp_path / "old.parquet")
    saved(tmp_path / "new.parquet", made())
    old, new = (load(tmp_path / f"{one}.parquet") for one in ("old", "new"))
    assert (old.images, new.images.shape) == (None, (1, 2, 2))
    assert old == new == drawn
    assert old.sha256 == new.sha256 == drawn.sha256
    assert METADATA_KEY not in pq.read_schema(tmp_path / "old.parquet").metadata


def test_other_pixels_are_told_with_both_hashes_and_what_differs(tmp_path):
    saved(tmp_path / "tasks.parquet", made())
    sealed = load(tmp_path / "tasks.parquet")
    sealed.verify(made())
    other = dataclasses.replace(made("b" * 64, 1), made_with={"pillow": "12.0"})
    here = images_of(other, "test", sealed.indices).pixels
    with pytest.raises(BenchError) as caught:
        sealed.verify(other)
    for told in (f"{sealed.images.pixels[:12]} there, {here[:12]} here", "pillow: '11.0' there, '12.0' here"):
        assert told in str(caught.value)
    assert "resize" not in str(caught.value)
    with pytest.raises(BenchError, match="resize: 'to 2 x 2 pixels: box' there, 'nothing' here"):
        sealed.verify(made("b" * 64, 1, steps={"decoder": "Pillow"}))
    with pytest.raises(BenchError, match="the pixels of its tasks are the same; what differs is names"):
        sealed.verify(made("b" * 64))
    fewer = made("b" * 64)
    cut = dataclasses.replace(
        fewer.splits["test"],
        **{what: getattr(fewer.splits["test"], what)[:45] for what in ("pixels", "class_ids", "image_ids")},
        class_names=fewer.splits["test"].class_names[:5],
    )
    with pytest.raises(BenchError, match="test has 45 images here, and it names more"):
        sealed.verify(dataclasses.replace(fewer, splits={**fewer.splits, "test": cut}))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda said: said | {"pixels": "0" * 64}, "does not have the SHA-256 that it was sealed with"),
        (lambda said: said | {"preprocessing": {}}, "does not have the SHA-256 that it was sealed with"),
        (lambda said: [said], "does not have the SHA-256"),
        (lambda said: float("nan"), "does not have the SHA-256"),
    ],
)
def test_what_it_says_cannot_be_changed_unnoticed(tmp_path, change, message):
    path = tmp_path / "tasks.parquet"
    saved(path, made())
    table = pq.read_table(path)
    metadata = dict(table.schema.metadata)
    metadata[METADATA_KEY] = json.dumps(change(json.loads(metadata[METADATA_KEY]))).encode()
    pq.write_table(table.replace_schema_metadata(metadata), path)
    with pytest.raises(BenchError, match=message):
        load(path)


def test_what_is_said_of_one_list_is_not_taken_for_another(tmp_path):
    saved(tmp_path / "one.parquet", made())
    draw(made(), "test", TaskSpec(3, 1, 2), 4, 1).save(tmp_path / "two.parquet", made())
    one, two = (pq.read_table(tmp_path / f"{name}.parquet") for name in ("one", "two"))
    mixed = dict(two.schema.metadata) | {METADATA_KEY: one.schema.metadata[METADATA_KEY]}
    pq.write_table(two.replace_schema_metadata(mixed), tmp_path / "two.parquet")
    with pytest.raises(BenchError, match="belongs to another list of tasks"):
        load(tmp_path / "two.parquet")
    deep = dict(two.schema.metadata) | {METADATA_KEY: b"[" * 100_000}
    pq.write_table(two.replace_schema_metadata(deep), tmp_path / "two.parquet")
    with pytest.raises(BenchError, match="nested too deeply"):
        load(tmp_path / "two.parquet")
