"""The sealed tasks of the real Omniglot test split."""

import os
from pathlib import Path

import numpy as np
import pytest

from bench.contracts import TaskSpec
from bench.datasets.omniglot import Omniglot
from bench.datasets.prepare import load as prepare
from bench.tasks.manifest import draw, load

FOLDER = os.environ.get("BENCH_DATA")
pytestmark = [
    pytest.mark.omniglot,
    pytest.mark.slow,
    pytest.mark.skipif(
        not FOLDER or not (Path(FOLDER) / "omniglot").is_dir(), reason="no Omniglot images in $BENCH_DATA"
    ),
]


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    assert FOLDER
    return prepare(Omniglot(data_dir=FOLDER), tmp_path_factory.getbasetemp() / "prepared")


def test_no_image_of_a_split_is_in_another(dataset):
    """Nothing leaks through the pixels, however the files are called."""
    images = {name: {image.tobytes() for image in np.asarray(split.pixels)} for name, split in dataset.splits.items()}
    assert set(images) == {"train", "val", "test"}
    assert min(len(found) for found in images.values()) > 1900
    assert not images["train"] & images["val"]
    assert not images["train"] & images["test"]
    assert not images["val"] & images["test"]


def test_a_thousand_tasks_use_each_of_the_323_characters_and_nest_across_shots(dataset, tmp_path):
    one, five = (draw(dataset, "test", TaskSpec(5, shot, 15), 1000, 0) for shot in (1, 5))
    for manifest in (one, five):
        manifest.save(tmp_path / "tasks.parquet")
        assert load(tmp_path / "tasks.parquet") == manifest
        manifest.verify(dataset)
        assert len(set(manifest.class_names.ravel())) == 323
    np.testing.assert_array_equal(one.support[..., 0], five.support[..., 0])
    np.testing.assert_array_equal(one.query, five.query)
    # 5 + 15 images are all that a character has.
    class_ids = dataset.splits["test"].class_ids
    for task in (0, 500, 999):
        for n in range(5):
            images = five.indices[task, n]
            np.testing.assert_array_equal(np.sort(images), np.flatnonzero(class_ids == class_ids[images[0]]))
