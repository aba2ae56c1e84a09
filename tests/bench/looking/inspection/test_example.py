"""The task that stands beside the numbers of an inspection."""

import numpy as np
import pytest
import torch

from bench.basics.errors import BenchError
from bench.contracts import Tasks
from bench.looking.inspection.example import EARLIER_FILE, FILE, MOST, example, file_of, read_example, write_example


def tasks(way=5, shot=1, query=5, channels=1, side=28):
    rng = torch.Generator().manual_seed(0)
    return Tasks(
        torch.rand(2, way, shot, channels, side, side, generator=rng),
        torch.rand(2, way, query, channels, side, side, generator=rng),
    )


def test_it_is_the_first_task_support_first(tmp_path):
    one = tasks(way=3, shot=2, query=4)
    write_example(tmp_path, one)
    found = read_example(tmp_path / FILE)
    assert found.shape == (3, 6, 1, 28, 28)
    assert np.abs(found[:, :2] / 255 - one.support[0].numpy()).max() <= 0.5 / 255 + 1e-6
    assert np.abs(found[:, 2:] / 255 - one.query[0].numpy()).max() <= 0.5 / 255 + 1e-6


def test_the_file_of_version_0_1_is_found_too(tmp_path):
    assert file_of(tmp_path) is None
    write_example(tmp_path, tasks())
    (tmp_path / FILE).rename(tmp_path / EARLIER_FILE)
    assert file_of(tmp_path) == tmp_path / EARLIER_FILE
    write_example(tmp_path, tasks())
    assert file_of(tmp_path) == tmp_path / FILE, "the newer one counts"


def test_large_tasks_and_images_are_cut_down():
    one = tasks(way=20, shot=7, query=15, channels=3, side=84)
    found = example(one)
    assert found.shape == (MOST, 2 * MOST, 3, 42, 42)
    block = one.query[0, 4, 3, 2, 10:12, 20:22].mean().item()
    assert found[4, MOST + 3, 2, 5, 10] == round(255 * block)
    assert example(tasks(side=50)).shape[-2:] == (25, 25)
    assert example(tasks(side=48)).shape[-2:] == (48, 48)


@pytest.mark.parametrize("content", [np.zeros((5, 6, 28, 28), np.uint8), np.zeros((5, 6, 1, 28, 28)), None])
def test_a_damaged_one_is_one_sentence(content, tmp_path):
    path = tmp_path / FILE
    path.write_bytes(b"\x93NUM") if content is None else np.save(path, content)
    with pytest.raises(BenchError, match=r"synthetic\.npy is damaged \(.*\); delete it and inspect again"):
        read_example(path)
