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


def test_a_thousand_tasks_use_each_of_the_323_characters_and_nest_across_shots(tmp_path_factory, tmp_path):
    assert FOLDER
    dataset = prepare(Omniglot(data_dir=FOLDER), tmp_path_factory.getbasetemp() / "prepared")
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
